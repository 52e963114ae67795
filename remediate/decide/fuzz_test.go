package decide

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// fuzzSteps is how long a world is played at most. Much is known after so many steps; longer ones only take longer.
const fuzzSteps = 80

// FuzzDecide plays a world that the bytes describe, one step for each pair of them, and holds the decisions to the
// invariants: never two deletions in flight on a broker; no deletion while any peer is Unknown or Stuck; no deletion before M of N and
// the minimum time, without a break, and not without corroboration; none when paused or observing; no more than the
// budget; the order of the nodes does not matter; nothing given is changed. What may be is told by fuzz_oracle_test.go,
// from all that was seen, and not from what Decide noted.
//
//promise:15
func FuzzDecide(f *testing.F) {
	for seed := range uint64(24) {
		r := rand.New(rand.NewPCG(seed, seed))
		b := make([]byte, 2*fuzzSteps)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		w := newFuzzWorld(t)
		for i := 0; i+1 < len(data) && i < 2*fuzzSteps; i += 2 {
			w.step(data[i], data[i+1])
		}
	})
}

// TestDecideKeepsItsInvariantsInRandomWorlds plays worlds at random, many in a short time: it finds what fuzzing, which goes by
// coverage, would take long to come across.
func TestDecideKeepsItsInvariantsInRandomWorlds(t *testing.T) {
	asked := 0
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 0))
		w := newFuzzWorld(t)
		for range 300 {
			w.step(byte(r.Uint32()), byte(r.Uint32()))
		}
		asked += len(w.asked)
	}
	if asked < 25 {
		t.Errorf("%d deletions in all these worlds: too few to show anything", asked)
	}
}

// TestDecideDoesNotKeepItsInvariantsByNeverActing plays the wedge of one node in the fuzzed world, of its login or of its queues:
// it must lead to a deletion.
//
//promise:14
func TestDecideDoesNotKeepItsInvariantsByNeverActing(t *testing.T) {
	for name, play := range map[string]func(*fuzzWorld){
		"logins hang":      func(w *fuzzWorld) { w.logins("rabbit-1", probe.AwaitTune) },
		"round trips hang": func(w *fuzzWorld) { w.logins("rabbit-1", probe.OK); w.trips("rabbit-1", 0) },
	} {
		w := newFuzzWorld(t)
		for range 8 {
			play(w)
			w.now = w.now.Add(10 * time.Second)
			w.check(w.look("rabbit-1", probe.ProcessesStuck, 7, 1, 1))
		}
		if len(w.asked) != 1 {
			t.Errorf("%s: %d deletions, want 1", name, len(w.asked))
		}
	}
}

type fuzzWorld struct {
	*timeline

	fault fuzzFault
	uids  int
	turns int
	seen  map[string][]probe.Result // all results of each start of each pod, oldest first
	asked []fuzzAct
	fails int // how many of the next deletes are refused, or forgotten by a crash
	crash bool

	refuses, critical target.Answer
	generation        probe.ProcessID // of the processes that hang
}

// fuzzAct is a deletion that Decide asked for.
type fuzzAct struct {
	Deletion

	refused bool   // it was not carried out
	crash   bool   // for it was not even asked for
	lived   bool   // the node has done since what it was deleted for not doing
	newUID  string // of what took its place; "": nothing did
	back    bool   // and so has that
	good    map[string]map[probe.Kind]bool
}

func newFuzzWorld(t *testing.T) *fuzzWorld {
	w := &fuzzWorld{timeline: newTimeline(t), seen: map[string][]probe.Result{}, refuses: target.No, critical: target.No}
	w.fault = fuzzFault{"rabbit-1", probe.AwaitTune, 0, probe.ProcessesStuck}
	w.policy.PerNodePerDay, w.policy.PerTargetPerDay = 1, 2
	return w
}

// What a world is made of. What stands there several times comes the more often: the worlds of interest are those in
// which something almost leads to a deletion.
var (
	fuzzKinds   = []byte("LLLLLLLLLLLLMMMMMMMTTTTTTffltttpmoradyyyhvvbcq")
	fuzzNames   = []string{"rabbit-1", "rabbit-1", "rabbit-1", "rabbit-1", "rabbit-1", "rabbit-1", "rabbit-0", "rabbit-2"}
	fuzzReasons = []probe.Reason{
		probe.AwaitStart, probe.AwaitTune, probe.Unreachable, probe.OK, probe.Cancelled, probe.Refused,
	}
	fuzzLooks = []probe.Reason{probe.ProcessesStuck, probe.ToolsUnresponsive, probe.OK, probe.ExecFailed, probe.WorkWaits, probe.Full, probe.MetadataAwaited}
	fuzzTrips = []struct {
		reason probe.Reason
		stage  probe.Stage
	}{
		{probe.AwaitDeclare, probe.StageDeclare},
		{probe.OK, probe.StageClose},
		{probe.AwaitConfirm, probe.StagePublish},
		{probe.AwaitTune, probe.StageTune},
		{probe.Blocked, probe.StagePublish},
		{probe.Cancelled, probe.StageConsume},
		{probe.Unreachable, probe.StageTCP},
	}
)

