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
	"github.com/cjworkbench/unstuck/remediate/decide"
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
	login := probe.NewLogin(probe.LoginOptions{Vhost: "/", Credentials: func(context.Context) (target.Credentials, error) {
		return target.Credentials{Username: user, Password: password}, nil
	}})
	url := fmt.Sprintf("amqp://%s:%s@%s/", user, password, node.Address)
	probed := func() {
		if r := login(b.Context(), node); r.Reason != probe.OK {
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

// BenchmarkCure measures, with the default thresholds, how long it takes from the moment that a node's login is wedged
// until it is seen, until it is confirmed and deleted, and until its successor accepts logins. Only the start-up
// allowance is shortened, or the nodes would have to be five minutes old.
func BenchmarkCure(b *testing.B) {
	for _, fault := range []struct {
		name  string
		spoil func(context.Context, *lab.Lab, string) error
	}{{"wedged login", wedgeLogin}, {"frozen", freeze}} {
		b.Run(fault.name, func(b *testing.B) {
			l := <-startLabs(b, 1, lab.Options{Root: os.Getenv("UNSTUCK_RABBITMQ_ROOT")})
			for b.Loop() {
				measureCure(b, l, fault.spoil)
			}
		})
	}
}

func measureCure(b *testing.B, l *lab.Lab, spoil func(context.Context, *lab.Lab, string) error) {
	ctx, cancel := context.WithTimeout(b.Context(), 6*time.Minute)
	defer cancel()
	w := watchLab(ctx, b, l, defaultsBroker())
	defer w.stop()
	w.until(ctx, "every node is healthy", func() bool { return w.phases(decide.PhaseHealthy) == len(all) })
	if err := spoil(ctx, l, "rabbit-1"); err != nil {
		b.Fatal(err)
	}
	broken := time.Now()
	w.until(ctx, "it is seen", func() bool {
		return w.seen(probe.Login, probe.AwaitTune, probe.StageTune, broken, 1)+
			w.seen(probe.Login, probe.AwaitStart, probe.StageStart, broken, 1) > 0
	})
	seen := time.Since(broken)
	w.until(ctx, "it is deleted", func() bool { return len(w.acted) > 0 })
	deleted := w.acted[0].Sub(broken)
	var look time.Time
	w.mu.Lock()
	for _, r := range w.results {
		if r.Kind == probe.MaybeStuck && r.Node == "rabbit-1" && r.Ended().Before(w.acted[0]) {
			look = r.Ended()
		}
	}
	w.mu.Unlock()
	w.until(ctx, "the deletion has helped", func() bool { return w.outcome() == decide.Recovered })
	b.ReportMetric(w.acted[0].Sub(look).Seconds(), "s-from-look-to-deletion") // the last questions among them
	b.ReportMetric(seen.Seconds(), "s-to-seen")
	b.ReportMetric(deleted.Seconds(), "s-to-deleted")
	b.ReportMetric(time.Since(broken).Seconds(), "s-to-cured")
	b.ReportMetric(0, "ns/op")
}
