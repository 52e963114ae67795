package app

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/lab"
	"github.com/cjworkbench/unstuck/metrics"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// following is the world as a replica sees it that does not lead.
type following struct{ *lab.Lab }

func (f following) View(ctx context.Context, broker string) (target.View, error) {
	v, err := f.Lab.View(ctx, broker)
	v.IsLeader = target.No
	return v, err
}

// TestAlertsOfARealPrometheusTellOfAStuckNodeAndADeadDaemon has two replicas observe a real broker, one of whose
// nodes gets stuck and is cured; then both replicas end. Time passes thirty times as fast: see hurriedRules. So it runs
// by itself: two seconds in which a login hangs because the machine is busy are a minute to the rules.
//
//promise:40
func TestAlertsOfARealPrometheusTellOfAStuckNodeAndADeadDaemon(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	l := <-startLabs(t, 1, lab.Options{HandshakeTimeout: tableHandshake, Root: os.Getenv("UNSTUCK_RABBITMQ_ROOT")})
	began := time.Now()
	b := tableBroker()
	b.Policy.Mode = decide.Observe
	leader := watchWorld(ctx, t, l, l, b, func(a *App) { prepareSamples(t, a) })
	defer leader.stop()
	follower := watchWorld(ctx, t, l, following{l}, b, func(*App) {})
	defer follower.stop()
	for _, w := range []*tableWatch{leader, follower} {
		w.until(ctx, "every node is healthy", func() bool { return w.phases(decide.PhaseHealthy) == len(all) })
	}
	m := startMonitoring(t, leader.api.metrics.Addr(), follower.api.metrics.Addr())
	step := func(what string) { t.Logf("%5.1f s: %s", time.Since(began).Seconds(), what) }

	m.until(ctx, deadMan, "UnstuckDeadMansSwitch", "", "firing")
	step("the dead man's switch fires, as it should")
	m.settles(ctx, func() string {
		if got := slices.Collect(maps.Keys(m.alerts(ctx))); !slices.Equal(got, []string{"UnstuckDeadMansSwitch"}) {
			return fmt.Sprintf("everything is healthy, and these fire: %q", got)
		}
		return ""
	})

	// What is counted from here on has to be seen to grow by each job.
	m.settles(ctx, func() string {
		for _, job := range []string{jobAll, jobAlone} {
			if found, err := m.query(ctx, `unstuck_operations_total{job="`+job+`"}`, time.Now()); err != nil || len(found) == 0 {
				return fmt.Sprintf("nothing (%v) has been scraped by %s", err, job)
			}
		}
		return ""
	})

	const node = "rabbit-1"
	giveSamples(leader.daemon)
	if err := l.WedgeLogin(ctx, node); err != nil {
		t.Fatal(err)
	}
	step("wedged")
	stuck := m.until(ctx, people, "UnstuckNodeStuck", node, "firing")
	step("UnstuckNodeStuck has arrived")
	if diff := cmp.Diff(map[string]string{
		"alertname": "UnstuckNodeStuck", "severity": "warning", "job": jobAll, "namespace": namespace, "target": "lab", "node": node,
	}, stuck.Labels); diff != "" {
		t.Errorf("its labels (-want +got):\n%s", diff)
	}
	const runbooks = "https://github.com/cjworkbench/unstuck/blob/main/docs/runbooks/"
	if got := stuck.Annotations; got["summary"] != node+" of lab is suspected stuck" || got["runbook_url"] != runbooks+"UnstuckNodeStuck.md" ||
		!strings.HasPrefix(got["description"], "Logins to "+node+" of lab, or round trips through it, have hung for ") {
		t.Errorf("its annotations are %q", got)
	}

	m.until(ctx, people, "UnstuckNodeHeldBack", node, "firing")
	step("UnstuckNodeHeldBack has arrived")
	m.settles(ctx, func() string {
		alerts := m.alerts(ctx)
		// Two more have not been asked, and are no reason: see docs/metrics.md.
		const want = "Held back by: observe-only."
		if got := alerts["UnstuckNodeHeldBack "+node].Annotations["description"]; !strings.HasSuffix(got, want) {
			return fmt.Sprintf("it says %q, want %q at its end", got, want)
		}
		if got := alerts["UnstuckNodeStuck "+node].Status; got.State != "suppressed" || len(got.InhibitedBy) != 1 {
			return fmt.Sprintf("UnstuckNodeStuck is %+v, though UnstuckNodeHeldBack says more", got)
		}
		return ""
	})
	// Two things called namespace: where the replica is, and where the right is missing.
	missing := m.until(ctx, people, "UnstuckPermissionMissing", "", "firing")
	if want := "Unstuck needs to delete pods in the namespace production, and the cluster does not let it."; missing.Annotations["description"] != want {
		t.Errorf("it says %q of %v, want %q", missing.Annotations["description"], missing.Labels, want)
	}
	m.settles(ctx, func() string { return strings.Join(wrongOfDashboard(ctx, t, m), "\n") })
	step("every panel of the dashboard has data, and two replicas double nothing")
	if len(l.Deletions()) > 0 {
		t.Errorf("deleted %+v while observing", l.Deletions())
	}

	if err := l.Reset(ctx); err != nil {
		t.Fatal(err)
	}
	step("healed")
	for _, alert := range []string{"UnstuckNodeStuck", "UnstuckNodeHeldBack"} {
		m.until(ctx, people, alert, node, "resolved")
		step(alert + " is resolved")
		m.gone(ctx, alert+" "+node)
	}
	drawDashboard(ctx, t, m, began)

	leader.stop()
	follower.stop()
	step("both replicas are gone")
	if down := m.until(ctx, people, "UnstuckDown", "", "firing"); down.Labels["severity"] != "critical" || down.Labels["job"] != jobAll {
		t.Errorf("its labels are %v", down.Labels)
	}
	step("UnstuckDown has arrived")
	m.gone(ctx, "UnstuckDeadMansSwitch")
}

