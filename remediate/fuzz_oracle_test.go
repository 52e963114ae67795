package remediate

import (
	"slices"
	"time"

	"github.com/cjworkbench/unstuck/probe"
)

// mayAct fails the test if d breaks an invariant, by what the world knows and not by what Decide noted.
func (w *fuzzWorld) mayAct(d Decision) {
	t := w.t
	if w.policy.Mode != Remediate || !w.obs.PausesKnown || !w.obs.HistoryKnown || w.obs.View.Leading != probe.Yes || w.obs.View.Operating != probe.No {
		t.Fatalf("acts in mode %s, pauses known %v, history known %v, leading %s, operating %s",
			w.policy.Mode, w.obs.PausesKnown, w.obs.HistoryKnown, w.obs.View.Leading, w.obs.View.Operating)
	}
	for _, p := range w.obs.Pauses {
		if p.Until.After(w.now) {
			t.Fatal("acts while paused")
		}
	}
	w.mayAskAgain(d)
	self := *w.node(d.Node)
	if self.Terminating != probe.No || self.UID != d.UID {
		t.Fatalf("acts upon %+v, decided about %s", self, d.UID)
	}
	since, ok := w.proved(d.UID, probe.Login)
	kind := probe.Login
	if !ok || !w.witnessed(d.UID, kind, since) || !w.peersWell(d.Node, kind, since) {
		kind = probe.Roundtrip
		if since, ok = w.proved(d.UID, kind); !ok || !w.witnessed(d.UID, kind, since) || !w.peersWell(d.Node, kind, since) {
			t.Fatalf("acts upon %s without proof: %s\n%+v", d.Node, d.Reason, w.seen[d.UID])
		}
	}
}

// mayAskAgain fails the test if an earlier deletion stands in the way of d: one that is under way, or the budget.
func (w *fuzzWorld) mayAskAgain(d Decision) {
	node, broker := 0, 0
	for _, a := range w.asked {
		switch happened := a.newUID != ""; {
		case happened && !a.back:
			w.t.Fatalf("acts upon %s while what took the place of %s is not back", d.Node, a.UID)
		case !happened && !a.refused && w.now.Sub(a.At) < w.policy.Grace+w.policy.Fresh:
			w.t.Fatalf("acts upon %s while the deletion of %s is under way", d.Node, a.UID)
		case !happened && a.refused && w.now.Sub(a.At) < doubtFor:
			w.t.Fatalf("acts upon %s while it is not known whether %s was deleted", d.Node, a.UID)
		case w.now.Sub(a.At) >= 24*time.Hour || (!happened && !a.counts()):
			continue
		}
		broker++
		if a.Node == d.Node {
			node++
		}
	}
	if node >= w.policy.PerNodePerDay || broker >= w.policy.PerBrokerPerDay {
		w.t.Fatalf("acts upon %s after %d deletions of it in a day, %d of the broker", d.Node, node, broker)
	}
}

// counts says whether a deletion that did not happen counts all the same: its delete was refused, and the node did not
// recover by itself.
func (a fuzzAct) counts() bool { return a.refused && !a.crash && !a.lived }

// bad says whether a result counts as stuck: the reason says so, or it cannot be connected to and its own tools, asked
// since it was last well, cannot reach it.
func (w *fuzzWorld) bad(all []probe.Result, i int) bool {
	r := all[i]
	if r.Reason != probe.Unreachable {
		return r.Status() == probe.Stuck
	}
	for _, before := range slices.Backward(all[:i]) {
		switch {
		case before.Kind == probe.MaybeStuck:
			return before.Reason == probe.ToolsUnresponsive && r.Ended().Sub(before.Ended()) < w.policy.Evidence
		case before.Status() == probe.Healthy && before.Kind != probe.LogAge, before.Kind == probe.Roundtrip && before.Stage > probe.StageOpen:
			return false
		}
	}
	return false
}

