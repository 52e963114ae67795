// Package release deploys, promotes, reverts, restarts and runs tasks. Package plan says what is to be done; Runner
// carries it out step by step, writes each step down before and after, and so goes on where a killed predecessor
// stopped. What it needs of the world stands in world.go.
package release

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/clock"
	"github.com/cjworkbench/unstuck/release/plan"
)

// Options are what a Runner is made of.
type Options struct {
	Environments []plan.Environment
	World        World
	Jobs         Jobs
	Logs         Logs
	Registry     Registry
	Store        Store
	Lock         Lock
	Notify       func(plan.Operation) // told of each change of an operation that runs here; must not block; nil: nobody is
	Log          *slog.Logger
	Identity     string // of this process, for people; the pod's name

	Poll time.Duration // between two looks at what is waited for; default 2 s
	TTL  time.Duration // how long a lock outlives its holder; default 30 s
}

// Bounds of the runner.
const (
	callTimeout   = 30 * time.Second // of one call of World, Jobs, Registry or Store
	attempts      = 4                // of a call that fails
	submitTimeout = time.Minute      // of taking a request on, or refusing it
	storeTimeout  = 2 * time.Minute  // without being able to write an operation down, it is given up here
	logGrace      = 30 * time.Second // for the rest of a job's log, once the job has ended
)

// Runner takes requests on and carries them out. Submit, DryRun and Cancel may be called on any replica and from any
// goroutine; Serve runs the operations, those of dead replicas included, and may run on every replica: the lock says
// which of them runs what. Each operation is its own record; of attempts that become none only the caller can tell.
type Runner struct {
	Options

	wake chan struct{}

	mu     sync.Mutex
	runs   map[string]*run          // those of this process, by the operation's ID
	taking map[string]chan struct{} // requests that are being taken on, by that ID; closed when one is, or is not
}

// NewRunner makes a runner. Serve runs it.
func NewRunner(o Options) (*Runner, error) {
	for i, e := range o.Environments {
		if err := e.Validate(); err != nil {
			return nil, fmt.Errorf("environment %s: %w", e.Name, err)
		}
		e.Settings = e.WithDefaults()
		o.Environments = slices.Clone(o.Environments)
		o.Environments[i] = e
	}
	o.Poll, o.TTL = cmp.Or(o.Poll, 2*time.Second), cmp.Or(o.TTL, 30*time.Second)
	if o.Notify == nil {
		o.Notify = func(plan.Operation) {}
	}
	o.Identity = cmp.Or(o.Identity, "unstuck") + "-" + chance()
	return &Runner{
		Options: o, wake: make(chan struct{}, 1), runs: make(map[string]*run), taking: make(map[string]chan struct{}),
	}, nil
}

// chance gives what tells apart what is made at the same time.
func chance() string { return strings.ToLower(rand.Text()[:8]) }

// Submit takes a request on, and gives the operation that it became; Serve carries it out. The same idempotency key
// gives the same operation. A *Refusal says why a request is not taken on; any other error, that it could not be told.
func (r *Runner) Submit(ctx context.Context, req plan.Request) (plan.Operation, error) {
	ctx, stop := context.WithTimeout(ctx, submitTimeout)
	defer stop()
	req.DryRun, req.At = false, time.Now()
	req.ID = plan.NewID(req, chance())
	o, err := r.submit(ctx, req)
	if err == nil {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
	return o, err
}

func (r *Runner) submit(ctx context.Context, req plan.Request) (plan.Operation, error) {
	env, err := r.environment(req.Environment)
	if err != nil {
		return plan.Operation{}, err
	}
	if err := req.Validate(env); err != nil {
		return plan.Operation{}, err
	}
	leave, err := r.alone(ctx, req.ID)
	if err != nil {
		return plan.Operation{}, err
	}
	defer leave()
	if o, err := r.byKey(ctx, req); err != nil || o.ID != "" {
		return o, err
	}
	o, err := r.takeOn(ctx, env, req)
	refusal, refused := errors.AsType[*plan.Refusal](err)
	// with the same request, maybe, which came to another replica
	if errors.Is(err, ErrConflict) || (refused && refusal.Code == plan.Busy) {
		if same, unclear := r.byKey(ctx, req); unclear != nil || same.ID != "" {
			return same, unclear
		}
	}
	return o, err
}

// alone waits until no other request that would become the operation of that ID is being taken on here: the two would
// share its lock, and one of them give it back.
func (r *Runner) alone(ctx context.Context, id string) (leave func(), err error) {
	for {
		r.mu.Lock()
		other := r.taking[id]
		if other == nil {
			mine := make(chan struct{})
			r.taking[id] = mine
			r.mu.Unlock()
			return func() {
				r.mu.Lock()
				defer r.mu.Unlock()
				delete(r.taking, id)
				close(mine)
			}, nil
		}
		r.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the same request: %w", ctx.Err())
		}
	}
}

