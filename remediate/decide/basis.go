package decide

import (
	"slices"
	"time"

	"github.com/cjworkbench/unstuck/clock"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// Basis is what a decision rests on, as values of closed lists: what its Reason says in a sentence.
type Basis struct {
	Ground  Ground       `json:"ground,omitempty"`
	Probe   probe.Kind   `json:"probe,omitempty"`   // whose finding says how the node is; empty: none does
	Finding probe.Reason `json:"finding,omitempty"` // of that probe; empty: there was none, or it is too old
	Cause   target.Cause `json:"cause,omitempty"`   // of what has kept the deletion from being done
}

// Ground is why a node is deleted or not.
type Ground string

// The grounds.
const (
	GroundPhase    Ground = "phase"            // the node is not confirmed stuck
	GroundUntold   Ground = "not_stuck_now"    // the latest probe of a confirmed node does not tell
	GroundGuards   Ground = "guards"           // guards are closed
	GroundRequest  Ground = "delete_request"   // the deletion of another node was asked for by a person
	GroundAnother  Ground = "another_deletion" // another node of the broker is deleted first
	GroundObstacle Ground = "obstacle"         // the deletion was tried, and could not be done
	GroundProved   Ground = "proved"           // it is confirmed stuck, and every guard is open
	GroundManual   Ground = "manual"           // a person asked for it, and no guard is closed that is not overridden
)

// Grounds lists every Ground.
func Grounds() []Ground {
	return []Ground{
		GroundPhase, GroundUntold, GroundGuards, GroundRequest, GroundAnother, GroundObstacle, GroundProved, GroundManual,
	}
}

// Same says whether d and e say the same about the same node, perhaps in other numbers and times.
func (d Decision) Same(e Decision) bool {
	mine, theirs := d.Evidence, e.Evidence
	return d.Target == e.Target && d.Node == e.Node && d.UID == e.UID && d.Started.Equal(e.Started) &&
		d.Status == e.Status && d.Phase == e.Phase && d.Action == e.Action && d.Basis == e.Basis &&
		mine.Kind == theirs.Kind && mine.Enough == theirs.Enough && mine.Corroboration == theirs.Corroboration &&
		(d.Basis.Ground != GroundGuards || slices.Equal(d.HeldBy(), e.HeldBy()))
}

// heard is what was last heard of a node: a probe's finding, and when that ended. Zero: the node was not probed yet.
type heard struct {
	kind   probe.Kind
	reason probe.Reason // empty: it is too old
	ended  time.Time
}

func heardOf(r probe.Result) heard { return heard{r.Kind, r.Reason, r.Ended()} }

// text is one phrase for people.
func (h heard) text(now time.Time) string {
	switch {
	case h.kind == "":
		return "not probed yet"
	case h.reason == "":
		return "not probed since " + timeOfDay(h.ended, now)
	}
	return string(h.kind) + " " + string(h.reason)
}

// accepts is how the node is by its logins alone, or by what an application has instead, and what was heard. It is what
// the other nodes of a broker are asked: neither an alarm nor a channel that hangs keeps a node from serving.
func (n NodeState) accepts(p Policy, now time.Time) (probe.Status, heard) {
	login := n.Latest[p.LivenessKind()]
	switch {
	case login.Reason == "":
		return probe.Unknown, heard{}
	case clock.Elapsed(login.Ended(), now) > p.ResultTTL, now.Sub(login.Ended()) < -p.ResultTTL:
		return probe.Unknown, heard{kind: login.Kind, ended: login.Ended()}
	}
	return login.Status(), heardOf(login)
}

// health is how the node is by all that is known of it, and what says so. A broker's silent log is left out: it says
// nothing about whether the node accepts logins. So is what maybe_stuck shows of processes that wait for others.
func (n NodeState) health(p Policy, now time.Time) (probe.Status, heard) {
	status, why := n.accepts(p, now)
	if status != probe.Healthy {
		return status, why
	}
	login, look := n.Latest[p.LivenessKind()], n.Latest[probe.MaybeStuck]
	for _, kind := range workKinds {
		trip := n.Latest[kind]
		// A round trip that got no further than the login says no more than the login since then.
		outdated := trip.Stage <= probe.StageOpen && login.Started.After(trip.Ended())
		if (trip.Status() == probe.Stuck || trip.Status() == probe.Faulty) && !outdated {
			return trip.Status(), heardOf(trip)
		}
	}
	if look.Status() == probe.Stuck {
		return look.Status(), heardOf(look)
	}
	return probe.Healthy, why
}
