package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/kube/discover"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// supply is a supplier of brokers whose nodes nobody can log in to, for there are no credentials.
type supply struct {
	mu      sync.Mutex
	out     map[string]int         // how many suppliers of each broker have not been given back
	refuses map[string]bool        // brokers that it cannot supply
	seen    map[string][]time.Time // by broker: when its nodes were looked at
}

func newSupply() *supply {
	return &supply{out: make(map[string]int), refuses: make(map[string]bool), seen: make(map[string][]time.Time)}
}

func (s *supply) broker(b config.Broker) (Supplier, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuses[b.Name] {
		return Supplier{}, errors.New("nobody supplies it")
	}
	s.out[b.Name]++
	return Supplier{
		World: seenWorld{s, newThreeNodes()}, Credentials: func(context.Context) (target.Credentials, error) {
			return target.Credentials{}, errors.New("there are none")
		},
		giveBack: func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.out[b.Name]--
		},
	}, nil
}

func (s *supply) app(config.App) (Supplier, error) { return Supplier{}, errNoCluster }

// held gives the brokers whose suppliers have not been given back.
func (s *supply) held() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for name, n := range s.out {
		for range n {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// longest gives the longest time that nobody has looked at a broker, since it was first looked at.
func (s *supply) longest(name string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	longest := time.Duration(0)
	for i, at := range s.seen[name][1:] {
		longest = max(longest, at.Sub(s.seen[name][i]))
	}
	return longest
}

// seenWorld takes down when somebody looks.
type seenWorld struct {
	*supply
	*threeNodes
}

func (w seenWorld) View(ctx context.Context, name string) (target.View, error) {
	w.supply.mu.Lock()
	w.seen[name] = append(w.seen[name], time.Now())
	w.supply.mu.Unlock()
	v, err := w.threeNodes.View(ctx, name)
	for i := range v.Nodes {
		v.Nodes[i].Target, v.Nodes[i].UID = name, name+"-"+v.Nodes[i].Name
	}
	return v, err
}

// named gives brokers of these names, as they are by default.
func named(names ...string) wanted {
	var w wanted
	for _, name := range names {
		b := config.DefaultBroker()
		b.Name, b.Nodes = name, []target.Node{{Name: "n", Address: "127.0.0.1:1"}}
		w.brokers = append(w.brokers, b)
	}
	return w
}

// applied runs what an App watches, within a bubble, while test changes it.
func applied(t *testing.T, test func(t *testing.T, a *App, s *supply)) {
	t.Helper()
	dir, err := store.NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		a, s := newApp(store.New(dir), slog.New(slog.DiscardHandler)), newSupply()
		a.wants.suppliers = s
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if err := a.fleet.run(ctx); err != nil {
				t.Error(err)
			}
		})
		defer group.Wait()
		defer cancel()
		test(t, a, s)
	})
}

// mustApply applies what the file wants.
func mustApply(t *testing.T, a *App, w wanted) {
	t.Helper()
	if err := a.apply(fromFile, w); err != nil {
		t.Fatal(err)
	}
}

// metricsOf gives the lines of the metrics about a target.
func metricsOf(t *testing.T, a *App, name string) []string {
	t.Helper()
	var about []string
	for line := range strings.Lines(scraped(t, a)) {
		if strings.Contains(line, fmt.Sprintf("target=%q", name)) {
			about = append(about, line)
		}
	}
	return about
}

