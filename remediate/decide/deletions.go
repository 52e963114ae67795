package decide

import (
	"fmt"
	"slices"
	"time"

	"github.com/cjworkbench/unstuck/clock"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// settle gives the deletions with the outcome of those under way.
func settle(s State, o Observation, p Policy, now time.Time) []Deletion {
	kept := make([]Deletion, 0, len(s.Deletions))
	for _, a := range s.Deletions {
		if o.Obstacle.ends(a) {
			a = s.ended(a, *o.Obstacle, now)
		} else if a.Outcome == Pending || a.Outcome == Escalated || a.Outcome == Failed {
			if p.App {
				a = a.settledApp(s, o.View, p, now)
			}
			if a.Outcome != Recovered {
				a = a.settled(s.Nodes[a.Node], o.View, p, now)
			}
		}
		if !a.Outcome.Over() || now.Sub(a.At) < 24*time.Hour || now.Sub(a.Settled) < p.Cooldown {
			kept = append(kept, a)
		}
	}
	return kept
}

// cured gives the result that shows whether the node does again what it did not do before it was deleted: a probe of
// the kind that failed, which began after the deletion. A round trip is no cure without a login, nor the other way
// round.
func (a Deletion) cured(n NodeState, p Policy) (r probe.Result, ok bool) {
	kinds := []probe.Kind{p.LivenessKind()}
	if a.Probe != "" && a.Probe != p.LivenessKind() {
		kinds = append(kinds, a.Probe)
	}
	for _, kind := range kinds {
		if r = n.Latest[kind]; !HasAnswered(r) || n.UID == a.UID && !r.Started.After(a.At) {
			return r, false
		}
	}
	return r, true
}

// Cure says what the new node must do for the deletion to have helped, to follow its name.
func (a Deletion) Cure(p Policy) string {
	if a.Probe.Role() == probe.Work {
		return "answers round trips"
	}
	return p.HealthyPhrase()
}

func (a Deletion) settled(n NodeState, v target.View, p Policy, now time.Time) Deletion {
	latest, cured := a.cured(n, p)
	switch {
	case cured && n.UID != a.UID:
		a.Outcome, a.Settled, a.NewUID, a.Why = Recovered, latest.Ended(), n.UID, "the new node "+a.Cure(p)
	case a.Outcome == Failed: // until somebody else has the node replaced
	case cured && now.Sub(a.At) > p.GracePeriod+p.ResultTTL && terminating(v, a) == target.No:
		a.Outcome, a.Settled, a.Why = Aborted, now, "the node was not deleted, and "+a.Cure(p)+" again"
	case a.Outcome == Pending && a.Accepted.IsZero() && !cured &&
		v.At.Sub(a.At) >= min(unconfirmedFor, p.RecoveryTimeout) && terminating(v, a) == target.No:
		a.Outcome, a.Settled = Aborted, now
		if a.RequestError != "" {
			a.Outcome, a.Why, a.Cause = Failed, a.RequestFailed(), target.CauseStillThere
		} else {
			a.Why = "it was never asked for: the node is still there, and does not terminate"
		}
	case now.Sub(a.At) >= p.RecoveryTimeout && !p.App && a.outgrown(v, p, now):
		a.Outcome, a.Settled, a.Why = Removed, now, "no new node has appeared, and none is missing"
	case a.Outcome == Pending && now.Sub(a.At) >= p.RecoveryTimeout:
		a.Outcome, a.Settled, a.Why = Escalated, now, a.notCured(n, latest, p)
	}
	return a
}

// notCured says why the deletion has not helped in time. The result is the latest of the kind that must succeed.
func (a Deletion) notCured(n NodeState, latest probe.Result, p Policy) string {
	switch {
	case a.RequestError != "" && n.UID == a.UID:
		return a.RequestFailed()
	case n.UID == "" && p.App:
		return "not all pods that there should be write"
	case n.UID == "":
		return "no new node has appeared"
	case n.UID == a.UID:
		return "the old node is still there, its grace has passed"
	case latest.Reason == "":
		return "the new node has not been probed in the way that failed before"
	}
	return fmt.Sprintf("the new node is there, and what failed before does not succeed: %s", phrase(latest))
}

// RequestFailed says why asking for the delete failed, after RequestError.
func (a Deletion) RequestFailed() string { return "the delete failed: " + a.RequestError }

// unconfirmedFor is how long after it was decided a deletion that is not known to have been asked for may still show.
// Our own request ends after 30 s, and an API server's after 60 by default.
const unconfirmedFor = 2 * time.Minute

// unconfirmed says whether n is to be deleted by a, and it is not known whether that has been asked for.
func (a Deletion) unconfirmed(n target.Node) bool {
	return a.Outcome == Pending && a.Accepted.IsZero() && a.Node == n.Name && a.UID == n.UID && n.Terminating != target.Yes
}

// outgrown says whether the broker has as many nodes as it should have without a's.
func (a Deletion) outgrown(v target.View, p Policy, now time.Time) bool {
	return clock.Elapsed(v.At, now) <= p.ResultTTL && now.Sub(v.At) > -p.ResultTTL && v.Expected > 0 &&
		len(v.Nodes) == v.Expected &&
		!slices.ContainsFunc(v.Nodes, func(n target.Node) bool { return n.Name == a.Node })
}

func terminating(v target.View, a Deletion) target.Answer {
	for _, n := range v.Nodes {
		if n.Name == a.Node && n.UID == a.UID {
			return n.Terminating
		}
	}
	return target.CannotTell
}

const (
	// lastingRefusals is how many deletions of a node may be refused for the same reason before a person is asked for.
	lastingRefusals = 3
	// refusedFor is how long nothing is tried then.
	refusedFor = time.Hour
)

// NothingDeleted says whether nothing was deleted, for certain. Of a cause that is not known it is not certain.
func (a Deletion) NothingDeleted() bool {
	if a.Cause == "" {
		return a.Outcome == Aborted
	}
	return a.Cause.Known() && (a.Outcome == Aborted || a.Outcome == Failed)
}

// ends says whether nothing comes of a any more because of o.
func (o *Obstacle) ends(a Deletion) bool {
	return o != nil && o.Deletion != "" && o.Deletion == a.ID && o.Cause.Known() && a.Outcome == Pending &&
		a.Accepted.IsZero()
}

// passes says of a cause that it is gone with the next try: another replica has taken over, or we were too slow.
func passes(c target.Cause) bool { return c == target.CauseOvertaken || c == target.CauseLate }

// saysNothing says of a deletion that came to nothing that it tells nothing of what holds the node: its cause passes,
// or only its intent is known, for the replica was stopped.
func (a Deletion) saysNothing() bool {
	return passes(a.Cause) || (a.Cause == "" && a.Outcome == Aborted)
}

// ended settles a, which o ends. What is refused again and again for the same reason, one time after the other, has
// failed: a person must look, and it is tried more seldom.
func (s State) ended(a Deletion, o Obstacle, now time.Time) Deletion {
	a.Outcome, a.Settled, a.Cause, a.About, a.Why = Aborted, now, o.Cause, o.About, o.Cause.Sentence(o.Detail)
	if passes(o.Cause) {
		return a
	}
	same, since := 1, now
	for _, b := range slices.Backward(s.Deletions) {
		if b.ID == a.ID || b.UID != a.UID || b.saysNothing() {
			continue
		}
		// What a guard is about may pass, and come again as something else: of that it must be the same, too.
		alike := b.NothingDeleted() && b.Cause == a.Cause && (guardOf(a.Cause) == "" || b.About == a.About)
		if !alike || since.Sub(b.Settled) > 2*refusedFor { // it had passed in between
			break
		}
		same, since = same+1, b.Settled
	}
	if same >= lastingRefusals {
		a.Outcome = Failed
	}
	return a
}
