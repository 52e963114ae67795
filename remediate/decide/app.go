package decide

import (
	"fmt"
	"time"

	"github.com/cjworkbench/unstuck/clock"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// An application differs from a broker in three things. Its log is all that it is judged by, so there is no second
// corroboration: what stands for one is that all its other pods write, which the guard peers asks for. It has no queues
// that a pod could be critical for. And the pod that takes another's place mostly has another name, so that a deletion
// is settled when there are as many pods as there should be, the deleted one is not among them, and all of them write.

// replaced says whether the application is whole again without a's pod, and which pod is the newest.
func (a Deletion) replaced(s State, v target.View, p Policy, now time.Time) (newest target.Node, ok bool) {
	if v.At.IsZero() || clock.Elapsed(v.At, now) > p.ResultTTL || now.Sub(v.At) < -p.ResultTTL || v.Expected <= 0 ||
		len(v.Nodes) != v.Expected {
		return newest, false
	}
	for _, n := range v.Nodes {
		ns := s.Nodes[n.Name]
		status, _ := ns.health(p, now)
		if n.UID == a.UID || !ns.is(n) || status != probe.Healthy || !ns.Latest[p.LivenessKind()].Started.After(a.At) {
			return newest, false
		}
		if n.Started.After(newest.Started) {
			newest = n
		}
	}
	return newest, true
}

// settledApp gives a, which is about a pod of an application, as recovered if the application is whole again.
func (a Deletion) settledApp(s State, v target.View, p Policy, now time.Time) Deletion {
	newest, ok := a.replaced(s, v, p, now)
	if !ok {
		return a
	}
	a.Outcome, a.Settled, a.Why = Recovered, now, fmt.Sprintf("all %d pods write", v.Expected)
	if newest.Started.After(a.At) {
		a.NewUID, a.NewNode = newest.UID, newest.Name
	}
	return a
}
