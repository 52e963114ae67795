package release

import (
	"context"
	"maps"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/release/plan"
)

// scenario is an operation, and what must be true once it is over, no matter who was killed on the way.
type scenario struct {
	req     plan.Request
	prepare func(*cluster)
	phase   plan.Phase
	images  map[string]string
	jobs    map[string]int
}

func scenarios() map[string]scenario {
	rollback := deployOf(commitB)
	rollback.OnFailure = plan.Rollback
	return map[string]scenario{
		"a deploy": {req: deployOf(commitB), phase: plan.Succeeded, images: allAt("b"), jobs: map[string]int{"migrate": 1, "assets": 1}},
		"a rollback": {
			req: rollback, phase: plan.RolledBack, images: allAt("a"), jobs: map[string]int{"migrate": 1, "assets": 1},
			prepare: func(c *cluster) { c.broken["gcr.io/acme/cron:"+commitB] = true },
		},
		"a restart of a singleton": {
			req:   plan.Request{Kind: plan.Restart, Environment: "staging", Service: "cron", Reason: "a test", By: "ada"},
			phase: plan.Succeeded, images: allAt("a"), jobs: map[string]int{},
		},
		"a failing migration": {
			req: deployOf(commitB), phase: plan.Failed, images: allAt("a"), jobs: map[string]int{"migrate": 1, "assets": 1},
			prepare: func(c *cluster) { c.jobFails["migrate"] = true },
		},
	}
}

// quick keeps the number of polls, and so of the points to be killed at, down.
func quick() plan.Environment {
	env := testEnvironment()
	env.RolloutDeadline, env.StopDeadline = 20*time.Second, 30*time.Second
	return env
}

// interrupt submits s and lets strike happen at the process's n-th call from then on, before or after it takes
// effect. It waits until the process has ended, if strike ends it, or the operation is over; false if there were fewer
// calls.
func interrupt(t *testing.T, c *cluster, p *process, s scenario, n int, after bool, strike func(o plan.Operation) func()) (plan.Operation, bool) {
	t.Helper()
	if s.prepare != nil {
		s.prepare(c)
	}
	o := p.submitStruck(t, s.req, n, after, strike)
	select {
	case <-p.ended:
	case <-p.over:
	}
	p.client.mu.Lock()
	defer p.client.mu.Unlock()
	return o, p.calls >= p.at
}

// submitStruck submits a request, whose operation is struck at the n-th call after it was written down.
func (p *process) submitStruck(t *testing.T, req plan.Request, n int, after bool, strike func(o plan.Operation) func()) plan.Operation {
	t.Helper()
	p.client.mu.Lock()
	p.taken = func(o plan.Operation) { p.at, p.after, p.do = p.calls+n, after, strike(o) }
	p.client.mu.Unlock()
	return p.submit(t, req)
}

func TestRunnerEndsWhatAKilledProcessBegan(t *testing.T) {
	for name, s := range scenarios() {
		for _, after := range []bool{false, true} {
			t.Run(name+", killed after the call: "+strconv.FormatBool(after), func(t *testing.T) {
				points := 0
				for n := 1; killAt(t, s, n, after); n++ {
					points = n
				}
				if points < 15 {
					t.Errorf("only %d points to be killed at", points)
				}
				t.Logf("killed at %d points", points)
			})
		}
	}
}

func killAt(t *testing.T, s scenario, n int, after bool) (struck bool) {
	inBubble(t, func(t *testing.T, c *cluster) {
		first := start(t, c, quick())
		o, hit := interrupt(t, c, first, s, n, after, func(plan.Operation) func() { return first.kill(first.end) })
		struck = hit
		first.stop()
		second := start(t, c, quick())
		defer second.stop()
		if !c.operation(o.ID).Phase.Over() {
			<-second.over
		}
		check(t, c, s, o.ID, n)
	})
	return struck
}

func check(t *testing.T, c *cluster, s scenario, id string, n int) {
	t.Helper()
	o := c.operation(id)
	if o.Phase != s.phase {
		t.Errorf("point %d: phase %q, want %q: %s", n, o.Phase, s.phase, o.Outcome)
	}
	if diff := cmp.Diff(s.images, c.images()); diff != "" {
		t.Errorf("point %d: %s", n, diff)
	}
	if diff := cmp.Diff(s.jobs, c.jobStarts); diff != "" {
		t.Errorf("point %d: %s", n, diff)
	}
}

