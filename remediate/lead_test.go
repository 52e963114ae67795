package remediate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// realm is a broker of three nodes that two replicas watch, the store on which they write, and the lease.
type realm struct {
	mu      sync.Mutex
	nodes   []target.Node
	wedged  string // the UID of the node whose login is wedged
	leader  string // who holds the lease
	since   time.Time
	docs    map[string]paper
	deleted []string // the UIDs of the nodes that were deleted
	settled []decide.Outcome
}

// paper is a document and how often it was written.
type paper struct {
	data    []byte
	version int
}

func (w *realm) lead(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leader, w.since = name, time.Now()
}

// What becomes of a replica at one of its calls.
const (
	crashBefore = "crashes before"  // the call has no effect, and there are no more
	crashAfter  = "crashes after"   // the call has its effect, which the replica never learns
	hang        = "hangs"           // the call has its effect much later, whatever its deadline
	demotion    = "is not leading"  // another leads from now on, and the replica goes on
	interlude   = "leads once more" // another leads for a while, and then the replica again
	overtaken   = "is overtaken"    // somebody writes what it writes just before
)

// replica is one daemon: all that its loop needs. It counts the loop's calls, and meets its fate at one of them.
type replica struct {
	*realm

	name   string
	loop   *Loop
	seen   map[string]int // the version of each document that it knows
	calls  []string
	fate   string
	fateAt int
	dead   bool
	acted  int
}

var errDead = errors.New("this replica is dead")

