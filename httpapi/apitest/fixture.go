package apitest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// Noon is when the fixture is looked at. Within a synctest bubble, AtNoon makes it the present.
var Noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// AtNoon runs test in a bubble whose clock shows noon.
func AtNoon(t *testing.T, test func(*testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		<-time.After(time.Until(Noon)) // the bubble's own clock
		test(t)
	})
}

// DecidedAt is when the fixture's broker was last decided upon.
var DecidedAt = Noon.Add(-2 * time.Second)

// Decided gives what Decide makes of three failed logins to mq-1, at 90, 50 and 15 s before noon, and of two looks at
// its processes.
func Decided() remediate.Snapshot {
	policy := decide.DefaultPolicy()
	s := remediate.Snapshot{
		Target: "orders", At: DecidedAt, Policy: policy,
		View:   target.View{At: Noon.Add(-3 * time.Second), Expected: 3, IsLeader: target.Yes, Operating: target.No},
		Pauses: []decide.Pause{MovingDisks()},
	}
	latest := map[string][]probe.Result{
		"mq-0": {GoodLogin("mq-0")},
		"mq-1": {StuckLogin("mq-1", Noon.Add(-15*time.Second)), StuckProcesses("mq-1", Noon.Add(-30*time.Second))},
		"mq-2": {GoodLogin("mq-2")},
	}
	results := []probe.Result{
		StuckLogin("mq-1", Noon.Add(-90*time.Second)), StuckLogin("mq-1", Noon.Add(-50*time.Second)),
		StuckProcesses("mq-1", Noon.Add(-75*time.Second)),
	}
	for _, name := range []string{"mq-0", "mq-1", "mq-2"} {
		s.View.Nodes = append(s.View.Nodes, NodeOf(name))
		results = append(results, latest[name]...)
	}
	_, decisions := decide.Decide(decide.State{}, decide.Observation{
		View: s.View, Results: results, Pauses: s.Pauses, PausesKnown: true, HistoryKnown: true,
		Quorum: map[string]decide.Quorum{"mq-1": {
			UID: "uid-of-mq-1", Started: Noon.Add(-48 * time.Hour), Critical: target.No, Peer: "mq-1",
			Nodes: decide.Identities(s.View), At: Noon.Add(-10 * time.Second),
		}},
		Refusals: map[string]decide.Refusal{"mq-1": {
			UID: "uid-of-mq-1", Started: Noon.Add(-48 * time.Hour), OnPurpose: target.No, Nodes: decide.Identities(s.View),
			At: Noon.Add(-10 * time.Second),
		}},
	}, policy, DecidedAt)
	for i, d := range decisions {
		n := remediate.NodeSnapshot{Node: s.View.Nodes[i], Decision: d, Latest: latest[d.Node]}
		if d.Status == probe.Stuck {
			n.Stuck = d.Evidence.Since
		}
		s.Nodes = append(s.Nodes, n)
	}
	return s
}

// MovingDisks is the pause of the broker.
func MovingDisks() decide.Pause {
	p := decide.Pause{Target: "orders", Reason: "moving disks", By: "ada", Until: Noon.Add(time.Hour)}
	p.ID = store.PauseID(p)
	return p
}

// NodeOf gives a node of the broker.
func NodeOf(name string) target.Node {
	return target.Node{
		Target: "orders", Name: name, UID: "uid-of-" + name, Address: "10.0.0.7:5672", Host: "host-1",
		Started: Noon.Add(-48 * time.Hour), Terminating: target.No, RollingOut: target.No, Owned: target.Yes,
		Disruptable: target.Yes,
	}
}

// GoodLogin is a login that succeeded.
func GoodLogin(node string) probe.Result {
	r := probe.Result{
		Target: "orders", Node: node, UID: "uid-of-" + node, NodeStarted: Noon.Add(-48 * time.Hour), Kind: probe.Login,
		Reason: probe.OK, Stage: probe.StageClose,
		Started: Noon.Add(-5 * time.Second), Took: 5 * time.Millisecond,
	}
	r.Stages[probe.StageTCP], r.Stages[probe.StageStart] = time.Millisecond, 2*time.Millisecond
	r.Stages[probe.StageTune], r.Stages[probe.StageOpen] = time.Millisecond, time.Millisecond
	return r
}

// StuckLogin is a login that got no answer.
func StuckLogin(node string, started time.Time) probe.Result {
	r := GoodLogin(node)
	r.Reason, r.Stage, r.Started, r.Took = probe.AwaitTune, probe.StageTune, started, 12*time.Second
	r.Detail = "no answer in stage tune, 12s after connecting"
	r.Stages[probe.StageTune], r.Stages[probe.StageOpen] = 0, 0
	return r
}

// StuckProcesses is a look that finds the same six connections as any other of its kind.
func StuckProcesses(node string, started time.Time) probe.Result {
	p := &probe.Processes{
		Total: 301, Suspicious: 9, StuckReaders: 6, Baseline: 2,
		Waiting: probe.Waits{probe.AwaitsLogin: 6, probe.AwaitsIdle: 3},
	}
	for id := range probe.ProcessID(6) {
		p.Logins = append(p.Logins, probe.Process{ID: 901 + id, Stack: 1, Mailbox: 1, Awaits: probe.AwaitsLogin})
	}
	return probe.Result{
		Target: "orders", Node: node, UID: "uid-of-" + node, NodeStarted: Noon.Add(-48 * time.Hour), Kind: probe.MaybeStuck,
		Reason:  probe.ProcessesStuck,
		Started: started, Took: 6 * time.Second, Processes: p,
	}
}

// OneIncident is that of the stuck node.
func OneIncident() store.Incident {
	n := Decided().Nodes[1]
	return store.Incident{
		ID: "20261123t115958z-mq-1-cljy", Target: "orders", Node: "mq-1", UID: n.UID, Opened: DecidedAt,
		Decision: n.Decision, Results: n.Latest,
		Logs: []target.LogLine{{At: Noon.Add(-2 * time.Minute), Text: "accepting AMQP connection <0.901.0>"}},
		Peer: "mq-0",
		Events: []store.Event{{At: n.Decision.Evidence.Since, Text: "first stuck: login"}, {
			At: DecidedAt, Text: n.Decision.Reason,
		}},
	}
}
