package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/text"
)

// Why a run ends before its operation does. Whatever was under way is then left for a successor.
var (
	errLost      = errors.New("the lock was lost, or somebody else runs the operation")
	errNotStored = errors.New("the operation could not be written down")
	errAbandoned = errors.New("nobody has worked on it for too long to go on with it")
)

// errCancelled ends the work, but not what must still be put in order.
var errCancelled = errors.New("cancelled")

// run carries one operation out. Each change of state is written down before and after what it says, so that
// at whatever point the process is killed a successor can tell what may have happened.
type run struct {
	*Runner
	env    plan.Environment
	holder Holder

	// life ends with the process or the lock, work also when the operation is cancelled. What puts things in order
	// after a cancellation goes by life.
	life    context.Context
	end     context.CancelCauseFunc
	work    context.Context
	stop    context.CancelCauseFunc
	started bool
	taken   time.Time // when this process took the operation up

	saving chan struct{} // holds an element while somebody writes the operation down

	mu     sync.Mutex // guards what follows; never held while anything is waited for
	op     plan.Operation
	stored plan.Phase // the operation's, as last written down
	dirty  bool       // lines or details that are not yet stored
	// renewed is when the keeper last began to renew the lock, and did.
	renewed time.Time
}

// ref names a step of the run's operation.
type ref struct {
	rollback bool
	i        int
}

// carry carries an operation out if its lock can be had. If not, somebody else does it, or Serve tries again.
func (r *Runner) carry(parent context.Context, id string) {
	r.mu.Lock()
	x := r.runs[id]
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.runs, id)
		r.mu.Unlock()
	}()
	life, end := context.WithCancelCause(parent)
	defer end(nil)
	work, stop := context.WithCancelCause(life)
	defer stop(nil)
	began := time.Now()
	if err := x.take(life, id); err != nil {
		r.Log.Debug("an operation is not taken up", "operation", id, "why", err)
		return
	}
	x.mu.Lock()
	x.life, x.end, x.work, x.stop, x.started, x.taken = life, end, work, stop, true, time.Now()
	x.renewed = began
	cancel := x.op.Cancel
	x.mu.Unlock()
	x.adopt(cancel)
	var keeper sync.WaitGroup
	keeper.Go(func() { x.keep(life) })
	x.carryOut()
	cause := context.Cause(life)
	end(nil)
	keeper.Wait()
	if x.over() {
		r.release(parent, x.env, x.holder)
		return
	}
	r.Log.Warn("an operation is left for a successor", "operation", id, "why", cause)
}

// take gets the lock and the latest state of the operation, and writes down who runs it now.
func (x *run) take(ctx context.Context, id string) error {
	load := func(ctx context.Context) (plan.Operation, error) { return x.Store.Load(ctx, id) }
	o, err := bounded(ctx, load)
	if err != nil {
		return err
	}
	x.holder = x.Runner.holder(id, o.Request)
	if _, err = bounded(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, x.Lock.Acquire(ctx, x.env, x.holder)
	}); err != nil {
		return err
	}
	// Once more, now that nobody else writes it but to cancel it.
	if o, err = bounded(ctx, load); err == nil && o.Phase.Over() {
		err = errLost
	}
	if err == nil && time.Since(o.WorkedOn()) > x.env.ResumeDeadline+x.TTL { // since its lock lapsed
		err = x.abandon(ctx, o)
	}
	if err == nil {
		if o.Runner != x.Identity {
			x.Log.Warn("taking up the operation of another process", "operation", id, "runner", o.Runner)
		}
		o.Runner, o.Renewed = x.Identity, time.Now()
		if o.Phase == plan.Pending {
			o.Phase = plan.Running
		}
		o.Version++
		_, err = bounded(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, x.Store.Save(ctx, o) })
	}
	if err != nil {
		x.release(ctx, x.env, x.holder)
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.op = o
	return nil
}

// abandon ends an operation that nobody has worked on for too long to go on with it: the world has moved since.
func (x *run) abandon(ctx context.Context, o plan.Operation) error {
	o = o.Abandon(time.Now(), x.env.ResumeDeadline)
	o.Runner = x.Identity
	o.Version++
	if _, err := bounded(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, x.Store.Save(ctx, o)
	}); err != nil {
		return err
	}
	x.Log.Warn("operation abandoned", "operation", o.ID, "outcome", o.Outcome)
	x.Notify(o)
	return errAbandoned
}

// keep renews the lock and looks for a cancellation until ctx ends. It ends the run when the lock cannot be renewed in
// time: well before it expires.
func (x *run) keep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(x.TTL / 6):
		}
		began := time.Now()
		call, stop := context.WithTimeout(ctx, x.TTL/6)
		err := x.Lock.Acquire(call, x.env, x.holder)
		var stored plan.Operation
		if err == nil {
			x.mu.Lock()
			x.renewed = began
			x.mu.Unlock()
			stored, _ = x.Store.Load(call, x.op.ID) // what cannot be read now is read next time
		}
		stop()
		if _, locked := errors.AsType[*LockedError](err); locked {
			x.end(errLost)
		}
		if !x.holds() || ctx.Err() != nil {
			return
		}
		x.adopt(stored.Cancel)
		x.saveNoted()
	}
}

