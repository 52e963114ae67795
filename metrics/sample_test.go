package metrics

import (
	"errors"
	"time"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// feed gives m one of everything: a broker of three nodes, one of them confirmed stuck, one just started, after a
// day with one deletion that helped and one that did not; and a broker that has not been reconciled.
func feed(m *Metrics, now time.Time) {
	m.Watch("rabbitmq")
	m.Watch("another")
	for _, r := range results(now) {
		m.ProbeDone(r)
	}
	for _, a := range deletions(now) {
		m.Deleted(a)
		m.Settled(a)
	}
	m.Reconciled(snapshot(now))
	m.WatchOperations([]plan.Environment{{Name: "production"}}, func() []plan.Operation { return running(now) })
	m.ConfigLoaded(now.Add(-time.Hour), false)
	m.WatchReceiver("chat")
	m.Notified("chat", "opened")
	m.NotifyFailed("chat")
	m.NotifyDropped("chat", "too_old")
	m.NotifyQueue("chat", 2)
	m.Discovered(28, 1, 2, 1)
	m.WatchFile(ConfigurationFile, func() error { return nil })
	m.WatchFile(TokensFile, func() error { return errors.New("line 3: no such right") })
	m.WatchCertificate(func() (from, until time.Time) { return now.AddDate(0, -1, 0), now.AddDate(0, 2, 0) })
	m.PermissionsMissing([]auth.ResourceAttributes{{Verb: "delete", Resource: "pods", Namespace: "production"}})
}

// results has one healthy and one stuck result of each kind of probe.
func results(now time.Time) []probe.Result {
	var login, roundtrip probe.StageTimes
	for i, stage := range probe.Stages() {
		roundtrip[stage] = time.Duration(i+1) * time.Millisecond
		if stage <= probe.StageOpen || stage == probe.StageClose {
			login[stage] = time.Duration(i+1) * time.Millisecond
		}
	}
	healthy := probe.Result{Target: "rabbitmq", Node: "rabbit-0", UID: "a", Started: now.Add(-10 * time.Second)}
	ill := probe.Result{Target: "rabbitmq", Node: "rabbit-1", UID: "b", Started: now.Add(-20 * time.Second)}
	with := func(r probe.Result, kind probe.Kind, reason probe.Reason, took time.Duration) probe.Result {
		r.Kind, r.Reason, r.Took = kind, reason, took
		switch {
		case reason != probe.OK:
		case kind == probe.Login:
			r.Stages = login
			r.Certificate = &probe.Validity{From: time.Unix(1_700_000_000, 0), Until: time.Unix(1_800_000_000, 0)}
		case kind == probe.Roundtrip:
			r.Stages = roundtrip
		case kind == probe.MaybeStuck:
			r.Processes = &probe.Processes{Total: 271, Suspicious: 2, Baseline: 2}
		case kind == probe.LogAge:
			r.LogAge = 1500 * time.Millisecond
		}
		return r
	}
	stuck := with(ill, probe.MaybeStuck, probe.ProcessesStuck, 6500*time.Millisecond)
	stuck.Processes = &probe.Processes{Total: 5300, Suspicious: 5001, StuckReaders: 4999, StuckChannels: 3, Baseline: -1}
	return []probe.Result{
		with(healthy, probe.Login, probe.OK, 4*time.Millisecond),
		with(healthy, probe.Login, probe.OK, 5*time.Millisecond),
		with(healthy, probe.Roundtrip, probe.OK, 12*time.Millisecond),
		with(healthy, probe.MaybeStuck, probe.OK, 6*time.Second),
		with(healthy, probe.LogAge, probe.OK, 2*time.Millisecond),
		with(ill, probe.Login, probe.AwaitTune, 12*time.Second),
		stuck,
		with(ill, probe.LogAge, probe.ExecFailed, 2*time.Millisecond),
	}
}

// running is a deploy that has been under way for a minute.
func running(now time.Time) []plan.Operation {
	return []plan.Operation{{
		ID: "deploy-1", Kind: plan.Deploy, Environment: "production", Phase: plan.Running, Created: now.Add(-time.Minute),
	}}
}

func deletions(now time.Time) []decide.Deletion {
	return []decide.Deletion{
		{
			Target: "rabbitmq", Node: "rabbit-0", UID: "z", At: now.Add(-3 * time.Hour),
			Outcome: decide.Recovered, Settled: now.Add(-3*time.Hour + 40*time.Second),
		},
		{
			Target: "rabbitmq", Node: "rabbit-2", UID: "y", At: now.Add(-2 * time.Hour),
			Outcome: decide.Escalated, Settled: now.Add(-time.Hour),
		},
	}
}

func snapshot(now time.Time) remediate.Snapshot {
	policy := decide.DefaultPolicy()
	policy.Mode = decide.Remediate
	r := results(now)
	node := func(name string, status probe.Status, phase decide.Phase, closed ...decide.Guard) remediate.NodeSnapshot {
		n := remediate.NodeSnapshot{Node: target.Node{Target: "rabbitmq", Name: name}}
		n.Decision = decide.Decision{Status: status, Phase: phase}
		for _, g := range decide.Guards() {
			open := true
			for _, c := range closed {
				open = open && c != g.Guard
			}
			n.Decision.Guards = append(n.Decision.Guards, decide.GuardState{Guard: g.Guard, Open: open})
		}
		return n
	}
	healthy := node("rabbit-0", probe.Healthy, decide.PhaseHealthy)
	healthy.Latest = []probe.Result{r[1], r[2], r[3], r[4]}
	ill := node("rabbit-1", probe.Stuck, decide.PhaseConfirmed, decide.GuardPeers, decide.GuardBudget)
	ill.Latest = []probe.Result{r[5], r[6], r[7]}
	ill.Stuck = now.Add(-90 * time.Second)
	young := node("rabbit-2", probe.Unknown, decide.PhaseUnknown, decide.GuardStartupGrace)
	young.Terminating = target.Yes
	return remediate.Snapshot{
		Target: "rabbitmq", At: now.Add(-time.Second), Policy: policy, Deletions: deletions(now),
		View:  target.View{At: now.Add(-time.Second), Expected: 3},
		Nodes: []remediate.NodeSnapshot{healthy, ill, young},
	}
}
