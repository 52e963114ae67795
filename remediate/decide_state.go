package remediate

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/probe"
)

// fold gives the state that s becomes with what was observed. It changes nothing that it was given.
func fold(s State, o Observation, p Policy, now time.Time) State {
	next := State{Nodes: make(map[string]NodeState, len(o.View.Nodes)), Acts: slices.Clone(s.Acts), StormUntil: s.StormUntil}
	if o.View.At.IsZero() {
		next.Nodes = maps.Clone(s.Nodes) // we see nothing, which is no reason to forget
	}
	for _, n := range o.View.Nodes {
		node, ok := s.Nodes[n.Name]
		if !ok || node.UID != n.UID {
			node = NodeState{UID: n.UID}
		}
		next.Nodes[n.Name] = node
	}
	touched := make(map[string]bool)
	for _, r := range o.Results {
		node, ok := next.Nodes[r.Node]
		if !ok || node.UID != r.UID || r.Started.Before(node.Latest[r.Kind].Started) {
			continue
		}
		if !touched[r.Node] {
			touched[r.Node] = true
			node.Latest, node.Runs = cloneMap(node.Latest), cloneMap(node.Runs)
		}
		next.Nodes[r.Node] = node.with(r, p)
	}
	for name, node := range next.Nodes {
		next.Nodes[name] = node.aged(p, now)
	}
	return next
}

// cloneMap is maps.Clone, except that it never gives nil.
func cloneMap[V any](m map[probe.Kind]V) map[probe.Kind]V {
	c := make(map[probe.Kind]V, len(m)+1)
	maps.Copy(c, m)
	return c
}

// with gives the node's state after r. It writes to n's maps, which must be its own.
func (n NodeState) with(r probe.Result, p Policy) NodeState {
	n.Latest[r.Kind] = r
	switch r.Kind {
	case probe.Login:
		n = n.withLogin(r, p)
	case probe.Roundtrip:
		n = n.withRoundtrip(r, p)
	case probe.MaybeStuck:
		switch {
		case r.Reason == probe.ProcessesStuck && n.FirstLook.Reason == "" && n.running():
			n.FirstLook = r
		case r.Reason == probe.ToolsUnresponsive && n.FirstTools.Reason == "":
			n.FirstTools = r
		case r.Status() == probe.Healthy:
			n.FirstLook = probe.Result{} // what was stuck is not any more
		}
		if r.Reason == probe.OK || r.Reason == probe.ProcessesStuck {
			n.FirstTools = probe.Result{} // they reach it
		}
	case probe.LogAge:
		if p.App {
			n = n.withLogin(r, p)
		}
	}
	if !n.running() {
		n.FirstLook, n.Confirmed = probe.Result{}, time.Time{}
	}
	return n
}

// withLogin takes note of a login, or of what an application has instead.
func (n NodeState) withLogin(r probe.Result, p Policy) NodeState {
	switch r.Status() {
	case probe.Healthy:
		n.LastWell, n.FirstTools = r.Ended(), probe.Result{}
		delete(n.Runs, r.Kind)
	case probe.Faulty: // it answers, and so it is not what it was
		n.FirstTools = probe.Result{}
		delete(n.Runs, r.Kind)
		delete(n.Runs, probe.Roundtrip)
	case probe.Stuck, probe.Unknown:
		n.Runs[r.Kind] = n.Runs[r.Kind].with(n.sample(r, p), r.Started, p)
	}
	return n
}

func (n NodeState) withRoundtrip(r probe.Result, p Policy) NodeState {
	if r.Status() == probe.Healthy || r.Status() == probe.Faulty {
		delete(n.Runs, probe.Roundtrip)
		delete(n.Runs, probe.Login)
	} else if r.Stage > probe.StageOpen { // whether it lets people in, the logins tell
		n.Runs[probe.Roundtrip] = n.Runs[probe.Roundtrip].with(n.sample(r, p), r.Started, p)
	}
	if r.Status() == probe.Healthy || r.Stage > probe.StageOpen { // whatever came later, it let us in
		n.LastWell = r.Ended()
		delete(n.Runs, probe.Login)
	}
	return n
}