// clears says whether r ends a run of kind.
func clears(r probe.Result, kind probe.Kind) bool {
	answered := r.Status() == probe.Healthy || r.Status() == probe.Faulty
	switch {
	case kind == probe.Login:
		return (r.Kind == probe.Login && answered) || (r.Kind == probe.Roundtrip && (answered || r.Stage > probe.StageOpen))
	case r.Kind == probe.Login:
		return r.Status() == probe.Faulty
	}
	return r.Kind == probe.Roundtrip && answered
}

// proved says since when the results of kind have shown the node stuck: M of the last N, the latest among them and fresh,
// for the minimum time, with no gap longer than results count and no more that could not tell in between than may be.
func (w *fuzzWorld) proved(uid string, kind probe.Kind) (since time.Time, ok bool) {
	all, p := w.seen[uid], w.policy
	bad, unknown, looked := 0, 0, 0
	var first, last probe.Result
	for i, r := range slices.Backward(all) {
		if clears(r, kind) {
			return first.Started, ok
		}
		if r.Kind != kind || (kind == probe.Roundtrip && r.Stage <= probe.StageOpen) {
			continue
		}
		looked++
		switch {
		case !w.bad(all, i):
			unknown++
			continue
		case bad == 0 && w.now.Sub(r.Ended()) > p.Fresh:
			return since, false
		case bad == 0:
			last = r
		case unknown > p.Of-p.Needed || first.Started.Sub(r.Ended()) > p.Fresh:
			return first.Started, ok
		}
		if looked <= p.Of && w.now.Sub(r.Ended()) <= p.Evidence {
			bad++
		}
		first, unknown = r, 0
		ok = bad >= p.Needed && last.Ended().Sub(first.Started) >= p.MinTime
	}
	return first.Started, ok
}

// witnessed says whether the node's own tools agree: twice, and the second time since then.
func (w *fuzzWorld) witnessed(uid string, kind probe.Kind, since time.Time) bool {
	var latest *probe.Result
	for _, r := range slices.Backward(w.seen[uid]) {
		switch {
		case r.Kind == probe.Login && r.Status() == probe.Healthy && latest != nil && latest.Reason == probe.ToolsUnresponsive:
			return false
		case r.Kind != probe.MaybeStuck:
		case latest == nil:
			if latest = &r; r.Status() != probe.Stuck || r.Started.Before(since) || w.now.Sub(r.Ended()) > w.policy.Evidence {
				return false
			}
		case r.Reason != latest.Reason || latest.Started.Sub(r.Started) < w.policy.PersistFor:
		case r.Reason == probe.ToolsUnresponsive:
			return kind == probe.Login && !w.greeted(uid)
		default:
			if stuck, _ := probe.Persisting(r.Processes, latest.Processes); stuck > 0 {
				return true
			}
		}
	}
	return false
}

// greeted says whether one of the last N failing logins came further than the greeting, which a frozen node does not send.
func (w *fuzzWorld) greeted(uid string) bool {
	looked := 0
	for _, r := range slices.Backward(w.seen[uid]) {
		if clears(r, probe.Login) || looked == w.policy.Of {
			return false
		}
		if r.Kind == probe.Login {
			looked++
			if r.Reason == probe.AwaitTune && w.now.Sub(r.Ended()) <= w.policy.Evidence {
				return true
			}
		}
	}
	return false
}

// peersWell says whether every other node stays, has let us in lately, is not known to be ill, and has had a look of this kind
// since then that was good.
func (w *fuzzWorld) peersWell(name string, kind probe.Kind, since time.Time) bool {
	for _, n := range w.obs.View.Nodes {
		if n.Name == name {
			continue
		}
		latest := map[probe.Kind]probe.Result{}
		for _, r := range w.seen[n.UID] {
			latest[r.Kind] = r
		}
		login := latest[probe.Login]
		if n.Terminating != probe.No || login.Status() != probe.Healthy || w.now.Sub(login.Ended()) > w.policy.Fresh || latest[probe.MaybeStuck].Status() == probe.Stuck ||
			latest[kind].Status() != probe.Healthy || !latest[kind].Started.After(since) {
			return false
		}
	}
	return true
}
