package decide

import (
	"slices"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// mayAct fails the test if d breaks an invariant, by what the world knows and not by what Decide noted.
func (w *fuzzWorld) mayAct(d Decision) {
	t := w.t
	if w.policy.Mode != Remediate || !w.obs.PausesKnown || !w.obs.HistoryKnown || w.obs.View.IsLeader != target.Yes || w.obs.View.Operating != target.No {
		t.Fatalf("acts in mode %s, pauses known %v, history known %v, leading %s, operating %s",
			w.policy.Mode, w.obs.PausesKnown, w.obs.HistoryKnown, w.obs.View.IsLeader, w.obs.View.Operating)
	}
	for _, p := range w.obs.Pauses {
		if p.Until.After(w.now) {
			t.Fatal("acts while paused")
		}
	}
	w.mayAskAgain(d)
	self := *w.node(d.Node)
	if self.Terminating != target.No || self.UID != d.UID {
		t.Fatalf("acts upon %+v, decided about %s", self, d.UID)
	}
	key := life(self.UID, self.Started)
	if w.critical != target.No || (w.refuses != target.No && w.lastLook(key).Reason != probe.ToolsUnresponsive) {
		t.Fatalf("acts upon a node that refuses on purpose (%s), or that queues depend on (%s)", w.refuses, w.critical)
	}
	since, ok := w.proved(key, probe.Login)
	kind := probe.Login
	if !ok || !w.corroborated(key, kind, since) || !w.peersWell(d.Node, kind, since) {
		kind = probe.Roundtrip
		if since, ok = w.proved(key, kind); !ok || !w.corroborated(key, kind, since) || !w.peersWell(d.Node, kind, since) {
			t.Fatalf("acts upon %s without proof: %s\n%+v", d.Node, d.Reason, w.seen[key])
		}
	}
	if d.Evidence.Kind != kind {
		t.Fatalf("acts upon %s for its %s, and what is proved is its %s", d.Node, d.Evidence.Kind, kind)
	}
}

// life tells one start of one pod from another.
func life(uid string, started time.Time) string { return uid + " since " + started.String() }

func (w *fuzzWorld) lastLook(key string) (last probe.Result) {
	for _, r := range w.seen[key] {
		if r.Kind == probe.MaybeStuck {
			last = r
		}
	}
	return last
}

// mayAskAgain fails the test if an earlier deletion stands in the way of d: one that is under way, or the budget.
func (w *fuzzWorld) mayAskAgain(d Decision) {
	node, all := 0, 0
	for _, a := range w.asked {
		switch happened := a.newUID != ""; {
		case happened && !a.back:
			w.t.Fatalf("acts upon %s while what took the place of %s is not back", d.Node, a.UID)
		case !happened && !a.refused && w.now.Sub(a.At) < w.policy.GracePeriod+w.policy.ResultTTL:
			w.t.Fatalf("acts upon %s while the deletion of %s is under way", d.Node, a.UID)
		case !happened && a.refused && w.now.Sub(a.At) < unconfirmedFor:
			w.t.Fatalf("acts upon %s while it is not known whether %s was deleted", d.Node, a.UID)
		case w.now.Sub(a.At) >= 24*time.Hour || (!happened && !a.counts()):
			continue
		}
		all++
		if a.Node == d.Node {
			node++
		}
	}
	if node >= w.policy.PerNodePerDay || all >= w.policy.PerTargetPerDay {
		w.t.Fatalf("acts upon %s after %d deletions of it in a day, %d of the broker", d.Node, node, all)
	}
}

// counts says whether a deletion that did not happen counts all the same: its delete was refused, and the node did not
// recover by itself.
func (a fuzzAct) counts() bool { return a.refused && !a.crash && !a.lived }

// bad says whether a result counts as stuck: the reason says so, or it cannot be connected to and its own tools, asked
// since it was last healthy, cannot reach it.
func (w *fuzzWorld) bad(all []probe.Result, i int) bool {
	r := all[i]
	if r.Reason != probe.Unreachable {
		return r.Status() == probe.Stuck
	}
	for _, before := range slices.Backward(all[:i]) {
		switch {
		case before.Kind == probe.MaybeStuck:
			return before.Reason == probe.ToolsUnresponsive && r.Ended().Sub(before.Ended()) < w.policy.EvidenceTTL
		case before.Status() == probe.Healthy && before.Kind != probe.LogAge, before.Kind == probe.Roundtrip && before.Stage > probe.StageOpen:
			return false
		}
	}
	return false
}

// clears says whether r ends what probes of a kind said before, and from when on what they say counts again: those that began later
// are of another run.
func clears(r probe.Result, kind probe.Kind) (until time.Time, ok bool) {
	answered := r.Status() == probe.Healthy || r.Status() == probe.Faulty
	switch {
	case r.Kind == probe.Roundtrip && kind == probe.Login && (r.Status() == probe.Healthy || r.Stage > probe.StageOpen):
		return loggedIn(r), true
	case r.Kind == probe.Login && kind == probe.Roundtrip:
		return r.Ended(), r.Status() == probe.Faulty
	case r.Kind == probe.Roundtrip || r.Kind == kind:
		return r.Ended(), answered
	}
	return time.Time{}, false
}

// proved says since when the results of kind have shown the node stuck: M of the last N, the latest among them and fresh,
// for the minimum time, with no gap longer than results count and no more that could not tell in between than may be.
func (w *fuzzWorld) proved(key string, kind probe.Kind) (since time.Time, ok bool) {
	all, p := w.seen[key], w.policy
	bad, unknown, looked := 0, 0, 0
	var first, last probe.Result
	var until time.Time
	for i, r := range slices.Backward(all) {
		if at, ends := clears(r, kind); ends && at.After(until) {
			until = at
		}
		if r.Kind == kind && !r.Started.After(until) {
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
		case bad == 0 && w.now.Sub(r.Ended()) > p.ResultTTL:
			return since, false
		case bad == 0:
			last = r
		case unknown > p.Window-p.FailureThreshold || first.Started.Sub(r.Ended()) > p.ResultTTL:
			return first.Started, ok
		}
		if looked <= p.Window && w.now.Sub(r.Ended()) <= p.EvidenceTTL {
			bad++
		}
		first, unknown = r, 0
		ok = bad >= p.FailureThreshold && last.Ended().Sub(first.Started) >= p.MinDuration
	}
	return first.Started, ok
}

// corroborated says whether the node's own tools agree, twice since then.
func (w *fuzzWorld) corroborated(key string, kind probe.Kind, since time.Time) bool {
	latest := w.lastLook(key)
	if latest.Started.Before(since) || w.now.Sub(latest.Ended()) > w.policy.EvidenceTTL {
		return false
	}
	if latest.Reason != probe.ToolsUnresponsive {
		return w.persists(key, kind, since)
	}
	if kind != probe.Login || w.greeted(key, since) {
		return false
	}
	for _, r := range slices.Backward(w.seen[key]) {
		switch {
		case r.Kind == probe.Login && (r.Status() == probe.Healthy || r.Status() == probe.Faulty), r.Kind == probe.MaybeStuck && r.Processes != nil:
			return false
		case r.Kind == probe.MaybeStuck && r.Started.Before(since) && !w.unanswered(key, r.Started, since):
			return false
		case r.Kind == probe.MaybeStuck && r.Reason == latest.Reason && latest.Started.Sub(r.Started) >= w.policy.RecheckAfter:
			return true
		}
	}
	return false
}

// unanswered says whether connecting timed out already when a look began, and only that was known of logins until a time.
func (w *fuzzWorld) unanswered(key string, from, until time.Time) bool {
	answer := false
	for _, r := range w.seen[key] {
		switch {
		case r.Kind != probe.Login || r.Started.After(until):
		case r.Reason == probe.Unreachable:
			answer = answer || !r.Started.After(from)
		case r.Status() != probe.Unknown:
			answer = false
		}
	}
	return answer
}

// persists says whether a process of the kind that fails hung in the same place in every whole look since a time that lies long
// enough before the latest, with no fewer messages each time, and did not while the probes still succeeded. Where something waits
// for the metadata store, nobody knows what channels and queues wait for.
func (w *fuzzWorld) persists(key string, kind probe.Kind, since time.Time) bool {
	var looks []probe.Result
	var good, hung time.Time
	for i, r := range w.seen[key] {
		switch {
		case r.Kind == probe.MaybeStuck && r.Processes != nil:
			looks = append(looks, r)
		case r.Kind != kind || kind == probe.Roundtrip && r.Stage <= probe.StageOpen:
		case w.bad(w.seen[key], i):
			hung = r.Ended()
		case r.Started.Before(since) && (hung.IsZero() || r.Ended().Sub(hung) > w.policy.EvidenceTTL):
			good = later(good, r.Ended())
		}
		if at, ok := clears(r, kind); ok {
			if !hung.After(at) {
				hung = time.Time{}
			}
			if at.Before(since) {
				good = later(good, at)
			}
		}
	}
	list := func(r probe.Result) []probe.Process {
		if kind == probe.Roundtrip {
			return r.Processes.Work
		}
		return r.Processes.Logins
	}
	find := func(r probe.Result, id probe.ProcessID) (probe.Process, bool) {
		for _, p := range list(r) {
			if p.ID == id {
				return p, true
			}
		}
		return probe.Process{}, false
	}
	whole := looks
	if kind == probe.Roundtrip {
		for i, r := range slices.Backward(looks) {
			if r.Processes.Waiting[probe.AwaitsMetadata] > 0 {
				looks = looks[i+1:]
				break
			}
		}
		if len(looks) == 0 {
			return false
		}
	}
	last := looks[len(looks)-1]
	for _, p := range list(last) {
		chronic, next := false, p
		for _, r := range whole {
			if r.Started.Before(good) {
				before, ok := find(r, p.ID)
				chronic = ok && before.Stack == p.Stack || chronic && r.Processes.Truncated
			}
		}
		for i := len(looks) - 2; i >= 0 && !chronic && !looks[i].Started.Before(since); i-- {
			before, ok := find(looks[i], p.ID)
			if !ok || before.Stack != p.Stack || before.Mailbox > next.Mailbox {
				break
			}
			if next = before; last.Started.Sub(looks[i].Started) >= w.policy.RecheckAfter {
				return true
			}
		}
	}
	return false
}

// greeted says whether one of the last N failing logins since a time came further than the greeting, which a frozen node does not send.
func (w *fuzzWorld) greeted(key string, since time.Time) bool {
	looked := 0
	var until time.Time
	for _, r := range slices.Backward(w.seen[key]) {
		if at, ends := clears(r, probe.Login); ends && at.After(until) {
			until = at
		}
		if looked == w.policy.Window {
			return false
		}
		if r.Kind == probe.Login && (!r.Started.After(until) || r.Started.Before(since) && r.Reason != probe.Unreachable) {
			return false
		}
		if r.Kind == probe.Login {
			looked++
			if r.Reason == probe.AwaitTune && w.now.Sub(r.Ended()) <= w.policy.EvidenceTTL {
				return true
			}
		}
	}
	return false
}

// peersWell says whether every other node stays and accepts logins, or its logins hang too and its own processes say that they wait for
// another node; and whether the peers have answered a probe of this kind since then: each a login, and one of them a round trip, which
// must have been tried on each, and may not have begun to hang meanwhile.
func (w *fuzzWorld) peersWell(name string, kind probe.Kind, since time.Time) bool {
	peers, answers := 0, 0
	for _, n := range w.obs.View.Nodes {
		if n.Name == name {
			continue
		}
		peers++
		latest := map[probe.Kind]probe.Result{}
		for _, r := range w.seen[life(n.UID, n.Started)] {
			latest[r.Kind] = r
		}
		login, look := latest[probe.Login], latest[probe.MaybeStuck]
		if n.Terminating != target.No {
			return false
		}
		if look.Processes != nil && look.Reason == probe.OK && len(look.Processes.Logins) == 0 && w.now.Sub(look.Ended()) <= w.policy.EvidenceTTL && login.Status() != probe.Healthy {
			answers++
			continue // it waits for another node
		}
		if login.Status() != probe.Healthy || w.now.Sub(login.Ended()) > w.policy.ResultTTL || !latest[kind].Started.After(since) {
			return false
		}
		if latest[kind].Status() == probe.Healthy || (kind == probe.Roundtrip && latest[kind].Status() == probe.Faulty && latest[kind].Stage > probe.StageOpen) {
			answers++
		}
	}
	return answers == peers || kind == probe.Roundtrip && answers > 0
}
