package remediate

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
)

// A broker gets another name, and with it no deletions are written down.
func TestSuccessorSpendsNoBudgetTwice(t *testing.T) {
	for _, inherits := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newFakeWorld()
			w.wedge()
			w.play(t, 5*time.Minute, nil)
			if w.did("delete ") != 1 {
				t.Fatalf("the journal is %q", w.journal)
			}
			w.deletions = nil
			if inherits {
				w.before = w.loop
			}
			w.play(t, 20*time.Minute, func(time.Duration) {
				for _, n := range w.nodes {
					if n.Name == "rabbit-1" {
						w.reason[n.UID], w.looks[n.UID] = probe.AwaitTune, probe.ProcessesStuck
					}
				}
			})
			if again := w.did("delete ") - 1; (again > 0) == inherits {
				t.Errorf("it inherits: %t; deletions by the successor: %d", inherits, again)
			}
			if inherits && len(w.deletions) == 0 {
				t.Error("what was inherited is not written down")
			}
		})
	}
}

func TestSuccessorTakesOverStormsAndOnlyDeletionsOfItsPods(t *testing.T) {
	old, other := NewLoop(Options{Log: slog.New(slog.DiscardHandler)}), NewLoop(Options{Log: slog.New(slog.DiscardHandler)})
	old.state.Storms = map[probe.Kind]decide.Storm{probe.Login: {Until: epoch}}
	old.inherited = []decide.Deletion{{ID: "a", Node: "rabbit-7", At: epoch}}
	other.state.Deletions = []decide.Deletion{{ID: "b", Node: "orders-0", At: epoch}, {ID: "c", Node: "rabbit-1", At: epoch.Add(-time.Hour)}}
	l := NewLoop(Options{Log: slog.New(slog.DiscardHandler)})
	l.Succeed(old)
	l.Inherit(other)
	if l.state.Storms[probe.Login].Until != epoch {
		t.Errorf("storms: %v", l.state.Storms)
	}
	got, more := l.withInherited([]decide.Deletion{{ID: "c", Node: "rabbit-1", At: epoch.Add(-time.Hour)}}, newFakeWorld().nodes)
	if !more || len(got) != 2 || got[0].ID != "c" || got[1].ID != "a" {
		t.Errorf("%t, %+v", more, got)
	}
}

// Another broker has a node on the same host, and would be deleted from it if ours seemed well for a moment.
func TestSuccessorSaysNothingOfAHostBeforeItsFirstProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, hosts := newFakeWorld(), new(Hosts)
		hosts.set(w.nodes[1], true, time.Now().Add(-time.Minute))
		w.loop = NewLoop(Options{
			Target: "rabbit", Policy: decide.DefaultPolicy(), World: w, Runner: w, Store: w, Recorder: w, Hosts: hosts,
			Log: slog.New(slog.DiscardHandler),
		})
		w.loop.reconcile(t.Context())
		if !hosts.has(w.nodes[1]) {
			t.Error("a loop that has seen nothing says that the node answers")
		}
		w.logins()
		w.loop.reconcile(t.Context())
		if hosts.has(w.nodes[1]) {
			t.Error("the node answers, and it is not said")
		}
	})
}

func TestSuccessorLeavesNoIncidentOpenOfWhatIsWatchedNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		w.pauses = []decide.Pause{{Reason: "maintenance", By: "ada", Until: time.Now().Add(time.Hour)}}
		w.play(t, 5*time.Minute, nil)
		if c := w.onlyIncident(t); !c.Closed.IsZero() {
			t.Fatalf("it is closed: %s", c.Outcome)
		}
		w.loop.Leave(t.Context())
		if c := w.onlyIncident(t); c.Closed.IsZero() || c.Outcome != store.Unwatched {
			t.Errorf("closed at %s: %s", c.Closed, c.Outcome)
		}
	})
}
