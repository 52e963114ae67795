package app

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// threeNodes is a broker whose nodes come back at once when they are deleted.
type threeNodes struct {
	mu       sync.Mutex
	nodes    []target.Node
	isLeader target.Answer
	deleted  []string
}

func newThreeNodes() *threeNodes {
	w := &threeNodes{isLeader: target.Yes}
	for _, name := range []string{"mq-0", "mq-1", "mq-2"} {
		w.nodes = append(w.nodes, target.Node{
			Target: "orders", Name: name, UID: "uid-of-" + name, Host: "host-of-" + name, Address: "127.0.0.1:1",
			Started: time.Now().Add(-time.Hour), Terminating: target.No, RollingOut: target.No, Owned: target.Yes, Disruptable: target.Yes,
		})
	}
	return w
}

func (w *threeNodes) View(context.Context, string) (target.View, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return target.View{At: time.Now(), Expected: 3, IsLeader: w.isLeader, Operating: target.No, Nodes: slices.Clone(w.nodes)}, nil
}

func (w *threeNodes) Delete(_ context.Context, n target.Node, _ time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deleted = append(w.deleted, n.UID)
	for i := range w.nodes {
		if w.nodes[i].UID == n.UID {
			w.nodes[i].UID, w.nodes[i].Started = "new", time.Now()
		}
	}
	return nil
}

// ran counts the runs of each kind of probe on mq-1, and how many of one kind were under way at once at most.
type ran struct {
	mu   sync.Mutex
	runs map[probe.Kind]int
	now  map[probe.Kind]int
	most int
}

func (r *ran) probe(kind probe.Kind) probe.Func {
	return func(ctx context.Context, n target.Node) probe.Result {
		result := probe.Result{Reason: probe.OK, Started: time.Now(), Took: time.Second, Stage: probe.StageClose}
		r.count(n, kind, 1)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
		r.count(n, kind, -1)
		return result
	}
}

func (r *ran) count(n target.Node, kind probe.Kind, by int) {
	if n.Name != "mq-1" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now[kind] += by
	r.most = max(r.most, r.now[kind])
	if by > 0 {
		r.runs[kind]++
	}
}

// counted gives how often each kind has run, and how many of one kind were under way at once at most.
func (r *ran) counted() (runs map[probe.Kind]int, most int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.runs), r.most
}

// gone gives the UIDs of the nodes that were deleted.
func (w *threeNodes) gone() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.deleted)
}

// handed runs a daemon's loop and runner on w, within a bubble, while test asks for deletions. The nodes are probed
// once before, and then only when somebody asks.
func handed(t *testing.T, w *threeNodes, test func(t *testing.T, h manual, r *ran)) {
	t.Helper()
	dir, err := store.NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		for i := range w.nodes {
			w.nodes[i].Started = time.Now().Add(-time.Hour)
		}
		d := newApp(store.New(dir), slog.New(slog.DiscardHandler))
		r := &ran{runs: map[probe.Kind]int{}, now: map[probe.Kind]int{}}
		policy := decide.DefaultPolicy()
		policy.Mode = decide.Remediate
		d.start(d.equip(&watched{logins: make(map[string]goodLogin)}, "orders", policy, []probe.Probe{{Kind: probe.Login, Run: r.probe(probe.Login)}, {Kind: probe.MaybeStuck, Run: r.probe(probe.MaybeStuck)}}, Supplier{World: w}))
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { _ = d.fleet.run(ctx) })
		time.Sleep(10 * time.Second)
		for _, n := range w.nodes {
			d.fleet.all()[0].runner.RunNow(n.Name, probe.Login)
		}
		time.Sleep(10 * time.Second)
		test(t, manual{&d.fleet}, r)
		cancel()
		group.Wait()
	})
}

