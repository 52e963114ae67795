package probe

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cjworkbench/unstuck/target"
)

// nodeLoop probes one node. Its goroutine, in loop, owns the jobs and starts every run.
type nodeLoop struct {
	runner *Runner
	log    *slog.Logger
	cancel context.CancelFunc // guarded by the Runner's mu
	jobs   []job
	ended  chan int      // index of a job whose run has returned; has room for all
	poked  chan struct{} // something below has changed

	mu    sync.Mutex
	node  target.Node
	pace  Pace
	asked []bool // by job: RunNow
}

// job is one kind of probe on one node.
type job struct {
	probe *Probe
	times timetable
	pace  Pace

	due       time.Time // when to start next; zero: not until asked
	asked     bool      // RunNow made it due, so the pace does not matter
	postponed bool      // see start
	started   time.Time // of the last run
	ended     time.Time
	run       *run // the run that has not returned; nil: none

	panicked bool // the last run did; only runs touch it, one after the other
}

// run is one call of a Func.
type run struct {
	node   target.Node // as it was at the start
	giveUp time.Time   // when we stop waiting for it
	told   atomic.Bool // its result was delivered, or is no longer wanted
}

func newNodeLoop(r *Runner, n target.Node) *nodeLoop {
	probes := r.options.Probes
	l := &nodeLoop{
		runner: r,
		log:    r.options.Log.With("target", n.Target, "node", n.Name),
		cancel: func() {},
		jobs:   make([]job, len(probes)),
		ended:  make(chan int, len(probes)),
		poked:  make(chan struct{}, 1),
		node:   n,
		asked:  make([]bool, len(probes)),
	}
	for i := range probes {
		l.jobs[i] = job{probe: &probes[i], times: newTimetable(&probes[i], n)}
	}
	return l
}

// update takes in what is known of the node now. It gives false if n is another node.
func (l *nodeLoop) update(n target.Node) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n.Target != l.node.Target || n.UID != l.node.UID || n.Address != l.node.Address {
		return false
	}
	l.node = n
	return true
}

func (l *nodeLoop) setPace(p Pace) {
	l.mu.Lock()
	l.pace = p
	l.mu.Unlock()
	l.poke()
}

func (l *nodeLoop) ask(kinds []Kind) {
	l.mu.Lock()
	for i := range l.jobs {
		if len(kinds) == 0 || slices.Contains(kinds, l.jobs[i].probe.Kind) {
			l.asked[i] = true
		}
	}
	l.mu.Unlock()
	l.poke()
}

func (l *nodeLoop) poke() {
	select {
	case l.poked <- struct{}{}:
	default: // a poke is waiting already
	}
}

// loop runs what is due until ctx ends, and then waits for the runs, for a bounded time.
func (l *nodeLoop) loop(ctx context.Context) {
	now := time.Now()
	for i := range l.jobs {
		l.jobs[i].due = l.jobs[i].times.first(now)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		now := time.Now()
		if wake := l.step(ctx, now); wake.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(wake.Sub(now))
		}
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-l.poked:
		case i := <-l.ended:
			l.jobs[i].finish(time.Now())
		}
	}
	timer.Reset(shutdownGrace)
	for i := range l.jobs {
		for l.jobs[i].run != nil {
			select {
			case ended := <-l.ended:
				l.jobs[ended].run = nil
			case <-timer.C:
				l.log.Error("probe does not return though it was cancelled, and is left behind", "probe", l.jobs[i].probe.Kind)
				return
			}
		}
	}
}

// step starts what is due, gives up runs that do not return, and says when to step again. Zero: not before
// something happens.
func (l *nodeLoop) step(ctx context.Context, now time.Time) time.Time {
	l.mu.Lock()
	node, pace := l.node, l.pace
	for i := range l.jobs {
		l.jobs[i].change(pace, l.asked[i], now)
		l.asked[i] = false
	}
	l.mu.Unlock()

	var wake time.Time
	for i := range l.jobs {
		t := &l.jobs[i]
		if t.ready(now) {
			l.runner.late.note(now.Sub(t.due))
			if t.start(now) {
				t.run = &run{node: node, giveUp: now.Add(t.probe.timeout() + 2*timeoutMargin)}
				go l.perform(ctx, i, t.run) // loop waits for it
			}
		}
		next := t.due
		if t.run != nil {
			if next = t.run.giveUp; !next.After(now) {
				l.giveUp(ctx, t)
				next = time.Time{}
			}
		}
		if !next.IsZero() && (wake.IsZero() || next.Before(wake)) {
			wake = next
		}
	}
	return wake
}

// change takes in a new pace, and whether RunNow asked for a run.
func (t *job) change(pace Pace, asked bool, now time.Time) {
	before := t.probe.interval(t.pace)
	t.pace = pace
	switch after := t.probe.interval(pace); {
	case asked:
		t.asked, t.due = true, now
	case after == before:
	case after == 0:
		t.due = t.times.next(now, t.started)
	default:
		t.due = later(now, t.ended.Add(after))
	}
}

