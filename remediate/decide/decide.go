// Package decide decides whether a stuck node is to be deleted. It is the only place where that is decided, and it is
// pure: what it knows of the world is an Observation, and the time is an argument.
package decide

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/clock"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// Decide says what to do about each node of one broker. It is the only place where a deletion is decided, and it is
// pure: the same arguments give the same answer, whatever the order of the nodes, and nothing is changed.
//
//	latest login    no run, or not enough          enough (M of N, for the minimum time) and corroborated
//	Healthy         clear the run: healthy            -
//	Faulty          clear the run: faulty          -
//	Unknown         hold, keep the run             hold, keep the run
//	Stuck           hold, look sooner: suspect     confirmed; a guard closed: hold, name it; all open: delete
//
// After the deletion the broker is left alone until the new node accepts logins (recovered), or the recovery timeout
// passes (escalated: a person must look).
//
// A delete request deletes its node, and no other at the same time, unless a guard is closed that it does not override.
//
// The decisions are in the order of the nodes' names. Whatever o.View holds no longer gets none.
func Decide(s State, o Observation, p Policy, now time.Time) (State, []Decision) {
	s = fold(s, o, p, now)
	s.Deletions = settle(s, o, p, now)
	sc := look(s, o, p, now)
	s.Storms = sc.storms(s.Storms)
	sc.state.Storms = s.Storms

	nodes := slices.Clone(o.View.Nodes)
	slices.SortFunc(nodes, func(a, b target.Node) int { return strings.Compare(a.Name, b.Name) })
	decisions := make([]Decision, 0, len(nodes))
	for _, n := range nodes {
		d := sc.decide(n)
		sc.acting = sc.acting || d.Action == Delete
		ns := s.Nodes[n.Name]
		switch {
		case !ns.is(n):
		case d.Phase != PhaseConfirmed:
			ns.Confirmed = time.Time{}
		case ns.Confirmed.IsZero():
			ns.Confirmed = now
		}
		s.Nodes[n.Name] = ns
		decisions = append(decisions, d)
	}
	return s, decisions
}

// decide gives the decision about one node.
func (sc *scene) decide(n target.Node) Decision {
	ns := sc.state.Nodes[n.Name]
	if !ns.is(n) { // two nodes of one name: what is known is of the other
		ns = NodeState{UID: n.UID}
	}
	status, said := ns.health(sc.policy, sc.now)
	why := said.text(sc.now)
	ev, stuckNow := sc.evidence(ns)
	d := Decision{
		Target: n.Target, Node: n.Name, UID: n.UID, Started: n.Started, At: sc.now, Status: status, Evidence: ev,
		Phase: sc.phase(n, ns, status, ev), Basis: Basis{Probe: said.kind, Finding: said.reason},
	}
	d.Guards = sc.ask(subject{Node: n, NodeState: ns, evidence: ev})
	hinders, hindered := sc.hindered(n)
	switch closed := d.Closed(); {
	case sc.o.Request.about(n):
		untold := ""
		if d.Phase == PhaseConfirmed && !stuckNow {
			untold = sc.untold(ns, ev)
		}
		d.Guards = append(d.Guards, d.unconfirmed(stuckNow, why, untold))
		d.apply(*sc.o.Request, hinders, hindered)
	case d.Phase != PhaseConfirmed:
		d.Basis.Ground = GroundPhase
		d.Reason = sc.reason(d, ns, why)
	case !stuckNow:
		d.Basis.Ground = GroundUntold
		d.Reason = "confirmed stuck, but " + sc.untold(ns, ev)
	case len(closed) > 0:
		d.Basis.Ground = GroundGuards
		d.Reason = "confirmed stuck; " + sc.failed(n) + "held back by " + GuardNames(d.HeldBy())
	case sc.o.Request != nil:
		d.Basis.Ground = GroundRequest
		d.Reason = "confirmed stuck; the deletion of another node was asked for by a person"
	case hinders != "":
		d.Basis.Ground = hinders
		d.Reason = "confirmed stuck; " + hindered
	default:
		d.Action, d.Basis.Ground = Delete, GroundProved
		d.Reason = fmt.Sprintf("confirmed stuck since %s: %s; every guard is open", timeOfDay(ev.Since, sc.now),
			ev.CorroborationDetail)
	}
	if o := sc.o.Obstacle; o != nil && o.about(n) && (d.Basis.Ground == GroundObstacle || d.Basis.Ground == GroundGuards) {
		d.Basis.Cause = o.Cause
	}
	d.Next = sc.next(d)
	return d
}

