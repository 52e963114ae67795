package environments

import (
	"sync"

	"github.com/cjworkbench/unstuck/release/plan"
)

// Feed passes on the changes of the operations that run in this process to those who watch them. Give its Notify to
// the Options of a release.Runner.
type Feed struct {
	mu       sync.Mutex
	watchers map[string]map[chan plan.Operation]bool // by the operation's ID
}

// NewFeed makes a Feed.
func NewFeed() *Feed { return &Feed{watchers: make(map[string]map[chan plan.Operation]bool)} }

// Notify passes on how an operation is now. It never blocks: who is slow misses what was in between.
func (f *Feed) Notify(op plan.Operation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.watchers[op.ID] {
		select {
		case <-c:
		default:
		}
		c <- op // there is room, and nobody else sends
	}
}

// watch gives a channel with the latest state of an operation, until stop is called. A nil Feed has no news.
func (f *Feed) watch(id string) (news <-chan plan.Operation, stop func()) {
	if f == nil {
		return nil, func() {}
	}
	c := make(chan plan.Operation, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watchers[id] == nil {
		f.watchers[id] = make(map[chan plan.Operation]bool)
	}
	f.watchers[id][c] = true
	return c, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers[id], c)
		if len(f.watchers[id]) == 0 {
			delete(f.watchers, id)
		}
	}
}
