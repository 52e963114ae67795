package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

func newDirStore(t *testing.T, path string) *Store {
	t.Helper()
	dir, err := NewDir(path)
	if err != nil {
		t.Fatal(err)
	}
	return New(dir)
}

func TestDirGivesBackWhatWasSaved(t *testing.T) {
	d := newDirStore(t, t.TempDir())
	deletion := decide.Deletion{ID: "x", Target: "b", Node: "n", UID: "u", Incident: "x", At: epoch, Outcome: decide.Recovered, Settled: epoch, NewUID: "v"}
	c := Incident{
		ID: "x", Target: "b", Node: "n", UID: "u", Opened: epoch, Outcome: "recovered", Deletion: &deletion,
		Decision: decide.Decision{Target: "b", Node: "n", At: epoch, Phase: decide.PhaseConfirmed, Status: probe.Stuck, Guards: []decide.GuardState{{Guard: decide.GuardPeers, Open: true, Why: "w"}}},
		Results:  []probe.Result{{Kind: probe.Login, Reason: probe.AwaitTune, Stage: probe.StageTune, Started: epoch, Took: 12 * time.Second}},
		Logs:     []target.LogLine{{At: epoch, Text: "line"}}, Events: []Event{{At: epoch, Text: "first"}},
	}
	if err := d.SaveIncident(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := d.SaveDeletions(t.Context(), "b", []decide.Deletion{deletion}); err != nil {
		t.Fatal(err)
	}
	incidents, err := d.Incidents(t.Context())
	if diff := cmp.Diff([]Incident{c}, incidents); err != nil || diff != "" {
		t.Error(err, diff)
	}
	deletions, err := d.Deletions(t.Context(), "b")
	if diff := cmp.Diff([]decide.Deletion{deletion}, deletions); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if deletions, err := d.Deletions(t.Context(), "another"); err != nil || len(deletions) > 0 {
		t.Error(deletions, err)
	}
}

func TestDirKeepsABoundedNumberOfIncidentsAndEveryOpenOne(t *testing.T) {
	d := newDirStore(t, t.TempDir())
	for i := range keptIncidents + 20 {
		c := Incident{ID: fmt.Sprintf("incident-%04d", i), Opened: epoch.Add(time.Duration(i) * time.Minute), Closed: epoch}
		if i == 3 {
			c.Closed = time.Time{}
		}
		if err := d.SaveIncident(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	incidents, err := d.Incidents(t.Context())
	if err != nil || len(incidents) != keptIncidents || incidents[0].ID != fmt.Sprintf("incident-%04d", keptIncidents+19) || incidents[keptIncidents-1].ID != "incident-0003" {
		t.Errorf("%d incidents, from %s to %s: %v", len(incidents), incidents[0].ID, incidents[len(incidents)-1].ID, err)
	}
}

func TestDirNamesADocumentThatCannotBeReadWhichCostsOnlyItself(t *testing.T) {
	path := t.TempDir()
	d := newDirStore(t, path)
	if err := d.SaveIncident(t.Context(), Incident{ID: "good", Target: "b", Opened: epoch}); err != nil {
		t.Fatal(err)
	}
	if err := d.SaveDeletions(t.Context(), "good", []decide.Deletion{{ID: "a"}}); err != nil {
		t.Fatal(err)
	}
	write := func(file, text string) {
		if err := os.WriteFile(filepath.Join(path, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"deletions/b.json", "incidents/torn.json", "pauses.json"} {
		write(file, `{"truncated`)
	}
	write("incidents/empty.json", "")
	write("incidents/copy.json", `{"id": "good"}`)
	write("incidents/huge.json", strings.Repeat(" ", maxFile+1))
	write("deletions/huge.json", strings.Repeat(" ", maxFile+1))
	for _, pipe := range []string{"incidents/pipe.json", "deletions/pipe.json"} {
		if err := syscall.Mkfifo(filepath.Join(path, pipe), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, errPauses := d.Pauses(t.Context())
	errs := map[string]error{"pauses/pauses": errPauses}
	for _, targetName := range []string{"b", "huge", "pipe"} {
		_, errs["deletions/"+targetName] = d.Deletions(t.Context(), targetName)
	}
	for want, err := range errs {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %s in it", err, want)
		}
	}
	if deletions, err := d.Deletions(t.Context(), "good"); err != nil || len(deletions) != 1 {
		t.Errorf("the deletions in a good one are %v: %v", deletions, err)
	}
	incidents, err := d.Incidents(t.Context())
	if err != nil || len(incidents) != 6 || incidents[0].ID != "good" {
		t.Fatalf("%d incidents: %v", len(incidents), err)
	}
	for _, c := range incidents[1:] {
		if c.Outcome != Unreadable || len(c.Missing) != 1 || !strings.Contains(c.Missing[0], "incidents/"+c.ID) {
			t.Errorf("%+v, want it to say that it cannot be read, and why", c)
		}
	}
	for _, id := range []string{"../evil", "", ".hidden", "a/b"} {
		if err := d.SaveIncident(t.Context(), Incident{ID: id}); err == nil {
			t.Errorf("an incident of the ID %q was saved", id)
		}
	}
}