// hindered gives what keeps n from being deleted though every guard is open, or overridden, and says it; "" if nothing
// does.
func (sc *scene) hindered(n target.Node) (ground Ground, text string) {
	switch {
	case sc.acting:
		return GroundAnother, "another node of the broker is being deleted"
	case sc.o.Obstacle == nil:
		return "", ""
	case sc.o.Obstacle.about(n):
		return GroundObstacle, "held back: " + sc.o.Obstacle.text()
	default:
		return GroundAnother, sc.o.Obstacle.Node + " comes first, and is held back: " + sc.o.Obstacle.text()
	}
}

// phase says where the node stands.
func (sc *scene) phase(n target.Node, ns NodeState, status probe.Status, ev Evidence) Phase {
	for _, a := range sc.state.Deletions {
		switch {
		case a.Node != n.Name:
		case a.unconfirmed(n):
			return PhaseDeletionUnconfirmed
		case a.Outcome == Pending:
			return PhaseRecovering
		case a.Outcome == Escalated:
			return PhaseEscalated
		}
	}
	switch {
	case ev.Enough && ev.Corroborated:
		return PhaseConfirmed
	case ns.running() || status == probe.Stuck:
		return PhaseSuspect
	case status == probe.Healthy:
		return PhaseHealthy
	case status == probe.Faulty:
		return PhaseFaulty
	default:
		return PhaseUnknown
	}
}

func (sc *scene) reason(d Decision, ns NodeState, why string) string {
	switch d.Phase {
	case PhaseHealthy:
		return sc.policy.HealthyPhrase()
	case PhaseFaulty:
		return why + ": a restart would not cure that"
	case PhaseSuspect:
		return sc.suspicion(d.Evidence, ns, why)
	case PhaseRecovering:
		return "deleted; waiting until the new node " + sc.cure(d.Node)
	case PhaseDeletionUnconfirmed:
		return sc.unconfirmed(d.Node)
	case PhaseEscalated:
		return "deleted, and not back in time: a person must look"
	case PhaseUnknown, PhaseConfirmed:
	}
	return "cannot tell how it is: " + why + sc.noAnswer(ns)
}

// noAnswer says of a node to which connecting times out why that does not count as frozen; "" of any other.
func (sc *scene) noAnswer(ns NodeState) string {
	login, tools := ns.Latest[probe.Login], ns.Latest[probe.MaybeStuck]
	switch {
	case login.Reason != probe.Unreachable || !login.NoAnswer || tools.Reason == probe.ToolsUnresponsive:
		return ""
	case tools.Reason == "" || !tools.Started.After(ns.LastGood[probe.Login]) ||
		clock.Elapsed(tools.Ended(), sc.now) > sc.policy.EvidenceTTL:
		return "; it would be frozen if its own tools could not reach it either, and they have not been asked lately"
	}
	return fmt.Sprintf("; it would be frozen if its own tools could not reach it either, but %s says %s", tools.Kind,
		strings.TrimSuffix(fmt.Sprintf("%s: %s", tools.Reason, tools.Detail), ": "))
}

// cure says what the node that takes the place of the deleted one must do.
func (sc *scene) cure(node string) string {
	for _, a := range sc.state.Deletions {
		if a.Node == node && a.Outcome == Pending {
			return a.Cure(sc.policy)
		}
	}
	return sc.policy.HealthyPhrase()
}

// unconfirmed says why it is not known whether the node has been deleted.
func (sc *scene) unconfirmed(node string) string {
	for _, a := range sc.state.Deletions {
		switch {
		case a.Node != node || a.Outcome != Pending:
		case a.RequestError != "":
			return fmt.Sprintf("not known to be deleted: that was asked for at %s, and %s", timeOfDay(a.At, sc.now),
				a.RequestFailed())
		default:
			return fmt.Sprintf("not known to be deleted: that was decided at %s, and nothing is known since",
				timeOfDay(a.At, sc.now))
		}
	}
	return "not known to be deleted"
}

