package remediate

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/probe"
)

// FuzzDecide plays a world that the bytes describe, one step for each pair of them, and holds the decisions to the
// invariants: never two acts in flight on a broker; no act while any peer is Unknown or Stuck; no act before M of N and
// the minimum time; none when paused or observing; the order of the nodes does not matter; nothing given is changed.
func FuzzDecide(f *testing.F) {
	f.Add([]byte{0, 2, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0})
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, seed))
		b := make([]byte, 400)
		for i := range b {
			b[i] = byte(r.Uint32())
			if seed%2 == 0 && i%2 == 0 { // mostly what leads to an act
				b[i] = byte(r.Uint32() % 3)
			}
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		w := newFuzzWorld(t)
		for i := 0; i+1 < len(data) && i < 600; i += 2 {
			w.step(data[i], data[i+1])
		}
	})
}

// TestTheInvariantsAreNotHeldByNeverActing plays the wedge of one node in the fuzzed world: it must lead to a deletion.
func TestTheInvariantsAreNotHeldByNeverActing(t *testing.T) {
	w := newFuzzWorld(t)
	for range 8 {
		w.step(0, 0) // rabbit-1's login hangs, the others are well
		w.step(2, 0) // its processes are stuck
	}
	if w.deletions != 1 {
		t.Errorf("%d deletions, want 1", w.deletions)
	}
}

type fuzzWorld struct {
	*timeline

	uids      int
	turns     int
	deletions int
	last      map[string]probe.Result // latest login by node
	firstBad  map[string]time.Time    // of the present run
	bad       map[string]int
}

func newFuzzWorld(t *testing.T) *fuzzWorld {
	w := &fuzzWorld{timeline: newTimeline(t), last: map[string]probe.Result{}, firstBad: map[string]time.Time{}, bad: map[string]int{}}
	w.policy.PerNodePerDay, w.policy.PerBrokerPerDay = 3, 6
	return w
}

var fuzzReasons = []probe.Reason{probe.AwaitTune, probe.OK, probe.AwaitStart, probe.Unreachable, probe.Refused, probe.Cancelled}

// step lets one thing happen and decides.
func (w *fuzzWorld) step(what, detail byte) {
	names := []string{"rabbit-1", "rabbit-0", "rabbit-2"}
	name := names[int(detail)%3]
	var results []probe.Result
	switch what % 12 {
	case 0: // a round of logins; name's has one of the reasons
		w.now = w.now.Add(20 * time.Second)
		for _, n := range names {
			reason := probe.OK
			if n == name {
				reason = fuzzReasons[int(detail/3)%len(fuzzReasons)]
			}
			results = append(results, w.login(n, reason))
		}
	case 1: // one node's login only
		w.now = w.now.Add(time.Duration(detail) * time.Second)
		results = append(results, w.login(name, fuzzReasons[int(detail/3)%len(fuzzReasons)]))
	case 2:
		w.now = w.now.Add(10 * time.Second)
		r := w.result(name, probe.MaybeStuck, []probe.Reason{probe.ProcessesStuck, probe.ToolsUnresponsive, probe.OK, probe.ExecFailed}[int(detail/3)%4])
		r.Processes = &probe.Processes{Total: 100, Suspicious: 5, Baseline: 2, StuckIDs: []probe.ProcessID{7, probe.ProcessID(detail / 12)}}
		slices.Sort(r.Processes.StuckIDs)
		results = append(results, r)
	case 3:
		w.obs.Pauses = nil
		if detail%2 == 0 {
			w.obs.Pauses = []Pause{{Until: w.now.Add(time.Duration(detail) * time.Second)}}
		}
	case 4:
		w.policy.Mode = Mode(detail % 2)
	case 5:
		w.node(name).Terminating = probe.Answer(detail / 3 % 3)
	case 6:
		w.obs.View.Leading = probe.Answer(detail % 3)
	case 7: // a new UID
		w.uids++
		w.node(name).UID, w.node(name).Started = fmt.Sprint("uid-", w.uids), w.now
		delete(w.last, name)
		w.bad[name] = 0
	case 8:
		w.now = w.now.Add(time.Duration(detail) * time.Minute)
	case 9:
		w.obs.HistoryKnown, w.obs.PausesKnown = detail%4 != 0, detail%4 != 1
	case 10:
		w.obs.View.Operating = probe.Answer(detail % 3)
	case 11: // back to where acting is possible
		w.policy.Mode, w.obs.View.Leading, w.obs.View.Operating = Remediate, probe.Yes, probe.No
		w.obs.HistoryKnown, w.obs.PausesKnown, w.obs.Pauses = true, true, nil
		for i := range w.obs.View.Nodes {
			w.obs.View.Nodes[i].Terminating = probe.No
		}
	}
	w.check(results)
}