// sample says what r counts as. A node that does not even answer a connect may be frozen for so long that its accept
// queue is full, or cut off: that counts as Stuck only while the node's own tools, which come another way, cannot
// reach it either.
func (n NodeState) sample(r probe.Result, p Policy) Sample {
	s := Sample{Stuck: r.Status() == probe.Stuck, At: r.Ended(), Reason: r.Reason}
	tools := n.Latest[probe.MaybeStuck]
	if r.Reason == probe.Unreachable && r.NoAnswer && tools.Reason == probe.ToolsUnresponsive &&
		tools.Started.After(n.LastWell) && r.Ended().Sub(tools.Ended()) < p.Evidence {
		s.Stuck = true
	}
	return s
}

// with gives the run after one more sample, whose probe began at started. It does not change r.
func (r Run) with(s Sample, started time.Time, p Policy) Run {
	if s.Stuck && r.interrupted(started, p) {
		r = Run{}
	}
	samples := append(slices.Clone(r.Samples), s)
	if extra := len(samples) - max(p.Of, 0); extra > 0 {
		samples = samples[extra:]
	}
	since := r.Since
	if since.IsZero() && s.Stuck {
		since = started
	}
	return Run{Since: since, Samples: samples}.trimmed()
}

// interrupted says whether the run cannot go on with a probe that began at started: too many that could not tell came in
// between, or too much time has passed since the last that was Stuck.
func (r Run) interrupted(started time.Time, p Policy) bool {
	unknown := 0
	for _, s := range slices.Backward(r.Samples) {
		if s.Stuck {
			return unknown > p.Of-p.Needed || started.Sub(s.At) > p.Fresh
		}
		unknown++
	}
	return false
}

// trimmed drops what comes before the first Stuck sample, so that a run begins with one, or is empty.
func (r Run) trimmed() Run {
	first := slices.IndexFunc(r.Samples, func(s Sample) bool { return s.Stuck })
	if first < 0 {
		return Run{}
	}
	return Run{Since: r.Since, Samples: r.Samples[first:]}
}

// stuck counts the Stuck samples, and says whether they are enough and span the minimum time.
func (r Run) stuck(p Policy) (count int, enough bool) {
	var last time.Time
	for _, s := range r.Samples {
		if s.Stuck {
			count++
			last = s.At
		}
	}
	return count, p.Needed > 0 && count >= p.Needed && last.Sub(r.Since) >= p.MinTime
}

// greeted says whether the node has greeted us in this run. A process that is frozen does not; one that is starved of
// CPU does, and its tools cannot reach it in time either.
func (r Run) greeted() bool {
	return slices.ContainsFunc(r.Samples, func(s Sample) bool {
		return s.Stuck && s.Reason != probe.AwaitStart && s.Reason != probe.Unreachable
	})
}

func (n NodeState) running() bool {
	for _, run := range n.Runs {
		if len(run.Samples) > 0 {
			return true
		}
	}
	return false
}

// aged forgets evidence that is too old. It does not change n's maps.
func (n NodeState) aged(p Policy, now time.Time) NodeState {
	copied := false
	for kind, run := range n.Runs {
		kept := slices.DeleteFunc(slices.Clone(run.Samples), func(s Sample) bool { return now.Sub(s.At) > p.Evidence })
		if len(kept) == len(run.Samples) {
			continue
		}
		if !copied {
			n.Runs, copied = cloneMap(n.Runs), true
		}
		n.Runs[kind] = Run{Since: run.Since, Samples: kept}.trimmed()
	}
	if !n.running() {
		n.FirstLook, n.Confirmed = probe.Result{}, time.Time{}
	}
	return n
}

// health is how the node is by all that is known of it, and one phrase for why. A broker's silent log is left out: it
// says nothing about whether the node lets people in.
func (n NodeState) health(p Policy, now time.Time) (probe.Status, string) {
	login := n.Latest[p.voice()]
	switch {
	case login.Reason == "":
		return probe.Unknown, "not probed yet"
	case now.Sub(login.Ended()) > p.Fresh, now.Sub(login.Ended()) < -p.Fresh:
		return probe.Unknown, "not probed since " + clock(login.Ended())
	case login.Status() != probe.Healthy:
		return login.Status(), phrase(login)
	}
	for _, kind := range []probe.Kind{probe.Roundtrip, probe.MaybeStuck} {
		r := n.Latest[kind]
		// A round trip that got no further than the login says no more than the login since then.
		outdated := kind == probe.Roundtrip && r.Stage <= probe.StageOpen && login.Started.After(r.Ended())
		if (r.Status() == probe.Stuck || r.Status() == probe.Faulty) && !outdated {
			return r.Status(), phrase(r)
		}
	}
	return probe.Healthy, phrase(login)
}

