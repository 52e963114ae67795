package app

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

func TestWatchedSilentHasTheProcessesLookedAtAndNotTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &watched{hinted: make(map[string]time.Time)}
		var mu sync.Mutex
		var looks []time.Duration
		began := time.Now()
		w.runner = probe.NewRunner(probe.RunnerOptions{Probes: []probe.Probe{
			{Kind: probe.Login, Run: func(_ context.Context, n target.Node) probe.Result {
				for range 4 { // a login that tells of its silence again and again, as several would
					time.Sleep(3 * time.Second)
					w.silent(n)
				}
				return probe.Result{Reason: probe.AwaitTune}
			}},
			{Kind: probe.MaybeStuck, Run: func(context.Context, target.Node) probe.Result {
				mu.Lock()
				looks = append(looks, time.Since(began))
				mu.Unlock()
				return probe.Result{Reason: probe.OK}
			}},
		}})
		ended := make(chan error, 1)
		go func() { ended <- w.runner.Run(ctx) }()
		w.runner.SetNodes([]target.Node{{Target: "b", Name: "rabbit-0"}})
		for range 6 {
			w.runner.RunNow("rabbit-0", probe.Login)
			time.Sleep(20 * time.Second)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if want := []time.Duration{3 * time.Second, 63 * time.Second}; !slices.Equal(looks, want) {
			t.Errorf("looked at after %v, want %v", looks, want)
		}
	})
}
