// Package remediate decides whether a stuck node is to be deleted, and does it. Decide is pure, and the only place where
// a deletion is decided; a Loop observes one broker, asks Decide, captures the case, acts and verifies.
package remediate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/probe"
)

// Decide says what to do about each node of one broker. It is the only place where a deletion is decided, and it is
// pure: the same arguments give the same answer, whatever the order of the nodes, and nothing is changed.
//
//	latest login    no run, or not enough          enough (M of N, for the minimum time) and corroborated
//	Healthy         clear the run: well            -
//	Faulty          clear the run: ailing          -
//	Unknown         hold, keep the run             hold, keep the run
//	Stuck           hold, look sooner: suspect     confirmed; a guard closed: hold, name it; all open: delete
//
// After the act the broker is left alone until the new node lets people in (recovered), or the settle time ends
// (escalated: a person must look).
//
// An order by hand deletes its node, and no other at the same time, unless a guard is closed that it does not override.
//
// The decisions are in the order of the nodes' names. Whatever o.View holds no longer gets none.
func Decide(s State, o Observation, p Policy, now time.Time) (State, []Decision) {
	s = fold(s, o, p, now)
	s.Acts = settle(s, o, p, now)
	sc := look(s, o, p, now)
	if sc.certain > p.MaxStuck {
		s.StormUntil = now.Add(p.StormCooldown)
		sc.state.StormUntil = s.StormUntil
	}

	nodes := slices.Clone(o.View.Nodes)
	slices.SortFunc(nodes, func(a, b probe.Node) int { return strings.Compare(a.Name, b.Name) })
	decisions := make([]Decision, 0, len(nodes))
	acting := false
	for _, n := range nodes {
		d := sc.decide(n)
		if d.Action == Delete && acting {
			d.Action, d.Reason = Hold, "another node of the broker is being deleted"
		}
		acting = acting || d.Action == Delete
		ns := s.Nodes[n.Name]
		switch {
		case ns.UID != n.UID:
		case d.Phase != Confirmed:
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
func (sc *scene) decide(n probe.Node) Decision {
	ns := sc.state.Nodes[n.Name]
	if ns.UID != n.UID { // two nodes of one name: what is known is of the other
		ns = NodeState{UID: n.UID}
	}
	status, why := ns.health(sc.policy, sc.now)
	ev, stuckNow := sc.evidence(ns)
	d := Decision{
		Broker: n.Broker, Node: n.Name, UID: n.UID, At: sc.now, Status: status, Evidence: ev,
		Phase: sc.phase(n, ns, status, ev),
	}
	d.Guards = sc.ask(subject{Node: n, NodeState: ns, evidence: ev})
	switch closed := d.Closed(); {
	case sc.o.Order.about(n):
		d.Guards = append(d.Guards, d.unproved(stuckNow, why))
		d.obey(*sc.o.Order)
	case d.Phase != Confirmed:
		d.Reason = sc.reason(d, ns, why)
	case !stuckNow:
		d.Reason = "confirmed stuck, but the latest look could not tell: " + why
	case len(closed) > 0:
		d.Reason = "confirmed stuck; " + sc.failed(n) + "held back by " + names(closed)
	case sc.o.Order != nil:
		d.Reason = "confirmed stuck; the deletion of another node was asked for by hand"
	default:
		d.Action = Delete
		d.Reason = fmt.Sprintf("confirmed stuck since %s: %s; every guard is open", clock(ev.Since), ev.Witness)
	}
	d.Next = sc.next(d)
	return d
}

// phase says where the node stands.
func (sc *scene) phase(n probe.Node, ns NodeState, status probe.Status, ev Evidence) Phase {
	for _, a := range sc.state.Acts {
		switch {
		case a.Node != n.Name:
		case a.unclear(n):
			return Unclear
		case a.Outcome == Pending:
			return Recovering
		case a.Outcome == Escalated:
			return Lost
		}
	}
	switch {
	case ev.Enough && ev.Corroborated:
		return Confirmed
	case ns.running() || status == probe.Stuck:
		return Suspect
	case status == probe.Healthy:
		return Well
	case status == probe.Faulty:
		return Ailing
	default:
		return Blind
	}
}

func (sc *scene) reason(d Decision, ns NodeState, why string) string {
	switch d.Phase {
	case Well:
		return sc.policy.Wellness()
	case Ailing:
		return why + ": a restart would not cure that"
	case Suspect:
		return sc.suspicion(d.Evidence, ns, why)
	case Recovering:
		return "deleted; waiting until the new node " + sc.policy.Wellness()
	case Unclear:
		return sc.doubt(d.Node)
	case Lost:
		return "deleted, and not back in time: a person must look"
	case Blind, Confirmed:
	}
	return "cannot tell how it is: " + why
}

// doubt says why it is not known whether the node has been deleted.
func (sc *scene) doubt(node string) string {
	for _, a := range sc.state.Acts {
		switch {
		case a.Node != node || a.Outcome != Pending:
		case a.refused():
			return fmt.Sprintf("not known to be deleted: that was asked for at %s, and %s", clock(a.At), a.Why)
		default:
			return fmt.Sprintf("not known to be deleted: that was decided at %s, and nothing is known since", clock(a.At))
		}
	}
	return "not known to be deleted"
}

// failed reminds of a deletion of n that failed; "" if none did.
func (sc *scene) failed(n probe.Node) string {
	for _, a := range slices.Backward(sc.state.Acts) {
		if a.UID == n.UID && a.Outcome == Failed {
			return fmt.Sprintf("a deletion at %s failed, a person must look (%s); ", clock(a.At), a.Why)
		}
	}
	return ""
}

func (sc *scene) suspicion(ev Evidence, ns NodeState, why string) string {
	switch {
	case !ns.running():
		return why + ": suspicious, but it lets people in"
	case ev.Stuck < ev.Needed:
		return fmt.Sprintf("%s: stuck %d of the %d times that are needed", why, ev.Stuck, ev.Needed)
	case !ev.Enough:
		return fmt.Sprintf("%s: stuck %d times, not yet for %s", why, ev.Stuck, sc.policy.MinTime)
	default:
		return fmt.Sprintf("%s: stuck %d times since %s, not corroborated: %s", why, ev.Stuck, clock(ev.Since), ev.Witness)
	}
}

// evidence weighs the node's runs and its second witness. It also says whether the latest result of the run is
// Stuck, and not just the ones before it.
func (sc *scene) evidence(ns NodeState) (ev Evidence, stuckNow bool) {
	p := sc.policy
	ev = Evidence{Needed: p.Needed, Of: p.Of}
	for _, kind := range []probe.Kind{p.voice(), probe.Roundtrip} {
		run := ns.Runs[kind]
		count, enough := run.stuck(p)
		if count == 0 || (ev.Kind != "" && !(enough && !ev.Enough)) {
			continue
		}
		ev.Kind, ev.Stuck, ev.Since, ev.Enough = kind, count, run.Since, enough
		latest := run.Samples[len(run.Samples)-1]
		stuckNow = latest.Stuck && sc.now.Sub(latest.At) <= p.Fresh
	}
	if ev.Kind != "" {
		ev.Corroborated, ev.Witness = sc.witness(ns, ev)
	}
	return ev, stuckNow
}

// witness says whether something besides failing logins shows that the node is stuck: its own tools cannot reach it,
// or the same processes were stuck in two looks. Processes that are stuck in one look only may be slow.
func (sc *scene) witness(ns NodeState, ev Evidence) (bool, string) {
	p, r := sc.policy, ns.Latest[probe.MaybeStuck]
	if p.App {
		return true, soleWitness
	}
	if p.LogSilence > 0 {
		log := ns.Latest[probe.LogAge]
		if log.Reason == "" || sc.now.Sub(log.Ended()) > p.Fresh || log.Status() == probe.Unknown || log.LogAge < p.LogSilence {
			return false, fmt.Sprintf("its log has not been silent for %s", p.LogSilence)
		}
	}
	switch {
	case sc.o.NoCommands:
		return false, "commands cannot be run next to it: run `rabbitmq-diagnostics maybe_stuck` there yourself"
	case r.Started.Before(ev.Since) || r.Reason == "":
		return false, "maybe_stuck has not run since"
	case sc.now.Sub(r.Ended()) > p.Evidence:
		return false, "maybe_stuck ran too long ago"
	case r.Reason == probe.ToolsUnresponsive && ev.Kind != probe.Login:
		return false, "its own tools cannot reach it, but logins can: that is no witness"
	case r.Reason == probe.ToolsUnresponsive && ns.Runs[ev.Kind].greeted():
		return false, "its own tools cannot reach it, but it greets us: starved or slow, not frozen"
	case r.Reason == probe.ToolsUnresponsive && (ns.FirstTools.Reason == "" || r.Started.Sub(ns.FirstTools.Started) < max(p.PersistFor, time.Nanosecond)):
		return false, "its own tools cannot reach it, a second try must show the same"
	case r.Reason == probe.ToolsUnresponsive:
		return true, "its own tools cannot reach it, twice"
	case r.Reason != probe.ProcessesStuck:
		return false, "maybe_stuck says " + string(r.Reason)
	case ns.FirstLook.Processes == nil || r.Processes == nil || r.Started.Sub(ns.FirstLook.Started) < max(p.PersistFor, time.Nanosecond):
		return false, "maybe_stuck shows stuck processes, a second look must show the same ones"
	}
	stuck, suspicious := probe.Persisting(ns.FirstLook.Processes, r.Processes)
	switch {
	case stuck > 0:
		return true, fmt.Sprintf("maybe_stuck shows the same connections or channels stuck as before (%d)", stuck)
	case r.Processes.Baseline >= 0 && suspicious-r.Processes.Baseline >= p.AboveBaseline && p.AboveBaseline > 0:
		return true, fmt.Sprintf("maybe_stuck shows the same %d processes stuck as before, %d are usual", suspicious, r.Processes.Baseline)
	default:
		return false, "maybe_stuck shows other stuck processes each time: slow, not stuck"
	}
}

// next says when to look again at the latest: when the first closed guard with an end ends, and soon while suspect.
func (sc *scene) next(d Decision) time.Time {
	next := sc.now.Add(sc.policy.Fresh)
	if d.Phase != Well && d.Phase != Blind {
		next = sc.now.Add(sc.policy.Fresh / 4)
	}
	for _, g := range d.Guards {
		if !g.Open && g.Until.After(sc.now) && g.Until.Before(next) {
			next = g.Until
		}
	}
	return next
}

func names(guards []Guard) string {
	all := make([]string, len(guards))
	for i, g := range guards {
		all[i] = string(g)
	}
	return strings.Join(all, ", ")
}
