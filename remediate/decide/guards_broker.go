package decide

import (
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/clock"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// The guards that look at the broker as a whole: its other nodes, what depends on the one, and how many are stuck.

func checkPeers(sc *scene, n subject) GuardState {
	here, want := len(sc.o.View.Nodes), sc.o.View.Expected
	switch {
	case !sc.known || want <= 0:
		return closed("cannot tell which nodes there should be")
	case here != want:
		return closed("of %d nodes that there should be there are %d", want, here)
	case want == 1 && sc.policy.SingleNode:
		return open("it is the only node, and the policy allows that it goes")
	case want == 1:
		return closed("it is the only node: nobody would be left")
	}
	var deaf []string
	for _, h := range sc.deaf {
		if h.name != n.Name {
			deaf = append(deaf, h.name+" ("+h.why+")")
		}
	}
	if len(deaf) > 0 {
		return closed("these are not known to accept logins: %s", Few(deaf))
	}
	leaving := slices.DeleteFunc(slices.Clone(sc.leaving), func(s string) bool { return s == n.Name })
	if len(leaving) > 0 {
		return closed("terminating, or cannot tell whether it is: %s", Few(leaving))
	}
	if g := sc.peersTried(n); !g.Open {
		return g
	}
	if victims := slices.DeleteFunc(slices.Clone(sc.victims), func(s string) bool {
		return s == n.Name
	}); len(victims) > 0 {
		return open("the others accept logins, or theirs wait for another node: %s", Few(victims))
	}
	return open("all others accept logins: %d", here-1)
}

// peersTried gives the guard peers, closed where they have not answered the kind of probe that hangs since the trouble
// began. Each must have been tried; for a round trip one answer will do, and no other may have begun to hang meanwhile:
// what hangs on a peer for its own reasons since before, or never tells, says nothing of this trouble.
func (sc *scene) peersTried(n subject) GuardState {
	kind, since := n.evidence.Kind, n.evidence.Since
	if kind == "" {
		return open("no trouble has begun")
	}
	if oldest := other(sc.tried[kind], n.Name); !oldest.at.After(since) {
		return closed("%s has not been tried by a %s since the trouble began", oldest.node, kind)
	}
	if latest := other(sc.answered[kind], n.Name); !latest.at.After(since) {
		return closed("no other node has answered a %s since the trouble began", kind)
	}
	if last := other(sc.hung[kind], n.Name); last.node != "" && last.at.After(n.Runs[kind].Before) {
		return closed("on %s a %s hangs too, since %s", last.node, kind, timeOfDay(last.at, sc.now))
	}
	return open("they have been tried since the trouble began")
}

func checkQuorum(sc *scene, n subject) GuardState {
	if sc.policy.App {
		return open("an application has no queues")
	}
	if sc.o.View.Expected == 1 && sc.known {
		return open("it is the only node: there is no peer to ask")
	}
	q, ok := sc.o.Quorum[n.Name]
	switch {
	case !ok || q.UID != n.Node.UID || !q.Started.Equal(n.Node.Started) || sc.outdated(q.At, q.Nodes):
		return unasked("neither the node nor a peer has been asked")
	case q.NotApplicable:
		return open("the broker does not know the question (asked %s)", q.Peer)
	}
	return answer(q.Critical, target.No, "no queue depends on it (asked "+q.Peer+")",
		"queues depend on it: "+q.Detail, strings.TrimSpace("whether queues depend on it: "+q.Detail))
}

// outdated says whether an answer to a last question is void: it was given some time ago, or the broker has other nodes
// by now.
func (sc *scene) outdated(at time.Time, nodes string) bool {
	return at.IsZero() || clock.Elapsed(at, sc.now) > sc.policy.ResultTTL/2 || nodes != Identities(sc.o.View)
}

// Identities tells the nodes of a broker, as they are now, from any others.
func Identities(v target.View) string {
	var all []string
	for _, n := range v.Nodes {
		all = append(all, n.Name+" "+n.UID+" "+n.Started.UTC().Format(time.RFC3339Nano))
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

// checkStorm asks whether other nodes are stuck in the same way. Round trips hang too where logins do, so the storms of
// both count for those.
func checkStorm(sc *scene, n subject) GuardState {
	if !sc.known {
		return closed("cannot tell how many nodes are stuck")
	}
	kinds := []probe.Kind{sc.policy.LivenessKind()}
	if n.evidence.Kind.Role() == probe.Work {
		kinds = append(kinds, n.evidence.Kind)
	}
	most := 0
	for _, kind := range kinds {
		until, stuck := sc.state.Storms[kind].Until, sc.stuck[kind]
		if len(stuck) > sc.policy.MaxStuck {
			return closedUntil(until, "a %s hangs on %d nodes, at most on %d it may: %s", kind, len(stuck), sc.policy.MaxStuck,
				Few(stuck))
		}
		if sc.now.Before(until) {
			return closedUntil(until, "cooling down since several nodes were stuck: on each a %s hung", kind)
		}
		most = max(most, len(stuck))
	}
	return open("stuck nodes: %d, at most %d may be", most, sc.policy.MaxStuck)
}
