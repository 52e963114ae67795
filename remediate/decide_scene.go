package remediate

import (
	"slices"
	"time"

	"github.com/cjworkbench/unstuck/probe"
)

// scene is what all guards of one decision look at. It is computed once for a broker, so that a broker of a thousand
// nodes costs a thousand times one node's share, and not its square.
type scene struct {
	state  State
	o      Observation
	policy Policy
	now    time.Time

	known  bool     // the supplier's view is there and fresh
	unwell []string // nodes that are not Healthy, each with its why, sorted
	stuck  []string // names of the nodes that are Stuck, sorted
	// leaving are the names of the nodes that terminate, or of which that cannot be told, sorted. One that terminates may
	// let people in for as long as its grace is.
	leaving []string
	// certain counts those whose logins are stuck, or whose round trips are often and long enough. A node that is frozen
	// makes the round trips of its peers hang too, until they give it up after a minute: that is no storm.
	certain int
	looked  map[probe.Kind][2]lookedAt // the two nodes that were looked at the longest ago
	wide    []GuardState               // of the guards that say the same of every node; zero values for the others
}

type lookedAt struct {
	node string
	at   time.Time
}

func look(s State, o Observation, p Policy, now time.Time) *scene {
	sc := &scene{state: s, o: o, policy: p, now: now, looked: make(map[probe.Kind][2]lookedAt)}
	age := now.Sub(o.View.At)
	sc.known = !o.View.At.IsZero() && age <= p.Fresh && age > -p.Fresh
	for _, n := range o.View.Nodes {
		ns := s.Nodes[n.Name]
		if ns.UID != n.UID {
			sc.known = false // two nodes of one name: the view makes no sense
		}
		status, why := ns.health(p, now)
		if status != probe.Healthy {
			sc.unwell = append(sc.unwell, n.Name+" ("+why+")")
		}
		if n.Terminating != probe.No {
			sc.leaving = append(sc.leaving, n.Name)
		}
		if status == probe.Stuck || ns.running() {
			sc.stuck = append(sc.stuck, n.Name)
		}
		if _, enough := ns.Runs[probe.Roundtrip].stuck(p); enough || len(ns.Runs[p.voice()].Samples) > 0 {
			sc.certain++
		}
		for _, kind := range []probe.Kind{p.voice(), probe.Roundtrip} {
			seen := lookedAt{node: n.Name}
			if r := ns.Latest[kind]; r.Status() == probe.Healthy {
				seen.at = r.Started
			}
			sc.looked[kind] = longestAgo(sc.looked[kind], seen)
		}
	}
	slices.Sort(sc.unwell)
	slices.Sort(sc.stuck)
	slices.Sort(sc.leaving)
	return sc
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
		states[i].Guard = g.Guard
	}
	return states
}

// longestAgo keeps the two oldest of three. An entry without a node is none.
func longestAgo(two [2]lookedAt, l lookedAt) [2]lookedAt {
	older := func(a, b lookedAt) bool {
		if a.at.Equal(b.at) {
			return a.node < b.node
		}
		return a.at.Before(b.at)
	}
	switch {
	case two[0].node == "" || older(l, two[0]):
		return [2]lookedAt{l, two[0]}
	case two[1].node == "" || older(l, two[1]):
		return [2]lookedAt{two[0], l}
	}
	return two
}
