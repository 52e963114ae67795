package app

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// listening gives events that write down what they tell.
func listening() (*events, func() []string) {
	var heard []string
	e := &events{event: func(n target.Node, warning bool, reason, message string) {
		kind := "normal"
		if warning {
			kind = "warning"
		}
		heard = append(heard, fmt.Sprintf("%s/%s %s %s: %s", n.Name, n.UID, kind, reason, message))
	}}
	return e, func() []string {
		h := heard
		heard = nil
		return h
	}
}

// reconciled is a reconcile at which the one node of the broker b has come to a phase.
func reconciled(isLeader target.Answer, uid string, phase decide.Phase, reason string) remediate.Snapshot {
	n := remediate.NodeSnapshot{Node: target.Node{Target: "b", Name: "n", UID: uid}}
	n.Decision = decide.Decision{Node: "n", UID: uid, Phase: phase, Reason: reason}
	if guard, ok := strings.CutPrefix(reason, "held back by "); ok {
		guard, _, _ = strings.Cut(guard, ":")
		n.Decision.Basis.Ground = decide.GroundGuards
		n.Decision.Guards = []decide.GuardState{{Guard: decide.Guard(guard)}}
	}
	return remediate.Snapshot{Target: "b", View: target.View{IsLeader: isLeader}, Nodes: []remediate.NodeSnapshot{n}}
}

func TestEventsTellWhatChangedAndNothingTwice(t *testing.T) {
	e, heard := listening()
	steps := []struct {
		name   string
		leads  target.Answer
		uid    string
		phase  decide.Phase
		reason string
		want   []string
	}{
		{"a node that was healthy from the beginning", target.Yes, "1", decide.PhaseHealthy, "accepts logins", nil},
		{"suspect", target.Yes, "1", decide.PhaseSuspect, "1 of 3", []string{"n/1 warning SuspectedStuck: 1 of 3"}},
		{"still suspect", target.Yes, "1", decide.PhaseSuspect, "2 of 3", nil},
		{"cannot tell", target.Yes, "1", decide.PhaseUnknown, "?", nil},
		{"suspect as before", target.Yes, "1", decide.PhaseSuspect, "2 of 3", nil},
		{"confirmed", target.Yes, "1", decide.PhaseConfirmed, "held back by a", []string{"n/1 warning Stuck: held back by a"}},
		{"held back by something else", target.Yes, "1", decide.PhaseConfirmed, "held back by b", []string{"n/1 warning Stuck: held back by b"}},
		{"the same again", target.Yes, "1", decide.PhaseConfirmed, "held back by b", nil},
		{"the same in other words", target.Yes, "1", decide.PhaseConfirmed, "held back by b: 2 of 3", nil},
		{"deleted", target.Yes, "1", decide.PhaseRecovering, "deleted", nil},
		{"the new one is healthy", target.Yes, "2", decide.PhaseHealthy, "accepts logins", nil},
		{"faulty", target.Yes, "2", decide.PhaseFaulty, "alarm", []string{"n/2 warning Faulty: alarm"}},
		{"healthy again", target.Yes, "2", decide.PhaseHealthy, "accepts logins", []string{"n/2 normal Healthy: accepts logins"}},
		{"another replica leads", target.No, "2", decide.PhaseSuspect, "1 of 3", nil},
		{"nobody knows who leads", target.CannotTell, "2", decide.PhaseConfirmed, "held back", nil},
		{"a new one begins badly", target.Yes, "3", decide.PhaseEscalated, "not back", []string{"n/3 warning NotRecovered: not back"}},
	}
	for _, s := range steps {
		e.Reconciled(reconciled(s.leads, s.uid, s.phase, s.reason))
		if diff := cmp.Diff(s.want, heard()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
	}
}

func TestEventsForgetWhatIsWatchedNoLonger(t *testing.T) {
	e, heard := listening()
	e.Reconciled(reconciled(target.Yes, "1", decide.PhaseSuspect, "1 of 3"))
	heard()
	e.Forget("b")
	if len(e.last) > 0 {
		t.Errorf("remembered: %v", e.last)
	}
	e.Reconciled(reconciled(target.Yes, "1", decide.PhaseSuspect, "1 of 3"))
	if all := heard(); len(all) != 1 {
		t.Errorf("told once it is watched again: %q", all)
	}
}

func TestEventsTellOfADeletionAndOfItsOutcome(t *testing.T) {
	e, heard := listening()
	a := decide.Deletion{Target: "b", Node: "n", UID: "1", Incident: "c", Why: "stuck"}
	e.Deleted(a)
	for _, outcome := range []decide.Outcome{decide.Recovered, decide.Aborted, decide.Escalated} {
		a.Outcome, a.NewUID, a.Why = outcome, "2", "because"
		e.Settled(a)
	}
	want := []string{
		"n/1 warning Deleted: deleted by Unstuck, incident c: stuck",
		"n/2 normal Recovered: incident c: because",
		"n/1 normal NotDeleted: incident c: because",
	}
	if diff := cmp.Diff(want, heard()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEventsTellOfEveryPhaseOrHaveAReasonForNone(t *testing.T) {
	for _, p := range decide.Phases() {
		if p.Event() == "" && p != decide.PhaseUnknown && p != decide.PhaseRecovering {
			t.Errorf("nothing is told of the phase %s", p)
		}
	}
}