// adopt takes note that somebody cancelled the operation.
func (x *run) adopt(c *plan.Cancellation) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if c != nil && x.started {
		x.op.Cancel = c
		x.stop(errCancelled)
	}
}

// carryOut runs the stages that are left, then what undoes them if that is asked for, and closes the operation.
func (x *run) carryOut() {
	if x.snapshot().Phase != plan.RollingBack {
		failure := x.stages(false)
		if failure == nil {
			failure = x.confirm(false)
		}
		if x.life.Err() != nil {
			return
		}
		switch {
		case failure == nil:
			x.finish(plan.Succeeded, x.op.Request.String()+": done")
			return
		case x.work.Err() != nil:
			x.finish(plan.Cancelled, failure.Error())
			return
		}
		rollback, why := x.snapshot().RollbackSteps()
		if len(rollback) == 0 {
			x.finish(plan.Failed, joinSentences(failure.Error(), why))
			return
		}
		x.update(func(o *plan.Operation) {
			o.Phase, o.Rollback, o.Outcome = plan.RollingBack, rollback, text.Tidy(failure.Error())
		})
	}
	failure := x.stages(true)
	if failure == nil {
		failure = x.confirm(true)
	}
	before := x.snapshot().Outcome
	switch {
	case x.life.Err() != nil:
	case x.work.Err() != nil:
		x.finish(plan.Cancelled, joinSentences(before, "cancelled while the old images were put back"))
	case failure != nil:
		x.finish(plan.Failed, joinSentences(before, "the old images could not be put back: "+failure.Error()))
	default:
		x.finish(plan.RolledBack, joinSentences(before, "the old images are back"))
	}
}

func joinSentences(a, b string) string {
	if b == "" {
		return a
	}
	return a + "; " + b
}

// stages runs the operation's stages, or those of its rollback, one after the other, the steps of each side by side,
// up to the first stage that fails. A stage always runs to its end: what was begun is not left unwatched.
func (x *run) stages(rollback bool) error {
	steps := x.snapshot().Steps
	if rollback {
		steps = x.snapshot().Rollback
	}
	for i := 0; i < len(steps); {
		n := i
		for n < len(steps) && steps[n].Stage == steps[i].Stage {
			n++
		}
		errs := make([]error, n-i)
		var side sync.WaitGroup
		for k := range errs {
			side.Go(func() { errs[k] = x.runStep(ref{rollback, i + k}) })
		}
		side.Wait()
		if err := errors.Join(errs...); err != nil || x.life.Err() != nil {
			return firstOf(errs)
		}
		i = n
	}
	return nil
}

func firstOf(errs []error) error {
	i := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	if i < 0 {
		return errLost
	}
	return errs[i]
}

// runStep runs one step, or goes on with it, unless it is over.
func (x *run) runStep(at ref) error {
	s := x.step(at)
	switch {
	case s.Phase == plan.Succeeded:
		return nil
	case s.Phase.Over():
		return fmt.Errorf("%s: %s", s.ID, s.Detail)
	case s.Phase == plan.Pending && x.work.Err() != nil:
		return errCancelled
	case s.Phase == plan.Pending:
		x.change(at, func(s *plan.StepRun) { s.Phase, s.Started = plan.Running, time.Now() })
	}
	if x.life.Err() != nil {
		return errLost
	}
	acts := map[plan.Do]func(ref) (string, error){
		plan.CheckImages: x.checkImages, plan.StartJob: x.job, plan.Roll: x.roll, plan.Replace: x.replace,
		plan.RunCommand: x.command,
	}
	act, known := acts[s.Do]
	if !known {
		act = func(ref) (string, error) { return "", fmt.Errorf("this version does not know the step %q", s.Do) }
	}
	detail, err := act(at)
	if x.life.Err() != nil { // whatever it says, it was interrupted
		return errLost
	}
	phase := plan.Succeeded
	switch {
	case errors.Is(err, errCancelled):
		phase, detail = plan.Cancelled, err.Error()
	case err != nil:
		phase, detail = plan.Failed, err.Error()
	}
	x.change(at, func(s *plan.StepRun) {
		s.Phase, s.Detail, s.Ended = phase, text.Tidy(detail), time.Now()
		if err == nil { // what it waited for is past
			s.Diagnosis = nil
		}
	})
	x.Log.Info("step over", "operation", x.op.ID, "step", s.ID, "phase", phase, "detail", text.Tidy(detail))
	if err != nil {
		return fmt.Errorf("%s: %w", s.ID, err)
	}
	return nil
}

func (x *run) finish(p plan.Phase, outcome string) {
	x.update(func(o *plan.Operation) { o.Phase, o.Outcome, o.Ended = p, text.Tidy(outcome), time.Now() })
	if x.life.Err() == nil {
		x.Log.Info("operation over", "operation", x.op.ID, "phase", p, "outcome", text.Tidy(outcome))
	}
}
