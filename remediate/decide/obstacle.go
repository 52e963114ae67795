package decide

import (
	"github.com/cjworkbench/unstuck/target"
)

// guardOf gives the guard that is closed by what keeps a node from being deleted; empty: none is about that.
func guardOf(c target.Cause) Guard {
	switch c {
	case target.CauseOperation, target.CauseLock:
		return GuardOperation
	case target.CauseNotLeader:
		return GuardNotLeader
	case target.CauseNoController:
		return GuardNoController
	case target.CauseDisruptionBudget:
		return GuardDisruptionBudget
	case target.CausePeers:
		return GuardPeers
	case target.CauseRestarted, target.CauseTerminating, target.CauseEnded, target.CauseNotSelected, target.CauseSource,
		target.CauseRollout, target.CauseCannotTell, target.CauseLastLook:
		return GuardRollout
	case target.CauseGone, target.CauseChanged, target.CauseGrace, target.CauseNotLabeled, target.CauseNotAllowed,
		target.CauseRejected, target.CauseStillThere, target.CauseIncident, target.CauseOtherIncident,
		target.CauseIntent, target.CauseLate, target.CauseOvertaken:
	}
	return ""
}

// closes says whether o closes g for n: what is the same for every node of the broker it closes for every node.
func (o *Obstacle) closes(g guard, n target.Node) bool {
	return o != nil && guardOf(o.Cause) == g.Guard && (g.wide || o.about(n))
}

// about says whether n is the node that was not deleted.
func (o *Obstacle) about(n target.Node) bool { return o.Node == n.Name && o.UID == n.UID }

// text says what o is.
func (o *Obstacle) text() string { return o.Cause.Sentence(o.Detail) }

// HeldFor gives the guard by which o holds back the deletion that d decides, as a *HeldError; nil if it closes none.
// Nobody may override it, whatever guard it is: it is the world that says so.
func (d Decision) HeldFor(o Obstacle) error {
	g := guardOf(o.Cause)
	for _, state := range d.Guards {
		if g != "" && state.Guard == g && !state.Open {
			return &HeldError{Closed: []GuardState{state}, Fixed: []Guard{g}}
		}
	}
	return nil
}