// phrase names a result: the probe and the reason.
func phrase(r probe.Result) string { return string(r.Kind) + " " + string(r.Reason) }

// clock writes a time for a person who reads it on the same day.
func clock(t time.Time) string { return t.UTC().Format("15:04:05") }

// settle gives the acts with the outcome of those under way.
func settle(s State, o Observation, p Policy, now time.Time) []Act {
	kept := make([]Act, 0, len(s.Acts))
	for _, a := range s.Acts {
		if a.Outcome == Pending || a.Outcome == Escalated || a.Outcome == Failed {
			if p.App {
				a = a.settledApp(s, o.View, p, now)
			}
			if a.Outcome != Recovered {
				a = a.settled(s.Nodes[a.Node], o.View, p, now)
			}
		}
		if !a.Outcome.over() || now.Sub(a.At) < 24*time.Hour || now.Sub(a.Settled) < p.Cooldown {
			kept = append(kept, a)
		}
	}
	return kept
}

func (a Act) settled(n NodeState, v probe.View, p Policy, now time.Time) Act {
	login := n.Latest[p.voice()]
	letsIn := login.Status() == probe.Healthy && login.Started.After(a.At)
	switch {
	case letsIn && n.UID != a.UID:
		a.Outcome, a.Settled, a.NewUID, a.Why = Recovered, login.Ended(), n.UID, "the new node "+p.Wellness()
	case a.Outcome == Failed: // until somebody else has the node replaced
	case letsIn && now.Sub(a.At) > p.Grace+p.Fresh && terminating(v, a) == probe.No:
		a.Outcome, a.Settled, a.Why = Void, now, "the node was not deleted, and "+p.Wellness()+" again"
	case a.Outcome == Pending && a.Accepted.IsZero() && !letsIn && v.At.Sub(a.At) >= min(doubtFor, p.Settle) && terminating(v, a) == probe.No:
		a.Outcome, a.Settled = Void, now
		if a.refused() {
			a.Outcome = Failed
		} else {
			a.Why = "it was never asked for: the node is still there, and does not terminate"
		}
	case now.Sub(a.At) >= p.Settle && !p.App && a.outgrown(v, p, now):
		a.Outcome, a.Settled, a.Why = Gone, now, "no new node has appeared, and none is missing"
	case a.Outcome == Pending && now.Sub(a.At) >= p.Settle:
		a.Outcome, a.Settled = Escalated, now
		switch {
		case a.refused() && n.UID == a.UID:
		case n.UID == "" && p.App:
			a.Why = "not all pods that there should be write"
		case n.UID == "":
			a.Why = "no new node has appeared"
		case n.UID == a.UID:
			a.Why = "the old node is still there, its grace has passed"
		case login.Reason == "":
			a.Why = "the new node has not been probed"
		default:
			a.Why = "the new node does not let people in: " + phrase(login)
		}
	}
	return a
}

// deleteFailed begins the Why of an act under way whose delete was refused, or ended in an error.
const deleteFailed = "the delete failed: "

// refused says whether asking for the delete failed. It may have happened all the same.
func (a Act) refused() bool { return strings.HasPrefix(a.Why, deleteFailed) }

// doubtFor is how long after it was decided a deletion that is not known to have been asked for may still show. Our
// own request ends after 30 s, and an API server's after 60 by default.
const doubtFor = 2 * time.Minute

// unclear says whether n is to be deleted by a, and it is not known whether that has been asked for.
func (a Act) unclear(n probe.Node) bool {
	return a.Outcome == Pending && a.Accepted.IsZero() && a.Node == n.Name && a.UID == n.UID && n.Terminating != probe.Yes
}

// outgrown says whether the broker has as many nodes as it should have without a's.
func (a Act) outgrown(v probe.View, p Policy, now time.Time) bool {
	age := now.Sub(v.At)
	return age <= p.Fresh && age > -p.Fresh && v.Expected > 0 && len(v.Nodes) == v.Expected &&
		!slices.ContainsFunc(v.Nodes, func(n probe.Node) bool { return n.Name == a.Node })
}

func terminating(v probe.View, a Act) probe.Answer {
	for _, n := range v.Nodes {
		if n.Name == a.Node && n.UID == a.UID {
			return n.Terminating
		}
	}
	return probe.CannotTell
}