// takeOn plans, takes the lock, and writes the operation down.
func (r *Runner) takeOn(ctx context.Context, env plan.Environment, req plan.Request) (plan.Operation, error) {
	if _, _, err := r.plan(ctx, env, req); err != nil { // so that a refusal does not take the lock
		return plan.Operation{}, err
	}
	h := r.holder(req.ID, req)
	since, err := r.lock(ctx, env, h)
	if err != nil {
		return plan.Operation{}, err
	}
	o, err := r.create(ctx, env, req, since)
	if err != nil && !errors.Is(err, errNotStored) { // or it may be stored, and under way
		r.release(ctx, env, h)
	}
	return o, err
}

// lock takes the lock, and says since when it counts. It tries more than once, because a lock outlives its operation by
// a moment.
func (r *Runner) lock(ctx context.Context, env plan.Environment, h Holder) (since time.Time, err error) {
	for i := 1; ; i++ {
		since = time.Now()
		err := r.Lock.Acquire(ctx, env, h)
		var locked *LockedError
		switch {
		case err == nil:
			return since, nil
		case !errors.As(err, &locked):
			return since, fmt.Errorf("lock %s: %w", env.Name, err)
		case i == attempts || !pause(ctx, r.Poll/4):
			return since, plan.Refuse(plan.Busy, "wait until it is over", "%s is locked by %s: %s", env.Name,
				locked.Holder.Owner, locked.Holder.Reason)
		}
	}
}

// create plans under the lock and writes the operation down: while nobody else can have taken the lock, for what they
// did would not be in the plan.
func (r *Runner) create(ctx context.Context, env plan.Environment, req plan.Request,
	since time.Time,
) (plan.Operation, error) {
	planning, stop := context.WithDeadline(ctx, since.Add(r.TTL/2))
	defer stop()
	p, onFailure, err := r.plan(planning, env, req)
	if err == nil && clock.Elapsed(since, time.Now()) >= r.TTL/2 {
		err = fmt.Errorf("lock %s: it took too long to look at what there is", env.Name)
	}
	if err != nil {
		return plan.Operation{}, err
	}
	o := plan.Operation{
		ID: req.ID, Version: 1, Request: req, Kind: p.Kind, Environment: p.Environment, Commit: p.Commit, Before: p.Before,
		Warning:   p.Warning,
		OnFailure: onFailure, Runner: r.Identity, Created: req.At,
	}
	for _, s := range p.Steps {
		o.Steps = append(o.Steps, plan.StepRun{Step: s})
	}
	switch err := r.Store.Save(ctx, o); {
	case errors.Is(err, ErrConflict):
		return plan.Operation{}, fmt.Errorf("write down operation %s: %w", o.ID, err)
	case err != nil:
		return plan.Operation{}, fmt.Errorf("operation %s: %w: %w", o.ID, errNotStored, err)
	}
	r.Log.Info("operation taken on", "operation", o.ID, "what", req.String(), "by", req.By, "reason", req.Reason)
	return o, nil
}

// byKey gives the operation of the request's idempotency key; the zero value if there is none.
func (r *Runner) byKey(ctx context.Context, req plan.Request) (plan.Operation, error) {
	if req.IdempotencyKey == "" {
		return plan.Operation{}, nil
	}
	all, err := r.Store.Operations(ctx, req.Environment)
	if err != nil {
		return plan.Operation{}, fmt.Errorf("look for the idempotency key: %w", err)
	}
	i := slices.IndexFunc(all, func(o plan.Operation) bool { return o.Request.IdempotencyKey == req.IdempotencyKey })
	switch {
	case i < 0:
		return plan.Operation{}, nil
	case !all[i].Request.Same(req):
		return plan.Operation{}, plan.Refuse(plan.KeyReused, "use another key", "the idempotency key is that of %s: %s",
			all[i].ID, all[i].Request)
	}
	return all[i], nil
}

// plan gathers what is known, and plans.
func (r *Runner) plan(ctx context.Context, env plan.Environment, req plan.Request) (plan.Plan, plan.OnFailure, error) {
	onFailure := cmp.Or(req.OnFailure, env.OnFailure)
	if err := req.Validate(env); err != nil {
		return plan.Plan{}, onFailure, err
	}
	k := plan.Known{Now: time.Now()}
	var err error
	if k.History, err = r.Store.Operations(ctx, env.Name); err != nil {
		return plan.Plan{}, onFailure, fmt.Errorf("read the operations of %s: %w", env.Name, err)
	}
	for _, o := range k.History {
		if !o.Phase.Over() {
			return plan.Plan{}, onFailure, plan.Refuse(plan.Busy, "wait until it is over, or cancel it",
				"operation %s is under way: %s", o.ID, o.Request)
		}
	}
	if k.State, err = r.World.State(ctx, env); err != nil {
		return plan.Plan{}, onFailure, fmt.Errorf("look at %s: %w", env.Name, err)
	}
	if req.Kind == plan.Promotion && env.PromoteFrom != "" {
		if k.Source, err = r.environment(env.PromoteFrom); err != nil {
			return plan.Plan{}, onFailure, err
		}
		if k.SourceState, err = r.World.State(ctx, k.Source); err != nil {
			return plan.Plan{}, onFailure, fmt.Errorf("look at %s: %w", k.Source.Name, err)
		}
	}
	p, err := plan.Make(req, env, k)
	return p, onFailure, err
}

