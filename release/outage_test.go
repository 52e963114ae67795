package release

import (
	"context"
	"errors"
	"testing"
	"time"
)

// away is a World whose changes fail for a while.
type away struct {
	World
	from, to time.Time
}

func (a *away) Patch(ctx context.Context, env Environment, p Patch) error {
	if now := time.Now(); p.Replicas != nil && *p.Replicas > 0 && a.from.IsZero() {
		a.from, a.to = now, now.Add(40*time.Second)
	}
	if now := time.Now(); !a.from.IsZero() && now.Before(a.to) {
		return errors.New("connection refused")
	}
	return a.World.Patch(ctx, env, p)
}

func TestASingletonThatWasStoppedIsStartedAgainAfterAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		defer p.stop()
		p.Runner.World = &away{World: p.client}
		wantPhase(t, p.run(t, deployOf(commitB)), Succeeded)
		if got := c.images()["cron-deployment"]; got != "1 pods of b/b/1.2" {
			t.Errorf("cron: %s", got)
		}
	})
}

// picky is a World that refuses other images, as an admission policy may.
type picky struct{ World }

func (p picky) Patch(ctx context.Context, env Environment, patch Patch) error {
	if len(patch.Images) > 0 && patch.Deployment == "cron-deployment" {
		return errors.New("the policy forbids that image")
	}
	return p.World.Patch(ctx, env, patch)
}

func TestASingletonWhoseImageIsRefusedIsStartedAgainUnchanged(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		defer p.stop()
		p.Runner.World = picky{p.client}
		wantPhase(t, p.run(t, deployOf(commitB)), Failed, "the policy forbids that image", "is started again unchanged")
		if got := c.images()["cron-deployment"]; got != "1 pods of a/a/1.2" {
			t.Errorf("cron: %s", got)
		}
	})
}

func TestWhatALogSaidOfAMigrationOutlivesTheProcess(t *testing.T) {
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
		if ended := <-second.over; ended.ID != o.ID || ended.Migrated() != DidMigrate {
			t.Errorf("%s migrated: %s", ended.ID, ended.Migrated())
		}
	})
}
