package probe

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/cjworkbench/unstuck/target"
)

const (
	// defaultFirst is a Probe's First if it has none.
	defaultFirst = 15 * time.Second
	// specSpread is the span after each time of a cron spec over which the Runner spreads the nodes: long enough
	// not to log in everywhere at once, short enough for "at three" to mean at three.
	specSpread = 5 * time.Second
	// tooLate is how late a scheduled start may be and still happen at once.
	tooLate = time.Second
	// lateWindow is the shortest time for which a late start is remembered, and half of the longest.
	lateWindow = 30 * time.Second
	// beatInterval is how often the Runner checks whether it gets to run.
	beatInterval = time.Second
)

// timetable says when a probe of a node is due by its schedule. It is pure: the time is an argument.
//
// The starts of an "@every" lie on a grid that belongs to this probe of this node: whole periods since 1970, plus
// the phase. That keeps the nodes apart for good, to the nanosecond, also after a restart of ours. The Next of
// cron.ConstantDelaySchedule would gather them on whole seconds.
type timetable struct {
	schedule cron.Schedule // nil: never
	period   time.Duration // of an "@every"; 0: a cron spec
	span     time.Duration // of the first runs
	phase    float64       // in [0, 1): the share of any span that passes before this one's slot
}

func newTimetable(p *Probe, n target.Node) timetable {
	t := timetable{schedule: p.Schedule, span: p.First, phase: phase(n.Target, n.Name, p.Kind)}
	if t.span <= 0 {
		t.span = defaultFirst
	}
	if every, ok := p.Schedule.(cron.ConstantDelaySchedule); ok {
		if t.period = every.Delay; t.period <= 0 {
			t.schedule = nil
		}
	}
	return t
}

// phase spreads probes evenly, and in the same way each time.
func phase(broker, node string, kind Kind) float64 {
	sum := sha256.Sum256([]byte(broker + "\x00" + node + "\x00" + string(kind)))
	return float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
}

// share is this probe's part of a span.
func (t timetable) share(span time.Duration) time.Duration {
	return time.Duration(t.phase * float64(span))
}

// first is when the first run is due on a node that appears now. Zero: never.
func (t timetable) first(now time.Time) time.Time {
	switch {
	case t.schedule == nil:
		return time.Time{}
	case t.period > 0 && t.period <= t.span:
		return t.slotAfter(now)
	}
	return now.Add(t.share(t.span))
}

// next is when to run after a run that began at started and has ended now. Zero: never. If a run began outside its
// slot, next skips a slot that comes less than half a period after the run began.
func (t timetable) next(now, started time.Time) time.Time {
	switch {
	case t.schedule == nil:
		return time.Time{}
	case t.period > 0:
		return t.slotAfter(later(now, started.Add(t.period/2)))
	}
	shift := t.share(specSpread)
	next := t.schedule.Next(now.Add(-shift).UTC()).Add(shift)
	if !next.After(now) { // zero: the spec never comes true
		return time.Time{}
	}
	return next
}

// again is when to make up for a start that is far too late now.
func (t timetable) again(now time.Time) time.Time {
	span := defaultFirst
	if t.period > 0 {
		span = min(span, t.period)
	}
	return now.Add(t.share(span))
}

// slotAfter is the first slot on the grid after at.
func (t timetable) slotAfter(at time.Time) time.Time {
	since := time.Duration(at.UnixNano()) - t.share(t.period)
	return at.Add(t.period - since%t.period)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// lateness remembers how late starts were. It also has a beat of its own: with few nodes, starts are rare, and a
// process that has just been resumed has not yet made its late ones.
type lateness struct {
	mu       sync.Mutex
	beaten   time.Time     // the last beat; zero: not running yet
	turned   time.Time     // when the window was turned
	current  time.Duration // the worst of this window
	previous time.Duration // the worst of the window before
}

func (l *lateness) note(late time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current = max(l.current, late)
}

// beat is called every beatInterval.
func (l *lateness) beat(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current = max(l.current, l.overdue(now))
	l.beaten = now
	if now.Sub(l.turned) >= lateWindow {
		l.turned, l.previous, l.current = now, l.current, 0
	}
}

// overdue is how late the beat is. The caller holds l.mu.
func (l *lateness) overdue(now time.Time) time.Duration {
	if l.beaten.IsZero() {
		return 0
	}
	return max(0, now.Sub(l.beaten)-beatInterval)
}

func (l *lateness) worst(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.previous, l.current, l.overdue(now))
}