//promise:25
func TestManualDeleteBeginsNothingWithoutTheRightToDelete(t *testing.T) {
	w := newThreeNodes()
	handed(t, w, func(t *testing.T, h manual, _ *ran) {
		d := decide.DeleteRequest{Node: "mq-1", UID: "uid-of-mq-1", Reason: "x", By: "ada", Override: []decide.Guard{decide.GuardUnconfirmed}}
		cut := errors.New("nobody answers")
		for _, dry := range []bool{true, false} {
			d.DryRun = dry
			h.fleet.all()[0].mayDelete = func(context.Context) ([]auth.ResourceAttributes, error) {
				return []auth.ResourceAttributes{{Verb: "delete", Resource: "pods", Namespace: "production"}}, nil
			}
			_, err := h.Delete(t.Context(), "orders", d)
			if !errors.Is(err, brokers.Unable("delete pods in namespace production")) {
				t.Errorf("dry run %t: %v", dry, err)
			}
			h.fleet.all()[0].mayDelete = func(context.Context) ([]auth.ResourceAttributes, error) { return nil, cut }
			if _, err := h.Delete(t.Context(), "orders", d); !errors.Is(err, cut) {
				t.Errorf("dry run %t, and nobody can tell: %v", dry, err)
			}
		}
		if deletions := h.fleet.all()[0].loop.Snapshot().Deletions; len(w.gone()) > 0 || len(deletions) > 0 {
			t.Errorf("deleted %q, deletions %+v", w.gone(), deletions)
		}
	})
}

func TestManualProbeRunsEachOfANodesProbesAndNeverTwiceAtOnce(t *testing.T) {
	handed(t, newThreeNodes(), func(t *testing.T, h manual, r *ran) {
		before, _ := r.counted()
		for range 5 {
			if err := h.Probe(t.Context(), "orders", "mq-1"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		time.Sleep(10 * time.Second)
		runs, most := r.counted()
		for _, kind := range []probe.Kind{probe.Login, probe.MaybeStuck} {
			if n := runs[kind] - before[kind]; n != 2 {
				t.Errorf("%s ran %d times, want at once and once more for whoever asked meanwhile", kind, n)
			}
		}
		if most != 1 {
			t.Errorf("%d of one kind at once", most)
		}
		if err := h.Probe(t.Context(), "order", "mq-1"); err == nil {
			t.Error("a broker that there is not is probed")
		}
	})
}

func TestManualDeleteDeletesANode(t *testing.T) {
	w := newThreeNodes()
	handed(t, w, func(t *testing.T, h manual, _ *ran) {
		d := decide.DeleteRequest{Node: "mq-1", UID: "uid-of-mq-1", Reason: "clients hang", By: "ada", From: "10.0.0.9"}
		_, err := h.Delete(t.Context(), "orders", d)
		held, ok := errors.AsType[*decide.HeldError](err)
		if !ok || !slices.ContainsFunc(held.Closed, func(g decide.GuardState) bool { return g.Guard == decide.GuardUnconfirmed }) || len(held.Fixed) > 0 {
			t.Errorf("%v, want it to be held back, as it is not stuck", err)
		}
		d.Override, d.DryRun = []decide.Guard{decide.GuardUnconfirmed, decide.GuardQuorumCritical, decide.GuardAlarm, decide.GuardMaintenanceWindow}, true
		done, err := h.Delete(t.Context(), "orders", d)
		overridden := []decide.Guard{decide.GuardQuorumCritical, decide.GuardAlarm, decide.GuardUnconfirmed}
		if err != nil || done.Incident != "" || len(w.gone()) > 0 || !slices.Equal(done.Overridden, overridden) || len(done.Guards) != len(decide.Guards()) {
			t.Errorf("a dry run: %+v, %v; deleted were %v", done, err, w.gone())
		}
		d.DryRun = false
		if done, err = h.Delete(t.Context(), "orders", d); err != nil || done.Incident == "" || !slices.Equal(w.gone(), []string{"uid-of-mq-1"}) {
			t.Errorf("%+v, %v; deleted were %v", done, err, w.gone())
		}
		d.Node, d.UID = "mq-2", "uid-of-mq-2"
		_, err = h.Delete(t.Context(), "orders", d)
		if held, ok = errors.AsType[*decide.HeldError](err); !ok || !slices.Contains(held.Fixed, decide.GuardInFlight) {
			t.Errorf("another while the first is awaited: %v", err)
		}
		d.UID = "old"
		if _, err = h.Delete(t.Context(), "orders", d); !errors.Is(err, target.ErrChanged) {
			t.Errorf("one that has been replaced: %v", err)
		}
		w.mu.Lock()
		w.isLeader = target.No
		w.mu.Unlock()
		if _, err = h.Delete(t.Context(), "orders", d); !errors.Is(err, remediate.ErrNotLeader) {
			t.Errorf("where another replica leads: %v", err)
		}
		if _, err = h.Delete(t.Context(), "order", d); err == nil {
			t.Error("a broker that there is not has a node deleted")
		}
	})
}
