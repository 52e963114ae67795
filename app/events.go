package app

import (
	"cmp"
	"fmt"
	"sync"

	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// events tells people by Events, on the pod and on what owns it, what was decided: `kubectl describe` then explains it.
// Only the replica that leads tells.
type events struct {
	event func(n target.Node, warning bool, reason, message string)

	mu   sync.Mutex
	last map[string]map[string]lastSaid // by broker and node
}

// lastSaid is what was last said of a node.
type lastSaid struct {
	uid      string
	phase    decide.Phase
	decision decide.Decision
}

// Reconciled tells of each node that has come to another phase, and of a confirmed one that something else holds back
// now.
func (e *events) Reconciled(s remediate.Snapshot) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := make(map[string]lastSaid, len(s.Nodes))
	before := e.last[s.Target]
	for _, n := range s.Nodes {
		d := n.Decision
		t := lastSaid{uid: d.UID, phase: d.Phase, decision: d}
		was, known := before[n.Name]
		if d.Phase == decide.PhaseUnknown && was.uid == d.UID {
			t = was // it is as it was, as far as anybody can tell
		}
		now[n.Name] = t
		changed := was.uid != t.uid || was.phase != t.phase ||
			(t.phase == decide.PhaseConfirmed && !was.decision.Same(t.decision))
		first := !known || was.uid != t.uid
		if reason := t.phase.Event(); changed && reason != "" && !(first && t.phase == decide.PhaseHealthy) &&
			s.View.IsLeader == target.Yes {
			e.event(n.Node, t.phase != decide.PhaseHealthy, reason, d.Reason)
		}
	}
	if e.last == nil {
		e.last = make(map[string]map[string]lastSaid)
	}
	e.last[s.Target] = now
}

// Forget forgets what is watched no longer.
func (e *events) Forget(targetName string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.last, targetName)
}

// Deleted tells of a deletion.
func (e *events) Deleted(a decide.Deletion) {
	e.event(deletionNode(a), true, "Deleted", fmt.Sprintf("deleted by Unstuck, incident %s: %s", a.Incident, a.Why))
}

// Settled tells what became of a deletion. That one did not help is a phase, of which Reconciled tells.
func (e *events) Settled(a decide.Deletion) {
	switch a.Outcome {
	case decide.Recovered:
		n := deletionNode(a)
		if a.NewUID != "" {
			n.Name, n.UID = cmp.Or(a.NewNode, a.Node), a.NewUID
		}
		e.event(n, false, "Recovered", fmt.Sprintf("incident %s: %s", a.Incident, a.Why))
	case decide.Aborted:
		e.event(deletionNode(a), false, "NotDeleted", fmt.Sprintf("incident %s: %s", a.Incident, a.Why))
	case decide.Pending, decide.Escalated, decide.Failed, decide.Removed:
	}
}

func deletionNode(a decide.Deletion) target.Node {
	return target.Node{Target: a.Target, Name: a.Node, UID: a.UID}
}