// Cancel asks an operation to stop, wherever it runs. It returns once that is written down; the operation stops soon
// after, and is over when nothing is left half done.
func (r *Runner) Cancel(ctx context.Context, id, by, reason string) (plan.Operation, error) {
	ctx, stop := context.WithTimeout(ctx, submitTimeout)
	defer stop()
	for range attempts {
		o, err := r.Store.Load(ctx, id)
		switch {
		case errors.Is(err, ErrNotFound):
			return plan.Operation{}, plan.Refuse(plan.NotFound, "", "there is no operation %q", id)
		case err != nil:
			return plan.Operation{}, fmt.Errorf("read operation %s: %w", id, err)
		case o.Phase.Over():
			return o, plan.Refuse(plan.NotRunning, "", "operation %s is over: %s", id, o.Outcome)
		case o.Cancel == nil:
			o.Cancel = plan.NewCancellation(time.Now(), by, reason)
			o.Version++
			if err = r.Store.Save(ctx, o); errors.Is(err, ErrConflict) {
				continue
			}
			if err != nil {
				return plan.Operation{}, fmt.Errorf("write down that operation %s is cancelled: %w", id, err)
			}
			r.Log.Info("operation is to be cancelled", "operation", id, "by", by, "reason", reason)
		}
		r.mu.Lock()
		here := r.runs[id]
		r.mu.Unlock()
		if here != nil {
			here.adopt(o.Cancel)
		}
		return o, nil
	}
	return plan.Operation{}, fmt.Errorf("cancel operation %s: %w", id, ErrConflict)
}

// Serve carries operations out until ctx ends, and returns when none runs here any more. What is under way then is
// left, locked and written down, for a successor.
func (r *Runner) Serve(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		for _, env := range r.Environments {
			operations, err := bounded(ctx, func(ctx context.Context) ([]plan.Operation, error) {
				return r.Store.Operations(ctx, env.Name)
			})
			if err != nil {
				r.Log.Warn("read the operations", "environment", env.Name, "error", err)
				continue
			}
			for _, o := range operations {
				if !o.Phase.Over() && r.claim(o.ID, env) {
					all.Go(func() { r.carry(ctx, o.ID) })
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-time.After(r.TTL / 6):
		}
	}
}

// Running gives the operations that this process is carrying out, as they are now.
func (r *Runner) Running() []plan.Operation {
	r.mu.Lock()
	runs := slices.Collect(maps.Values(r.runs))
	r.mu.Unlock()
	var all []plan.Operation
	for _, x := range runs {
		if o, ok := x.underWay(); ok {
			all = append(all, o)
		}
	}
	return all
}

// claim notes that this process works on an operation; false if it does already.
func (r *Runner) claim(id string, env plan.Environment) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.runs[id] != nil {
		return false
	}
	r.runs[id] = &run{Runner: r, env: env, saving: make(chan struct{}, 1)}
	return true
}

func (r *Runner) environment(name string) (plan.Environment, error) {
	i := slices.IndexFunc(r.Environments, func(e plan.Environment) bool { return e.Name == name })
	if i < 0 {
		names := make([]string, len(r.Environments))
		for i, e := range r.Environments {
			names[i] = e.Name
		}
		return plan.Environment{}, plan.Refuse(plan.NotFound, "use one of "+strings.Join(names, ", "),
			"there is no environment %q", name)
	}
	return r.Environments[i], nil
}

func (r *Runner) holder(id string, req plan.Request) Holder {
	return Holder{ID: r.Identity + "/" + id, Owner: req.By, Reason: req.String() + " (" + id + ")", TTL: r.TTL}
}

// release gives the lock back. What cannot be given back expires.
func (r *Runner) release(ctx context.Context, env plan.Environment, h Holder) {
	_, err := bounded(context.WithoutCancel(ctx), func(ctx context.Context) (struct{}, error) {
		return struct{}{}, r.Lock.Release(ctx, env, h)
	})
	if err != nil {
		r.Log.Warn("release the lock: it will expire", "environment", env.Name, "error", err)
	}
}

// bounded calls f with a context that ends after callTimeout.
func bounded[T any](ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	ctx, stop := context.WithTimeout(ctx, callTimeout)
	defer stop()
	return f(ctx)
}