// fuzzFault is what a node has, for a while.
type fuzzFault struct {
	node  string
	login probe.Reason
	trip  int // in fuzzTrips
	look  probe.Reason
}

// step lets one thing happen and decides. A probe takes up to 12 s, and none begins before the last of its kind has ended.
func (w *fuzzWorld) step(what, detail byte) {
	kind := fuzzKinds[int(what)%len(fuzzKinds)]
	name, which := fuzzNames[detail%8], int(detail/8)
	fault := w.fault
	if usual := detail < 224; !usual { // something else for once
		fault = fuzzFault{name, fuzzReasons[which%len(fuzzReasons)], which % len(fuzzTrips), fuzzLooks[which%len(fuzzLooks)]}
	}
	switch kind {
	case 'f': // another node has another fault
		w.fault = fuzzFault{name, fuzzReasons[which%4], which % 3, fuzzLooks[which%2]}
		return
	case 'L': // a round of logins
		w.logins(fault.node, fault.login)
		return
	case 'M', 'm': // a look at a node's processes
		w.now = w.now.Add(13 * time.Second)
		w.check(w.look(fault.node, fault.look, 10*w.generation+probe.ProcessID(detail/128), 1+oneIf(detail%16 == 1), w.turns/8+1-int(oneIf(detail%16 == 2))*w.turns/8))
		return
	case 'c': // the kubelet starts a container again, in the same pod
		w.restart(name)
	case 'q': // what the node and its peers say of it
		w.refuses = target.Answer(which % 3)
		w.critical = target.Answer(which / 3 % 3)
	case 'T': // a round of round trips
		w.trips(fault.node, fault.trip)
		return
	case 'l': // one node's login only
		w.now = w.now.Add(13*time.Second + time.Duration(detail)*time.Second)
		w.check(w.saw(w.result(name, probe.Login, fuzzReasons[which%len(fuzzReasons)])))
		return
	case 't': // a round trip through one node
		w.now = w.now.Add(13*time.Second + time.Duration(detail)*time.Second/8)
		w.check(w.trip(name, which))
		return
	case 'p':
		w.obs.Pauses = nil
		if detail%2 == 0 {
			w.obs.Pauses = []Pause{{Until: w.now.Add(time.Duration(detail) * time.Second)}}
		}
	case 'o':
		w.policy.Mode = Mode(detail % 2)
	case 'r':
		w.node(name).Terminating = target.Answer(which % 3)
	case 'a':
		w.obs.View.IsLeader, w.obs.View.Operating = target.Answer(which%3), target.Answer(which/3%3)
	case 'd': // somebody replaces a node
		w.replace(name)
	case 'y': // what was deleted is replaced
		for _, a := range w.asked {
			if a.newUID == "" && !a.refused && !a.lived && w.node(a.Node).UID == a.UID {
				w.replace(a.Node)
			}
		}
	case 'h':
		w.now = w.now.Add(time.Duration(which) * time.Minute * 4)
	case 'v': // the next deletes fail
		w.fails, w.crash = which%3, which%2 == 0
	case 'b':
		w.obs.HistoryKnown, w.obs.PausesKnown = which%4 != 0, which%4 != 1
	}
	w.check()
	if detail%4 > 0 { // and back to where acting is possible
		w.policy.Mode, w.obs.View.IsLeader, w.obs.View.Operating = Remediate, target.Yes, target.No
		w.refuses, w.critical = target.No, target.No
		w.obs.HistoryKnown, w.obs.PausesKnown, w.obs.Pauses = true, true, nil
		for i := range w.obs.View.Nodes {
			w.obs.View.Nodes[i].Terminating = target.No
		}
	}
}

// logins is a round of logins: name's has that reason, the others are healthy.
func (w *fuzzWorld) logins(name string, reason probe.Reason) {
	w.now = w.now.Add(20 * time.Second)
	var results []probe.Result
	for _, n := range w.obs.View.Nodes {
		r := w.result(n.Name, probe.Login, probe.OK)
		if n.Name == name {
			r = w.result(n.Name, probe.Login, reason)
		}
		results = append(results, w.saw(r))
	}
	w.check(results...)
}

// trips is a round of round trips: name's is that one of fuzzTrips, the others are good.
func (w *fuzzWorld) trips(name string, which int) {
	w.now = w.now.Add(20 * time.Second)
	var results []probe.Result
	for _, n := range w.obs.View.Nodes {
		if n.Name == name {
			results = append(results, w.trip(n.Name, which))
		} else {
			results = append(results, w.trip(n.Name, 1))
		}
	}
	w.check(results...)
}

