package app

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/lab"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

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
