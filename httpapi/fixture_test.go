package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/target"
)

// noon is when the fixture is looked at. Within a synctest bubble, atNoon makes it the present.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// atNoon runs test in a bubble whose clock shows noon.
func atNoon(t *testing.T, test func(*testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(noon)) // the bubble's own clock
		test(t)
	})
}

// decidedAt is when the fixture's broker was last decided upon.
var decidedAt = noon.Add(-2 * time.Second)

// fixture is a broker of three nodes, one of which is stuck, confirmed, and held back by two guards, of which one opens
// by itself. What is said of it is what Decide says.
func fixture() Options {
	return Options{
		Brokers: Brokers{
			Snapshots: func() []remediate.Snapshot { return []remediate.Snapshot{decided()} },
			Incidents: func(context.Context) ([]remediate.Incident, error) { return []remediate.Incident{oneIncident()}, nil },
		},
		Log: slog.New(slog.DiscardHandler),
	}
}

// metrics are those that are handed in.
var metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write([]byte("# TYPE unstuck_build_info gauge\n"))
})

// decided gives what Decide makes of three failed logins to mq-1, at 90, 50 and 15 s before noon, and of two looks at
// its processes.
func decided() remediate.Snapshot {
	policy := remediate.DefaultPolicy()
	s := remediate.Snapshot{
		Target: "orders", At: decidedAt, Policy: policy,
		View:   target.View{At: noon.Add(-3 * time.Second), Expected: 3, IsLeader: target.Yes, Operating: target.No},
		Pauses: []remediate.Pause{{Target: "orders", Reason: "moving disks", By: "ada", Until: noon.Add(time.Hour)}},
	}
	latest := map[string][]probe.Result{
		"mq-0": {goodLogin("mq-0")},
		"mq-1": {stuckLogin("mq-1", noon.Add(-15*time.Second)), stuckProcesses("mq-1", noon.Add(-30*time.Second))},
		"mq-2": {goodLogin("mq-2")},
	}
	results := []probe.Result{
		stuckLogin("mq-1", noon.Add(-90*time.Second)), stuckLogin("mq-1", noon.Add(-50*time.Second)),
		stuckProcesses("mq-1", noon.Add(-75*time.Second)),
	}
	for _, name := range []string{"mq-0", "mq-1", "mq-2"} {
		s.View.Nodes = append(s.View.Nodes, nodeOf(name))
		results = append(results, latest[name]...)
	}
	_, decisions := remediate.Decide(remediate.State{}, remediate.Observation{
		View: s.View, Results: results, Pauses: s.Pauses, PausesKnown: true, HistoryKnown: true,
		Quorum: map[string]remediate.Quorum{"mq-1": {
			UID: "uid-of-mq-1", Started: noon.Add(-48 * time.Hour), Critical: target.No, Peer: "mq-1", Nodes: remediate.Identities(s.View), At: noon.Add(-10 * time.Second),
		}},
		Refusals: map[string]remediate.Refusal{"mq-1": {
			UID: "uid-of-mq-1", Started: noon.Add(-48 * time.Hour), OnPurpose: target.No, Nodes: remediate.Identities(s.View), At: noon.Add(-10 * time.Second),
		}},
	}, policy, decidedAt)
	for i, d := range decisions {
		n := remediate.NodeSnapshot{Node: s.View.Nodes[i], Decision: d, Latest: latest[d.Node]}
		if d.Status == probe.Stuck {
			n.Stuck = d.Evidence.Since
		}
		s.Nodes = append(s.Nodes, n)
	}
	return s
}

func nodeOf(name string) target.Node {
	return target.Node{
		Target: "orders", Name: name, UID: "uid-of-" + name, Address: "10.0.0.7:5672", Host: "host-1",
		Started: noon.Add(-48 * time.Hour), Terminating: target.No, RollingOut: target.No, Owned: target.Yes, Disruptable: target.Yes,
	}
}

func goodLogin(node string) probe.Result {
	r := probe.Result{
		Target: "orders", Node: node, UID: "uid-of-" + node, NodeStarted: noon.Add(-48 * time.Hour), Kind: probe.Login, Reason: probe.OK, Stage: probe.StageClose,
		Started: noon.Add(-5 * time.Second), Took: 5 * time.Millisecond,
	}
	r.Stages[probe.StageTCP], r.Stages[probe.StageStart] = time.Millisecond, 2*time.Millisecond
	r.Stages[probe.StageTune], r.Stages[probe.StageOpen] = time.Millisecond, time.Millisecond
	return r
}

func stuckLogin(node string, started time.Time) probe.Result {
	r := goodLogin(node)
	r.Reason, r.Stage, r.Started, r.Took = probe.AwaitTune, probe.StageTune, started, 12*time.Second
	r.Detail = "no answer in stage tune, 12s after connecting"
	r.Stages[probe.StageTune], r.Stages[probe.StageOpen] = 0, 0
	return r
}

// stuckProcesses is a look that finds the same six connections as any other of its kind.
func stuckProcesses(node string, started time.Time) probe.Result {
	p := &probe.Processes{Total: 301, Suspicious: 9, StuckReaders: 6, Baseline: 2, Waiting: probe.Waits{probe.AwaitsLogin: 6, probe.AwaitsIdle: 3}}
	for id := range probe.ProcessID(6) {
		p.Logins = append(p.Logins, probe.Process{ID: 901 + id, Stack: 1, Mailbox: 1, Awaits: probe.AwaitsLogin})
	}
	return probe.Result{
		Target: "orders", Node: node, UID: "uid-of-" + node, NodeStarted: noon.Add(-48 * time.Hour), Kind: probe.MaybeStuck, Reason: probe.ProcessesStuck,
		Started: started, Took: 6 * time.Second, Processes: p,
	}
}

func oneIncident() remediate.Incident {
	n := decided().Nodes[1]
	return remediate.Incident{
		ID: "20261123t115958z-mq-1-cljy", Target: "orders", Node: "mq-1", UID: n.UID, Opened: decidedAt,
		Decision: n.Decision, Results: n.Latest,
		Logs:   []target.LogLine{{At: noon.Add(-2 * time.Minute), Text: "accepting AMQP connection <0.901.0>"}},
		Peer:   "mq-0",
		Events: []remediate.Event{{At: n.Decision.Evidence.Since, Text: "first stuck: login"}, {At: decidedAt, Text: n.Decision.Reason}},
	}
}

// ops are the endpoints of whoever runs the daemon.
func ops(o Options) http.Handler { return NewOps(o.Brokers, metrics, o.Log) }

// ask sends a request to h and gives what came back. The path is taken as it is, however odd.
func ask(h http.Handler, method, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, http.NoBody)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