func oneIf(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// wholeReasons are those of a look at all processes.
var wholeReasons = map[probe.Reason]bool{probe.OK: true, probe.ProcessesStuck: true, probe.WorkWaits: true, probe.Full: true, probe.MetadataAwaited: true}

// look is a look at a node's processes. Where that says OK, its connections wait for another node.
func (w *fuzzWorld) look(name string, reason probe.Reason, id probe.ProcessID, stack uint64, mailbox int) probe.Result {
	r := w.result(name, probe.MaybeStuck, reason)
	switch {
	case reason == probe.OK:
		r.Processes = &probe.Processes{Total: 100, Suspicious: 3, Waiting: probe.Waits{probe.AwaitsNode: 3}}
	case reason == probe.Full:
		r.Processes = &probe.Processes{Total: 100, Suspicious: 3, Waiting: probe.Waits{probe.AwaitsLimit: 3}}
	case reason == probe.MetadataAwaited:
		r.Processes = atWork(stack, mailbox, id)
		r.Processes.Waiting = probe.Waits{probe.AwaitsMetadata: 1, probe.AwaitsWork: 1}
	case wholeReasons[reason]:
		r.Processes = inLogin(probe.AwaitsLogin, id)
		r.Processes.Logins[0].Stack, r.Processes.Logins[0].Mailbox = stack, mailbox
		r.Processes.Work = atWork(stack, mailbox, id).Work
	}
	return w.saw(r)
}

func (w *fuzzWorld) replace(name string) {
	w.uids++
	n := w.node(name)
	for i := range w.asked {
		if a := &w.asked[i]; a.UID == n.UID && !a.refused && !a.lived {
			a.newUID = fmt.Sprint("uid-", w.uids)
		}
	}
	n.UID, n.Started = fmt.Sprint("uid-", w.uids), w.now
}

func (w *fuzzWorld) restart(name string) { w.node(name).Started = w.now }

func (w *fuzzWorld) trip(name string, which int) probe.Result {
	trip := fuzzTrips[which%len(fuzzTrips)]
	r := w.result(name, probe.Roundtrip, trip.reason)
	r.Stage = trip.stage
	return w.saw(r)
}

// saw notes a result, as the world sees it.
func (w *fuzzWorld) saw(r probe.Result) probe.Result {
	key := life(r.UID, r.NodeStarted)
	w.seen[key] = append(w.seen[key], r)
	if r.Status() == probe.Healthy && r.Node == "rabbit-1" && len(w.seen[key])%8 > 0 {
		w.generation++ // what hung is over, mostly
	}
	for i := range w.asked {
		a := &w.asked[i]
		if a.Node != r.Node || !r.Started.After(a.At) || (r.Kind != probe.Login && r.Kind != probe.Roundtrip) {
			continue
		}
		if a.good[key] == nil {
			a.good = map[string]map[probe.Kind]bool{key: {}}
		}
		a.good[key][r.Kind] = r.Status() == probe.Healthy
		cured := a.good[key][probe.Login] && (a.Probe != probe.Roundtrip || a.good[key][probe.Roundtrip])
		a.back = a.back || (cured && a.newUID != "" && r.UID != a.UID)
		a.lived = a.lived || (cured && r.UID == a.UID)
	}
	return r
}

func (w *fuzzWorld) check(results ...probe.Result) {
	w.obs.View.At = w.now
	for _, n := range w.obs.View.Nodes {
		w.obs.Quorum[n.Name] = Quorum{UID: n.UID, Started: n.Started, Critical: w.critical, Nodes: Identities(w.obs.View), At: w.now}
		w.obs.Refusals[n.Name] = Refusal{UID: n.UID, Started: n.Started, OnPurpose: w.refuses, Nodes: Identities(w.obs.View), At: w.now}
	}
	w.obs.Results = results
	thorough := w.turns%16 == 5 // comparing everything takes far longer than deciding
	w.turns++
	var before string
	if thorough {
		before = fmt.Sprintf("%+v %+v", w.state, w.obs)
	}
	state, decisions := Decide(w.state, w.obs, w.policy, w.now)
	if thorough {
		if fmt.Sprintf("%+v %+v", w.state, w.obs) != before {
			w.t.Fatal("what was given has changed; it was", before)
		}
		other := w.obs
		other.View.Nodes = slices.Clone(w.obs.View.Nodes)
		slices.Reverse(other.View.Nodes)
		if s, d := Decide(w.state, other, w.policy, w.now); !reflect.DeepEqual(state, s) || !reflect.DeepEqual(decisions, d) {
			w.t.Fatal("another order of the nodes gives another decision", cmp.Diff(state, s)+cmp.Diff(decisions, d))
		}
	}
	w.state = state
	acting := 0
	for _, d := range decisions {
		if d.Action != Delete {
			continue
		}
		acting++
		w.mayAct(d)
		w.act(d)
	}
	if acting > 1 {
		w.t.Fatalf("%d deletions at once", acting)
	}
}

// deletion asks for what was decided. It is accepted, refused, or the one who asked has ended before.
func (w *fuzzWorld) act(d Decision) {
	a := Deletion{ID: fmt.Sprint(len(w.asked)), Node: d.Node, UID: d.UID, Probe: d.Evidence.Kind, At: w.now, Accepted: w.now, Why: d.Reason}
	refused := w.fails > 0
	if refused {
		w.fails--
		a.Accepted = time.Time{}
		if !w.crash {
			a.RequestError = "forbidden"
		}
	}
	w.state.Deletions = append(slices.Clone(w.state.Deletions), a)
	w.asked = append(w.asked, fuzzAct{Deletion: a, refused: refused, crash: refused && w.crash})
}
