package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// pausesIn gives what is written about pauses in a directory.
func pausesIn(t *testing.T, path string) *Pauses {
	t.Helper()
	dir, err := NewDir(path)
	if err != nil {
		t.Fatal(err)
	}
	return NewPauses(dir)
}

// reasons gives the reasons of the pauses that are kept, as the loop reads them.
func reasons(t *testing.T, path string) (all []string) {
	t.Helper()
	pauses, err := newDirStore(t, path).Pauses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pauses {
		all = append(all, p.Reason)
	}
	return all
}

func TestPausesPauseReplacesItsMakersEarlierOneAndForgetsEndedOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := t.TempDir()
		p := pausesIn(t, path)
		pause := func(targetName, by, reason string, d time.Duration) {
			t.Helper()
			if _, err := p.Pause(t.Context(), decide.Pause{Target: targetName, By: by, Reason: reason, Until: time.Now().Add(d)}); err != nil {
				t.Fatal(err)
			}
		}
		is := func(want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, reasons(t, path)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		pause("orders", "ada", "1", time.Hour)
		pause("orders", "eve", "2", 3*time.Hour)
		pause("", "ada", "3", 3*time.Hour)
		pause("jobs", "ada", "4", 3*time.Hour)
		is("1", "2", "3", "4")
		pause("orders", "ada", "5", time.Hour)
		is("2", "3", "4", "5")
		time.Sleep(2 * time.Hour)
		is("2", "3", "4", "5")
		pause("jobs", "eve", "6", time.Hour)
		is("2", "3", "4", "6")
		for _, tc := range []struct {
			broker string
			ended  int
			left   []string
		}{{"jobs", 2, []string{"2", "3"}}, {"", 1, []string{"2"}}, {"nobody's", 0, []string{"2"}}, {"orders", 1, nil}} {
			if ended, err := p.Resume(t.Context(), tc.broker); ended != tc.ended || err != nil {
				t.Errorf("of %q ended %d: %v, want %d", tc.broker, ended, err, tc.ended)
			}
			is(tc.left...)
		}
		if kept, err := p.Pauses(t.Context()); err != nil || len(kept) != 0 {
			t.Errorf("%v: %v", kept, err)
		}
	})
}

func TestPausesResumeDoesNotCountAPauseThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pausesIn(t, t.TempDir())
		if _, err := p.Pause(t.Context(), decide.Pause{Target: "orders", Until: time.Now().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if ended, err := p.Resume(t.Context(), "orders"); ended != 0 || err != nil {
			t.Errorf("%d: %v", ended, err)
		}
	})
}

