//go:build linux

package login

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// brokersVariable makes this test binary a process of fake brokers, so that a benchmark can tell our use of CPU
// from theirs.
const brokersVariable = "UNSTUCK_TEST_SERVE_FAKE_BROKERS"

func TestMain(m *testing.M) {
	if os.Getenv(brokersVariable) != "" {
		if err := serveFakeBrokers(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	m.Run()
}

// fakeBrokerListeners is the number of ports on which the fake brokers listen. The side that closes keeps a
// connection's pair of ports for a minute, so one listener alone would run out of ports at some 470 logins a
// second.
const fakeBrokerListeners = 64

// serveFakeBrokers listens, prints the addresses, and serves until standard input ends.
func serveFakeBrokers() error {
	for range fakeBrokerListeners {
		b, err := listenFakeBroker("127.0.0.1:0")
		if err != nil {
			return err
		}
		defer b.Close()
		b.setScript(nil)
		fmt.Println(b.Addr)
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// startFakeBrokers runs serveFakeBrokers in a process of its own. stop ends the process, and gives the CPU time
// that it used.
func startFakeBrokers(b *testing.B) (addresses []string, stop func() time.Duration) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), brokersVariable+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	stop = sync.OnceValue(func() time.Duration {
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
		return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	})
	b.Cleanup(func() { stop() })
	lines := bufio.NewScanner(out)
	for len(addresses) < fakeBrokerListeners && lines.Scan() {
		addresses = append(addresses, lines.Text())
	}
	if len(addresses) < fakeBrokerListeners {
		b.Fatalf("the fake brokers ended after %d addresses", len(addresses))
	}
	return addresses, stop
}

// usage is what this process has used so far: CPU time, and its largest resident memory in KiB.
func usage(b *testing.B) (cpu time.Duration, maxKiB int64) {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), u.Maxrss
}

// lateness says how late the starts since began were, sorted: later in its period than the node's most punctual one.
func lateness(starts map[string][]time.Time, period time.Duration, began time.Time) []time.Duration {
	var late []time.Duration
	for _, of := range starts {
		offset := make([]time.Duration, len(of))
		for i, start := range of {
			since := start.Sub(of[0])
			offset[i] = since - since.Round(period)
		}
		for i, start := range of {
			if start.After(began) {
				late = append(late, offset[i]-slices.Min(offset))
			}
		}
	}
	slices.Sort(late)
	return late
}

// BenchmarkRunner10000 logs in to 10,000 nodes every 15 seconds. It warms up for one period and measures two: 45
// seconds in all. The brokers are fake and in another process. Every login is a real one, over TCP.
func BenchmarkRunner10000(b *testing.B) {
	const (
		count  = 10_000
		period = 15 * time.Second
	)
	addresses, stopBrokers := startFakeBrokers(b)
	nodes := make([]target.Node, count)
	for i := range nodes {
		name := fmt.Sprintf("rabbitmq-%d", i)
		nodes[i] = target.Node{Target: "bench", Name: name, UID: name, Address: addresses[i%len(addresses)]}
	}
	login := probe.Probe{Kind: probe.Login, Schedule: cron.Every(period), Timeout: DefaultTimeout, Run: New(Options{
		Vhost: "/", Credentials: func(context.Context) (target.Credentials, error) {
			return target.Credentials{Username: "guest", Password: "guest"}, nil
		},
	})}
	for b.Loop() {
		var mu sync.Mutex
		var took []time.Duration
		starts := make(map[string][]time.Time, count)
		measuring := false
		r := probe.NewRunner(probe.RunnerOptions{Probes: []probe.Probe{login}, Sink: func(result probe.Result) {
			mu.Lock()
			defer mu.Unlock()
			if result.Reason != probe.OK {
				b.Errorf("%s: %s, %s", result.Node, result.Reason, result.Detail)
			}
			starts[result.Node] = append(starts[result.Node], result.Started)
			if measuring {
				took = append(took, result.Took)
			}
		}})
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		r.SetNodes(nodes)

		<-time.After(period)
		mu.Lock()
		measuring = true
		mu.Unlock()
		before, _ := usage(b)
		began := time.Now()
		<-time.After(2 * period)
		wall := time.Since(began).Seconds()
		after, maxKiB := usage(b)
		mu.Lock()
		measuring = false
		mu.Unlock()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
		if len(took) < 2*count*99/100 {
			b.Fatalf("%d logins in two periods, want %d", len(took), 2*count)
		}
		late := lateness(starts, period, began)
		slices.Sort(took)
		ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(len(took))/wall, "logins/s")
		b.ReportMetric((after-before).Seconds()/wall, "cpu-s/s")
		b.ReportMetric(ms(after-before)/float64(len(took)), "cpu-ms/login")
		b.ReportMetric(float64(maxKiB)/1024, "max-rss-MiB")
		b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MiB")
		b.ReportMetric(ms(late[len(late)/2]), "late-p50-ms")
		b.ReportMetric(ms(late[len(late)*99/100]), "late-p99-ms")
		b.ReportMetric(ms(late[len(late)-1]), "late-max-ms")
		inTime, _ := slices.BinarySearch(late, time.Second+1)
		b.ReportMetric(float64(len(late)-inTime), "put-off")
		b.ReportMetric(ms(took[len(took)/2]), "login-p50-ms")
		b.ReportMetric(ms(took[len(took)*99/100]), "login-p99-ms")
		b.ReportMetric(ms(r.Late()), "Late()-ms")
	}
	b.ReportMetric(stopBrokers().Seconds()/b.Elapsed().Seconds(), "brokers-cpu-s/s")
}
