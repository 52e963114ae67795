package notify

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cjworkbench/unstuck/target"
)

const (
	// lookEvery is how often a worker looks whether this replica leads.
	lookEvery = 2 * time.Second
	// storeTimeout bounds a read or a write of what was told.
	storeTimeout = 10 * time.Second
	// What a worker waits after a failure, at first and at most.
	firstWait = time.Second
	mostWait  = 5 * time.Minute
)

// worker tells one receiver, one event after the other.
type worker struct {
	poster

	options Options
	log     *slog.Logger
	wake    chan struct{}
	doubt   atomic.Bool // the incidents are to be read again

	mu    sync.Mutex
	queue []Event  // oldest first; the first may be on its way
	ended []string // incidents that need not be told again and again, though the queue had no room for their end

	// The rest belongs to the goroutine of run.
	since    time.Time // of the leadership in which the record was read
	known    bool      // the record has been read
	record   record
	unsaved  bool
	standing map[string]standing // by incident: what must be told again and again
	failures int                 // one after the other
	notUntil time.Time           // when to try again
	failing  time.Time           // since when; zero: all is well
}

// standing is an event that is told again and again, and when it last was.
type standing struct {
	Event

	told time.Time
}

func newWorker(r Receiver, o Options) *worker {
	w := &worker{
		poster: poster{Receiver: r, userAgent: o.UserAgent}, options: o, log: o.Log.With("receiver", r.Name),
		wake: make(chan struct{}, 1),
	}
	w.options.Meter.NotifyQueue(r.Name, 0)
	return w
}

// offer puts those events into the queue that the receiver wants to know and that are not in it. What it was told
// already is left out later, by the goroutine that knows. Where the queue is full the oldest go.
func (w *worker) offer(events []Event) {
	dropped := 0
	w.mu.Lock()
	for _, e := range events {
		if !w.wants(e) || slices.ContainsFunc(w.queue, func(q Event) bool { return q.ID == e.ID }) {
			continue
		}
		w.queue = append(w.queue, e)
	}
	slices.SortStableFunc(w.queue, func(a, b Event) int { return a.At.Compare(b.At) })
	if dropped = max(0, len(w.queue)-w.Queue); dropped > 0 {
		for _, e := range w.queue[:dropped] {
			if e.Kind == Closed && w.Type.row().expires && !slices.Contains(w.ended, e.Incident.ID) {
				w.ended = append(w.ended, e.Incident.ID)
			}
		}
		w.queue = slices.Delete(w.queue, 0, dropped)
	}
	w.options.Meter.NotifyQueue(w.Name, len(w.queue))
	w.mu.Unlock()
	for range dropped {
		w.options.Meter.NotifyDropped(w.Name, QueueFull)
	}
	if dropped > 0 {
		w.log.Warn("the queue of a receiver is full: the oldest events were dropped", "dropped", dropped, "queue", w.Queue)
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// wants says whether the receiver wants to know of e. What is open at a stateful receiver has to be closed there.
func (w *worker) wants(e Event) bool {
	if len(w.Targets) > 0 && !slices.Contains(w.Targets, e.Incident.Target) {
		return false
	}
	if only := w.Type.row().only; only != "" && e.Kind != only {
		return false
	}
	return slices.Contains(w.Events, e.Kind) || (e.Kind == Closed && w.Type.Stateful())
}

// run tells the receiver until ctx ends.
func (w *worker) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-timer.C:
		}
		for w.step(ctx) && ctx.Err() == nil {
		}
		timer.Reset(w.pause(time.Now()))
	}
}

// pause is how long to wait for the next step at most.
func (w *worker) pause(now time.Time) time.Duration {
	if wait := w.notUntil.Sub(now); wait > 0 && wait < lookEvery {
		return wait
	}
	return lookEvery
}

// step does one thing, and says whether there may be another to do at once.
func (w *worker) step(ctx context.Context) bool {
	now := time.Now()
	if !w.leads() || now.Before(w.notUntil) {
		return false
	}
	if !w.known {
		return w.attempt(ctx, "", func() error { return w.recall(ctx, now) })
	}
	if w.unsaved && !w.attempt(ctx, "", func() error { return w.save(ctx) }) {
		return false
	}
	if e, there := w.first(now); there {
		return w.attempt(ctx, e.ID, func() error { return w.tell(ctx, e, now) })
	}
	for _, s := range w.standing {
		if now.Sub(s.told) >= repeatsEvery {
			return w.attempt(ctx, "", func() error { return w.repeat(ctx, s.Event, now) })
		}
	}
	if w.doubt.Swap(false) {
		return w.attempt(ctx, "", func() error {
			err := w.recall(ctx, now)
			if err != nil {
				w.doubt.Store(true)
			}
			return err
		})
	}
	return false
}

// leads says whether this replica leads. If it does not, or if another has in between, everything is forgotten, for it
// is written down.
func (w *worker) leads() bool {
	answer, since := w.options.IsLeader()
	switch {
	case answer == target.CannotTell:
		return false
	case answer == target.Yes && w.known && since.Equal(w.since):
		return true
	case w.known:
		w.known, w.standing, w.unsaved = false, nil, false // what we told ourselves we know, in any case
		w.failures, w.notUntil = 0, time.Time{}
	}
	w.since = since
	if answer == target.No {
		w.mu.Lock()
		w.queue = nil
		w.options.Meter.NotifyQueue(w.Name, 0)
		w.mu.Unlock()
	}
	return answer == target.Yes
}

