package release

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cjworkbench/unstuck/clock"
	"github.com/cjworkbench/unstuck/release/plan"
)

func (x *run) snapshot() plan.Operation {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.op.Clone()
}

// underWay gives the operation as it is now; false: this process has not taken it up, or it is over.
func (x *run) underWay() (plan.Operation, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.op.Clone(), x.started && !x.op.Phase.Over()
}

// over says whether the operation is, and that is written down.
func (x *run) over() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.stored.Over()
}

// step gives a copy of a step.
func (x *run) step(at ref) plan.StepRun {
	o := x.snapshot()
	if at.rollback {
		return o.Rollback[at.i]
	}
	return o.Steps[at.i]
}

// begun gives from when on a step's deadline counts: not the time in which nobody worked on it.
func (x *run) begun(s plan.StepRun) time.Time {
	if x.taken.After(s.Started) {
		return x.taken
	}
	return s.Started
}

// update changes the operation and writes it down. When it returns, either the change is stored or the run's life is
// over.
func (x *run) update(f func(*plan.Operation)) {
	if !x.acquire() {
		return
	}
	defer x.done()
	x.mu.Lock()
	f(&x.op)
	x.mu.Unlock()
	x.save()
}

// acquire orders those who write the operation down. It is no mutex, because it may take minutes, in which the keeper
// must go on renewing the lock. False: the run's life is over.
func (x *run) acquire() bool {
	select {
	case <-x.life.Done():
		return false
	case x.saving <- struct{}{}:
		return x.life.Err() == nil
	}
}

func (x *run) done() { <-x.saving }

// change changes one step and writes it down.
func (x *run) change(at ref, f func(*plan.StepRun)) {
	x.update(func(o *plan.Operation) { f(at.in(o)) })
}

// in gives the step in its operation.
func (at ref) in(o *plan.Operation) *plan.StepRun {
	if at.rollback {
		return &o.Rollback[at.i]
	}
	return &o.Steps[at.i]
}

// note changes what a step shows. It is stored with the next change of state, or by the keeper.
func (x *run) note(at ref, f func(*plan.StepRun)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f(at.in(&x.op))
	x.dirty = true
}

// flush passes on what was noted.
func (x *run) flush() {
	x.mu.Lock()
	noted, o := x.dirty, x.op.Clone()
	x.mu.Unlock()
	if noted {
		x.Notify(o)
	}
}

// saveNoted stores what was noted, and from time to time that this process is at work, unless somebody is just writing
// the operation down.
func (x *run) saveNoted() {
	select {
	case x.saving <- struct{}{}:
		defer x.done()
		x.mu.Lock()
		noted := x.dirty || time.Since(x.op.Renewed) > x.env.ResumeDeadline/10
		x.mu.Unlock()
		if noted {
			x.save()
		}
	default:
	}
}

// save stores the operation, or ends the run's life; it is the caller has acquired it.
func (x *run) save() {
	if err := x.trySave(); err != nil {
		x.end(err) // and nobody is told of what may not be so: a successor goes on from what is stored
		return
	}
	x.Notify(x.snapshot())
}

// trySave stores the operation. A conflict is either a cancellation, which is adopted, or an earlier save of our own
// whose answer was lost; written by anybody else, the operation is no longer ours.
func (x *run) trySave() error {
	began := time.Now()
	x.mu.Lock()
	x.op.Version++
	x.mu.Unlock()
	for {
		x.mu.Lock()
		x.op.Renewed = time.Now()
		o := x.op.Fit()
		x.dirty = false
		x.mu.Unlock()
		_, err := bounded(x.life, func(ctx context.Context) (struct{}, error) { return struct{}{}, x.Store.Save(ctx, o) })
		if err == nil {
			x.mu.Lock()
			x.stored = o.Phase
			x.mu.Unlock()
			return nil
		}
		if errors.Is(err, ErrConflict) {
			var stored plan.Operation
			stored, err = bounded(x.life, func(ctx context.Context) (plan.Operation, error) { return x.Store.Load(ctx, o.ID) })
			switch {
			case errors.Is(err, ErrNotFound) || (err == nil && stored.Runner != x.Identity):
				return errLost
			case err == nil:
				x.mu.Lock()
				x.op.Version = stored.Version + 1
				x.mu.Unlock()
				x.adopt(stored.Cancel)
				continue
			}
		}
		if time.Since(began) > storeTimeout {
			return fmt.Errorf("%w: %w", errNotStored, err)
		}
		if !pause(x.life, x.Poll) {
			return context.Cause(x.life)
		}
	}
}

// pause waits; false if the context ended first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// holds says whether the lock is ours for sure, and ends the run's life if not. A process that stood still for a while,
// which may be at any point, must not go on before its keeper has found out what happened in the meantime.
func (x *run) holds() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if clock.Elapsed(x.renewed, time.Now()) < x.TTL/2 {
		return true
	}
	x.end(errLost)
	return false
}

// try calls f until it succeeds, a few times at most, and not at all once the context has ended: then what it would do
// may not be written down.
func (x *run) try(ctx context.Context, f func(context.Context) error) error {
	return x.tryUntil(ctx, time.Time{}, f)
}

// tryUntil calls f as try does, and goes on until a time, unless the operation is cancelled.
func (x *run) tryUntil(ctx context.Context, until time.Time, f func(context.Context) error) error {
	var err error
	for i := 0; i < attempts || (time.Now().Before(until) && x.work.Err() == nil); i++ {
		if ctx.Err() != nil || (i > 0 && !pause(ctx, x.Poll)) || !x.holds() {
			break
		}
		if _, err = bounded(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) }); err == nil {
			return nil
		}
		if errors.Is(err, ErrChanged) {
			break
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
