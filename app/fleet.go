package app

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// fleet is all that is watched: brokers and applications, each with a runner and a loop in a context of its own. What
// is in it may change while they run.
type fleet struct {
	log *slog.Logger

	mu      sync.Mutex // held for moments only: the loops ask for the names of the others
	targets []*watched // in the order in which they are wanted
	group   *errgroup.Group
	ctx     context.Context // of all that runs; nil: nothing does yet
	ended   bool            // nothing begins any more
}

// run runs what is watched until ctx ends, and waits for all.
func (f *fleet) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	f.mu.Lock()
	f.group, f.ctx = group, ctx
	for _, w := range f.targets {
		f.start(w)
	}
	f.mu.Unlock()
	<-ctx.Done()
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	return group.Wait()
}

// start begins to run w. The caller has the lock.
func (f *fleet) start(w *watched) {
	if f.ctx == nil || f.ended || w.over {
		return
	}
	all := f.ctx
	ctx, cancel := context.WithCancel(all)
	w.cancel, w.ended = cancel, make(chan struct{})
	f.group.Go(func() error {
		defer close(w.ended)
		defer cancel()
		err := w.run(ctx)
		if err != nil && ctx.Err() != nil && all.Err() == nil { // the others go on
			f.log.Error("no longer watched, and something of it does not end", "target", w.loop.Target, "error", err.Error())
			return nil
		}
		return err
	})
}

// become makes next what is watched. What is not in it ends first, and is given to left; then begins what was not
// watched before. What is in both is not touched. Only one caller may do that at a time.
func (f *fleet) become(next []*watched, left func(*watched)) {
	before := f.all()
	gone := slices.DeleteFunc(slices.Clone(before), func(w *watched) bool { return slices.Contains(next, w) })
	f.mu.Lock()
	for _, w := range gone {
		if w.over = true; w.cancel != nil {
			w.cancel()
		}
	}
	f.mu.Unlock()
	for _, w := range gone {
		if w.ended != nil {
			<-w.ended
		}
		left(w)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.targets = next
	for _, w := range next {
		if !slices.Contains(before, w) {
			f.start(w)
		}
	}
}

// all gives what is watched now.
func (f *fleet) all() []*watched {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.targets)
}

// find gives what is watched under that name; nil: nothing.
func (f *fleet) find(name string) *watched {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.targets {
		if w.loop.Target == name {
			return w
		}
	}
	return nil
}
