package remediate

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/probe"
)

func TestADirGivesBackWhatWasSaved(t *testing.T) {
	d, err := NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	act := Act{ID: "x", Broker: "b", Node: "n", UID: "u", Case: "x", At: epoch, Outcome: Recovered, Settled: epoch, NewUID: "v"}
	c := Case{
		ID: "x", Broker: "b", Node: "n", UID: "u", Opened: epoch, Outcome: "recovered", Act: &act,
		Decision: Decision{Broker: "b", Node: "n", At: epoch, Phase: Confirmed, Status: probe.Stuck, Guards: []GuardState{{Guard: GuardPeers, Open: true, Why: "w"}}},
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
	d, err := NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
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

func TestADirNamesTheFileThatItCannotRead(t *testing.T) {
	path := t.TempDir()
	d, err := NewDir(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"acts/b.json", "cases/c.json", "pauses.json"} {
		if err := os.WriteFile(filepath.Join(path, file), []byte(`{"truncated`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, errActs := d.Acts(t.Context(), "b")
	_, errCases := d.Cases(t.Context())
	_, errPauses := d.Pauses(t.Context())
	for want, err := range map[string]error{"acts/b.json": errActs, "cases/c.json": errCases, "pauses.json": errPauses} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %s in it", err, want)
		}
	}
	for _, id := range []string{"../evil", "", ".hidden", "a/b"} {
		if err := d.SaveCase(t.Context(), Case{ID: id}); err == nil {
			t.Errorf("a case of the ID %q was saved", id)
		}
	}
}
