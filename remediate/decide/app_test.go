package decide

import (
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// frontend is an application of three pods, of which nobody knows more than their logs.
type frontend struct {
	t     *testing.T
	now   time.Time
	state State
	o     Observation
	p     Policy
}

func newFrontend(t *testing.T) *frontend {
	t.Helper()
	f := &frontend{t: t, now: time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC), p: DefaultPolicy()}
	f.p.App, f.p.Mode = true, Remediate
	f.o = Observation{PausesKnown: true, HistoryKnown: true, NoCommands: true}
	f.o.View = target.View{Expected: 3, IsLeader: target.Yes, Operating: target.No}
	for i, name := range []string{"a", "b", "c"} {
		f.o.View.Nodes = append(f.o.View.Nodes, f.pod(name, f.now.Add(-time.Hour), "host-"+string(rune('1'+i))))
	}
	return f
}

func (f *frontend) pod(name string, started time.Time, host string) target.Node {
	return target.Node{
		Target: "frontend", Name: name, UID: "uid-" + name, Host: host, Started: started,
		Terminating: target.No, RollingOut: target.No, Owned: target.Yes, Disruptable: target.Yes,
	}
}

// look lets 30 s pass, in which each pod's log is looked at; the silent ones have nothing new. It gives the decisions by name.
func (f *frontend) look(silent ...string) map[string]Decision {
	f.t.Helper()
	f.now = f.now.Add(30 * time.Second)
	f.o.View.At, f.o.Results = f.now, nil
	for _, n := range f.o.View.Nodes {
		r := probe.Result{Target: n.Target, Node: n.Name, UID: n.UID, NodeStarted: n.Started, Kind: probe.LogAge, Started: f.now.Add(-time.Second), Reason: probe.OK}
		for _, s := range silent {
			if s == n.Name {
				r.Reason, r.LogAge = probe.Silent, 3*time.Minute
			}
		}
		f.o.Results = append(f.o.Results, r)
	}
	state, decisions := Decide(f.state, f.o, f.p, f.now)
	f.state = state
	by := make(map[string]Decision)
	for _, d := range decisions {
		by[d.Node] = d
	}
	return by
}

func (f *frontend) wantDeleted(d Decision) {
	f.t.Helper()
	if d.Action != Delete || d.Phase != PhaseConfirmed {
		f.t.Fatalf("%s: %s, %s: %s; closed: %v", d.Node, d.Phase, d.Action, d.Reason, d.Closed())
	}
}

func TestDecideDeletesAnAppsSilentPodAloneAndOnlyOnceCertain(t *testing.T) {
	f := newFrontend(t)
	if d := f.look()["b"]; d.Phase != PhaseHealthy || d.Reason != "writes its log" {
		t.Fatalf("%s: %s", d.Phase, d.Reason)
	}
	for range 2 {
		for name, d := range f.look("b") {
			if d.Action != Hold || (name == "b") != (d.Phase == PhaseSuspect) {
				t.Fatalf("%s: %s, %s: %s", name, d.Phase, d.Action, d.Reason)
			}
		}
	}
	all := f.look("b")
	f.wantDeleted(all["b"])
	if all["a"].Action != Hold || all["c"].Action != Hold {
		t.Error("another pod is deleted too")
	}
	if ev := all["b"].Evidence; ev.Kind != probe.LogAge || ev.Stuck != 3 || !ev.Corroborated {
		t.Errorf("evidence: %+v", ev)
	}
}

func TestDecideLeavesAnAppAloneWhileAnythingSpeaksAgainstIt(t *testing.T) {
	guards := map[Guard]func(*frontend){
		GuardObserveOnly:      func(f *frontend) { f.p.Mode = Observe },
		GuardRollout:          func(f *frontend) { f.o.View.Nodes[1].RollingOut = target.Yes },
		GuardNoController:     func(f *frontend) { f.o.View.Nodes[1].Owned = target.CannotTell },
		GuardPeers:            func(f *frontend) { f.o.View.Expected = 4 }, // an autoscaler has just asked for one more
		GuardDisruptionBudget: func(f *frontend) { f.o.View.Nodes[1].Disruptable = target.No },
		GuardOperation:        func(f *frontend) { f.o.View.Operating = target.Yes },
		GuardSameHost: func(f *frontend) {
			f.o.SilentOnHosts = map[string][]Silent{"host-2": {{"frontend/b", f.now}, {"rabbitmq/r-1", f.now}}}
		},
		GuardStartupGrace: func(f *frontend) { f.o.View.Nodes[1].Started = f.now },
	}
	for guard, closes := range guards {
		t.Run(string(guard), func(t *testing.T) {
			f := newFrontend(t)
			f.look()
			closes(f)
			var d Decision
			for range 4 {
				d = f.look("b")["b"]
			}
			if d.Phase != PhaseConfirmed || d.Action != Hold || len(d.Closed()) != 1 || d.Closed()[0] != guard {
				t.Errorf("%s, %s, closed: %v", d.Phase, d.Action, d.Closed())
			}
		})
	}
}

