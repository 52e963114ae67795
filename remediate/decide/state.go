package decide

import (
	"maps"
	"slices"
	"time"

	"github.com/cjworkbench/unstuck/clock"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// fold gives the state that s becomes with what was observed. It changes nothing that it was given.
func fold(s State, o Observation, p Policy, now time.Time) State {
	next := State{
		Nodes: make(map[string]NodeState, len(o.View.Nodes)), Deletions: slices.Clone(s.Deletions),
		Storms: maps.Clone(s.Storms),
	}
	if o.View.At.IsZero() {
		next.Nodes = maps.Clone(s.Nodes) // we see nothing, which is no reason to forget
	}
	for _, n := range o.View.Nodes {
		node, ok := s.Nodes[n.Name]
		if !ok || !node.is(n) {
			node = NodeState{UID: n.UID, Seen: now, Appeared: len(s.Nodes) > 0}
		}
		if !n.Started.IsZero() {
			node.Started = n.Started
		}
		next.Nodes[n.Name] = node
	}
	touched := make(map[string]bool)
	for _, r := range o.Results {
		node, ok := next.Nodes[r.Node]
		if !ok || node.UID != r.UID || !node.Started.Equal(r.NodeStarted) || node.has(r) {
			continue
		}
		if !touched[r.Node] {
			touched[r.Node] = true
			node.Latest, node.Runs = cloneMap(node.Latest), cloneMap(node.Runs)
			node.LastGood, node.LastElse, node.Hung = cloneMap(node.LastGood), cloneMap(node.LastElse), cloneMap(node.Hung)
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

// has says whether r, or a later one of its kind, is known already.
func (n NodeState) has(r probe.Result) bool {
	latest, ok := n.Latest[r.Kind]
	return ok && !r.Started.After(latest.Started)
}

// with gives the node's state after r. It writes to n's maps, which must be its own.
func (n NodeState) with(r probe.Result, p Policy) NodeState {
	n.Latest[r.Kind] = r
	switch p.role(r.Kind) {
	case probe.Liveness:
		n = n.withLogin(r, p)
	case probe.Work:
		n = n.withWork(r, p)
	case probe.Corroboration:
		switch {
		case showsProcesses(r):
			n, n.Tools = n.withLook(r), Tools{} // they reach it
		case r.Processes != nil:
			n.Tools = Tools{}
		case r.Reason == probe.ToolsUnresponsive:
			n.Tools.Looks = append(slices.Clone(n.Tools.Looks), r)
			n.Tools.Looks = n.Tools.Looks[max(0, len(n.Tools.Looks)-maxLooks):]
		}
	case probe.Information:
	}
	if !n.running() {
		n.Confirmed = time.Time{}
	}
	return n
}

// is says whether what is known is of n: the same pod, and the same start of its container, as far as that is known.
func (n NodeState) is(node target.Node) bool {
	return n.UID == node.UID && (node.Started.IsZero() || node.Started.Equal(n.Started))
}

// good takes note that at some time the node did what a probe of a kind asks it for. Whatever of that kind hung before
// is over.
func (n NodeState) good(kind probe.Kind, at time.Time) NodeState {
	n.LastGood[kind] = later(n.LastGood[kind], at)
	tries := len(n.Tools.Looks)
	n = n.answered(kind, at)
	n.Tools.WhileGood += tries - len(n.Tools.Looks)
	return n
}

// answered takes note that at some time the node answered a probe of a kind, if only that it would not. Samples of
// probes that began later stay: results may come late.
func (n NodeState) answered(kind probe.Kind, at time.Time) NodeState {
	n.LastElse[kind] = later(n.LastElse[kind], at)
	if !n.Hung[kind].After(at) {
		delete(n.Hung, kind)
	}
	run := n.Runs[kind]
	kept := slices.DeleteFunc(slices.Clone(run.Samples), func(s Sample) bool { return !s.Began.After(at) })
	if first := slices.IndexFunc(kept, func(s Sample) bool { return s.Stuck }); first < 0 {
		delete(n.Runs, kind)
	} else {
		if first > 0 || len(kept) < len(run.Samples) {
			run.Since, run.Before = kept[first].Began, later(run.Before, at)
		}
		run.Samples = kept[first:]
		n.Runs[kind] = run
	}
	if kind != probe.Login {
		return n
	}
	if !n.NoAnswer.Since.After(at) {
		n.NoAnswer = NoAnswer{}
	}
	n.Tools.Looks = slices.DeleteFunc(slices.Clone(n.Tools.Looks), func(r probe.Result) bool {
		return !r.Started.After(at)
	})
	return n
}

// later gives the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// withLogin takes note of a login, or of what an application has instead.
func (n NodeState) withLogin(r probe.Result, p Policy) NodeState {
	switch r.Status() {
	case probe.Healthy:
		n = n.good(r.Kind, r.Ended())
	case probe.Faulty: // it answers, and so it is not what it was
		n = n.answered(r.Kind, r.Ended())
		for _, kind := range workKinds {
			n = n.answered(kind, r.Ended())
		}
	case probe.Stuck, probe.Unknown:
		if n.NoAnswer.Since.IsZero() && r.Reason == probe.Unreachable && r.NoAnswer {
			n.NoAnswer = NoAnswer{Since: r.Started, Before: n.LastElse[r.Kind]}
		}
		n = n.withSample(r, p)
	}
	return n
}

// withWork takes note of a probe that logs in and goes on: a round trip.
func (n NodeState) withWork(r probe.Result, p Policy) NodeState {
	switch {
	case r.Status() == probe.Healthy:
		n = n.good(r.Kind, r.Ended())
	case r.Status() == probe.Faulty:
		n = n.answered(r.Kind, r.Ended())
	case r.Stage > probe.StageOpen: // whether it accepts logins, the logins tell
		n = n.withSample(r, p)
	}
	switch {
	// whatever came later, the login succeeded, and long before the end
	case r.Status() == probe.Healthy || r.Stage > probe.StageOpen:
		n = n.good(probe.Login, loggedIn(r))
	case r.Status() == probe.Faulty:
		n = n.answered(probe.Login, r.Ended())
	}
	return n
}

// loggedIn is when the login of a round trip was over.
func loggedIn(r probe.Result) time.Time {
	at := r.Started
	for s := probe.StageTCP; s <= probe.StageOpen; s++ {
		at = at.Add(r.Stages[s])
	}
	return at
}

// withSample puts r into the run of its kind.
func (n NodeState) withSample(r probe.Result, p Policy) NodeState {
	s, since, before := n.sample(r, p), r.Started, n.LastElse[r.Kind]
	if s.Stuck && r.Reason == probe.Unreachable {
		since, before = n.NoAnswer.Since, n.NoAnswer.Before
	}
	n.Runs[r.Kind] = n.Runs[r.Kind].with(s, since, before, p)
	hung, ok := n.Hung[r.Kind]
	switch {
	case s.Stuck:
		n.Hung[r.Kind] = r.Ended()
	case !ok || clock.Elapsed(hung, r.Ended()) > p.EvidenceTTL:
		n.LastElse[r.Kind] = later(n.LastElse[r.Kind], r.Ended())
	}
	return n
}

// sample says what r counts as. A node that does not even answer a connect may be frozen for so long that its accept
// queue is full, or cut off: that counts as Stuck only while the node's own tools, which come another way, cannot
// reach it either.
func (n NodeState) sample(r probe.Result, p Policy) Sample {
	s := Sample{Stuck: r.Status() == probe.Stuck, Began: r.Started, At: r.Ended(), Reason: r.Reason}
	tools := n.Latest[probe.MaybeStuck]
	if r.Reason == probe.Unreachable && r.NoAnswer && tools.Reason == probe.ToolsUnresponsive &&
		tools.Started.After(n.LastGood[probe.Login]) && clock.Elapsed(tools.Ended(), r.Ended()) < p.EvidenceTTL {
		s.Stuck = true
	}
	return s
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
		kept := slices.DeleteFunc(slices.Clone(run.Samples), func(s Sample) bool {
			return clock.Elapsed(s.At, now) > p.EvidenceTTL
		})
		if len(kept) == len(run.Samples) {
			continue
		}
		if !copied {
			n.Runs, copied = cloneMap(n.Runs), true
		}
		run.Samples = kept
		n.Runs[kind] = run.trimmed()
	}
	if !n.running() {
		n.Confirmed = time.Time{}
	}
	return n
}

// victim says whether the logins of the node hang because they wait for another node: its own processes have been
// looked at since, and more of them than before, and than wait for a server or a limit, wait for other nodes or for
// what the cluster keeps together; or connections hang in their login within the node, and what others have sent
// messages to waits so.
func (n NodeState) victim(p Policy, now time.Time) bool {
	run, look := n.Runs[probe.Login], n.Latest[probe.MaybeStuck]
	if len(run.Samples) == 0 || look.Started.Before(run.Since) || clock.Elapsed(look.Ended(), now) > p.EvidenceTTL ||
		!wholeLook(look) {
		return false
	}
	own, unknown := n.all(probe.Login, look)
	if len(own)+len(unknown) > 0 {
		held := n.holding(look)
		return len(held) > 0 && !slices.ContainsFunc(held, func(p probe.Process) bool { return !awaitsCluster(p.Awaits) })
	}
	before := 0
	for _, r := range n.before(probe.Login) {
		before = max(before, cluster(r.Processes.Waiting))
	}
	w := look.Processes.Waiting
	waiting := cluster(w) - before
	return waiting > 0 && waiting > w[probe.AwaitsBackend]+w[probe.AwaitsDNS]+w[probe.AwaitsLimit]
}

// awaitsCluster says whether a process that waits so waits for other nodes, or for what the cluster keeps together.
func awaitsCluster(a probe.Await) bool {
	return a == probe.AwaitsNode || a == probe.AwaitsMetadata || a == probe.AwaitsLock
}

// cluster is how many wait so.
func cluster(w probe.Waits) int {
	return w[probe.AwaitsNode] + w[probe.AwaitsMetadata] + w[probe.AwaitsLock]
}

// phrase names a result: the probe and the reason.
func phrase(r probe.Result) string { return string(r.Kind) + " " + string(r.Reason) }

// timeOfDay writes a time for a person who reads it at some moment: that of another day with its date.
func timeOfDay(t, now time.Time) string {
	t = t.UTC()
	if t.Format(time.DateOnly) == now.UTC().Format(time.DateOnly) {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04:05")
}

// Silent says whether the node that d is about does not answer, and does not just wait for another one.
func (n NodeState) Silent(d Decision, p Policy) bool {
	if n.victim(p, d.At) {
		return false
	}
	return d.Evidence.Kind == p.LivenessKind() || n.Latest[probe.Login].Reason == probe.Unreachable
}
