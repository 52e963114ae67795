package workload

import (
	gocmp "cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// wordsFor gives, as the document has them, the words of Kubernetes for a trouble.
func wordsFor(why Trouble) string {
	var parts []string
	for _, in := range Sources() {
		var words []string
		for _, c := range Causes() {
			if c.Source == in && c.Why == why {
				words = append(words, "`"+c.Reason+"`")
			}
		}
		if words != nil {
			parts = append(parts, string(in)+" "+strings.Join(words, ", "))
		}
	}
	return gocmp.Or(strings.Join(parts, "; "), "nothing of its own")
}

func TestCausesAreThoseOfTheDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/triggers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "\n| why | what it means | what Kubernetes says | what to do |\n|---|---|---|---|\n")
	if !ok {
		t.Fatal("docs/triggers.md has no table of causes")
	}
	var want, got []string
	for _, why := range Troubles() {
		want = append(want, fmt.Sprintf("%#q: %s", why, wordsFor(why)))
	}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if !strings.HasPrefix(line, "|") {
			break
		}
		if len(cells) != 4 || slices.Contains(cells, "") || cells[3] == " |" {
			t.Errorf("want four cells, none empty: %s", line)
			continue
		}
		got = append(got, strings.TrimPrefix(cells[0], "| ")+": "+cells[2])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/triggers.md is not what the code says (- code, + document):\n%s", diff)
	}
}

func TestCausesNameEachSourceAndReasonOnceAndATroubleOfTheList(t *testing.T) {
	seen := make(map[[2]string]bool)
	for _, c := range Causes() {
		key := [2]string{string(c.Source), c.Reason}
		if seen[key] || !slices.Contains(Sources(), c.Source) || !slices.Contains(Troubles(), c.Why) || c.Reason == "" {
			t.Errorf("%+v", c)
		}
		seen[key] = true
	}
}

// Each cause of the table is told wherever it is the only thing that is known.
func TestCausesAreWhatADiagnosisSays(t *testing.T) {
	for _, c := range Causes() {
		app := ContainerState{Name: "app", Waiting: "ContainerCreating"}
		p := Pod{Name: "x", Phase: "Pending", Updated: true}
		d := Workload{}
		switch c.Source {
		case InPod:
			p.Phase, p.Reason, app = "Failed", c.Reason, ContainerState{Name: "app", Ended: true, LastExit: 137, LastReason: "Error"}
		case InCondition:
			p.Terminating = c.Reason == "DisruptionTarget"
			p.Conditions = []Condition{{Type: c.Reason, Status: map[bool]string{true: "True", false: "False"}[p.Terminating]}}
		case InWaiting:
			app.Waiting = c.Reason
		case InEnd:
			p.Phase, app = "Running", ContainerState{Name: "app", Ended: true, LastExit: 137, LastReason: c.Reason}
		case InEvent:
			p.Events = []string{c.Reason + ": Liveness probe failed"}
			if c.Reason == "Unhealthy" || c.Reason == "FailedPostStartHook" {
				app.Waiting = "CrashLoopBackOff"
			}
		case InOwner:
			d.Conditions = []Condition{{Type: c.Reason, Status: "True", Message: "words"}}
			if c.Reason == "ReplicaSetCreateError" {
				d.Conditions[0] = Condition{Type: "Progressing", Status: "False", Reason: c.Reason, Message: "words"}
			}
		}
		if p.Containers = []ContainerState{app}; c.Source != InOwner {
			d.Pods = []Pod{p}
		}
		got, _ := DiagnoseRollout(d, time.Time{})
		if p.Terminating { // a rollout has no use for it
			got, _ = DiagnosePods([]Pod{p})
		}
		if got.Why != c.Why {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