func TestAppApplyTouchesOnlyWhatChanged(t *testing.T) {
	applied(t, func(t *testing.T, a *App, s *supply) {
		mustApply(t, a, named("kept", "changed", "gone"))
		time.Sleep(time.Minute)
		kept, changed := a.fleet.find("kept"), a.fleet.find("changed")

		next := named("new", "kept", "changed")
		next.brokers[2].Policy.PerTargetPerDay = 7
		mustApply(t, a, next)
		time.Sleep(time.Minute)
		if got := a.fleet.find("kept"); got != kept || kept.over {
			t.Error("the broker that did not change begins anew")
		}
		if gap := s.longest("kept"); gap > 6*time.Second {
			t.Errorf("its loop did not reconcile for %s", gap)
		}
		if got := a.fleet.find("changed"); got == changed || got.loop.Snapshot().Policy.PerTargetPerDay != 7 || got.loop.Snapshot().At.IsZero() {
			t.Errorf("the policy that changed is not in force: %+v", got.loop.Snapshot().Policy)
		}
		select {
		case <-changed.ended:
		default:
			t.Error("the loop with the old policy has not ended")
		}
		if diff := cmp.Diff([]string{"new", "kept", "changed"}, a.names()); diff != "" {
			t.Errorf("watched (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"changed", "kept", "new"}, s.held()); diff != "" {
			t.Errorf("suppliers that are held (-want +got):\n%s", diff)
		}
		mustApply(t, a, next) // the same again
		if a.fleet.find("kept") != kept || len(s.held()) != 3 {
			t.Error("what is applied twice begins anew")
		}
	})
}

func TestAppApplyLeavesNothingOfWhatIsRemoved(t *testing.T) {
	applied(t, func(t *testing.T, a *App, s *supply) {
		a.events = &events{event: func(target.Node, bool, string, string) {}}
		mustApply(t, a, named("kept", "gone"))
		time.Sleep(time.Minute)
		told := func(name string) bool {
			a.events.mu.Lock()
			defer a.events.mu.Unlock()
			_, there := a.events.last[name]
			return there
		}
		if len(metricsOf(t, a, "gone")) < 10 || len(a.snapshots()) != 2 || !told("gone") {
			t.Fatalf("before: %q, %d snapshots, events: %t", metricsOf(t, a, "gone"), len(a.snapshots()), told("gone"))
		}
		gone := a.fleet.find("gone")
		mustApply(t, a, named("kept"))
		time.Sleep(time.Minute)
		if left := metricsOf(t, a, "gone"); len(left) > 0 {
			t.Errorf("series are left behind: %q", left)
		}
		if len(metricsOf(t, a, "kept")) < 10 {
			t.Error("those of the broker that stays are gone")
		}
		if all := a.snapshots(); len(all) != 1 || all[0].Target != "kept" {
			t.Errorf("snapshots: %+v", all)
		}
		h := manual{&a.fleet}
		if err := h.Probe(t.Context(), "gone", "mq-0"); err == nil {
			t.Error("its nodes can be probed")
		}
		if _, err := gone.loop.Delete(t.Context(), decide.DeleteRequest{Node: "mq-0"}); err == nil {
			t.Error("its nodes can be deleted")
		}
		if told("gone") || !told("kept") {
			t.Errorf("the events remember the one that is gone: %t, and the one that stays: %t", told("gone"), told("kept"))
		}
		if diff := cmp.Diff([]string{"kept"}, s.held()); diff != "" {
			t.Errorf("suppliers that are held (-want +got):\n%s", diff)
		}
	})
}

func TestAppApplyKeepsWhatOtherOriginsWant(t *testing.T) {
	const found origin = fromFile + 1
	applied(t, func(t *testing.T, a *App, _ *supply) {
		twice := named("twice", "found")
		twice.brokers[0].Policy.PerTargetPerDay = 7
		if err := a.apply(found, twice); err != nil {
			t.Fatal(err)
		}
		kept := a.fleet.find("found")
		mustApply(t, a, named("file", "twice"))
		if diff := cmp.Diff([]string{"file", "twice", "found"}, a.names()); diff != "" || a.fleet.find("found") != kept {
			t.Errorf("watched (-want +got):\n%s", diff)
		}
		if n := a.fleet.find("twice").loop.Policy.PerTargetPerDay; n == 7 {
			t.Error("what the file says of a broker does not count before what is found")
		}
		mustApply(t, a, named("file"))
		if n := a.fleet.find("twice").loop.Policy.PerTargetPerDay; n != 7 {
			t.Error("what is found does not count where the file says nothing any more")
		}
	})
}

// The resource is as it was, so nothing else would stop the loop that has its pods already.
func TestAppApplyLetsWhatIsWrittenHaveThePodsAtOnce(t *testing.T) {
	applied(t, func(t *testing.T, a *App, _ *supply) {
		found := named("found")
		found.brokers[0].Found = discover.Found{
			Source: target.Source{Namespace: "prod"}, Labels: map[string]string{"app": "orders"},
		}
		if err := a.apply(fromCluster, found); err != nil {
			t.Fatal(err)
		}
		written := named("written", "other")
		written.brokers[0].Pods = &config.Pods{Namespace: "prod", Selector: "app=orders"}
		written.brokers[1].Pods = &config.Pods{Namespace: "test", Selector: "app=orders"}
		mustApply(t, a, written)
		if diff := cmp.Diff([]string{"written", "other"}, a.names()); diff != "" {
			t.Errorf("watched (-want +got):\n%s", diff)
		}
		mustApply(t, a, named("other"))
		if diff := cmp.Diff([]string{"other", "found"}, a.names()); diff != "" {
			t.Errorf("once nothing is written of them (-want +got):\n%s", diff)
		}
	})
}

// A pause of it holds for it alone, as when it was made: for a name that nobody knows every broker is held.
func TestAppKnowsTheNamesOfWhatIsWatchedNoLonger(t *testing.T) {
	applied(t, func(t *testing.T, a *App, _ *supply) {
		mustApply(t, a, named("a", "b"))
		mustApply(t, a, named("a"))
		if diff := cmp.Diff([]string{"a", "b"}, a.known()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		mustApply(t, a, named("a", "b"))
		if diff := cmp.Diff([]string{"a", "b"}, a.known()); diff != "" {
			t.Errorf("once it is back (-want +got):\n%s", diff)
		}
	})
}

func TestAppApplyChangesNothingIfAPartCannotBeWatched(t *testing.T) {
	applied(t, func(t *testing.T, a *App, s *supply) {
		mustApply(t, a, named("a", "b"))
		time.Sleep(time.Minute)
		before := a.fleet.all()
		s.refuses["d"] = true
		next := named("a", "c", "d")
		next.brokers[0].Vhost = "another"
		if err := a.apply(fromFile, next); err == nil || !strings.Contains(err.Error(), "broker d: nobody supplies it") {
			t.Errorf("%v", err)
		}
		if !slices.Equal(before, a.fleet.all()) || before[0].over {
			t.Errorf("watched now: %q", a.names())
		}
		if diff := cmp.Diff([]string{"a", "b"}, s.held()); diff != "" {
			t.Errorf("suppliers that are held (-want +got):\n%s", diff)
		}
		if len(metricsOf(t, a, "c")) > 0 {
			t.Error("there are series of a broker that is not watched")
		}
		s.refuses["d"] = false
		mustApply(t, a, next)
		if diff := cmp.Diff([]string{"a", "c", "d"}, a.names()); diff != "" {
			t.Errorf("watched (-want +got):\n%s", diff)
		}
	})
}

func TestAppApplyTakesUpTheDeletionOfABrokerThatComesBack(t *testing.T) {
	applied(t, func(t *testing.T, a *App, _ *supply) {
		written := []decide.Deletion{{
			ID: "d", Incident: "i", Target: "orders", Node: "mq-1", UID: "old", At: time.Now(), Outcome: decide.Pending,
		}}
		if err := a.store.SaveDeletions(t.Context(), "orders", written); err != nil {
			t.Fatal(err)
		}
		awaited := func() bool {
			w := a.fleet.find("orders")
			if w == nil {
				return false
			}
			d := w.loop.Snapshot().Deletions
			return len(d) == 1 && d[0].ID == "d" && d[0].Outcome == decide.Pending
		}
		mustApply(t, a, named("orders"))
		time.Sleep(20 * time.Second)
		if !awaited() {
			t.Fatalf("the deletion is not awaited: %+v", a.snapshots())
		}
		mustApply(t, a, named("another"))
		time.Sleep(20 * time.Second)
		if kept, err := a.store.Deletions(t.Context(), "orders"); err != nil || len(kept) != 1 || kept[0].Outcome != decide.Pending {
			t.Errorf("while its broker is not watched the deletion is %+v, %v", kept, err)
		}
		back := named("orders")
		back.brokers[0].Policy.RecoveryTimeout += time.Minute
		mustApply(t, a, back)
		time.Sleep(20 * time.Second)
		if !awaited() {
			t.Errorf("it is not taken up: %+v", a.snapshots())
		}
	})
}

func TestAppApplyMayBeCalledWhileEverythingIsRead(t *testing.T) {
	applied(t, func(t *testing.T, a *App, s *supply) {
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for _, read := range []func(){
			func() { a.snapshots() }, func() { a.names() }, func() { a.namespaceOf("b") }, func() { scraped(t, a) },
			func() { _ = manual{&a.fleet}.Probe(ctx, "b", "mq-1") },
		} {
			group.Go(func() {
				for ctx.Err() == nil {
					read()
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		for i, names := range [][]string{{"a", "b"}, {"b"}, {"b", "c", "d"}, {}, {"d", "b"}} {
			group.Go(func() {
				for n := range 5 {
					next := named(names...)
					if len(next.brokers) > 0 {
						next.brokers[0].Policy.PerTargetPerDay = i + n
					}
					if err := a.apply(fromFile, next); err != nil {
						t.Error(err)
					}
					time.Sleep(time.Second)
				}
			})
		}
		time.Sleep(10 * time.Minute)
		cancel()
		group.Wait()
		mustApply(t, a, named("last"))
		if diff := cmp.Diff([]string{"last"}, s.held()); diff != "" {
			t.Errorf("suppliers that are held (-want +got):\n%s", diff)
		}
	})
}

func TestListedSuppliesNoPods(t *testing.T) {
	b := named("a").brokers[0]
	if s, err := (listed{}).broker(b); err != nil || s.World == nil {
		t.Errorf("listed nodes: %v", err)
	}
	b.Pods = &config.Pods{}
	if _, err := (listed{}).broker(b); !errors.Is(err, errNoCluster) {
		t.Errorf("pods: %v", err)
	}
	if _, err := (listed{}).app(config.App{}); !errors.Is(err, errNoCluster) {
		t.Errorf("an application: %v", err)
	}
}
