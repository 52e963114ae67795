package lab

import (
	"sync"

	"github.com/cjworkbench/unstuck/target"
)

// ringSize is how many log lines a node's ring keeps.
const ringSize = 500

// ring keeps the last lines of a node's log. The zero value is empty and ready.
type ring struct {
	mu    sync.Mutex
	lines [ringSize]target.LogLine
	count int // lines ever added
}

func (r *ring) add(l target.LogLine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines[r.count%ringSize] = l
	r.count++
}

// last gives up to n of the last lines, oldest first.
func (r *ring) last(n int) []target.LogLine {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = max(0, min(n, r.count, ringSize))
	out := make([]target.LogLine, 0, n)
	for i := r.count - n; i < r.count; i++ {
		out = append(out, r.lines[i%ringSize])
	}
	return out
}
