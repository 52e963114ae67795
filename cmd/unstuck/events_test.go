package main

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate"
)

// listening gives events that write down what they tell.
func listening() (*events, func() []string) {
	var heard []string
	e := &events{event: func(n probe.Node, warning bool, reason, message string) {
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
func reconciled(isLeader probe.Answer, uid string, phase remediate.Phase, reason string) remediate.Snapshot {
	n := remediate.NodeSnapshot{Node: probe.Node{Target: "b", Name: "n", UID: uid}}
	n.Decision = remediate.Decision{Node: "n", UID: uid, Phase: phase, Reason: reason}
	return remediate.Snapshot{Target: "b", View: probe.View{IsLeader: isLeader}, Nodes: []remediate.NodeSnapshot{n}}
}

func TestEventsTellWhatChangedAndNothingTwice(t *testing.T) {
	e, heard := listening()
	steps := []struct {
		name   string
		leads  probe.Answer
		uid    string
		phase  remediate.Phase
		reason string
		want   []string
	}{
		{"a node that was healthy from the beginning", probe.Yes, "1", remediate.PhaseHealthy, "accepts logins", nil},
		{"suspect", probe.Yes, "1", remediate.PhaseSuspect, "1 of 3", []string{"n/1 warning SuspectedStuck: 1 of 3"}},
		{"still suspect", probe.Yes, "1", remediate.PhaseSuspect, "2 of 3", nil},
		{"cannot tell", probe.Yes, "1", remediate.PhaseUnknown, "?", nil},
		{"suspect as before", probe.Yes, "1", remediate.PhaseSuspect, "2 of 3", nil},
		{"confirmed", probe.Yes, "1", remediate.PhaseConfirmed, "held back by a", []string{"n/1 warning Stuck: held back by a"}},
		{"held back by something else", probe.Yes, "1", remediate.PhaseConfirmed, "held back by b", []string{"n/1 warning Stuck: held back by b"}},
		{"the same again", probe.Yes, "1", remediate.PhaseConfirmed, "held back by b", nil},
		{"deleted", probe.Yes, "1", remediate.PhaseRecovering, "deleted", nil},
		{"the new one is healthy", probe.Yes, "2", remediate.PhaseHealthy, "accepts logins", nil},
		{"faulty", probe.Yes, "2", remediate.PhaseFaulty, "alarm", []string{"n/2 warning Faulty: alarm"}},
		{"healthy again", probe.Yes, "2", remediate.PhaseHealthy, "accepts logins", []string{"n/2 normal Healthy: accepts logins"}},
		{"another replica leads", probe.No, "2", remediate.PhaseSuspect, "1 of 3", nil},
		{"nobody knows who leads", probe.CannotTell, "2", remediate.PhaseConfirmed, "held back", nil},
		{"a new one begins badly", probe.Yes, "3", remediate.PhaseEscalated, "not back", []string{"n/3 warning NotRecovered: not back"}},
	}
	for _, s := range steps {
		e.Reconciled(reconciled(s.leads, s.uid, s.phase, s.reason))
		if diff := cmp.Diff(s.want, heard()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
	}
}

func TestEventsTellOfADeletionAndOfItsOutcome(t *testing.T) {
	e, heard := listening()
	a := remediate.Deletion{Target: "b", Node: "n", UID: "1", Incident: "c", Why: "stuck"}
	e.Deleted(a)
	for _, outcome := range []remediate.Outcome{remediate.Recovered, remediate.Aborted, remediate.Escalated} {
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

func TestEveryPhaseHasAnEventOrAReasonForNone(t *testing.T) {
	for _, p := range remediate.Phases() {
		if p.Event() == "" && p != remediate.PhaseUnknown && p != remediate.PhaseRecovering {
			t.Errorf("nothing is told of the phase %s", p)
		}
	}
}
