package release

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/release/plan"
)

// inBubble runs a test on a fresh cluster whose pods are up, in virtual time.
func inBubble(t *testing.T, f func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		pause(t.Context(), podStarts)
		f(t, c)
		if c.twice != nil {
			t.Errorf("a singleton lived twice: %v", c.twice)
		}
	})
}

func wantPhase(t *testing.T, o plan.Operation, p plan.Phase, outcome ...string) {
	t.Helper()
	if o.Phase != p {
		t.Errorf("phase %q, want %q; outcome %q", o.Phase, p, o.Outcome)
	}
	for _, s := range outcome {
		if !strings.Contains(o.Outcome, s) {
			t.Errorf("outcome %q, want %q in it", o.Outcome, s)
		}
	}
}

func wantRefusal(t *testing.T, err error, code plan.Code, words ...string) {
	t.Helper()
	var r *plan.Refusal
	if !errors.As(err, &r) || r.Code != code {
		t.Fatalf("%v, want a refusal %q", err, code)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("refusal %q, want %q in it", err, w)
		}
	}
}

func TestRunnerDeploysJobsFirstThenRollsThenReplacesTheSingleton(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		defer p.stop()
		o := p.run(t, deployOf(commitB))
		wantPhase(t, o, plan.Succeeded, "deploy bbbbbbb to staging: done")
		if diff := cmp.Diff(allAt("b"), c.images()); diff != "" {
			t.Error(diff)
		}
		jobs, rolling, single := slices.Sorted(slices.Values(c.journal[:2])), slices.Sorted(slices.Values(c.journal[2:4])), c.journal[4:]
		want := []string{"job assets", "job migrate", "patch fetcher-deployment", "patch frontend-deployment", "patch cron-deployment", "patch cron-deployment"}
		if diff := cmp.Diff(want, slices.Concat(jobs, rolling, single)); diff != "" {
			t.Error(diff)
		}
		if o.Migrated() != plan.DidNotMigrate {
			t.Errorf("migrated: %s", o.Migrated())
		}
		synctest.Wait()
		if c.holder.ID != "" {
			t.Errorf("the lock is still held by %s", c.holder.ID)
		}
	})
}

func TestRunnerRunningTellsWhatRunsHere(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p, other := start(t, c), start(t, c)
		defer p.stop()
		defer other.stop()
		o := p.submit(t, deployOf(commitB))
		synctest.Wait() // the jobs run
		running := append(p.Running(), other.Running()...)
		if len(running) != 1 || running[0].ID != o.ID || running[0].Phase != plan.Running {
			t.Errorf("%+v", running)
		}
		select {
		case <-p.over:
		case <-other.over:
		}
		synctest.Wait()
		if running := append(p.Running(), other.Running()...); len(running) != 0 {
			t.Errorf("still running: %+v", running)
		}
	})
}