// prepareSamples is what does not happen to a broker that is only observed, and for a minute: a deletion three hours
// ago, a look at its processes while everything is healthy, and an environment in which there are operations.
func prepareSamples(t *testing.T, d *App) {
	t.Helper()
	at := time.Now().Add(-3 * time.Hour)
	past := decide.Deletion{ID: "past", Target: "lab", Node: "rabbit-0", UID: "past", At: at, Accepted: at, Outcome: decide.Recovered, Settled: at.Add(time.Minute)}
	if err := d.store.SaveDeletions(t.Context(), "lab", []decide.Deletion{past}); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []probe.Kind{probe.Login, probe.MaybeStuck} {
		d.fleet.all()[0].baselines.Observe(probe.Result{
			Target: "lab", Node: "rabbit-0", UID: "past", Kind: kind, Reason: probe.OK, Started: time.Now(), Processes: &probe.Processes{Total: 271, Suspicious: 2},
		})
	}
	d.metrics.WatchFile(metrics.ConfigurationFile, func() error { return nil })
	d.metrics.WatchOperations([]plan.Environment{{Name: "production"}}, func() []plan.Operation {
		return []plan.Operation{{ID: "2", Kind: plan.RunTask, Environment: "production", Phase: plan.Running, Created: time.Now().Add(-time.Minute)}}
	})
}

// giveSamples counts a deletion and a deploy, after they have been seen at zero, and takes a permission away.
func giveSamples(a *App) {
	at := time.Now()
	deletion := decide.Deletion{ID: "sample", Target: "lab", Node: "rabbit-0", UID: "sample", At: at, Outcome: decide.Recovered, Settled: at.Add(time.Minute)}
	a.metrics.Deleted(deletion)
	a.metrics.Settled(deletion)
	a.metrics.PermissionsMissing([]auth.ResourceAttributes{{Verb: "delete", Resource: "pods", Namespace: "production"}})
	a.metrics.OperationChanged(plan.Operation{ID: "1", Kind: plan.Deploy, Environment: "production", Phase: plan.Succeeded, Created: at, Ended: at})
}
