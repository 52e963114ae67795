package probe

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/cjworkbench/unstuck/target"
)

func TestRunnerSetNodesLetsNodesComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runRunner(t, nil, Probe{Kind: Login, Run: healthy, Schedule: cron.Every(15 * time.Second)})
		want := func(names ...string) {
			t.Helper()
			r.taken()
			time.Sleep(15 * time.Second)
			seen := make(map[string]int)
			for _, result := range r.taken() {
				seen[result.Node]++
			}
			for _, name := range names {
				if seen[name] != 1 {
					t.Errorf("%s was probed %d times in one period", name, seen[name])
				}
				delete(seen, name)
			}
			if len(seen) > 0 {
				t.Errorf("probed as well: %v", seen)
			}
		}
		want()
		r.SetNodes(nodesNamed("x", "y"))
		want("x", "y")
		r.SetNodes(nodesNamed("y", "z"))
		want("y", "z")
		r.SetNodes(nodesNamed("y", "z", "y"))
		want("y", "z")
		if r.logged("two nodes have the same name") != 1 {
			t.Errorf("the log does not tell of two nodes with one name:\n%s", &r.log)
		}
		r.SetNodes(nil)
		want()
	})
}

func TestRunnerCancelsTheProbeOfANodeThatVanishesAndDropsItsResult(t *testing.T) {
	for name, change := range map[string]func(*target.Node){
		"another UID":     func(n *target.Node) { n.UID = "new" },
		"another address": func(n *target.Node) { n.Address = "127.0.0.2:5672" },
		"gone":            nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var cancelled atomic.Int64
				nodes := nodesNamed("x")
				before := nodes[0]
				r := runRunner(t, nodes, Probe{Kind: Login, Schedule: cron.Every(time.Minute), Run: func(ctx context.Context, n target.Node) Result {
					if n != before {
						return Result{Reason: OK, Detail: n.Address}
					}
					<-ctx.Done()
					cancelled.Add(1)
					return Result{Reason: Cancelled}
				}})
				time.Sleep(20 * time.Second) // the first run is under way
				r.SetPace("x", PaceConfirmed)
				after := nodesNamed("x")
				if change == nil {
					after = nil
				} else {
					change(&after[0])
				}
				r.SetNodes(after)
				if got := r.taken(); len(got) != 0 || cancelled.Load() != 1 {
					t.Errorf("%d probes were cancelled and gave %v, want one and nothing", cancelled.Load(), got)
				}
				time.Sleep(20 * time.Second)
				switch got := r.taken(); {
				case change == nil && len(got) != 0:
					t.Errorf("a node that is gone gave %v", got)
				case change != nil && (len(got) != 1 || got[0].UID != after[0].UID || got[0].Detail != after[0].Address):
					t.Errorf("want a first run of %v, got %v", after[0], got)
				}
			})
		})
	}
}

func TestRunnerTakesNewFactsOfANodeIntoTheNextRunUndisturbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := make(chan target.Node, 1)
		r := runRunner(t, nodesNamed("x"), Probe{Kind: Login, Run: func(ctx context.Context, n target.Node) Result {
			seen <- n
			return taking(time.Second)(ctx, n)
		}})
		r.RunNow("x")
		<-seen
		nodes := nodesNamed("x")
		nodes[0].Terminating = target.Yes
		r.SetNodes(nodes)
		time.Sleep(time.Minute)
		if got := r.taken(); len(got) != 1 || got[0].Reason != OK {
			t.Errorf("want the run that was under way to end well, got %v", got)
		}
		r.RunNow("x")
		if n := <-seen; n.Terminating != target.Yes {
			t.Errorf("the next run got %v", n)
		}
	})
}

