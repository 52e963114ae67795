package release

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/release/plan"
)

func TestRunChangesNothingMoreOnceItMayNotBeTheOnlyOne(t *testing.T) {
	tests := map[string]struct {
		strike func(c *cluster, id string)
		within time.Duration // that it must have stopped
		phase  plan.Phase
	}{
		"somebody else holds the lock": {phase: plan.Running, within: 8 * time.Second, strike: func(c *cluster, _ string) {
			c.holder, c.expires = Holder{ID: "thief"}, time.Now().Add(time.Hour)
		}},
		"the lock cannot be renewed": {phase: plan.Running, within: 30 * time.Second, strike: func(c *cluster, _ string) {
			c.lockErr = errors.New("the API server is away")
		}},
		"somebody else has ended the operation": {phase: plan.Failed, within: 8 * time.Second, strike: func(c *cluster, id string) {
			o := c.ops[id]
			o.Version, o.Runner, o.Phase = o.Version+1, "thief", plan.Failed
			c.ops[id] = o
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				p := start(t, c)
				o := p.submit(t, deployOf(commitB))
				pause(t.Context(), time.Second)
				c.mu.Lock()
				tt.strike(c, o.ID)
				for name := range c.jobs { // what would be changed would be changed when they end
					c.jobs[name] = time.Now().Add(tt.within)
				}
				c.mu.Unlock()
				pause(t.Context(), 10*time.Minute)
				p.stop()
				if slices.ContainsFunc(c.journal, func(s string) bool { return strings.HasPrefix(s, "patch") }) || c.operation(o.ID).Phase != tt.phase {
					t.Errorf("journal %v, phase %q", c.journal, c.operation(o.ID).Phase)
				}
			})
		})
	}
}

func TestRunnerSubmitIsRefusedByAnUnfinishedOperationWithoutALock(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		p.submit(t, deployOf(commitB))
		p.stop()
		pause(t.Context(), time.Hour) // the lock has expired, and nobody took the operation up
		_, err := p.Submit(t.Context(), deployOf(commitC))
		wantRefusal(t, err, plan.Busy, "is under way", "or cancel it")
	})
}

func TestRunnerDoesNotStartAJobAgainThatVanished(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		o := p.submit(t, deployOf(commitB))
		pause(t.Context(), time.Second)
		p.stop()
		c.jobs = map[string]time.Time{}
		second := start(t, c)
		defer second.stop()
		ended := <-second.over
		wantPhase(t, ended, plan.Failed, "is gone: nobody knows whether it ended well")
		if ended.ID != o.ID || ended.Migrated() != plan.MaybeMigrated || c.jobStarts["migrate"] != 1 {
			t.Errorf("%s migrated: %s, jobs %v", ended.ID, ended.Migrated(), c.jobStarts)
		}
	})
}

func TestRunnerCancelStartsASingletonThatStopsAgainUnchanged(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		defer p.stop()
		o := p.submit(t, deployOf(commitB))
		for c.images()["cron-deployment"] != "0 pods of a/a/1.2" {
			pause(t.Context(), time.Second)
		}
		if _, err := p.Cancel(t.Context(), o.ID, "bob", "wrong commit"); err != nil {
			t.Fatal(err)
		}
		wantPhase(t, <-p.over, plan.Cancelled, "the old pod was stopped, and is started again unchanged")
		if got := c.images()["cron-deployment"]; got != "1 pods of a/a/1.2" {
			t.Errorf("cron: %s", got)
		}
	})
}

func TestRunnerChangesNothingWhileItCannotWriteItDown(t *testing.T) {
	for name, outage := range map[string]time.Duration{"a short outage is waited for": time.Minute, "after a long one a successor goes on": 10 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				p := start(t, c)
				defer p.stop()
				p.submit(t, deployOf(commitB))
				pause(t.Context(), time.Second)
				c.mu.Lock()
				c.saveErr = errors.New("the API server is away")
				before := len(c.journal)
				c.mu.Unlock()
				pause(t.Context(), outage)
				c.mu.Lock()
				if len(c.journal) != before {
					t.Errorf("during the outage: %v", c.journal[before:])
				}
				c.saveErr = nil
				c.mu.Unlock()
				wantPhase(t, <-p.over, plan.Succeeded)
				if c.jobStarts["migrate"] != 1 {
					t.Errorf("%d jobs", c.jobStarts["migrate"])
				}
			})
		})
	}
}

func TestRunnerStandsAFlakyConnection(t *testing.T) {
	succeeded := 0
	for seed := range uint64(60) {
		inBubble(t, func(t *testing.T, c *cluster) {
			p := start(t, c)
			defer p.stop()
			id := p.submit(t, deployOf(commitB)).ID
			p.client.mu.Lock()
			p.flaky = rand.New(rand.NewPCG(seed, 0))
			p.client.mu.Unlock()
			for !c.operation(id).Phase.Over() { // that it is may be all that a process did not learn before it lost the lock
				pause(t.Context(), time.Second)
			}
			o := c.operation(id)
			if o.Phase == plan.Succeeded {
				succeeded++
				if diff := cmp.Diff(allAt("b"), c.images()); diff != "" {
					t.Errorf("seed %d: %s", seed, diff)
				}
			} else if !strings.Contains(o.Outcome, errFlaky.Error()) {
				t.Errorf("seed %d: phase %q: %s", seed, o.Phase, o.Outcome)
			}
			if c.jobStarts["migrate"] > 1 || c.jobStarts["assets"] > 1 {
				t.Errorf("seed %d: jobs %v", seed, c.jobStarts)
			}
		})
	}
	if succeeded < 50 {
		t.Errorf("only %d of 60 succeeded", succeeded)
	}
}

func TestRunnerSubmitMakesOneOperationOfTheSameKeyTwiceAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		replicas := []*process{start(t, c), start(t, c), start(t, c)}
		req := deployOf(commitB)
		req.IdempotencyKey = "pipeline-7"
		ids := make(chan string, len(replicas))
		for _, p := range replicas {
			defer p.stop()
			go func() {
				o, err := p.Submit(t.Context(), req)
				var busy *plan.Refusal
				if err != nil && (!errors.As(err, &busy) || busy.Code != plan.Busy) {
					t.Error(err)
				}
				ids <- o.ID
			}()
		}
		for range replicas {
			if id := <-ids; id != "" && c.operation(id).ID != id {
				t.Errorf("operation %q is not stored", id)
			}
		}
		pause(t.Context(), time.Hour)
		if len(c.ops) != 1 || c.jobStarts["migrate"] != 1 {
			t.Errorf("%d operations, jobs %v", len(c.ops), c.jobStarts)
		}
	})
}