// call lets one call happen, unless fate interferes.
func (r *replica) call(what string, effect func() error) error {
	r.mu.Lock()
	if r.dead {
		r.mu.Unlock()
		return errDead
	}
	r.calls = append(r.calls, what)
	now := len(r.calls) == r.fateAt
	if now && (r.fate == crashBefore || r.fate == crashAfter) {
		r.dead = true
	}
	r.mu.Unlock()
	if now {
		switch r.fate {
		case crashBefore:
			return errDead
		case hang:
			time.Sleep(3 * time.Minute)
		case demotion, interlude:
			r.lead("b")
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	err := effect()
	if now && r.fate == crashAfter {
		return errDead
	}
	return err
}

func (r *replica) View(context.Context, string) (target.View, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead {
		return target.View{}, errDead
	}
	v := target.View{At: time.Now(), Expected: 3, Operating: target.No, Nodes: slices.Clone(r.nodes), IsLeader: target.AnswerTo(r.leader == r.name)}
	if r.leader == r.name {
		v.LeaderSince = r.since
	}
	return v, nil
}

func (r *replica) Delete(_ context.Context, n target.Node, _ time.Duration) error {
	return r.call("delete", func() error {
		i := slices.IndexFunc(r.nodes, func(x target.Node) bool { return x.Name == n.Name })
		if r.nodes[i].UID != n.UID {
			return target.ErrChanged
		}
		r.deleted = append(r.deleted, n.UID)
		r.nodes[i].UID, r.nodes[i].Started = fmt.Sprintf("%s-%d", n.Name, len(r.deleted)), time.Now()
		return nil
	})
}

func (r *replica) All(_ context.Context, kind string) (map[string][]byte, error) {
	all := map[string][]byte{}
	effect := func() error {
		for key, p := range r.docs {
			if name, ok := strings.CutPrefix(key, kind+"/"); ok {
				all[name], r.seen[key] = p.data, p.version
			}
		}
		return nil
	}
	if kind == "pauses" { // too often to be of interest
		return all, nil
	}
	return all, r.call("read "+kind, effect)
}

func (r *replica) One(_ context.Context, kind, name string) (data []byte, there bool, err error) {
	effect := func() error {
		p, ok := r.docs[kind+"/"+name]
		data, there, r.seen[kind+"/"+name] = p.data, ok, p.version
		return nil
	}
	if kind == "pauses" { // too often to be of interest
		return nil, false, nil
	}
	err = r.call("read "+kind, effect)
	return data, there, err
}

func (r *replica) Put(_ context.Context, kind, name string, data []byte) error {
	key := kind + "/" + name
	r.mu.Lock()
	seen := r.seen[key] // goes with the request
	r.mu.Unlock()
	return r.call("write "+kind, func() error {
		if r.fate == overtaken && len(r.calls) == r.fateAt {
			r.docs[key] = paper{r.docs[key].data, seen + 1}
		}
		if r.docs[key].version != seen {
			return fmt.Errorf("put %s: %w", key, target.ErrConflict)
		}
		r.seen[key] = seen + 1
		r.docs[key] = paper{data, seen + 1}
		return nil
	})
}

func (r *replica) Remove(_ context.Context, kind, name string) error {
	return r.call("remove", func() error { delete(r.docs, kind+"/"+name); return nil })
}

func (r *replica) Exec(_ context.Context, _ target.Node, argv []string, stdout, _ io.Writer) (int, error) {
	err := r.call("exec "+argv[len(argv)-1], func() error { return nil })
	if err == nil {
		_, err = io.WriteString(stdout, answered(strings.Join(argv, " ")))
	}
	return 0, err
}

func (r *replica) LastLines(context.Context, target.Node, int) ([]target.LogLine, error) {
	return []target.LogLine{{At: time.Now(), Text: "line"}}, r.call("log", func() error { return nil })
}

func (r *replica) SetNodes([]target.Node)     {}
func (r *replica) SetPace(string, probe.Pace) {}
func (r *replica) Late() time.Duration        { return 0 }
func (r *replica) Reconciled(Snapshot)        {}
func (r *replica) Deleted(decide.Deletion)    { r.mu.Lock(); r.acted++; r.mu.Unlock() }
func (r *replica) Settled(a decide.Deletion) {
	r.mu.Lock()
	r.settled = append(r.settled, a.Outcome)
	r.mu.Unlock()
}

func (r *replica) RunNow(node string, kinds ...probe.Kind) {
	r.mu.Lock()
	n := r.nodes[slices.IndexFunc(r.nodes, func(x target.Node) bool { return x.Name == node })]
	result := probe.Result{Target: "rabbit", Node: node, UID: n.UID, NodeStarted: n.Started, Kind: kinds[0], Reason: probe.OK, Started: time.Now(), Took: time.Millisecond}
	if n.UID == r.wedged && kinds[0] == probe.MaybeStuck {
		result.Reason = probe.ProcessesStuck
		result.Processes = loginHangs()
	}
	r.mu.Unlock()
	r.loop.Deliver(result)
}

// logins delivers a login of each node.
func (r *replica) logins() {
	r.mu.Lock()
	nodes, wedged := slices.Clone(r.nodes), r.wedged
	r.mu.Unlock()
	for _, n := range nodes {
		reason := probe.OK
		if n.UID == wedged {
			reason = probe.AwaitTune
		}
		r.loop.Deliver(probe.Result{Target: "rabbit", Node: n.Name, UID: n.UID, NodeStarted: n.Started, Kind: probe.Login, Reason: reason, Started: time.Now().Add(-time.Second), Took: time.Second})
	}
}

// start makes the replica's loop. What it gives runs it for so long.
func (r *replica) start(t *testing.T, d time.Duration) (run func()) {
	r.seen = map[string]int{}
	policy := decide.DefaultPolicy()
	policy.Mode = decide.Remediate
	r.loop = NewLoop(Options{
		Target: "rabbit", Policy: policy, World: r, Runner: r, Store: store.New(r), Exec: r, Logs: r, Recorder: r, Log: slog.New(slog.DiscardHandler),
	})
	return func() {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		if err := r.loop.Run(ctx); err != nil {
			t.Error(err)
		}
	}
}

// playPair has two replicas watch a broker with a wedged node for a quarter of an hour. The first leads, and meets its fate at its
// call number at; none at 0. The lease is the other's 15 s after the first has died or hung.
func playPair(t *testing.T, fate string, at int) (a, b *replica) {
	w := &realm{docs: map[string]paper{}, wedged: "uid-of-rabbit-1"}
	for i := range 3 {
		w.nodes = append(w.nodes, testNode(fmt.Sprintf("rabbit-%d", i), time.Now().Add(-time.Hour)))
	}
	w.lead("a")
	a, b = &replica{realm: w, name: "a", fate: fate, fateAt: at}, &replica{realm: w, name: "b"}
	var group sync.WaitGroup
	for _, r := range []*replica{a, b} {
		group.Go(r.start(t, 15*time.Minute))
	}
	for since := time.Duration(0); since < 15*time.Minute; since += 15 * time.Second {
		a.logins()
		b.logins()
		time.Sleep(15 * time.Second)
		w.mu.Lock()
		met := at > 0 && len(a.calls) >= at
		away := w.leader == "b" && time.Since(w.since) > 2*time.Minute
		w.mu.Unlock()
		switch {
		case met && fate == interlude && away:
			w.lead("a")
		case met && fate != interlude && w.leader == "a":
			w.lead("b")
		}
	}
	group.Wait()
	time.Sleep(10 * time.Minute) // what hung comes back
	w.lead("c")                  // and there is a next one
	c := &replica{realm: w, name: "c"}
	run := c.start(t, time.Minute)
	c.logins()
	run()
	return a, b
}

// check fails the test unless exactly the wedged node was deleted once, and all that is written down says so.
func (w *realm) check(t *testing.T) {
	t.Helper()
	if !slices.Equal(w.deleted, []string{"uid-of-rabbit-1"}) {
		t.Errorf("deleted were %v, want the wedged node, once", w.deleted)
	}
	store := store.New(&replica{realm: w, seen: map[string]int{}})
	deletions, err := store.Deletions(t.Context(), "rabbit")
	if err != nil {
		t.Fatal(err)
	}
	counted := slices.DeleteFunc(slices.Clone(deletions), func(a decide.Deletion) bool { return a.Outcome == decide.Aborted })
	if len(counted) != 1 || counted[0].Outcome != decide.Recovered {
		t.Errorf("the deletions are %s, want one that counts, and that it recovered", text(deletions))
	}
	if !slices.Contains(w.settled, decide.Recovered) {
		t.Errorf("settled were %v, want a recovery", w.settled)
	}
	incidents, told := w.incidents(t), 0
	for _, c := range incidents {
		if c.Closed.IsZero() {
			t.Errorf("still open: %s", text(c.Events))
		}
		if c.Outcome == string(decide.Recovered) && c.Deletion != nil && c.Deletion.Outcome == decide.Recovered {
			told++
		}
	}
	if told != 1 {
		t.Errorf("%d of %d incidents tell of the recovery, want 1", told, len(incidents))
	}
}

func (w *realm) incidents(t *testing.T) []store.Incident {
	t.Helper()
	incidents, err := store.New(&replica{realm: w, seen: map[string]int{}}).Incidents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return incidents
}

func text(v any) string {
	data, _ := json.Marshal(v)
	return string(data)
}

//promise:22
func TestLoopOfASuccessorDeletesNothingTwiceAndForgetsNothing(t *testing.T) {
	var calls []string
	synctest.Test(t, func(t *testing.T) {
		a, b := playPair(t, "", 0)
		a.check(t)
		if a.acted != 1 || len(b.calls) == 0 {
			t.Errorf("the leader deleted %d times", a.acted)
		}
		for _, what := range b.calls {
			if what != "read deletions" {
				t.Errorf("the other one: %s, want it only to read the deletions", what)
			}
		}
		if n := len(b.calls); n > 70 {
			t.Errorf("the other one reads the deletions %d times in a quarter of an hour", n)
		}
		calls = a.calls
	})
	if slices.Index(calls, "delete") < 0 || len(calls) < 12 {
		t.Fatalf("the leader's calls are %q", calls)
	}
	for _, fate := range []string{crashBefore, crashAfter, hang, demotion, interlude} {
		for i, what := range calls {
			t.Run(fmt.Sprintf("%s call %d, %s", fate, i+1, what), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a, _ := playPair(t, fate, i+1)
					a.check(t)
					if incidents := a.incidents(t); fate == hang && strings.HasPrefix(what, "exec") && len(incidents) != 1 {
						t.Errorf("%d incidents: one that does not lead any more has opened one", len(incidents))
					}
				})
			})
		}
	}
}