func TestRunnerSaysWhatResultsAreOfEvenIfTheProbeDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runRunner(t, nodesNamed("x"), Probe{Kind: Login, Run: func(context.Context, target.Node) Result {
			time.Sleep(time.Second)
			return Result{}
		}}, Probe{Kind: LogAge, Run: func(_ context.Context, n target.Node) Result {
			return Result{Reason: OK, UID: "seen by the probe", Took: time.Minute, Started: time.Unix(1, 0)}
		}})
		began := time.Now()
		r.RunNow("x", Login)
		time.Sleep(2 * time.Second)
		if got := r.taken(); len(got) != 1 || got[0].Reason != NotRun || got[0].Detail == "" || got[0].Target != "b" || got[0].Node != "x" ||
			got[0].UID != "x-uid" || got[0].Kind != Login || got[0].Started != began || got[0].Took != time.Second {
			t.Errorf("got %+v", got)
		}
		r.RunNow("x", LogAge)
		if got := r.taken(); len(got) != 1 || got[0].UID != "seen by the probe" || got[0].Took != time.Minute || got[0].Started.Unix() != 1 {
			t.Errorf("what the probe said was changed: %+v", got)
		}
	})
}

func TestRunnerContainsAPanicAndLogsItOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var healthy atomic.Bool
		r := runRunner(t, nodesNamed("x"), Probe{Kind: Login, Schedule: cron.Every(15 * time.Second), Run: func(context.Context, target.Node) Result {
			if !healthy.Load() {
				panic("no such luck")
			}
			return Result{Reason: OK}
		}})
		for range 2 {
			healthy.Store(false)
			time.Sleep(30 * time.Second)
			for _, result := range r.taken() {
				if result.Reason != NotRun || !strings.Contains(result.Detail, "no such luck") || result.Node != "x" {
					t.Errorf("got %+v", result)
				}
			}
			healthy.Store(true)
			time.Sleep(15 * time.Second)
			if got := r.taken(); len(got) != 1 || got[0].Reason != OK {
				t.Errorf("after the panics it gave %v", got)
			}
		}
		if n := r.logged("level=ERROR"); n != 2 {
			t.Errorf("%d errors were logged, want one for each series:\n%s", n, &r.log)
		}
		if r.logged("TestRunnerContainsAPanic") == 0 {
			t.Errorf("the log has no stack:\n%s", &r.log)
		}
	})
}

func TestRunnerGivesUpAProbeThatIgnoresItsContextUntilItReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hung, at atomic.Int64
		release := make(chan struct{})
		r := runRunner(t, nodesNamed("x"),
			Probe{Kind: MaybeStuck, Schedule: cron.Every(30 * time.Second), Timeout: 45 * time.Second, Run: func(ctx context.Context, _ target.Node) Result {
				hung.Add(1)
				begun := time.Now()
				<-ctx.Done()
				at.Store(int64(time.Since(begun)))
				<-release
				return Result{Reason: OK, Detail: "too late"}
			}},
			Probe{Kind: Login, Run: healthy, Schedule: cron.Every(15 * time.Second)})
		time.Sleep(10 * time.Minute)
		r.RunNow("x")
		logins := 0
		for _, result := range r.taken() {
			if result.Kind == Login {
				logins++
				continue
			}
			if result.Reason != NotRun || result.Took != 51*time.Second || !strings.Contains(result.Detail, "did not return within 51s") {
				t.Errorf("got %+v", result)
			}
		}
		if hung.Load() != 1 || logins != 41 || r.logged("does not return") != 1 {
			t.Errorf("%d runs, %d logins, log:\n%s\nwant one run, 41 logins, one line", hung.Load(), logins, &r.log)
		}
		if got := time.Duration(at.Load()); got != 48*time.Second {
			t.Errorf("its context ended after %s, want its timeout and 3 s", got)
		}
		close(release)
		if got := r.taken(); len(got) != 0 {
			t.Errorf("the result that came too late was given: %v", got)
		}
		time.Sleep(50 * time.Second)
		if hung.Load() == 1 {
			t.Error("after it returned it was not run again")
		}
	})
}