// failed reminds of a deletion of n that failed; "" if none did.
func (sc *scene) failed(n target.Node) string {
	for _, a := range slices.Backward(sc.state.Deletions) {
		if a.UID == n.UID && a.Outcome == Failed {
			return fmt.Sprintf("a deletion at %s failed, a person must look (%s); ", timeOfDay(a.At, sc.now), a.Why)
		}
	}
	return ""
}

func (sc *scene) suspicion(ev Evidence, ns NodeState, why string) string {
	switch {
	case !ns.running():
		return why + ": suspicious, but the latest login succeeded"
	case ev.Stuck < ev.FailureThreshold:
		return fmt.Sprintf("%s: stuck %d of the %d times that are needed", why, ev.Stuck, ev.FailureThreshold)
	case !ev.Enough:
		return fmt.Sprintf("%s: stuck %s, not yet for %s", why, often(ev, ns), sc.policy.MinDuration)
	default:
		return fmt.Sprintf("%s: stuck %s, since %s, not corroborated: %s", why, often(ev, ns), timeOfDay(ev.Since, sc.now),
			ev.CorroborationDetail)
	}
}

// often says how often the latest probes of the evidence's kind hung.
func often(ev Evidence, ns NodeState) string {
	if n := len(ns.Runs[ev.Kind].Samples); n > 1 {
		return fmt.Sprintf("%d of the last %d times", ev.Stuck, n)
	}
	return "once"
}

// untold says why the latest probe of a confirmed node does not tell that it is still stuck.
func (sc *scene) untold(ns NodeState, ev Evidence) string {
	samples := ns.Runs[ev.Kind].Samples
	switch latest := samples[len(samples)-1]; {
	case !latest.Stuck:
		return fmt.Sprintf("the latest %s could not tell: %s", ev.Kind, latest.Reason)
	default:
		return fmt.Sprintf("not probed by a %s since %s", ev.Kind, timeOfDay(latest.At, sc.now))
	}
}

// evidence weighs the node's runs and its corroboration. It also says whether the latest result of the run is
// Stuck, and not just the ones before it.
func (sc *scene) evidence(ns NodeState) (ev Evidence, stuckNow bool) {
	p := sc.policy
	ev = Evidence{FailureThreshold: p.FailureThreshold, Window: p.Window}
	for _, kind := range p.accusing() {
		run := ns.Runs[kind]
		count, enough := run.stuck(p)
		if count == 0 || (ev.Kind != "" && !(enough && !ev.Enough)) {
			continue
		}
		ev.Kind, ev.Stuck, ev.Since, ev.Enough = kind, count, run.Since, enough
		latest := run.Samples[len(run.Samples)-1]
		stuckNow = latest.Stuck && clock.Elapsed(latest.At, sc.now) <= p.ResultTTL
	}
	if ev.Kind != "" {
		found := sc.corroborate(ns, ev)
		ev.Corroboration, ev.Corroborated, ev.CorroborationDetail = found.Corroboration, found.agrees(), found.sentence(p)
	}
	return ev, stuckNow
}

// next says when to look again at the latest: when the first closed guard with an end ends, and soon while suspect.
func (sc *scene) next(d Decision) time.Time {
	next := sc.now.Add(sc.policy.ResultTTL)
	if d.Phase != PhaseHealthy && d.Phase != PhaseUnknown {
		next = sc.now.Add(sc.policy.ResultTTL / 4)
	}
	for _, g := range d.Guards {
		if !g.Open && g.Until.After(sc.now) && g.Until.Before(next) {
			next = g.Until
		}
	}
	return next
}

// GuardNames joins the names of guards for a sentence.
func GuardNames(guards []Guard) string {
	all := make([]string, len(guards))
	for i, g := range guards {
		all[i] = string(g)
	}
	return strings.Join(all, ", ")
}
