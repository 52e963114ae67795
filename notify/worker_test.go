package notify

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/remediate/store"
)

// worker makes one for r that has read its record, and does a step only when the test has it do so.
func (w *world) worker(r Receiver) *worker {
	w.t.Helper()
	w.known(r)
	of := newWorker(r, Options{
		Incidents: w.store.Incidents, Documents: w.documents, IsLeader: w.isLeader, Meter: w,
		Log: slog.New(slog.NewTextHandler(w.log, nil)),
	})
	w.steps(of)
	return of
}

// steps has a worker do all that there is to do, as though it had not failed before.
func (w *world) steps(of *worker) {
	w.t.Helper()
	of.notUntil = time.Time{}
	for of.step(w.t.Context()) {
	}
}

// alertmanager gives a receiver that is told again and again of what is open.
func (h *hook) alertmanager(t *testing.T) Receiver {
	t.Helper()
	return h.receiver(t, "alerts", func(r *Receiver) { r.Type = Alertmanager })
}

// due has all that stands be told once more.
func due(of *worker) {
	for id, s := range of.standing {
		s.told = s.told.Add(-2 * repeatsEvery)
		of.standing[id] = s
	}
}

// An alert fires as long as it is told again. Each row has the end of an incident be dropped in another way.
func TestWorkerEndsWhatStandsThoughItsEndWasDropped(t *testing.T) {
	for name, end := range map[string]func(w *world, of *worker, c store.Incident){
		"too_old": func(w *world, of *worker, c store.Incident) {
			of.GiveUpAfter = time.Minute
			of.offer(Events(c))
			w.steps(of)
		},
		"queue_full": func(w *world, of *worker, c store.Incident) {
			of.Queue = 1
			other := incident("other")[Opened]
			other.Opened = time.Now()
			of.offer(append(Events(c), Events(other)...))
			w.steps(of)
			delete(of.standing, "other")
		},
		"refused": func(w *world, of *worker, c store.Incident) {
			of.offer(Events(c))
			w.steps(of)
		},
		"next_start": func(w *world, of *worker, c store.Incident) {
			w.save(nil, c)
			of.GiveUpAfter, of.known = time.Minute, false
			w.steps(of)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			h := newHook(t, func(rw http.ResponseWriter, r *http.Request) {
				if name == "refused" && strings.HasSuffix(r.Header.Get(IdempotencyHeader), "/closed") {
					rw.WriteHeader(http.StatusBadRequest)
				}
			})
			of := w.worker(h.alertmanager(t))
			stages := incident("i")
			of.offer(Events(stages[Opened]))
			w.steps(of)
			told := len(h.told())
			due(of)
			w.steps(of)
			if again := len(h.told()); told != 1 || again != 2 {
				t.Fatalf("told %d times, then %d times: want an open incident to be told again", told, again)
			}
			of.record.add("i", Deleted)
			end(w, of, stages[Closed])
			if len(of.standing) > 0 {
				t.Errorf("%d incidents are told again and again, want none", len(of.standing))
			}
		})
	}
}

// A write of which no answer came may be done all the same, and nobody says so.
func TestWorkerReadsTheIncidentsAgainInDoubt(t *testing.T) {
	w := newWorld(t)
	h := newHook(t, nil)
	of := w.worker(h.receiver(t, "hook", nil))
	n := &Notifier{workers: []*worker{of}}
	w.save(nil, incident("i")[Opened])
	w.steps(of)
	if told := h.told(); len(told) > 0 {
		t.Fatalf("told %v without a doubt", told)
	}
	n.Doubt()
	w.steps(of)
	n.Doubt()
	w.steps(of)
	if told := h.told(); !slices.Equal(told, []string{"i/opened"}) {
		t.Errorf("told %v, want i/opened once", told)
	}
}

func TestWorkerStaysInDoubtUntilTheIncidentsCanBeRead(t *testing.T) {
	w := newWorld(t)
	h := newHook(t, nil)
	of := w.worker(h.receiver(t, "hook", nil))
	read := of.options.Incidents
	of.options.Incidents = func(context.Context) ([]store.Incident, error) { return nil, errors.New("no answer") }
	w.save(nil, incident("i")[Opened])
	(&Notifier{workers: []*worker{of}}).Doubt()
	w.steps(of)
	of.options.Incidents = read
	w.steps(of)
	if told := h.told(); !slices.Equal(told, []string{"i/opened"}) {
		t.Errorf("told %v, want i/opened", told)
	}
}

// An incident is saved each time that its timeline grows.
func TestWorkerDropsAnOldEventOnceAndNoneFromBeforeTheReceiver(t *testing.T) {
	w := newWorld(t)
	of := w.worker(newHook(t, nil).receiver(t, "hook", func(r *Receiver) { r.GiveUpAfter = time.Hour }))
	before := incident("before")[Opened]
	before.Opened = of.record.Since.Add(-time.Hour)
	for range 3 {
		of.offer(append(Events(incident("i")[Opened]), Events(before)...))
		w.steps(of)
	}
	want := map[string]int{"dropped hook too_old": 1}
	if diff := cmp.Diff(want, w.counts()); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
	if n := strings.Count(w.log.String(), "too old to be told"); n != 1 {
		t.Errorf("%d lines, want one, in\n%s", n, w.log)
	}
	of.known = false // the next start knows, too
	of.record = record{}
	w.steps(of)
	of.offer(Events(incident("i")[Opened]))
	w.steps(of)
	if diff := cmp.Diff(want, w.counts()); diff != "" {
		t.Errorf("after a start, counted (-want +got):\n%s", diff)
	}
}