func TestRunnerSaysWhyADeployFailsAndLeavesTheRest(t *testing.T) {
	crash := "gcr.io/acme/frontend:" + commitB
	tests := map[string]struct {
		breaks func(*cluster)
		req    func(*plan.Request)
		phase  plan.Phase
		want   []string
		images map[string]string // that differ from commit A
	}{
		"nothing rolls when a job fails": {
			breaks: func(c *cluster) { c.jobFails["migrate"] = true },
			phase:  plan.Failed, want: []string{"job migrate", "container app: crash: it ended with exit code 1"},
		},
		"nothing runs when an image is not published": {
			breaks: func(c *cluster) { c.unpublished["gcr.io/acme/cron:"+commitB] = true },
			phase:  plan.Failed, want: []string{"not published: gcr.io/acme/cron:" + commitB},
		},
		"the singleton stays when a rolling service crashes": {
			breaks: func(c *cluster) { c.broken[crash] = true },
			phase:  plan.Failed, want: []string{"not rolled out after 15m0s", "container app: crash: it ended with exit code 1 (Error), 3 restarts"},
			images: map[string]string{"frontend-deployment": "3 pods of b/b/1.2", "fetcher-deployment": "3 pods of b/b/1.2"},
		},
		"the old images are put back if that is asked for": {
			breaks: func(c *cluster) { c.broken[crash] = true }, req: func(r *plan.Request) { r.OnFailure = plan.Rollback },
			phase: plan.RolledBack, want: []string{"the old images are back"},
		},
		"the old images are not put back across a migration": {
			breaks: func(c *cluster) { c.broken[crash] = true; c.jobLog["migrate"] = []string{"something else"} },
			req:    func(r *plan.Request) { r.OnFailure = plan.Rollback },
			phase:  plan.Failed, want: []string{"would cross a migration (migrated: maybe)"},
			images: map[string]string{"frontend-deployment": "3 pods of b/b/1.2", "fetcher-deployment": "3 pods of b/b/1.2"},
		},
		"a singleton whose old pod does not go is not started again": {
			breaks: func(c *cluster) { c.stuck["cron-deployment"] = true },
			phase:  plan.Failed, want: []string{"the old pod is not gone after 5m0s (cron-deployment-", "left at 0 pods and is to have 1"},
			images: map[string]string{
				"frontend-deployment": "3 pods of b/b/1.2", "fetcher-deployment": "3 pods of b/b/1.2", "cron-deployment": "0 pods of a/a/1.2",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				tt.breaks(c)
				p := start(t, c)
				defer p.stop()
				req := deployOf(commitB)
				if tt.req != nil {
					tt.req(&req)
				}
				o := p.run(t, req)
				wantPhase(t, o, tt.phase, tt.want...)
				want := allAt("a")
				maps.Copy(want, tt.images)
				if diff := cmp.Diff(want, c.images()); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestRunnerKeepsTheLogOfACrashingPod(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		c.broken["gcr.io/acme/frontend:"+commitB] = true
		p := start(t, c)
		defer p.stop()
		o := p.run(t, deployOf(commitB))
		i := slices.IndexFunc(o.Steps, func(s plan.StepRun) bool { return s.Diagnosis != nil })
		if i < 0 || !slices.Equal(o.Steps[i].Diagnosis.Log, []string{"ImportError: no module named app"}) {
			t.Errorf("steps %+v", o.Steps)
		}
	})
}

func TestRunnerRestoresTheReplicasOfAStoppedSingleton(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		c.stuck["cron-deployment"] = true
		p := start(t, c)
		defer p.stop()
		wantPhase(t, p.run(t, deployOf(commitB)), plan.Failed)
		c.mu.Lock()
		c.stuck["cron-deployment"] = false
		c.pods["cron-deployment"] = nil
		c.mu.Unlock()
		wantPhase(t, p.run(t, deployOf(commitB)), plan.Succeeded)
		if diff := cmp.Diff(allAt("b"), c.images()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRunnerSubmitTakesOneOperationAtATime(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p, other := start(t, c), start(t, c)
		defer p.stop()
		defer other.stop()
		first := p.submit(t, deployOf(commitB))
		_, err := other.Submit(t.Context(), deployOf(commitC))
		wantRefusal(t, err, plan.Busy, first.ID)
		o := <-p.over
		wantPhase(t, o, plan.Succeeded)
		if c.jobStarts["migrate"] != 1 {
			t.Errorf("%d jobs", c.jobStarts["migrate"])
		}
		wantPhase(t, other.run(t, deployOf(commitC)), plan.Succeeded)
	})
}

func TestRunnerSubmitIsRefusedByALockOfSomebodyElse(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		defer p.stop()
		c.holder, c.expires = Holder{ID: "x", Owner: "remediation", Reason: "deleting rabbit-0"}, time.Now().Add(time.Minute)
		_, err := p.Submit(t.Context(), deployOf(commitB))
		wantRefusal(t, err, plan.Busy, "remediation: deleting rabbit-0")
		if len(c.ops) != 0 {
			t.Errorf("operations %v", c.ops)
		}
		pause(t.Context(), time.Minute) // it has expired
		wantPhase(t, p.run(t, deployOf(commitB)), plan.Succeeded)
	})
}

func TestRunnerSubmitGivesTheSameOperationForTheSameKey(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		defer p.stop()
		req := deployOf(commitB)
		req.IdempotencyKey = "pipeline-7"
		first := p.submit(t, req)
		if again := p.submit(t, req); again.ID != first.ID {
			t.Errorf("%s, then %s", first.ID, again.ID)
		}
		wantPhase(t, <-p.over, plan.Succeeded)
		if again := p.submit(t, req); again.ID != first.ID || again.Phase != plan.Succeeded {
			t.Errorf("%s, then %s %q", first.ID, again.ID, again.Phase)
		}
		other := deployOf(commitC)
		other.IdempotencyKey = "pipeline-7"
		_, err := p.Submit(t.Context(), other)
		wantRefusal(t, err, plan.KeyReused, first.ID)
	})
}

func TestRunnerDryRunChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		defer p.stop()
		plan, err := p.DryRun(t.Context(), deployOf(commitB))
		if err != nil || len(plan.Steps) != 6 {
			t.Errorf("%+v, %v", plan, err)
		}
		if len(c.ops)+len(c.journal) != 0 || c.holder.ID != "" {
			t.Errorf("operations %v, journal %v, holder %v", c.ops, c.journal, c.holder)
		}
	})
}

func TestRunnerDryRunTellsWhatIsNotPublished(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		defer p.stop()
		dryRun := func() plan.Plan {
			t.Helper()
			plan, err := p.DryRun(t.Context(), deployOf(commitB))
			if err != nil || len(plan.Steps) != 6 {
				t.Errorf("%+v, %v", plan, err)
			}
			return plan
		}
		if w := dryRun().Warning; w != "" {
			t.Errorf("everything is published, and it warns: %s", w)
		}
		missing := p.Environments[0].ImagesAt(commitB)[:2]
		c.unpublished = map[string]bool{missing[0]: true, missing[1]: true}
		if got, want := dryRun().Warning, "not published: "+missing[0]+", "+missing[1]; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		migrated := plan.DidMigrate
		job := plan.StepRun{Step: plan.Step{Do: plan.StartJob, Job: &plan.JobRun{}}, Mark: plan.MarkStarted, Migrated: &migrated}
		for _, o := range []plan.Operation{
			{ID: "op-1", Kind: plan.Deploy, Commit: commitB, Phase: plan.Succeeded, Created: time.Now().Add(-2 * time.Hour)},
			{
				ID: "op-2", Kind: plan.Deploy, Commit: commitA, Phase: plan.Succeeded, Created: time.Now().Add(-time.Hour),
				Steps: []plan.StepRun{job},
			},
		} {
			c.mu.Lock()
			c.ops[o.ID] = o
			c.mu.Unlock()
		}
		if w := dryRun().Warning; !strings.Contains(w, "crosses a migration") || !strings.HasSuffix(w, "; not published: "+missing[0]+", "+missing[1]) {
			t.Errorf("it goes back, besides: %q", w)
		}
		p.Registry = mute{}
		begun := time.Now()
		if w := dryRun().Warning; !strings.Contains(w, "not known what is published") || !strings.Contains(w, errMute.Error()) {
			t.Errorf("the registry does not answer: %q", w)
		}
		if took := time.Since(begun); took > foreseeTimeout {
			t.Errorf("it took %v", took)
		}
	})
}

var errMute = errors.New("the registry does not answer")

// mute is a registry that does not answer.
type mute struct{}

func (mute) Unpublished(ctx context.Context, _ plan.Environment, _ []string) ([]string, error) {
	<-ctx.Done()
	return nil, errMute
}

func TestRunnerRunsACommandInAReadyPodAndKeepsItsOutput(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		defer p.stop()
		o := p.run(t, plan.Request{Kind: plan.RunTask, Environment: "staging", Task: "import", Reason: "a test", By: "ada"})
		wantPhase(t, o, plan.Succeeded)
		if diff := cmp.Diff([]string{"./manage.py import in app of frontend-deployment-1"}, o.Steps[0].Log); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRunnerSubmitWantsATaskWithAWarningConfirmed(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		defer p.stop()
		req := plan.Request{Kind: plan.RunTask, Environment: "staging", Task: "clear", Reason: "a test", By: "ada"}
		_, err := p.Submit(t.Context(), req)
		wantRefusal(t, err, plan.Unconfirmed, "Users will notice.")
		req.Confirm = true
		o := p.run(t, req)
		wantPhase(t, o, plan.Succeeded)
		if c.jobStarts["clear"] != 1 || o.Warning != "Users will notice." || o.Migrated() != plan.DidNotMigrate {
			t.Errorf("jobs %v, operation %+v", c.jobStarts, o)
		}
	})
}

func TestRunnerRestartsTheSingletonByReplacingAndRollsTheOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		defer p.stop()
		for service, made := range map[string]int{"cron": 1, "frontend": 3} {
			before := c.made
			wantPhase(t, p.run(t, plan.Request{Kind: plan.Restart, Environment: "staging", Service: service, Reason: "a test", By: "ada"}), plan.Succeeded)
			if c.made-before != made {
				t.Errorf("restart of %s made %d pods, want %d", service, c.made-before, made)
			}
		}
		if diff := cmp.Diff(allAt("a"), c.images()); diff != "" {
			t.Error(diff)
		}
	})
}
