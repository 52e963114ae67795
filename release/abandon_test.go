package release

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/release/plan"
)

// killed has a process die at its n-th call, and gives its operation; false if that was over by then.
func killed(t *testing.T, c *cluster, s scenario, n int) (string, bool) {
	t.Helper()
	first := start(t, c, quick())
	o, hit := interrupt(t, c, first, s, n, true, func(plan.Operation) func() { return first.kill(first.end) })
	first.stop()
	return o.ID, hit && !c.operation(o.ID).Phase.Over()
}

//promise:30
func TestRunnerAbandonsWhatNobodyWorkedOnForTooLong(t *testing.T) {
	for name, s := range scenarios() {
		t.Run(name, func(t *testing.T) {
			abandoned := 0
			for n, more := 1, true; more; n++ {
				inBubble(t, func(t *testing.T, c *cluster) {
					var id string
					if id, more = killed(t, c, s, n); !more {
						return
					}
					time.Sleep(11 * time.Minute)
					for name := range c.deps { // a hotfix
						c.set(name, commitC)
					}
					images, jobs := c.images(), len(c.jobs)
					second := start(t, c, quick())
					defer second.stop()
					o := <-second.over
					wantPhase(t, o, plan.Failed, "abandoned", "nobody worked on it for 11m")
					if diff := cmp.Diff(images, c.images()); diff != "" || len(c.jobs) != jobs {
						t.Errorf("point %d: %d jobs started, %s", n, len(c.jobs)-jobs, diff)
					}
					if i := slices.IndexFunc(o.Steps, func(s plan.StepRun) bool { return s.Phase == plan.Running }); i >= 0 {
						t.Errorf("point %d: %s still runs", n, o.Steps[i].ID)
					}
					synctest.Wait()
					if id != o.ID || c.holder.ID != "" {
						t.Errorf("point %d: %s, and the lock is held by %q", n, o.ID, c.holder.ID)
					}
					abandoned++
				})
			}
			if abandoned < 15 {
				t.Errorf("abandoned at only %d points", abandoned)
			}
		})
	}
}

func TestRunnerGoesOnWithinTheBoundAndOverwritesNoHotfix(t *testing.T) {
	s := scenarios()["a deploy"]
	for n, more := 1, true; more; n++ {
		inBubble(t, func(t *testing.T, c *cluster) {
			var id string
			if id, more = killed(t, c, s, n); !more {
				return
			}
			time.Sleep(9 * time.Minute)
			c.set("frontend-deployment", commitC)
			second := start(t, c, quick())
			defer second.stop()
			if !c.operation(id).Phase.Over() {
				<-second.over
			}
			o := c.operation(id)
			if !strings.HasSuffix(c.images()["frontend-deployment"], "c/c/1.2") {
				t.Errorf("point %d: the hotfix is gone: %s %q, %v", n, o.Phase, o.Outcome, c.images())
			}
			wantPhase(t, o, plan.Failed, ErrChanged.Error())
		})
	}
}

func TestRunnerIsAtWorkOnALongJobAsLongAsItLives(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		c.jobsLast = 25 * time.Minute
		first := start(t, c)
		o := first.submit(t, deployOf(commitB))
		time.Sleep(20 * time.Minute)
		first.stop()
		time.Sleep(5 * time.Minute)
		second := start(t, c)
		defer second.stop()
		if ended := <-second.over; ended.ID != o.ID {
			t.Errorf("%s ended", ended.ID)
		} else {
			wantPhase(t, ended, plan.Succeeded)
		}
	})
}
