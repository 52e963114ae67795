package deploy

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/cjworkbench/unstuck/release"
)

// lastLines keeps the last lines of logs, in the order of their times: at most so many, and at most mostLogBytes.
type lastLines struct {
	most  int
	lines []release.LogLine
	bytes int
	cut   bool // there were more within most
}

// add adds a line that comes after the others.
func (l *lastLines) add(line release.LogLine) {
	l.lines, l.bytes = append(l.lines, line), l.bytes+len(line.Text)
	for len(l.lines) > l.most || l.bytes > mostLogBytes {
		l.cut = l.cut || len(l.lines) <= l.most
		l.bytes -= len(l.lines[0].Text)
		l.lines = l.lines[1:]
	}
}

// merge adds the lines of another log. Of lines of the same time, those of one pod stay in their order.
func (l *lastLines) merge(other lastLines) {
	all := slices.Concat(l.lines, other.lines)
	slices.SortStableFunc(all, func(a, b release.LogLine) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Pod, b.Pod))
	})
	merged := lastLines{most: l.most, cut: l.cut || other.cut}
	for _, line := range all {
		merged.add(line)
	}
	*l = merged
}

// The bounds of putting lines in order.
const (
	reorderFor = time.Second // for which a line waits for earlier ones of other pods
	mostHeld   = 500         // lines that wait; with more of them the first ones go
)

// merger puts what comes from several logs at once in the order of their times, as far as it comes within reorderFor.
// What comes later than that, from a pod whose clock is wrong, say, comes late, but comes.
type merger struct {
	byTime  byTime  // what has not gone yet, as a heap
	arrived []*held // the same in the order in which it came, and some that has gone
	came    int     // how many came
}

// held is a line, or news of a pod, that waits.
type held struct {
	at     time.Time
	number int // in the order in which they came
	came   time.Time
	gone   bool

	line release.LogLine
	news *release.PodLog // instead of a line; comes after all lines of at
}

// put takes in one; now is when it came.
func (m *merger) put(h held, now time.Time) {
	m.came++
	h.number, h.came = m.came, now
	heap.Push(&m.byTime, &h)
	m.arrived = append(m.arrived, &h)
}

// oldest gives what has waited longest; nil: nothing waits.
func (m *merger) oldest() *held {
	for len(m.arrived) > 0 && m.arrived[0].gone {
		m.arrived = m.arrived[1:]
	}
	if len(m.arrived) == 0 {
		return nil
	}
	return m.arrived[0]
}

// due says how long until something has waited long enough; false: nothing waits.
func (m *merger) due(now time.Time) (time.Duration, bool) {
	first := m.oldest()
	if first == nil {
		return 0, false
	}
	return max(0, first.came.Add(reorderFor).Sub(now)), true
}

// next gives what goes next; nil: all must wait. Whatever has waited long enough goes, and before it what is earlier,
// even if that came just now: one pod with a slow clock cannot hold the others back.
func (m *merger) next(now time.Time) *held {
	first := m.oldest()
	if first == nil || (now.Sub(first.came) < reorderFor && len(m.byTime) <= mostHeld) {
		return nil
	}
	h, _ := heap.Pop(&m.byTime).(*held)
	h.gone = true
	return h
}

// byTime is a heap, for container/heap.
type byTime []*held

func (b byTime) Len() int { return len(b) }
func (b byTime) Less(i, j int) bool {
	if c := b[i].at.Compare(b[j].at); c != 0 {
		return c < 0
	}
	return b[i].number < b[j].number
}
func (b byTime) Swap(i, j int) { b[i], b[j] = b[j], b[i] }

// Push implements heap.Interface.
func (b *byTime) Push(h any) {
	if one, ok := h.(*held); ok {
		*b = append(*b, one)
	}
}

// Pop implements heap.Interface.
func (b *byTime) Pop() any {
	last := len(*b) - 1
	h := (*b)[last]
	(*b)[last] = nil
	*b = (*b)[:last]
	return h
}
