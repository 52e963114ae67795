package probe

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/target"
)

// logWatch remembers when the end of each log last changed, by our own clock. Another host's clock may be wrong,
// but a log that goes on differs from what it was. Our clock is the monotonic one, which neither a step nor a
// suspended host moves. The zero value is ready.
type logWatch struct {
	mu    sync.Mutex
	seed  maphash.Seed
	logs  map[logOf]*logSeen
	sweep time.Time // when to look for forgotten logs
}

// logOf names a log: that of one start of one container.
type logOf struct {
	name, uid string
	started   int64
}

// logSeen is what the looks at one log showed.
type logSeen struct {
	end    uint64    // a hash of its last lines
	since  time.Time // the first look that showed just these lines
	before time.Time // the last look that did not, so the lines are newer; without one, the first look
	moved  bool      // the end has changed since the first look
	looked time.Time // the latest look
}

// forgetLogAfter is how long after its last look a log is forgotten. It is far longer than the time between two
// looks.
const forgetLogAfter = 2 * time.Hour

// look takes in the last lines of n's log, as they are now.
func (w *logWatch) look(n target.Node, lines []target.LogLine, now time.Time) logSeen {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forget(now)
	key := logOf{n.Name, n.UID, n.Started.UnixNano()}
	var h maphash.Hash
	h.SetSeed(w.seed)
	for _, line := range lines {
		maphash.WriteComparable(&h, line.At.UnixNano())
		maphash.WriteComparable(&h, line.Text)
	}
	end := h.Sum64()
	seen := w.logs[key]
	switch {
	case seen == nil:
		seen = &logSeen{end: end, since: now, before: now}
		w.logs[key] = seen
	case seen.end != end:
		seen.end, seen.since, seen.before, seen.moved = end, now, seen.looked, true
	}
	seen.looked = now
	return *seen
}

func (w *logWatch) forget(now time.Time) {
	if w.logs == nil {
		w.logs, w.seed = make(map[logOf]*logSeen), maphash.MakeSeed()
	}
	if now.Before(w.sweep) {
		return
	}
	w.sweep = now.Add(forgetLogAfter)
	for key, seen := range w.logs {
		if now.Sub(seen.looked) > forgetLogAfter {
			delete(w.logs, key)
		}
	}
}