func TestRunnerProbesNoNodeTwiceAtOnceThoughARunOutlivesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var now, most, first atomic.Int64
		r := runRunner(t, nodesNamed("x"), Probe{Kind: Login, Schedule: cron.Every(15 * time.Second), Timeout: 10 * time.Second, Run: func(context.Context, target.Node) Result {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			if first.Add(1) == 1 {
				<-release
			}
			return Result{Reason: OK}
		}})
		time.Sleep(15 * time.Second)
		for range 10 { // it flickers
			r.SetNodes(nil)
			time.Sleep(20 * time.Second)
			r.SetNodes(nodesNamed("x"))
			time.Sleep(40 * time.Second)
		}
		got := r.taken()
		if most.Load() != 1 || first.Load() != 1 || len(got) == 0 {
			t.Errorf("%d runs, %d at once, results %v; want one run and an explanation", first.Load(), most.Load(), got)
		}
		for _, result := range got {
			if result.Reason != NotRun || result.Detail != "an earlier run has not returned" {
				t.Errorf("got %+v", result)
			}
		}
		replaced := nodesNamed("x")
		replaced[0].UID = "new"
		r.SetNodes(replaced) // another node: nothing is known against it
		time.Sleep(16 * time.Second)
		if got := r.taken(); len(got) == 0 || got[0].Reason != OK {
			t.Errorf("the new node gave %v", got)
		}
		close(release)
	})
}

func TestRunnerWaitsForTheProbesAtShutdownAndDropsTheirResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runRunner(t, nodesNamed("x", "y"), Probe{Kind: Login, Run: func(ctx context.Context, _ target.Node) Result {
			<-ctx.Done()
			time.Sleep(4 * time.Second) // a polite close, say
			return Result{Reason: Cancelled}
		}})
		r.RunNow("x")
		r.RunNow("y")
		synctest.Wait()
		began := time.Now()
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("shutdown took %s, want the four seconds of the probes", took)
		}
		if got := r.taken(); len(got) != 0 {
			t.Errorf("results after the end: %v", got)
		}
		r.SetNodes(nodesNamed("x", "z"))
		r.RunNow("z")
		time.Sleep(time.Minute)
		if got := r.taken(); len(got) != 0 {
			t.Errorf("results after the end: %v", got)
		}
	})
}

func TestRunnerDoesNotWaitForEverAtShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := runRunner(t, nodesNamed("x"), Probe{Kind: Login, Run: func(context.Context, target.Node) Result {
			<-release
			return Result{Reason: OK}
		}})
		r.RunNow("x")
		synctest.Wait()
		began := time.Now()
		err := r.stop()
		if err == nil || err.Error() != "1 probes did not return within 5s of being cancelled" {
			t.Errorf("got the error %v", err)
		}
		if took := time.Since(began); took != shutdownGrace {
			t.Errorf("shutdown took %s, want %s", took, shutdownGrace)
		}
		close(release)
	})
}

func TestRunnerRunsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runRunner(t, nil)
		if err := r.Run(t.Context()); err == nil {
			t.Error("it ran twice")
		}
	})
}

func TestRunnerTakesOrdersBeforeItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := make(chan Result, 10)
		r := NewRunner(RunnerOptions{Probes: []Probe{{Kind: Login, Run: healthy, Confirmed: time.Minute}}, Sink: func(r Result) { results <- r }})
		r.SetNodes(nodesNamed("x", "y"))
		r.SetNodes(nodesNamed("y", "z"))
		r.SetPace("z", PaceConfirmed)
		r.RunNow("y")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		time.Sleep(30 * time.Second)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if len(results) != 2 {
			t.Fatalf("%d results, want one of y and one of z", len(results))
		}
		if a, b := <-results, <-results; a.Node+b.Node != "yz" && a.Node+b.Node != "zy" {
			t.Errorf("results of %s and %s, want y and z", a.Node, b.Node)
		}
	})
}