// ready says whether a run is due.
func (t *job) ready(now time.Time) bool {
	return t.run == nil && !t.due.IsZero() && !t.due.After(now)
}

// start begins a run that is due, and gives false if it has put the run off. It puts off, once, a scheduled start
// that is far too late: after a stall of ours every node is overdue, and the starts must be spread again.
func (t *job) start(now time.Time) bool {
	scheduled := !t.asked && t.probe.interval(t.pace) == 0
	if scheduled && !t.postponed && now.Sub(t.due) > tooLate {
		t.postponed = true
		t.due = t.times.again(now)
		return false
	}
	t.asked, t.postponed, t.started = false, false, now
	return true
}

// finish notes that the run has returned, and when the next run is due.
func (t *job) finish(now time.Time) {
	t.run, t.ended = nil, now
	if t.asked {
		t.due = now
	} else if interval := t.probe.interval(t.pace); interval > 0 {
		t.due = now.Add(interval)
	} else {
		t.due = t.times.next(now, t.started)
	}
}

// perform is one run, from the start of its goroutine to the end.
func (l *nodeLoop) perform(ctx context.Context, i int, r *run) {
	defer func() { l.ended <- i }()
	t := &l.jobs[i]
	p := t.probe
	bounded, cancel := context.WithTimeout(ctx, p.timeout()+timeoutMargin)
	defer cancel()
	// Only a run from before the node vanished or changed its address can be in the way.
	release, ok := l.runner.busy.claim(bounded, runKey{r.node.Name, r.node.UID, p.Kind})
	if !ok {
		l.deliver(ctx, p, r, Result{Reason: NotRun, Detail: "an earlier run has not returned"})
		return
	}
	defer release()
	started := time.Now()
	result := l.call(bounded, t, r.node)
	if result.Started.IsZero() {
		result.Started = started
	}
	if result.Took == 0 {
		result.Took = time.Since(started)
	}
	l.deliver(ctx, p, r, result)
}

// call calls the Func and contains its panics. It logs only the first of several panics in a row.
func (l *nodeLoop) call(ctx context.Context, t *job, n target.Node) (result Result) {
	defer func() {
		v := recover()
		if v == nil {
			t.panicked = false
			return
		}
		if !t.panicked {
			l.log.Error("probe panicked", "probe", t.probe.Kind, "panic", fmt.Sprint(v),
				"stack", string(debug.Stack()))
		}
		t.panicked = true
		result = Result{Reason: NotRun, Detail: fmt.Sprintf("the probe panicked: %v", v)}
	}()
	return t.probe.Run(ctx, n)
}

// giveUp reports, once, a run that does not return. The job of the run stays taken until the run returns.
func (l *nodeLoop) giveUp(ctx context.Context, t *job) {
	took := t.probe.timeout() + 2*timeoutMargin
	if l.deliver(ctx, t.probe, t.run, Result{
		Reason: NotRun, Detail: fmt.Sprintf("the probe did not return within %s", took), Started: t.started, Took: took,
	}) {
		l.log.Error("probe does not return", "probe", t.probe.Kind, "seconds", took.Seconds())
	}
}

// deliver completes a result and hands it on, unless the result comes too late. It reports whether it did.
func (l *nodeLoop) deliver(ctx context.Context, p *Probe, r *run, result Result) bool {
	if ctx.Err() != nil || r.told.Swap(true) {
		return false
	}
	fill(&result.Target, r.node.Target)
	fill(&result.Node, r.node.Name)
	fill(&result.UID, r.node.UID)
	fill(&result.Kind, p.Kind)
	if result.NodeStarted.IsZero() {
		result.NodeStarted = r.node.Started
	}
	if result.Reason == "" {
		result.Reason, result.Detail = NotRun, "the probe gave no reason"
	}
	l.runner.options.Sink(result)
	return true
}

func fill[T ~string](field *T, value T) {
	if *field == "" {
		*field = value
	}
}

// runKey is what must not run twice at once.
type runKey struct {
	name, uid string
	kind      Kind
}

// busy holds what is running.
type busy struct {
	mu   sync.Mutex
	runs map[runKey]chan struct{} // closed when the run has returned
}

// claim waits until nothing runs under key, and takes the key. It gives false if ctx ends first.
func (b *busy) claim(ctx context.Context, key runKey) (release func(), ok bool) {
	for ctx.Err() == nil {
		b.mu.Lock()
		other := b.runs[key]
		if other == nil {
			mine := make(chan struct{})
			b.runs[key] = mine
			b.mu.Unlock()
			return func() {
				b.mu.Lock()
				delete(b.runs, key)
				b.mu.Unlock()
				close(mine)
			}, true
		}
		b.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
		}
	}
	return nil, false
}

func (b *busy) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.runs)
}
