package app

import (
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

const (
	// soonAgain is how long after a login's silence had maybe_stuck run the next one may: it costs the node half a second
	// of CPU.
	soonAgain = time.Minute
	// oursLate is how late our own probes may start before a silence is taken for our own.
	oursLate = time.Second
)

// silent has the processes of a node looked at while the login that fell silent still waits for its deadline: the
// second look can then come that much earlier.
func (w *watched) silent(n target.Node) {
	now := time.Now()
	w.mu.Lock()
	last, known := w.hinted[n.Name]
	due := !known || now.Sub(last) >= soonAgain
	if due {
		w.hinted[n.Name] = now
	}
	w.mu.Unlock()
	if due && w.runner.Late() < oursLate {
		w.runner.RunNow(n.Name, probe.MaybeStuck)
	}
}
