package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// hugeIncident has more of everything than fits.
func hugeIncident() Incident {
	long := strings.Repeat("x", 10_000)
	c := Incident{ID: "huge", Target: "b", Node: "n", UID: "u", Opened: epoch, Decision: decide.Decision{Reason: "confirmed"}, Cluster: long, Deletion: &decide.Deletion{ID: "a"}}
	for i := range 60 {
		p := &probe.Processes{Suspicious: i}
		for range 20 {
			p.Top = append(p.Top, probe.Stack{Count: i, Frames: []string{long, long}})
		}
		c.Results = append(c.Results, probe.Result{Kind: probe.MaybeStuck, Reason: probe.ProcessesStuck, Started: epoch.Add(time.Duration(i) * time.Minute), Processes: p})
	}
	for i := range 50 {
		c.Logs = append(c.Logs, target.LogLine{At: epoch, Text: fmt.Sprint(i, strings.Repeat("y", 100_000))})
	}
	for i := range keptEvents {
		c.Events = append(c.Events, Event{At: epoch, Text: fmt.Sprint(i, " ", long)})
	}
	return c
}

func text(c Incident) string {
	data, _ := document(c)
	return string(data)
}

func TestStoreSaveIncidentShortensOneThatIsTooLargeAndSaysSo(t *testing.T) {
	c := hugeIncident()
	before := text(c)
	d := newDirStore(t, t.TempDir())
	if err := d.SaveIncident(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if text(c) != before {
		t.Error("the incident itself has changed")
	}
	incidents, err := d.Incidents(t.Context())
	if err != nil || len(incidents) != 1 {
		t.Fatal(err)
	}
	got := incidents[0]
	if data, err := document(got); err != nil || len(data) > maxDocument {
		t.Errorf("it is %d bytes: %v", len(data), err)
	}
	last := got.Results[len(got.Results)-1]
	if got.Deletion == nil || got.Decision.Reason == "" || last.Processes.Suspicious != 60-1 || len(last.Processes.Top) == 0 ||
		!strings.HasPrefix(got.Events[0].Text, "0 ") || !strings.HasPrefix(got.Logs[len(got.Logs)-1].Text, "49") {
		t.Errorf("what a person needs is gone: %.2000s", text(got))
	}
	if !strings.Contains(strings.Join(got.Missing, "; "), "cut for its size") {
		t.Errorf("missing is %q, want it to say what was cut", got.Missing)
	}
	if _, err := fit(Incident{Decision: decide.Decision{Reason: strings.Repeat("x", maxDocument)}}); err == nil {
		t.Error("an incident that cannot be made short is written")
	}
}

func TestStoreSaveIncidentDoesNotReadAllTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newShared().writer()
		d := New(r)
		for i := range 2 * keptIncidents {
			c := Incident{ID: fmt.Sprintf("incident-%04d", i), Opened: epoch.Add(time.Duration(i) * time.Minute), Closed: epoch}
			if err := d.SaveIncident(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		if r.reads != 1 || len(r.docs) != keptIncidents {
			t.Errorf("read %d times, %d incidents are kept", r.reads, len(r.docs))
		}
	})
}

func TestStoreSaveDeletionsRefusesWhatDoesNotFit(t *testing.T) {
	d := newDirStore(t, t.TempDir())
	deletions := []decide.Deletion{{ID: "a", Why: strings.Repeat("x", maxDocument)}}
	if err := d.SaveDeletions(t.Context(), "b", deletions); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("the error is %v", err)
	}
}

func TestDirHasTheLayoutThatTheDocumentationSays(t *testing.T) {
	dir, err := NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	data, _ := json.Marshal([]decide.Pause{{Reason: "r"}})
	if err := dir.Put(t.Context(), kindPauses, kindPauses, data); err != nil {
		t.Fatal(err)
	}
	if _, err := readFile(dir.path + "/pauses.json"); err != nil {
		t.Error(err)
	}
	if err := dir.Remove(t.Context(), kindPauses, kindPauses); err != nil {
		t.Error(err)
	}
	if err := dir.Remove(t.Context(), kindPauses, kindPauses); err != nil {
		t.Errorf("removing what is not there: %v", err)
	}
	if pauses, err := New(dir).Pauses(t.Context()); err != nil || pauses != nil {
		t.Errorf("pauses are %v: %v", pauses, err)
	}
}

