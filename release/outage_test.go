package release

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/release/plan"
)

// away is a World whose changes fail for a while.
type away struct {
	World
	from, to time.Time
}

func (a *away) Patch(ctx context.Context, env plan.Environment, p Patch) error {
	if now := time.Now(); p.Replicas != nil && *p.Replicas > 0 && a.from.IsZero() {
		a.from, a.to = now, now.Add(40*time.Second)
	}
	if now := time.Now(); !a.from.IsZero() && now.Before(a.to) {
		return errors.New("connection refused")
	}
	return a.World.Patch(ctx, env, p)
}

func TestRunnerStartsAStoppedSingletonAgainAfterAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		defer p.stop()
		p.World = &away{World: p.client}
		wantPhase(t, p.run(t, deployOf(commitB)), plan.Succeeded)
		if got := c.images()["cron-deployment"]; got != "1 pods of b/b/1.2" {
			t.Errorf("cron: %s", got)
		}
	})
}

// picky is a World that refuses other images, as an admission policy may.
type picky struct{ World }

func (p picky) Patch(ctx context.Context, env plan.Environment, patch Patch) error {
	if len(patch.Images) > 0 && patch.Workload.Deployment == "cron-deployment" {
		return errors.New("the policy forbids that image")
	}
	return p.World.Patch(ctx, env, patch)
}

func TestRunnerStartsASingletonAgainUnchangedIfItsImageIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		defer p.stop()
		p.World = picky{p.client}
		wantPhase(t, p.run(t, deployOf(commitB)), plan.Failed, "the policy forbids that image", "is started again unchanged")
		if got := c.images()["cron-deployment"]; got != "1 pods of a/a/1.2" {
			t.Errorf("cron: %s", got)
		}
	})
}

func TestRunnerHandsOnWhatALogSaidOfAMigration(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		nothing := c.jobLog["migrate"]
		c.jobLog["migrate"] = []string{`Migrating schema "public" to version "3 - more"`}
		p := start(t, c)
		o := p.submit(t, deployOf(commitB))
		pause(t.Context(), 7*time.Second)
		p.end()
		<-p.ended
		c.jobLog["migrate"] = nothing // the log was rotated: its beginning is gone
		second := start(t, c)
		defer second.stop()
		if ended := <-second.over; ended.ID != o.ID || ended.Migrated() != plan.DidMigrate {
			t.Errorf("%s migrated: %s", ended.ID, ended.Migrated())
		}
	})
}

// late counts what a process changes from some time on. What was to be sent before comes to nothing: its time is up.
type late struct {
	*client
	from    time.Time
	changes int
}

func (l *late) sent(ctx context.Context) error {
	l.wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() == nil && !l.from.IsZero() && time.Now().After(l.from) {
		l.changes++
	}
	return ctx.Err()
}

func (l *late) Patch(ctx context.Context, env plan.Environment, p Patch) error {
	if err := l.sent(ctx); err != nil {
		return err
	}
	return l.client.Patch(ctx, env, p)
}

func (l *late) StartJob(ctx context.Context, env plan.Environment, j plan.JobRun) error {
	if err := l.sent(ctx); err != nil {
		return err
	}
	return l.client.StartJob(ctx, env, j)
}

func (l *late) Exec(ctx context.Context, env plan.Environment, pod, container string, command []string, line func(string)) (int, error) {
	if err := l.sent(ctx); err != nil {
		return 0, err
	}
	return l.client.Exec(ctx, env, pod, container, command, line)
}

func TestRunnerChangesNothingWhenItGoesOnAfterStandingStill(t *testing.T) {
	all := scenarios()
	all["a task"] = scenario{req: plan.Request{Kind: plan.RunTask, Environment: "staging", Task: "import", Reason: "a test", By: "ada"}}
	for _, name := range []string{"a deploy", "a restart of a singleton", "a task"} {
		t.Run(name, func(t *testing.T) {
			points := 0
			for n := 1; stillAt(t, all[name], n); n++ {
				points = n
			}
			t.Logf("stood still at %d points", points)
		})
	}
}

// stillAt has a process stand still after its n-th call, for so long that another ends what it began.
func stillAt(t *testing.T, s scenario, n int) (struck bool) {
	const still = 5 * time.Minute
	inBubble(t, func(t *testing.T, c *cluster) {
		first := start(t, c, quick())
		l := &late{client: first.client}
		first.World, first.Jobs, first.Logs = l, l, l
		first.submitStruck(t, s.req, n, true, func(plan.Operation) func() {
			return func() {
				l.from = time.Now().Add(still - time.Second)
				first.freeze(still)()
			}
		})
		pause(t.Context(), time.Second)
		second := start(t, c, quick())
		pause(t.Context(), still+time.Minute)
		first.stop()
		second.stop()
		if struck = first.frozen != nil; l.changes > 0 {
			t.Errorf("point %d: %d changes after it stood still", n, l.changes)
		}
	})
	return struck
}

// refusing is Jobs that start none.
type refusing struct {
	Jobs
	err error
}

func (r refusing) StartJob(context.Context, plan.Environment, plan.JobRun) error { return r.err }

func TestRunnerCountsAJobThatMayYetBeStartedAsAMigration(t *testing.T) {
	for err, want := range map[error]plan.Migration{
		fmt.Errorf("forbidden: %w", ErrNotStarted): plan.DidNotMigrate, errors.New("the answer came too late"): plan.MaybeMigrated,
	} {
		inBubble(t, func(t *testing.T, c *cluster) {
			p := start(t, c)
			defer p.stop()
			p.Jobs = refusing{p.client, err}
			o := p.run(t, deployOf(commitB))
			if wantPhase(t, o, plan.Failed, err.Error()); o.Migrated() != want {
				t.Errorf("%v: migrated: %s, want %s", err, o.Migrated(), want)
			}
		})
	}
}