func TestLoopHoldsIfItIsOvertakenBetweenIntentAndDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := playPair(t, "", 0)
		intent := slices.Index(a.calls, "write deletions")
		if a.calls[intent+1] != "write incidents" || a.calls[intent+2] != "delete" {
			t.Fatalf("the calls are %q", a.calls)
		}
		a, _ = playPair(t, overtaken, intent+2)
		if len(a.deleted) != 1 || a.acted != 0 {
			t.Errorf("it deleted %d times, all did %d times; want it to leave that to the other", a.acted, len(a.deleted))
		}
	})
}

func TestLoopOfANewLeaderClosesAnIncidentOfANodeThatItSawWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &realm{docs: map[string]paper{}, nodes: []target.Node{testNode("rabbit-0", time.Now().Add(-time.Hour))}}
		for _, id := range []string{"newer", "older"} {
			data, err := json.Marshal(store.Incident{ID: id, Target: "rabbit", Node: "rabbit-0", UID: "uid-of-rabbit-0", Opened: epoch})
			if err != nil {
				t.Fatal(err)
			}
			w.docs["incidents/"+id] = paper{data, 1}
		}
		b := &replica{realm: w, name: "b"}
		var group sync.WaitGroup
		group.Go(b.start(t, 3*time.Minute))
		for since := range 11 {
			if since == 5 {
				w.lead("b")
			}
			b.logins()
			time.Sleep(15 * time.Second)
		}
		group.Wait()
		for _, c := range w.incidents(t) {
			if c.Closed.IsZero() || (c.Outcome != store.BySelf && c.Outcome != store.Other) {
				t.Errorf("%s is %q: %s", c.ID, c.Outcome, text(c.Events))
			}
		}
	})
}