func TestStoreDeletionsOfOneBrokerTellNothingOfAnothers(t *testing.T) {
	documents := newShared()
	mine, theirs := New(documents.writer()), New(documents.writer())
	for _, d := range []*Store{mine, theirs} {
		if deletions, err := d.Deletions(t.Context(), "one"); err != nil || len(deletions) != 0 {
			t.Fatal(deletions, err)
		}
	}
	if err := theirs.SaveDeletions(t.Context(), "one", []decide.Deletion{{ID: "theirs"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := mine.Deletions(t.Context(), "two"); err != nil { // the loop of another broker does
		t.Fatal(err)
	}
	if err := mine.SaveDeletions(t.Context(), "one", []decide.Deletion{{ID: "mine"}}); !errors.Is(err, target.ErrConflict) {
		t.Errorf("wrote over an intent that was never read: %v", err)
	}
}

// crowded has no documents, and notes how many read all of a kind at once.
type crowded struct {
	Documents

	here, most atomic.Int32
}

func (c *crowded) All(context.Context, string) (map[string][]byte, error) {
	if n := c.here.Add(1); n > c.most.Load() {
		c.most.Store(n)
	}
	time.Sleep(time.Second)
	c.here.Add(-1)
	return map[string][]byte{}, nil
}

func TestStoreIncidentsAreReadByOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		documents := &crowded{}
		d := New(documents)
		var group sync.WaitGroup
		for range 5 {
			group.Go(func() {
				if _, err := d.Incidents(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, err := d.Incidents(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("whoever has no time to wait gets %v", err)
		}
		group.Wait()
		if n := documents.most.Load(); n != 1 {
			t.Errorf("%d read at once", n)
		}
	})
}

// slowStore counts how often documents are read, each of which takes a while, or fails.
type slowStore struct {
	Documents

	reads atomic.Int32
	err   error
}

func (s *slowStore) All(ctx context.Context, _ string) (map[string][]byte, error) {
	s.reads.Add(1)
	select {
	case <-time.After(100 * time.Millisecond):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return map[string][]byte{kindPauses: []byte(`[{"reason": "moving disks"}]`)}, s.err
}

func TestStoreRecentPausesSharesOneReadBetweenAThousandLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		documents := &slowStore{}
		d := New(documents)
		all := func() {
			var wg sync.WaitGroup
			for range 1000 {
				wg.Go(func() {
					if p, err := d.RecentPauses(t.Context(), 2*time.Second); err != nil || len(p) != 1 || p[0].Reason != "moving disks" {
						t.Errorf("%v, %v", p, err)
					}
				})
			}
			wg.Wait()
		}
		all()
		time.Sleep(time.Second)
		all()
		if n := documents.reads.Load(); n != 1 {
			t.Errorf("%d reads within two seconds", n)
		}
		time.Sleep(2 * time.Second)
		all()
		if n := documents.reads.Load(); n != 2 {
			t.Errorf("%d reads, the last after two seconds more", n)
		}
		if _, err := d.Pauses(t.Context()); err != nil || documents.reads.Load() != 3 {
			t.Errorf("before a deletion they are read afresh: %d reads, %v", documents.reads.Load(), err)
		}

		time.Sleep(3 * time.Second)
		documents.err = errors.New("away")
		if p, err := d.RecentPauses(t.Context(), 2*time.Second); err == nil {
			t.Errorf("what was known long ago is given as recent: %v", p)
		}
		documents.err = nil
		all()
	})
}

// What another version wrote: a word that is not known, or none, makes nothing certain.
func TestStoreDeletionsOfAnUnknownWordAreReadAsUncertain(t *testing.T) {
	documents := newShared()
	const written = `[
		{"id": "a", "node": "rabbit-1", "uid": "1", "outcome": "aborted", "cause": "gone"},
		{"id": "b", "node": "rabbit-1", "uid": "1", "outcome": "aborted", "cause": "of_another_version"},
		{"id": "c", "node": "rabbit-1", "uid": "1", "outcome": "failed"},
		{"id": "d", "node": "rabbit-1", "uid": "1", "outcome": "undone", "cause": "gone"},
		{"id": "e", "node": "rabbit-1", "uid": "1"}
	]`
	if err := documents.writer().Put(t.Context(), kindDeletions, "rabbit", []byte(written)); err != nil {
		t.Fatal(err)
	}
	deletions, err := New(documents.writer()).Deletions(t.Context(), "rabbit")
	if err != nil || len(deletions) != 5 {
		t.Fatal(deletions, err)
	}
	for _, a := range deletions {
		if a.NothingDeleted() != (a.ID == "a") || (a.Outcome.Over() && a.ID > "c") {
			t.Errorf("%+v: nothing was deleted %t, over %t", a, a.NothingDeleted(), a.Outcome.Over())
		}
	}
}