func TestDecideTakesSeveralSilentPodsForAStorm(t *testing.T) {
	f := newFrontend(t)
	f.look()
	for range 5 {
		for name, d := range f.look("a", "b") {
			if d.Action != Hold {
				t.Fatalf("%s is deleted: %s", name, d.Reason)
			}
		}
	}
}

func TestDecideTakesALogThatCannotBeReadForNoSilence(t *testing.T) {
	f := newFrontend(t)
	f.look()
	for range 5 {
		f.now = f.now.Add(30 * time.Second)
		f.o.View.At = f.now
		f.o.Results = []probe.Result{{Target: "frontend", Node: "b", UID: "uid-b", NodeStarted: f.o.View.Nodes[1].Started, Kind: probe.LogAge, Started: f.now, Reason: probe.ExecFailed}}
		var decisions []Decision
		f.state, decisions = Decide(f.state, f.o, f.p, f.now)
		for _, d := range decisions {
			if d.Phase == PhaseSuspect || d.Phase == PhaseConfirmed || d.Action != Hold {
				t.Fatalf("%s: %s, %s", d.Node, d.Phase, d.Action)
			}
		}
	}
}

func TestDeletionSettledAppWantsAPodOfAnotherName(t *testing.T) {
	f := newFrontend(t)
	f.look()
	for range 3 {
		f.look("b")
	}
	f.state.Deletions = append(f.state.Deletions, Deletion{ID: "1", Target: "frontend", Node: "b", UID: "uid-b", At: f.now, Accepted: f.now})
	f.o.View.Nodes[1].Terminating = target.Yes
	f.look("b")
	if a := f.state.Deletions[0]; a.Outcome != Pending {
		t.Fatalf("while the old pod stops: %q, %s", a.Outcome, a.Why)
	}
	f.o.View.Nodes[1] = f.pod("d", f.now, "host-2")
	f.look("d")
	if a := f.state.Deletions[0]; a.Outcome != Pending {
		t.Fatalf("before the new pod writes: %q, %s", a.Outcome, a.Why)
	}
	f.look()
	a := f.state.Deletions[0]
	if a.Outcome != Recovered || a.NewNode != "d" || a.NewUID != "uid-d" {
		t.Fatalf("%+v", a)
	}
}

func TestDeletionSettledAppEscalatesAnAppThatDoesNotBecomeWhole(t *testing.T) {
	f := newFrontend(t)
	f.look()
	f.state.Deletions = append(f.state.Deletions, Deletion{ID: "1", Target: "frontend", Node: "b", UID: "uid-b", At: f.now, Accepted: f.now})
	f.o.View.Nodes[1] = f.pod("d", f.now, "host-2")
	for range 21 {
		f.look("d")
	}
	if a := f.state.Deletions[0]; a.Outcome != Escalated || !strings.Contains(a.Why, "write") {
		t.Fatalf("%+v", a)
	}
	f.look()
	if a := f.state.Deletions[0]; a.Outcome != Recovered {
		t.Fatalf("later it writes after all: %+v", a)
	}
}

func TestDecideDeletesAnAppsOnlyPodOnlyWhereThePolicyAllowsIt(t *testing.T) {
	for _, single := range []bool{false, true} {
		f := newFrontend(t)
		f.o.View.Nodes, f.o.View.Expected, f.p.SingleNode = f.o.View.Nodes[1:2], 1, single
		f.look()
		var d Decision
		for range 3 {
			d = f.look("b")["b"]
		}
		if (d.Action == Delete) != single {
			t.Errorf("single_node %v: %s; closed: %v", single, d.Action, d.Closed())
		}
	}
}

func TestDecideTakesABrokersSilentLogForNoEvidence(t *testing.T) {
	f := newFrontend(t)
	f.p.App = false
	f.look()
	for range 5 {
		for name, d := range f.look("b") {
			if d.Phase != PhaseUnknown || d.Action != Hold {
				t.Fatalf("%s: %s, %s", name, d.Phase, d.Action)
			}
		}
	}
}
