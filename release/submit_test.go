package release

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/release/plan"
)

// slow is a World whose State takes its time: as long as the next of its waits.
type slow struct {
	World
	mu    sync.Mutex
	waits []time.Duration
}

func (s *slow) State(ctx context.Context, env plan.Environment) (plan.State, error) {
	s.mu.Lock()
	var wait time.Duration
	if len(s.waits) > 0 {
		wait, s.waits = s.waits[0], s.waits[1:]
	}
	s.mu.Unlock()
	if !pause(ctx, wait) {
		return plan.State{}, ctx.Err()
	}
	return s.World.State(ctx, env)
}

func TestRunnerSubmitTwiceAtOnceLeavesTheLockToTheOperation(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		defer p.stop()
		p.World = &slow{World: p.client, waits: []time.Duration{time.Second, time.Second, time.Second, time.Second}}
		req := deployOf(commitB)
		req.IdempotencyKey = "pipeline-7"
		ids := make(chan string, 2)
		for range 2 {
			go func() {
				o, err := p.Submit(t.Context(), req)
				if err != nil {
					t.Error(err)
				}
				ids <- o.ID
			}()
			pause(t.Context(), time.Second/2)
		}
		if a, b := <-ids, <-ids; a != b || a == "" {
			t.Errorf("the operations %q and %q", a, b)
		}
		synctest.Wait()
		c.mu.Lock()
		if c.holder.ID == "" {
			t.Error("nobody holds the lock while the operation runs")
		}
		c.mu.Unlock()
		<-p.over
	})
}

func TestRunnerSubmitToTwoReplicasAtOnceGivesOneOperation(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p, other := start(t, c), start(t, c)
		defer p.stop()
		defer other.stop()
		p.World = &slow{World: p.client, waits: []time.Duration{time.Second, time.Second}}
		other.World = &slow{World: other.client, waits: []time.Duration{time.Second, time.Second}}
		req := deployOf(commitB)
		req.IdempotencyKey = "pipeline-7"
		ids := make(chan string, 2)
		for _, r := range []*process{p, other} {
			go func() {
				o, err := r.Submit(t.Context(), req)
				if err != nil {
					t.Error(err)
				}
				ids <- o.ID
			}()
			pause(t.Context(), time.Second/2)
		}
		if a, b := <-ids, <-ids; a != b || a == "" {
			t.Errorf("the operations %q and %q", a, b)
		}
		select {
		case <-p.over:
		case <-other.over:
		}
	})
}

// lost is a Store whose answer to the first save comes late, and is an error, though all was stored.
type lost struct {
	Store
	late atomic.Bool
}

func (l *lost) Save(ctx context.Context, o plan.Operation) error {
	err := l.Store.Save(ctx, o)
	if l.late.CompareAndSwap(false, true) {
		pause(ctx, 6*time.Second) // by then it is under way
		return errFlaky
	}
	return err
}

func TestRunnerSubmitKeepsTheLockOfAnOperationThatMayBeStored(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p, over := &client{cluster: c}, make(chan plan.Operation, 1)
		r, err := NewRunner(Options{
			Environments: []plan.Environment{testEnvironment()}, World: p, Jobs: p, Logs: p, Registry: p, Store: &lost{Store: p}, Lock: p,
			Log: slog.New(slog.DiscardHandler), Notify: func(o plan.Operation) {
				if o.Phase.Over() {
					over <- o
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithCancel(t.Context())
		var serving sync.WaitGroup
		defer serving.Wait()
		defer end()
		serving.Go(func() { _ = r.Serve(ctx) })
		if _, err := r.Submit(ctx, deployOf(commitB)); err == nil {
			t.Error("nobody can know that it was taken on")
		}
		synctest.Wait()
		c.mu.Lock()
		if len(c.ops) != 1 || c.holder.ID == "" {
			t.Errorf("%d operations, of which one is under way; the lock is held by %q", len(c.ops), c.holder.ID)
		}
		c.mu.Unlock()
		wantPhase(t, <-over, plan.Succeeded)
	})
}

func TestRunnerSubmitTakesOnNoPlanThatIsOlderThanItsLock(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p, other := start(t, c), start(t, c)
		defer p.stop()
		defer other.stop()
		p.World = &slow{World: p.client, waits: []time.Duration{0, 50 * time.Second}}
		late := make(chan error, 1)
		go func() {
			_, err := p.Submit(t.Context(), deployOf(commitC))
			late <- err
		}()
		pause(t.Context(), 31*time.Second) // the lock has expired
		if _, err := other.Submit(t.Context(), deployOf(commitB)); err != nil {
			t.Fatal(err)
		}
		if err := <-late; err == nil {
			t.Error("it was taken on, though somebody else was at work since")
		}
		pause(t.Context(), time.Hour)
		if got := c.images()["cron-deployment"]; got != "1 pods of b/b/1.2" || len(c.ops) != 1 {
			t.Errorf("%d operations; cron: %s", len(c.ops), got)
		}
	})
}

func TestRunnerSubmitRunsTheJobsAgainForAForgottenKey(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		defer p.stop()
		req := deployOf(commitB)
		req.IdempotencyKey = "nightly"
		o := p.run(t, req)
		pause(t.Context(), time.Minute)
		c.mu.Lock()
		delete(c.ops, o.ID) // as the oldest of more than 50
		c.mu.Unlock()
		wantPhase(t, p.run(t, req), plan.Succeeded)
		if c.jobStarts["migrate"] != 2 {
			t.Errorf("migrate was started %d times", c.jobStarts["migrate"])
		}
	})
}

func TestRunnerSubmitServesWhoeverKubernetesKnows(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		defer p.stop()
		longest := "system:serviceaccount:" + strings.Repeat("n", 63) + ":" + strings.Repeat("a", 253)
		req := deployOf(commitB)
		req.By = longest
		if o := p.run(t, req); o.Phase != plan.Succeeded || o.Request.By != longest {
			t.Errorf("phase %q, by %q", o.Phase, o.Request.By)
		}
		req.By += strings.Repeat("a", 200)
		_, err := p.Submit(t.Context(), req)
		wantRefusal(t, err, plan.Invalid, "512 bytes")
		_, err = p.Submit(t.Context(), plan.Request{Kind: plan.Restart, Environment: "staging", Secret: strings.Repeat("s", 253), Reason: "a test", By: "ada"})
		wantRefusal(t, err, plan.NotFound, "no service of staging reads secret")
	})
}
