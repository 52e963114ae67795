package kube

import (
	"context"
	"sync"
)

// runner is a feed of any kind.
type runner interface{ run(ctx context.Context) }

// feeds are those that a client keeps up to date: from when it runs, or from when they are added, until each is
// removed.
type feeds struct {
	mu    sync.Mutex
	ctx   context.Context // of the client's Run; nil before
	ended bool
	all   map[runner]context.CancelFunc // nil: it does not run
	group sync.WaitGroup
}

func newFeeds() *feeds { return &feeds{all: make(map[runner]context.CancelFunc)} }

// begin runs those that were added before, and from now on those that are added. It can be called once.
func (f *feeds) begin(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx != nil {
		return errRunning
	}
	f.ctx = ctx
	for r := range f.all {
		f.launch(r)
	}
	return nil
}

// end waits until all have ended, which they do with their context.
func (f *feeds) end() {
	f.mu.Lock()
	f.ended = true // nothing is launched any more
	f.mu.Unlock()
	f.group.Wait()
}

// add has feeds run from now on.
func (f *feeds) add(all ...runner) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range all {
		if f.all[r] = nil; f.ctx != nil && !f.ended {
			f.launch(r)
		}
	}
}

// launch begins to run a feed. The caller has the lock.
func (f *feeds) launch(r runner) {
	ctx, cancel := context.WithCancel(f.ctx)
	f.all[r] = cancel
	f.group.Go(func() {
		defer cancel()
		r.run(ctx)
	})
}

// remove ends feeds, and does not wait for their end.
func (f *feeds) remove(all ...runner) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range all {
		if cancel := f.all[r]; cancel != nil {
			cancel()
		}
		delete(f.all, r)
	}
}