func TestRunnerCancelEndsAnOperationInOrder(t *testing.T) {
	for name, s := range scenarios() {
		for _, kill := range []bool{false, true} {
			t.Run(name+", the process killed as well: "+strconv.FormatBool(kill), func(t *testing.T) {
				cancelled := 0
				for n := 1; ; n++ {
					struck, phase := cancelAt(t, s, n, kill)
					if !struck {
						break
					}
					if phase == plan.Cancelled {
						cancelled++
					}
				}
				if cancelled < 10 {
					t.Errorf("cancelled at only %d points", cancelled)
				}
				t.Logf("cancelled at %d points", cancelled)
			})
		}
	}
}

// cancelAt cancels the operation at a point, and at the same point may kill the process that runs it.
func cancelAt(t *testing.T, s scenario, n int, kill bool) (struck bool, phase plan.Phase) {
	inBubble(t, func(t *testing.T, c *cluster) {
		first := start(t, c, quick())
		o, hit := interrupt(t, c, first, s, n, true, func(o plan.Operation) func() {
			return func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				if stored := c.ops[o.ID]; !stored.Phase.Over() { // as another replica's Cancel would
					stored.Version++
					stored.Cancel = &plan.Cancellation{At: time.Now(), By: "bob"}
					c.ops[o.ID] = stored
				}
				if kill {
					first.killed = true
					first.end()
				}
			}
		})
		struck = hit
		first.stop()
		second := start(t, c, quick())
		defer second.stop()
		if !c.operation(o.ID).Phase.Over() {
			<-second.over
		}
		phase = c.operation(o.ID).Phase
		if !phase.Over() || (phase != plan.Cancelled && phase != s.phase) {
			t.Errorf("point %d: phase %q: %s", n, phase, c.operation(o.ID).Outcome)
		}
		for name, want := range c.images() {
			if strings.HasPrefix(want, "0 pods") {
				t.Errorf("point %d: %s is left at 0 pods: %s", n, name, c.operation(o.ID).Outcome)
			}
		}
		for name, end := range maps.All(c.jobs) {
			if time.Now().Before(end) && !c.stopped[name] {
				t.Errorf("point %d: job %s goes on", n, name)
			}
		}
	})
	return struck, phase
}

func TestRunnerCancelReachesAnOperationThatRunsElsewhere(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p, other := start(t, c), start(t, c)
		defer p.stop()
		defer other.stop()
		o := p.submit(t, deployOf(commitB))
		synctest.Wait()
		if _, err := other.Cancel(t.Context(), o.ID, "bob", "wrong commit"); err != nil {
			t.Fatal(err)
		}
		ended := <-p.over
		wantPhase(t, ended, plan.Cancelled, "was stopped")
		if ended.Cancel.By != "bob" || ended.Cancel.Reason != "wrong commit" {
			t.Errorf("cancel %+v", ended.Cancel)
		}
		if diff := cmp.Diff(allAt("a"), c.images()); diff != "" {
			t.Error(diff)
		}
		_, err := other.Cancel(t.Context(), o.ID, "bob", "again")
		wantRefusal(t, err, plan.NotRunning)
		_, err = other.Cancel(t.Context(), "nothing", "bob", "again")
		wantRefusal(t, err, plan.NotFound)
	})
}

func TestRunnerNeverRunsACommandTwice(t *testing.T) {
	s := scenario{req: plan.Request{Kind: plan.RunTask, Environment: "staging", Task: "import", Reason: "a test", By: "ada"}}
	failed := 0
	for n, struck := 1, true; struck; n++ {
		inBubble(t, func(t *testing.T, c *cluster) {
			first := start(t, c)
			var o plan.Operation
			o, struck = interrupt(t, c, first, s, n, true, func(plan.Operation) func() { return first.kill(first.end) })
			first.stop()
			second := start(t, c)
			defer second.stop()
			if !c.operation(o.ID).Phase.Over() {
				<-second.over
			}
			if got := c.operation(o.ID); got.Phase == plan.Failed && strings.Contains(got.Outcome, "it may have been done") {
				failed++
			} else if got.Phase != plan.Succeeded || c.commands != 1 {
				t.Errorf("point %d: phase %q, %d commands: %s", n, got.Phase, c.commands, got.Outcome)
			}
			if c.commands > 1 {
				t.Errorf("point %d: %d commands", n, c.commands)
			}
		})
	}
	if failed == 0 {
		t.Error("never killed while the command ran")
	}
}

func TestRunnerLeavesItsOperationLockedForASuccessor(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		o := p.submit(t, deployOf(commitB))
		pause(t.Context(), time.Second)
		p.stop()
		if c.operation(o.ID).Phase != plan.Running || c.holder.ID == "" {
			t.Fatalf("phase %q, holder %q", c.operation(o.ID).Phase, c.holder.ID)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		second := start(t, c)
		defer second.stop()
		select {
		case ended := <-second.over:
			wantPhase(t, ended, plan.Succeeded)
		case <-ctx.Done():
			t.Fatal("nobody took it up")
		}
	})
}
