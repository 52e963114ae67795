package lab

import (
	"sync"

	"github.com/cjworkbench/unstuck/probe"
)

// ringSize is how many log lines a node's ring keeps.
const ringSize = 500

// ring keeps the last lines of a node's log. The zero value is empty and ready.
type ring struct {
	mu    sync.Mutex
	lines [ringSize]probe.LogLine
	count int // lines ever added
}

func (r *ring) add(l probe.LogLine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines[r.count%ringSize] = l
	r.count++
}

// last gives up to n of the last lines, oldest first.
func (r *ring) last(n int) []probe.LogLine {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = max(0, min(n, r.count, ringSize))
	out := make([]probe.LogLine, 0, n)
	for i := r.count - n; i < r.count; i++ {
		out = append(out, r.lines[i%ringSize])
	}
	return out
}