// attempt does something that may fail, and takes note of how it went: one line when it begins to fail, and one when it
// works again.
func (w *worker) attempt(ctx context.Context, event string, do func() error) bool {
	err := do()
	if ctx.Err() != nil {
		return false
	}
	if err == nil {
		if !w.failing.IsZero() {
			w.log.Info("a receiver can be told again", "failed_seconds", time.Since(w.failing).Round(time.Second).Seconds())
		}
		w.failures, w.failing = 0, time.Time{}
		return true
	}
	w.options.Meter.NotifyFailed(w.Name)
	refused, answered := errors.AsType[*refusedError](err)
	if answered && refused.final && event != "" {
		w.drop(event, Refused)
		w.log.Error("a receiver refuses an event: it is dropped", "event", event, "error", err.Error())
		return true
	}
	if w.failing.IsZero() {
		w.failing = time.Now()
		w.log.Warn("a receiver cannot be told: trying again and again", "error", err.Error())
	} else {
		w.log.Debug("a receiver still cannot be told", "error", err.Error())
	}
	wait := min(firstWait<<min(w.failures, 10), mostWait)
	wait = wait*3/4 + rand.N(wait/2) // so that not all try at once
	if answered {
		wait = max(wait, refused.wait)
	}
	w.failures++
	w.notUntil = time.Now().Add(wait)
	return false
}

// recall reads what the receiver was told, and puts what it was not told yet into the queue.
func (w *worker) recall(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	r, err := load(ctx, w.options.Documents, w.Name, now)
	if err != nil {
		return err
	}
	incidents, err := w.options.Incidents(ctx)
	if err != nil {
		return err
	}
	for incident, kinds := range w.record.Told { // what could not be written down
		r.add(incident, kinds...)
	}
	w.record, w.known, w.standing = r, true, make(map[string]standing)
	var due []Event
	for _, c := range slices.Backward(incidents) { // oldest first
		for _, e := range Events(c) {
			switch {
			case w.record.has(e) && c.Closed.IsZero():
				w.stands(e, time.Time{})
			case w.record.has(e):
			case !e.At.Before(w.record.Since) && now.Sub(e.At) < w.GiveUpAfter:
				due = append(due, e)
			}
		}
	}
	w.offer(due)
	return nil
}

// first gives the event that is to be told now, and drops those before it that are not to be told any more.
func (w *worker) first(now time.Time) (Event, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.options.Meter.NotifyQueue(w.Name, len(w.queue)) }()
	for _, id := range w.ended {
		delete(w.standing, id)
	}
	w.ended = nil
	for len(w.queue) > 0 {
		e := w.queue[0]
		old := now.Sub(e.At) >= w.GiveUpAfter
		unheard := e.Kind == Closed && !slices.Contains(w.Events, Closed) && len(w.record.Told[e.Incident.ID]) == 0
		if !old && !unheard && !w.record.has(e) && !e.At.Before(w.record.Since) {
			return e, true
		}
		if e.Kind == Closed { // told or not: what is over is not told again and again
			delete(w.standing, e.Incident.ID)
		}
		if old && !unheard && !w.record.has(e) && !e.At.Before(w.record.Since) {
			w.record.add(e.Incident.ID, e.Kind) // or each time that the incident is saved drops it once more
			w.unsaved = true
			w.options.Meter.NotifyDropped(w.Name, TooOld)
			w.log.Error("an event is too old to be told: it is dropped", "event", e.ID, "give_up_after", w.GiveUpAfter.String())
		}
		w.queue = slices.Delete(w.queue, 0, 1)
	}
	return Event{}, false
}

// drop takes an event out of the queue.
func (w *worker) drop(id, why string) {
	if why != "" {
		w.options.Meter.NotifyDropped(w.Name, why)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.IndexFunc(w.queue, func(e Event) bool { return e.ID == id }); i >= 0 {
		w.queue = slices.Delete(w.queue, i, i+1)
	}
	w.options.Meter.NotifyQueue(w.Name, len(w.queue))
}

// tell tells of e, and takes note of that. That it cannot be written down is not the receiver's fault, and is tried
// again: what counts until then is that we know.
func (w *worker) tell(ctx context.Context, e Event, now time.Time) error {
	err := w.post(ctx, e, now)
	if refused, answered := errors.AsType[*refusedError](err); answered && refused.final {
		w.record.add(e.Incident.ID, e.Kind) // or the next start tries again
		if e.Kind == Closed {
			w.stands(e, now)
		}
		w.unsaved = true
	}
	if err != nil {
		return err
	}
	w.options.Meter.Notified(w.Name, string(e.Kind))
	w.record.add(e.Incident.ID, e.Kind)
	w.stands(e, now)
	w.drop(e.ID, "")
	w.unsaved = true
	return w.save(ctx)
}

// save writes the record down.
func (w *worker) save(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := w.record.save(ctx, w.options.Documents, w.Name)
	w.unsaved = err != nil
	return err
}

// stands takes note that e, told then, is the latest of its incident, where that has to be told again and again.
func (w *worker) stands(e Event, told time.Time) {
	switch {
	case !w.Type.row().expires:
	case e.Kind == Closed:
		delete(w.standing, e.Incident.ID)
	default:
		w.standing[e.Incident.ID] = standing{e, told}
	}
}

// repeat tells again of what is still open, so that it does not end by itself.
func (w *worker) repeat(ctx context.Context, e Event, now time.Time) error {
	err := w.post(ctx, e, now)
	if err == nil {
		w.stands(e, now)
	}
	return err
}