func TestPausesWithoutAnEndAreKeptUntilTheyAreEnded(t *testing.T) {
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, "pauses.json"), []byte(`[{"target": "orders", "by": "me", "reason": "for ever"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	p := pausesIn(t, path)
	if _, err := p.Pause(t.Context(), decide.Pause{Target: "orders", By: "ada", Reason: "1", Until: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"for ever", "1"}, reasons(t, path)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if ended, err := p.Resume(t.Context(), "orders"); ended != 2 || err != nil {
		t.Errorf("%d: %v", ended, err)
	}
}

func TestPausesAreKeptNoMoreThanAnybodyHasUseFor(t *testing.T) {
	p := NewPauses(newShared().writer())
	pause := func(i int) error {
		_, err := p.Pause(t.Context(), decide.Pause{Target: "orders", By: fmt.Sprint(i), Reason: fmt.Sprint(i), Until: time.Now().Add(time.Hour)})
		return err
	}
	for i := range maxPauses {
		if err := pause(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := pause(maxPauses); err == nil || !strings.Contains(err.Error(), "100") {
		t.Errorf("one too many: %v", err)
	}
	if err := pause(7); err != nil {
		t.Errorf("in place of an earlier one: %v", err)
	}
	if kept, err := p.Pauses(t.Context()); err != nil || len(kept) != maxPauses {
		t.Errorf("%d are kept: %v", len(kept), err)
	}
}

// What cannot be read may be somebody's pause: it is named, closes the guard, and is not written over.
func TestPausesNeitherIgnoreNorOverwriteAMalformedOne(t *testing.T) {
	for _, malformed := range []string{"", "{}", "null", `[{"target": "orders"`, `[{"until": "tomorrow"}]`, "[]x"} {
		path := t.TempDir()
		file := filepath.Join(path, "pauses.json")
		if err := os.WriteFile(file, []byte(malformed), 0o600); err != nil {
			t.Fatal(err)
		}
		p := pausesIn(t, path)
		_, errRead := p.Pauses(t.Context())
		_, errLoop := newDirStore(t, path).Pauses(t.Context())
		_, errResume := p.Resume(t.Context(), "orders")
		for what, err := range map[string]error{
			"read": errRead, "read by the loop": errLoop, "resume": errResume,
			"pause": func() error {
				_, err := p.Pause(t.Context(), decide.Pause{Target: "orders", Until: time.Now().Add(time.Hour)})
				return err
			}(),
		} {
			if err == nil || !strings.Contains(err.Error(), "pauses/pauses") {
				t.Errorf("%s of %q: %v, want it to name the document", what, malformed, err)
			}
		}
		if data, err := os.ReadFile(file); err != nil || string(data) != malformed {
			t.Errorf("%q has become %q: %v", malformed, data, err)
		}
	}
}

func TestPausesOfPeopleAtTheSameTimeAreAllKept(t *testing.T) {
	documents := newShared()
	until := time.Now().Add(time.Hour)
	first, second := documents.writer(), documents.writer()
	one, two := NewPauses(first), NewPauses(second)
	n := 0
	first.meantime = func() {
		if n++; n < 5 {
			if _, err := two.Pause(t.Context(), decide.Pause{By: fmt.Sprint("eve ", n), Until: until}); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := one.Pause(t.Context(), decide.Pause{By: "ada", Until: until}); err != nil {
		t.Fatal(err)
	}
	if kept, err := two.Pauses(t.Context()); err != nil || len(kept) != 5 {
		t.Errorf("%d pauses are kept, want each of %d: %v", len(kept), 5, err)
	}
	first.meantime = func() { documents.touch(kindPauses, kindPauses) }
	if _, err := one.Pause(t.Context(), decide.Pause{By: "ada", Until: until}); !errors.Is(err, target.ErrConflict) {
		t.Errorf("somebody else is always faster: %v", err)
	}
	first.meantime = nil

	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			if _, err := one.Pause(t.Context(), decide.Pause{By: fmt.Sprint(i), Until: until}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if kept, err := one.Pauses(t.Context()); err != nil || len(kept) != 5+20 {
		t.Errorf("%d pauses are kept: %v", len(kept), err)
	}
	hanging := NewPauses(first)
	hanging.writing <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := hanging.Pause(ctx, decide.Pause{}); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits for ever: %v", err)
	}
}

func TestPausesEndEndsOneByItsIDHoweverItWasWritten(t *testing.T) {
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, "pauses.json"), []byte(`[{"target": "orders", "by": "me", "reason": "for ever"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	p := pausesIn(t, path)
	added, err := p.Pause(t.Context(), decide.Pause{Target: "orders", By: "ada", Reason: "1", Until: time.Now().Add(time.Hour)})
	if err != nil || added.ID == "" {
		t.Fatalf("%+v: %v", added, err)
	}
	kept, err := p.Pauses(t.Context())
	if err != nil || len(kept) != 2 || kept[0].ID == "" || kept[0].ID == added.ID || kept[1].ID != added.ID {
		t.Fatalf("%+v: %v", kept, err)
	}
	if again, err := newDirStore(t, path).Pauses(t.Context()); err != nil || again[0].ID != kept[0].ID {
		t.Errorf("read again it is %+v: %v", again, err)
	}
	for _, c := range []struct {
		id    string
		ended int
		left  []string
	}{{"pause-0000000000", 0, []string{"for ever", "1"}}, {kept[0].ID, 1, []string{"1"}}, {kept[0].ID, 0, []string{"1"}}, {added.ID, 1, nil}} {
		if ended, err := p.End(t.Context(), c.id); ended != c.ended || err != nil {
			t.Errorf("of %s ended %d: %v, want %d", c.id, ended, err, c.ended)
		}
		if diff := cmp.Diff(c.left, reasons(t, path)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// A person copies a pause, its ID with it, and changes the rest or nothing.
func TestPausesEndEndsOneOfThoseThatWereCopied(t *testing.T) {
	path := t.TempDir()
	const text = `[{"id": "pause-1", "target": "orders", "by": "ada", "reason": "1"},
		{"id": "pause-1", "target": "jobs", "by": "ada", "reason": "2"},
		{"id": "pause-1", "target": "jobs", "by": "ada", "reason": "2"},
		{"target": "jobs", "by": "ada", "reason": "2"},
		{"id": "pause-2", "target": "jobs", "by": "eve", "reason": "3"}]`
	if err := os.WriteFile(filepath.Join(path, "pauses.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := pausesIn(t, path)
	ids := func() (all []string) {
		t.Helper()
		pauses, err := p.Pauses(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range pauses {
			all = append(all, q.ID)
		}
		return all
	}
	copied := PauseID(decide.Pause{Target: "jobs", By: "ada", Reason: "2"})
	want := []string{"pause-1", copied, copied + "-2", copied + "-3", "pause-2"}
	if diff := cmp.Diff(want, ids()); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	for _, id := range []string{copied, "pause-1", copied + "-2", "pause-2"} {
		if ended, err := p.End(t.Context(), id); ended != 1 || err != nil {
			t.Errorf("%s: ended %d, %v; want 1", id, ended, err)
		}
	}
	if diff := cmp.Diff([]string{copied + "-3"}, ids()); diff != "" {
		t.Errorf("the others keep theirs (-want +got):\n%s", diff)
	}
}
