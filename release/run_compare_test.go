package release

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

// seen is a World in which something happens each time that a workload is looked at.
type seen struct {
	World
	see func(*workload.Workload)
}

func (w seen) Workload(ctx context.Context, e plan.Environment, ref workload.Ref) (workload.Workload, error) {
	d, err := w.World.Workload(ctx, e, ref)
	w.see(&d)
	return d, err
}

// set has somebody else set a commit in the first containers of a workload.
func (c *cluster) set(name, commit string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.deps[name]
	for i := range d.Containers[:2] {
		repository, _, _ := strings.Cut(d.Containers[i].Image, ":")
		d.Containers[i].Image = repository + ":" + commit
	}
	d.Generation++
	d.ChangedBy = "argocd-controller at noon"
	twice := c.twice
	c.scale(d)
	c.twice = twice // who sets an image with kubectl does not stop a singleton first
}

//promise:29
func TestRunnerHasNotSucceededIfSomebodyElseChangedWhatItSet(t *testing.T) {
	restart := plan.Request{Kind: plan.Restart, Environment: "staging", Service: "frontend", Reason: "a test", By: "ada"}
	rollback := deployOf(commitB)
	rollback.OnFailure = plan.Rollback
	runs := func(d *workload.Workload, name, commit string) bool {
		return d.Deployment == name && strings.HasSuffix(d.Containers[1].Image, commit)
	}
	for name, tt := range map[string]struct {
		req    plan.Request
		when   func(d *workload.Workload) bool
		change func(c *cluster)
		phase  plan.Phase
		want   []string
		images map[string]string
	}{
		"GitOps puts it back while it rolls": {
			req: deployOf(commitB), when: func(d *workload.Workload) bool { return runs(d, "frontend-deployment", commitB) },
			change: func(c *cluster) { c.set("frontend-deployment", commitA) }, phase: plan.Failed,
			want:   []string{"Deployment frontend-deployment", ErrChanged.Error(), "was set to gcr.io/acme/frontend:" + commitB + ", and runs gcr.io/acme/frontend:" + commitA, "it was changed last by argocd-controller at noon"},
			images: map[string]string{"frontend-deployment": "3 pods of a/a/1.2", "fetcher-deployment": "3 pods of b/b/1.2", "cron-deployment": "1 pods of a/a/1.2"},
		},
		"GitOps puts it back while the others are replaced": {
			req: deployOf(commitB), when: func(d *workload.Workload) bool { return runs(d, "cron-deployment", commitB) },
			change: func(c *cluster) { c.set("frontend-deployment", commitA) }, phase: plan.Failed,
			want:   []string{"roll frontend", ErrChanged.Error()},
			images: map[string]string{"frontend-deployment": "3 pods of a/a/1.2", "fetcher-deployment": "3 pods of b/b/1.2", "cron-deployment": "1 pods of b/b/1.2"},
		},
		"a hotfix before the singleton is stopped": {
			req: deployOf(commitB), when: func(d *workload.Workload) bool { return runs(d, "frontend-deployment", commitB) },
			change: func(c *cluster) { c.set("cron-deployment", commitC) }, phase: plan.Failed,
			want:   []string{"replace cron", ErrChanged.Error(), "and runs gcr.io/acme/cron:" + commitC},
			images: map[string]string{"frontend-deployment": "3 pods of b/b/1.2", "fetcher-deployment": "3 pods of b/b/1.2", "cron-deployment": "1 pods of c/c/1.2"},
		},
		"a hotfix while the singleton is stopped": {
			req: deployOf(commitB), when: func(d *workload.Workload) bool { return d.Deployment == "cron-deployment" && d.Replicas == 0 },
			change: func(c *cluster) { c.set("cron-deployment", commitC) }, phase: plan.Failed,
			want:   []string{"replace cron", ErrChanged.Error(), "is started again unchanged"},
			images: map[string]string{"frontend-deployment": "3 pods of b/b/1.2", "fetcher-deployment": "3 pods of b/b/1.2", "cron-deployment": "1 pods of c/c/1.2"},
		},
		"a hotfix is not rolled back": {
			req: rollback, when: func(d *workload.Workload) bool { return runs(d, "frontend-deployment", commitB) },
			change: func(c *cluster) { c.set("frontend-deployment", commitC) }, phase: plan.Failed,
			want:   []string{"the old images could not be put back", "roll back roll frontend", "and runs gcr.io/acme/frontend:" + commitC},
			images: map[string]string{"frontend-deployment": "3 pods of c/c/1.2", "fetcher-deployment": "3 pods of a/a/1.2", "cron-deployment": "1 pods of a/a/1.2"},
		},
		"the singleton is scaled to 0": {
			req: deployOf(commitB), when: func(d *workload.Workload) bool { return runs(d, "cron-deployment", commitB) },
			change: func(c *cluster) {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.deps["cron-deployment"].Replicas = 0
				c.scale(c.deps["cron-deployment"])
			}, phase: plan.Failed, want: []string{"it was set to have 1 pods, and asks for 0"},
			images: map[string]string{"frontend-deployment": "3 pods of b/b/1.2", "fetcher-deployment": "3 pods of b/b/1.2", "cron-deployment": "0 pods of b/b/1.2"},
		},
		"the annotation of a restart is taken away": {
			req: restart, when: func(d *workload.Workload) bool { return d.RestartedAt != "" },
			change: func(c *cluster) {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.deps["frontend-deployment"].RestartedAt = ""
				c.scale(c.deps["frontend-deployment"])
			}, phase: plan.Failed, want: []string{ErrChanged.Error(), "the annotation of the restart at", "is gone"}, images: allAt("a"),
		},
		"nobody changes anything": {
			req: deployOf(commitB), when: func(*workload.Workload) bool { return false }, phase: plan.Succeeded, images: allAt("b"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				p, done := start(t, c), false
				defer p.stop()
				p.World = seen{p.client, func(d *workload.Workload) {
					if !done && tt.when(d) {
						done = true
						tt.change(c)
					}
				}}
				wantPhase(t, p.run(t, tt.req), tt.phase, tt.want...)
				if diff := cmp.Diff(tt.images, c.images()); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestRunnerHeedsADeadlineOnlyIfItSpeaksOfItsOwnChange(t *testing.T) {
	progressing := func(age time.Duration) func(*workload.Workload) {
		at := time.Now().Add(-age)
		return func(d *workload.Workload) {
			if d.Deployment == "frontend-deployment" {
				d.Conditions = []workload.Condition{{Type: "Progressing", Status: "False", Reason: "ProgressDeadlineExceeded", Message: "timed out", Updated: at, Changed: at}}
			}
		}
	}
	for name, tt := range map[string]struct {
		req   plan.Request
		age   time.Duration
		phase plan.Phase
	}{
		"two days old":                     {deployOf(commitB), 48 * time.Hour, plan.Succeeded},
		"of this change":                   {deployOf(commitB), -10 * time.Minute, plan.Failed},
		"old, and nothing was changed":     {deployOf(commitA), 48 * time.Hour, plan.Failed},
		"old, and a restart was asked for": {plan.Request{Kind: plan.Restart, Environment: "staging", Service: "frontend", Reason: "a test", By: "ada"}, time.Hour, plan.Succeeded},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				p := start(t, c)
				defer p.stop()
				p.World = seen{p.client, progressing(tt.age)}
				o := p.run(t, tt.req)
				wantPhase(t, o, tt.phase)
				if tt.phase == plan.Failed && !strings.Contains(o.Outcome, "exceeded its progress deadline: timed out") {
					t.Errorf("outcome %q", o.Outcome)
				}
			})
		})
	}
}

func TestRunnerStopsNoSingletonForADigestThatWasAppended(t *testing.T) {
	const digest = "@sha256:abababababababababababababababababababababababababababababababab"
	inBubble(t, func(t *testing.T, c *cluster) {
		for _, d := range c.deps {
			for i := range d.Containers[:2] {
				d.Containers[i].Image += digest
			}
			for _, pod := range c.pods[d.Deployment] {
				pod.image += digest
			}
		}
		made := c.made
		p := start(t, c)
		defer p.stop()
		wantPhase(t, p.run(t, deployOf(commitA)), plan.Succeeded)
		if c.made != made {
			t.Errorf("%d pods were made for the commit that runs; %v", c.made-made, c.journal)
		}
	})
}
