package app

import (
	"context"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cjworkbench/unstuck/lab"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/probe/login"
	"github.com/cjworkbench/unstuck/target"
)

// cpuTime is what this process has used so far, in user and system mode.
func cpuTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkLogin compares a login probe with the least that the library can do, a dial and a close, on the same real
// node: the two take turns, a hundred logins each, and the ratio is the median of the turns.
func BenchmarkLogin(b *testing.B) {
	l := <-startLabs(b, 1, lab.Options{Root: os.Getenv("UNSTUCK_RABBITMQ_ROOT")})
	node := l.Nodes()[0]
	user, password := l.Credentials()
	attempt := login.New(login.Options{Vhost: "/", Credentials: func(context.Context) (target.Credentials, error) {
		return target.Credentials{Username: user, Password: password}, nil
	}})
	url := fmt.Sprintf("amqp://%s:%s@%s/", user, password, node.Address)
	probed := func() {
		if r := attempt(b.Context(), node); r.Reason != probe.OK {
			b.Fatalf("%s: %s", r.Reason, r.Detail)
		}
	}
	bare := func() {
		conn, err := amqp.Dial(url)
		if err != nil {
			b.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			b.Fatal(err)
		}
	}
	cost := func(f func()) time.Duration {
		const logins = 100
		before := cpuTime(b)
		for range logins {
			f()
		}
		return (cpuTime(b) - before) / logins
	}
	cost(probed)
	cost(bare)
	var probes, bares []time.Duration
	var ratios []float64
	b.ReportAllocs()
	for b.Loop() {
		p, d := cost(probed), cost(bare)
		probes, bares, ratios = append(probes, p), append(bares, d), append(ratios, float64(p)/float64(d))
	}
	b.ReportMetric(float64(median(probes))/1e6, "probe-ms-cpu")
	b.ReportMetric(float64(median(bares))/1e6, "bare-ms-cpu")
	b.ReportMetric(median(ratios), "probe/bare")
	b.ReportMetric(testing.AllocsPerRun(20, probed), "allocs/probe")
	b.ReportMetric(testing.AllocsPerRun(20, bare), "allocs/bare")
}

func median[T time.Duration | float64](all []T) T {
	slices.Sort(all)
	return all[len(all)/2]
}
