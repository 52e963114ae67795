package probe

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/cjworkbench/unstuck/target"
)

// Pods come and go as fast as they can, and orders come from everywhere, while every probe hangs until it is
// cancelled, and some for a while longer.
func TestRunnerStandsAStormOfNodesAndAShutdownWhileAllHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, ran, twice := make(map[string]int), 0, 0
		hang := func(ctx context.Context, n target.Node) Result {
			mu.Lock()
			ran++
			running[n.UID]++
			if running[n.UID] > 1 {
				twice++
			}
			mu.Unlock()
			<-ctx.Done()
			if n.UID[len(n.UID)-1] == '7' {
				time.Sleep(3 * time.Second) // within the grace of a shutdown
			}
			mu.Lock()
			running[n.UID]--
			mu.Unlock()
			return Result{Reason: AwaitStart}
		}
		late := 0
		stopped := false
		r := NewRunner(RunnerOptions{
			Probes: []Probe{{Kind: Login, Run: hang, Schedule: cron.Every(time.Second), First: time.Second, Suspect: time.Second, Timeout: 12 * time.Second}},
			Sink: func(Result) {
				mu.Lock()
				defer mu.Unlock()
				if stopped {
					late++
				}
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		var storm sync.WaitGroup
		for g := range 4 {
			storm.Go(func() {
				for i := range 300 {
					var nodes []target.Node
					for k := range 1 + (i+g)%5 {
						nodes = append(nodes, target.Node{Name: fmt.Sprint("rabbit-", k), UID: fmt.Sprint(k, "-", (i+g)/3)})
					}
					r.SetNodes(nodes)
					r.RunNow("rabbit-0")
					r.SetPace("rabbit-1", Pace(i%3))
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		storm.Wait()
		mu.Lock()
		stopped = true
		mu.Unlock()
		began := time.Now()
		cancel()
		r.SetNodes([]target.Node{{Name: "rabbit-9", UID: "9-7"}})
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > shutdownGrace {
			t.Errorf("the shutdown took %s", took)
		}
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if ran < 100 || twice > 0 || late > 0 {
			t.Errorf("%d runs, %d of a node that was being probed, %d results after the end", ran, twice, late)
		}
		for uid, n := range running {
			if n != 0 {
				t.Errorf("%d probes of %s are still running", n, uid)
			}
		}
	})
}
