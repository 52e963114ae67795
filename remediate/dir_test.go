package remediate

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
)

func newDirStore(t *testing.T, path string) *Documents {
	t.Helper()
	dir, err := NewDir(path)
	if err != nil {
		t.Fatal(err)
	}
	return NewStore(dir)
}

func TestADirGivesBackWhatWasSaved(t *testing.T) {
	d := newDirStore(t, t.TempDir())
	act := Act{ID: "x", Broker: "b", Node: "n", UID: "u", Case: "x", At: epoch, Outcome: Recovered, Settled: epoch, NewUID: "v"}
	c := Case{
		ID: "x", Broker: "b", Node: "n", UID: "u", Opened: epoch, Outcome: "recovered", Act: &act,
		Decision: Decision{Broker: "b", Node: "n", At: epoch, Phase: PhaseConfirmed, Status: probe.Stuck, Guards: []GuardState{{Guard: GuardPeers, Open: true, Why: "w"}}},
		Results:  []probe.Result{{Kind: probe.Login, Reason: probe.AwaitTune, Stage: probe.StageTune, Started: epoch, Took: 12 * time.Second}},
		Logs:     []probe.LogLine{{At: epoch, Text: "line"}}, Events: []Event{{At: epoch, Text: "first"}},
	}
	if err := d.SaveCase(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := d.SaveActs(t.Context(), "b", []Act{act}); err != nil {
		t.Fatal(err)
	}
	cases, err := d.Cases(t.Context())
	if diff := cmp.Diff([]Case{c}, cases); err != nil || diff != "" {
		t.Error(err, diff)
	}
	acts, err := d.Acts(t.Context(), "b")
	if diff := cmp.Diff([]Act{act}, acts); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if acts, err := d.Acts(t.Context(), "another"); err != nil || len(acts) > 0 {
		t.Error(acts, err)
	}
}

func TestADirKeepsABoundedNumberOfCasesAndEveryOpenOne(t *testing.T) {
	d := newDirStore(t, t.TempDir())
	for i := range keptCases + 20 {
		c := Case{ID: fmt.Sprintf("case-%04d", i), Opened: epoch.Add(time.Duration(i) * time.Minute), Closed: epoch}
		if i == 3 {
			c.Closed = time.Time{}
		}
		if err := d.SaveCase(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	cases, err := d.Cases(t.Context())
	if err != nil || len(cases) != keptCases || cases[0].ID != fmt.Sprintf("case-%04d", keptCases+19) || cases[keptCases-1].ID != "case-0003" {
		t.Errorf("%d cases, from %s to %s: %v", len(cases), cases[0].ID, cases[len(cases)-1].ID, err)
	}
}

func TestADocumentThatCannotBeReadIsNamedAndCostsOnlyItself(t *testing.T) {
	path := t.TempDir()
	d := newDirStore(t, path)
	if err := d.SaveCase(t.Context(), Case{ID: "good", Broker: "b", Opened: epoch}); err != nil {
		t.Fatal(err)
	}
	if err := d.SaveActs(t.Context(), "good", []Act{{ID: "a"}}); err != nil {
		t.Fatal(err)
	}
	write := func(file, text string) {
		if err := os.WriteFile(filepath.Join(path, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"acts/b.json", "cases/torn.json", "pauses.json"} {
		write(file, `{"truncated`)
	}
	write("cases/empty.json", "")
	write("cases/copy.json", `{"id": "good"}`)
	write("cases/huge.json", strings.Repeat(" ", maxFile+1))
	write("acts/huge.json", strings.Repeat(" ", maxFile+1))
	for _, pipe := range []string{"cases/pipe.json", "acts/pipe.json"} {
		if err := syscall.Mkfifo(filepath.Join(path, pipe), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, errPauses := d.Pauses(t.Context())
	errs := map[string]error{"pauses/pauses": errPauses}
	for _, broker := range []string{"b", "huge", "pipe"} {
		_, errs["acts/"+broker] = d.Acts(t.Context(), broker)
	}
	for want, err := range errs {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %s in it", err, want)
		}
	}
	if acts, err := d.Acts(t.Context(), "good"); err != nil || len(acts) != 1 {
		t.Errorf("the acts upon a good one are %v: %v", acts, err)
	}
	cases, err := d.Cases(t.Context())
	if err != nil || len(cases) != 6 || cases[0].ID != "good" {
		t.Fatalf("%d cases: %v", len(cases), err)
	}
	for _, c := range cases[1:] {
		if c.Outcome != outcomeUnreadable || len(c.Missing) != 1 || !strings.Contains(c.Missing[0], "cases/"+c.ID) {
			t.Errorf("%+v, want it to say that it cannot be read, and why", c)
		}
	}
	for _, id := range []string{"../evil", "", ".hidden", "a/b"} {
		if err := d.SaveCase(t.Context(), Case{ID: id}); err == nil {
			t.Errorf("a case of the ID %q was saved", id)
		}
	}
}
