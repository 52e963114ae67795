package decide

import (
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/clock"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// scene is what all guards of one decision look at. It is computed once for a broker, so that a broker of a thousand
// nodes costs a thousand times one node's share, and not its square.
type scene struct {
	state  State
	o      Observation
	policy Policy
	now    time.Time

	acting bool // a node is to be deleted, of those that come before by their names

	known bool // the supplier's view is there and fresh
	// deaf are the nodes that do not accept logins, sorted by name, without those whose logins wait for another node.
	deaf []nodeHealth
	// answering are those of deaf that answered, if only that they would not: that is not our doing.
	answering []string
	// victims are the nodes whose logins hang because they wait for another node.
	victims []string
	// stuck are the nodes in which a kind of probe hangs, sorted: logins, or what an application has instead, each that
	// has a run; round trips each where those are enough, and do not hang for what waits outside the node. A node that is
	// frozen makes the round trips of its peers hang too.
	stuck map[probe.Kind][]string
	// enough are those of stuck that hang often and long enough: only these make a storm that outlasts them.
	enough map[probe.Kind][]string
	// leaving are the names of the nodes that terminate, or of which that cannot be told, sorted. One that terminates may
	// accept logins for as long as its grace is.
	leaving []string
	// tried are the two nodes whose latest probe of a kind began the longest ago; answered those whose latest that was
	// answered began the latest, and hung those that began to hang the latest.
	tried, answered, hung map[probe.Kind][2]lookedAt
	wide                  []GuardState // of the guards that say the same of every node; zero values for the others
}

// nodeHealth is how a node is, and why.
type nodeHealth struct {
	name, why string
}

type lookedAt struct {
	node string
	at   time.Time
}

func look(s State, o Observation, p Policy, now time.Time) *scene {
	sc := &scene{
		state: s, o: o, policy: p, now: now, stuck: make(map[probe.Kind][]string), enough: make(map[probe.Kind][]string),
		tried: make(map[probe.Kind][2]lookedAt), answered: make(map[probe.Kind][2]lookedAt),
		hung: make(map[probe.Kind][2]lookedAt),
	}
	sc.known = !o.View.At.IsZero() && clock.Elapsed(o.View.At, now) <= p.ResultTTL && now.Sub(o.View.At) > -p.ResultTTL
	for _, n := range o.View.Nodes {
		ns := s.Nodes[n.Name]
		if !ns.is(n) {
			sc.known = false // two nodes of one name: the view makes no sense
		}
		victim := ns.victim(p, now)
		if victim {
			sc.victims = append(sc.victims, n.Name)
		}
		if status, said := ns.accepts(p, now); status != probe.Healthy && !victim {
			sc.deaf = append(sc.deaf, nodeHealth{n.Name, said.text(now)})
			if !couldBeOurs(ns.Latest[p.LivenessKind()]) {
				sc.answering = append(sc.answering, n.Name)
			}
		}
		if n.Terminating != target.No {
			sc.leaving = append(sc.leaving, n.Name)
		}
		sc.hanging(n.Name, ns, victim)
		sc.asPeer(n.Name, ns, victim)
	}
	slices.SortFunc(sc.deaf, func(a, b nodeHealth) int { return strings.Compare(a.name, b.name) })
	for _, lists := range []map[probe.Kind][]string{sc.stuck, sc.enough} {
		for _, names := range lists {
			slices.Sort(names)
		}
	}
	slices.Sort(sc.leaving)
	return sc
}

// asPeer notes when the node was last tried, when it last answered and since when it hangs, for it is a peer of the
// others.
func (sc *scene) asPeer(name string, ns NodeState, victim bool) {
	for _, kind := range sc.policy.accusing() {
		r := ns.Latest[kind]
		tried, answered := lookedAt{name, r.Started}, lookedAt{node: name}
		switch {
		case victim:
			tried.at, answered.at = sc.now, sc.now
		case HasAnswered(r):
			answered.at = r.Started
		}
		sc.tried[kind] = two(sc.tried[kind], tried, time.Time.Before)
		sc.answered[kind] = two(sc.answered[kind], answered, time.Time.After)
		if run := ns.Runs[kind]; len(run.Samples) > 0 && !victim {
			sc.hung[kind] = two(sc.hung[kind], lookedAt{name, run.Since}, time.Time.After)
		}
	}
}

// hanging notes in what the node hangs.
func (sc *scene) hanging(name string, ns NodeState, victim bool) {
	liveness := sc.policy.LivenessKind()
	note := func(to map[probe.Kind][]string, kind probe.Kind) { to[kind] = append(to[kind], name) }
	if run := ns.Runs[liveness]; len(run.Samples) > 0 && !victim {
		note(sc.stuck, liveness)
		if _, enough := run.stuck(sc.policy); enough {
			note(sc.enough, liveness)
		}
	}
	look := ns.Latest[probe.MaybeStuck]
	for _, kind := range workKinds {
		run := ns.Runs[kind]
		outside := showsProcesses(look) && !look.Started.Before(run.Since) && ns.waitsOutside(kind, look)
		if _, enough := run.stuck(sc.policy); enough && !outside {
			note(sc.stuck, kind)
			note(sc.enough, kind)
		}
	}
}

// couldBeOurs says whether a probe that did not succeed could have failed because of us: our network, our CPU, our
// credentials. What a node answers of itself could not.
func couldBeOurs(r probe.Result) bool {
	return r.Status() != probe.Faulty ||
		slices.Contains([]probe.Reason{probe.Refused, probe.AccessRefused, probe.TLS, probe.Protocol, probe.ClosedEarly},
			r.Reason)
}

// storms gives the storms with those that go on or begin now. A node that turns out to wait for another one was no part
// of any.
func (sc *scene) storms(before map[probe.Kind]Storm) map[probe.Kind]Storm {
	var storms map[probe.Kind]Storm
	note := func(kind probe.Kind, s Storm) {
		if storms == nil {
			storms = make(map[probe.Kind]Storm)
		}
		storms[kind] = s
	}
	for kind, s := range before {
		s.Nodes = slices.DeleteFunc(slices.Clone(s.Nodes), func(name string) bool {
			return slices.Contains(sc.victims, name)
		})
		if len(s.Nodes) > sc.policy.MaxStuck && sc.now.Before(s.Until) {
			note(kind, s)
		}
	}
	for kind, stuck := range sc.enough {
		if len(stuck) > sc.policy.MaxStuck {
			note(kind, Storm{Until: sc.now.Add(sc.policy.StormCooldown), Nodes: stuck})
		}
	}
	return storms
}

// ask asks every guard about n.
func (sc *scene) ask(n subject) []GuardState {
	if sc.wide == nil {
		sc.wide = make([]GuardState, len(guards))
		for i, g := range guards {
			if g.wide {
				sc.wide[i] = g.check(sc, n)
			}
		}
	}
	states := slices.Clone(sc.wide)
	for i, g := range guards {
		if !g.wide {
			states[i] = g.check(sc, n)
		}
		if o := sc.o.Obstacle; o.closes(g, n.Node) {
			states[i] = closed("%s", o.text())
		}
		states[i].Guard = g.Guard
	}
	return states
}

// two keeps of three nodes the two that come first. An entry without a node is none.
func two(best [2]lookedAt, l lookedAt, first func(a, b time.Time) bool) [2]lookedAt {
	sooner := func(a, b lookedAt) bool {
		if a.at.Equal(b.at) {
			return a.node < b.node
		}
		return first(a.at, b.at)
	}
	switch {
	case best[0].node == "" || sooner(l, best[0]):
		return [2]lookedAt{l, best[0]}
	case best[1].node == "" || sooner(l, best[1]):
		return [2]lookedAt{best[0], l}
	}
	return best
}

// other gives the first of two nodes that is not n. Without a node: there is none.
func other(best [2]lookedAt, n string) lookedAt {
	if best[0].node == n {
		return best[1]
	}
	return best[0]
}

// HasAnswered says whether a probe was answered: for a round trip also by what keeps it from its end, an alarm or a
// missing right, for that hangs nowhere.
func HasAnswered(r probe.Result) bool {
	return r.Status() == probe.Healthy ||
		(r.Kind.Role() == probe.Work && r.Status() == probe.Faulty && r.Stage > probe.StageOpen)
}
