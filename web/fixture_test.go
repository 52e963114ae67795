package web

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

// fixture is a broker of three nodes, one of which is stuck, confirmed, and held back.
func fixture() Options {
	policy := remediate.DefaultPolicy()
	return Options{
		Snapshots: func() []remediate.Snapshot {
			return []remediate.Snapshot{{
				Broker: "orders", At: noon.Add(-2 * time.Second), Policy: policy,
				View:   probe.View{At: noon.Add(-3 * time.Second), Expected: 3},
				Nodes:  []remediate.NodeSnapshot{well("mq-0"), stuck("mq-1"), well("mq-2")},
				Pauses: []remediate.Pause{{Broker: "orders", Reason: "moving disks", By: "ada", Until: noon.Add(time.Hour)}},
			}}
		},
		Cases: func(context.Context) ([]remediate.Case, error) { return []remediate.Case{oneCase()}, nil },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
			_, _ = w.Write([]byte("# TYPE unstuck_build_info gauge\n"))
		}),
		Log: slog.New(slog.DiscardHandler),
	}
}

func nodeOf(name string) probe.Node {
	return probe.Node{
		Broker: "orders", Name: name, UID: "uid-of-" + name, Address: "10.0.0.7:5672", Host: "host-1",
		Started: noon.Add(-48 * time.Hour), Terminating: probe.No, RollingOut: probe.No, Owned: probe.Yes, Disruptable: probe.Yes,
	}
}

func well(name string) remediate.NodeSnapshot {
	r := probe.Result{
		Broker: "orders", Node: name, UID: "uid-of-" + name, Kind: probe.Login, Reason: probe.OK, Stage: probe.StageClose,
		Started: noon.Add(-5 * time.Second), Took: 5 * time.Millisecond,
	}
	r.Stages[probe.StageTCP], r.Stages[probe.StageStart] = time.Millisecond, 2*time.Millisecond
	r.Stages[probe.StageTune], r.Stages[probe.StageOpen] = time.Millisecond, time.Millisecond
	return remediate.NodeSnapshot{
		Node: nodeOf(name), Latest: []probe.Result{r},
		Decision: remediate.Decision{
			Broker: "orders", Node: name, UID: r.UID, At: noon.Add(-2 * time.Second), Status: probe.Healthy, Phase: remediate.Well,
			Reason: "lets people in", Evidence: remediate.Evidence{Needed: 3, Of: 4}, Next: noon.Add(2 * time.Minute),
		},
	}
}

// stuck is a node that is held back by two guards, of which one opens by itself.
func stuck(name string) remediate.NodeSnapshot {
	n := well(name)
	n.Stuck = noon.Add(-90 * time.Second)
	n.Latest[0].Reason, n.Latest[0].Stage = probe.AwaitTune, probe.StageTune
	n.Latest[0].Started, n.Latest[0].Took = noon.Add(-15*time.Second), 12*time.Second
	n.Latest[0].Detail = "no answer in stage tune, 12s after connecting"
	n.Latest[0].Stages[probe.StageTune], n.Latest[0].Stages[probe.StageOpen] = 0, 0
	n.Latest = append(n.Latest, probe.Result{
		Broker: "orders", Node: name, UID: n.UID, Kind: probe.MaybeStuck, Reason: probe.ProcessesStuck,
		Started: noon.Add(-30 * time.Second), Took: 6 * time.Second,
		Processes: &probe.Processes{Total: 301, Suspicious: 9, StuckReaders: 6, Baseline: 2},
	})
	d := &n.Decision
	d.Status, d.Phase, d.Next = probe.Stuck, remediate.Confirmed, noon.Add(30*time.Second)
	d.Reason = "confirmed stuck; held back by observe-only, paused"
	d.Evidence = remediate.Evidence{
		Kind: probe.Login, Stuck: 3, Needed: 3, Of: 4, Since: n.Stuck, Enough: true, Corroborated: true,
		Witness: "maybe_stuck shows the same 6 connections or channels stuck as before",
	}
	for _, g := range remediate.Guards() {
		state := remediate.GuardState{Guard: g.Guard, Open: true, Why: "not so: " + g.ClosedWhen}
		switch g.Guard {
		case remediate.GuardObserveOnly:
			state.Open, state.Why = false, "mode is observe: this broker is only watched"
		case remediate.GuardPaused:
			state.Open, state.Why, state.Until = false, "paused by ada: moving disks", noon.Add(time.Hour)
		}
		d.Guards = append(d.Guards, state)
	}
	return n
}

func oneCase() remediate.Case {
	n := stuck("mq-1")
	return remediate.Case{
		ID: "20261123-115900-mq-1", Broker: "orders", Node: "mq-1", UID: n.UID, Opened: noon.Add(-time.Minute),
		Decision: n.Decision, Results: n.Latest,
		Logs:   []probe.LogLine{{At: noon.Add(-2 * time.Minute), Text: "accepting AMQP connection <0.901.0>"}},
		Peer:   "mq-0",
		Events: []remediate.Event{{At: noon.Add(-time.Minute), Text: "confirmed stuck"}},
	}
}

// ask sends a request to h and gives what came back. The path is taken as it is, however odd.
func ask(h http.Handler, method, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, http.NoBody)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