func (w *fuzzWorld) login(name string, reason probe.Reason) probe.Result {
	r := w.result(name, probe.Login, reason)
	w.last[name] = r
	switch r.Status() {
	case probe.Stuck:
		if w.bad[name]++; w.bad[name] == 1 {
			w.firstBad[name] = r.Started
		}
	case probe.Healthy, probe.Faulty:
		w.bad[name] = 0
	case probe.Unknown:
		if reason == probe.Unreachable { // may count, with the node's own tools as witness
			if w.bad[name]++; w.bad[name] == 1 {
				w.firstBad[name] = r.Started
			}
		}
	}
	return r
}

func (w *fuzzWorld) check(results []probe.Result) {
	w.obs.View.At = w.now
	for _, n := range w.obs.View.Nodes {
		w.obs.Quorum[n.Name] = Quorum{UID: n.UID, Critical: probe.No, At: w.now}
	}
	w.obs.Results = results
	thorough := w.turns%8 == 0 // rendering everything takes a hundred times as long as deciding
	w.turns++
	var before string
	if thorough {
		before = fmt.Sprintf("%+v %+v", w.state, w.obs)
	}
	state, decisions := Decide(w.state, w.obs, w.policy, w.now)
	if thorough && fmt.Sprintf("%+v %+v", w.state, w.obs) != before {
		w.t.Fatal("what was given has changed; it was", before)
	}
	other := w.obs
	other.View.Nodes = slices.Clone(w.obs.View.Nodes)
	slices.Reverse(other.View.Nodes)
	if s, d := Decide(w.state, other, w.policy, w.now); !reflect.DeepEqual(state, s) || !reflect.DeepEqual(decisions, d) {
		w.t.Fatal("another order of the nodes gives another decision", cmp.Diff(state, s)+cmp.Diff(decisions, d))
	}
	w.state = state
	acting := 0
	for _, d := range decisions {
		if d.Action != Delete {
			continue
		}
		acting++
		w.mayAct(d)
		w.deletions++
		w.state.Acts = append(slices.Clone(w.state.Acts), Act{ID: fmt.Sprint(w.now, d.Node), Node: d.Node, UID: d.UID, At: w.now})
	}
	if acting > 1 {
		w.t.Fatalf("%d acts at once", acting)
	}
}

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
	for _, a := range w.state.Acts {
		if a.Outcome == Pending || a.Outcome == Escalated {
			t.Fatalf("acts while %+v is not settled", a)
		}
	}
	for _, n := range w.obs.View.Nodes {
		r := w.last[n.Name]
		switch {
		case n.Name == d.Node:
			if n.Terminating != probe.No || n.UID != d.UID || r.UID != d.UID {
				t.Fatalf("acts upon %+v, decided about %s, probed was %s", n, d.UID, r.UID)
			}
		case r.Status() != probe.Healthy || r.UID != n.UID || w.now.Sub(r.Ended()) > w.policy.Fresh:
			t.Fatalf("acts while the peer %s is %s (%s), %s ago", n.Name, r.Status(), r.Reason, w.now.Sub(r.Ended()))
		}
	}
	if w.bad[d.Node] < w.policy.Needed || w.now.Sub(w.firstBad[d.Node]) < w.policy.MinTime {
		t.Fatalf("acts after %d bad logins in %s", w.bad[d.Node], w.now.Sub(w.firstBad[d.Node]))
	}
}
