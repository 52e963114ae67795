package metrics

import (
	"bufio"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

var update = flag.Bool("update", false, "write the golden files anew")

// scrape gives the lines about unstuck, as Prometheus would read them.
func scrape(t *testing.T, m *Metrics) []string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("scrape: status %d: %s", w.Code, w.Body)
	}
	var lines []string
	s := bufio.NewScanner(w.Body)
	for s.Scan() {
		if strings.Contains(s.Text(), "unstuck_") {
			lines = append(lines, s.Text())
		}
	}
	if err := s.Err(); err != nil {
		t.Fatalf("read the scrape: %v", err)
	}
	return lines
}

// about gives those lines that hold every one of the words.
func about(lines []string, words ...string) []string {
	var found []string
	for _, line := range lines {
		missing := func(w string) bool { return !strings.Contains(line, w) }
		if !strings.HasPrefix(line, "#") && !slices.ContainsFunc(words, missing) {
			found = append(found, line)
		}
	}
	return found
}

func TestMetricsTextIsTheGoldenOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New("1.2.3")
		feed(m, time.Now())
		got := strings.Join(scrape(t, m), "\n") + "\n"
		got = strings.ReplaceAll(got, runtime.Version(), "GOVERSION")

		golden := filepath.Join("testdata", "metrics.txt")
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
			t.Errorf("the text has changed; if that is meant, run with -update (-want +got):\n%s", diff)
		}
	})
}

func TestMetricsPassPrometheusOwnLinter(t *testing.T) {
	m := New("1.2.3")
	feed(m, time.Now())
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestGaugesAreThoseThatAreDescribed(t *testing.T) {
	// A pedantic registry refuses what a collector did not describe.
	m := New("1.2.3")
	feed(m, time.Now())
	pedantic := prometheus.NewPedanticRegistry()
	pedantic.MustRegister(gauges{m})
	families, err := pedantic.Gather()
	if err != nil {
		t.Fatal(err)
	}
	described := make(chan *prometheus.Desc, 100)
	gauges{m}.Describe(described)
	if len(families) != len(described) {
		t.Errorf("%d gauges are described, %d were fed", len(described), len(families))
	}
}

func TestMetricsKeepNothingOfANodeThatVanishes(t *testing.T) {
	m, now := New(""), time.Now()
	feed(m, now)
	if len(about(scrape(t, m), `node="rabbit-1"`)) == 0 {
		t.Fatal("there is nothing about rabbit-1 to begin with")
	}
	s := snapshot(now)
	s.Nodes = []remediate.NodeSnapshot{s.Nodes[0], s.Nodes[2]}
	m.Reconciled(s)
	if left := about(scrape(t, m), `node="rabbit-1"`); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	if len(about(scrape(t, m), "unstuck_probe_results_total", `node="rabbit-0"`)) == 0 {
		t.Error("what was counted about the node that stays has gone")
	}

	late := results(now)[5]
	m.ProbeDone(late) // a probe of the vanished node that was under way
	m.Reconciled(s)
	if left := about(scrape(t, m), `node="rabbit-1"`); len(left) > 0 {
		t.Errorf("a late result came back for good:\n%s", strings.Join(left, "\n"))
	}
	if _, kept := m.counted["rabbitmq"]["rabbit-1"]; kept {
		t.Error("the vanished node is still remembered: names that come and go would fill the memory")
	}
}

func TestMetricsClearNoCounterForASupplierThatSeesNothing(t *testing.T) {
	m, now := New(""), time.Now()
	feed(m, now)
	m.Reconciled(remediate.Snapshot{Target: "rabbitmq", At: now})
	if len(about(scrape(t, m), "unstuck_probe_results_total", `node="rabbit-1"`)) == 0 {
		t.Error("the results of rabbit-1 were cleared")
	}
}

func TestMetricsShowABrokerThatWasNeverReconciled(t *testing.T) {
	m := New("")
	m.Watch("rabbitmq")
	want := []string{`unstuck_last_reconcile_timestamp_seconds{target="rabbitmq"} 0`}
	if diff := cmp.Diff(want, about(scrape(t, m), "last_reconcile")); diff != "" {
		t.Errorf("before the first reconcile (-want +got):\n%s", diff)
	}
	if got := about(scrape(t, m), "unstuck_deletions_total"); len(got) != 1 {
		t.Errorf("no counter of deletions to take the first increase from: %q", got)
	}

	m.Reconciled(remediate.Snapshot{Target: "rabbitmq", At: time.Unix(1000, 0)})
	m.Watch("rabbitmq")
	want = []string{`unstuck_last_reconcile_timestamp_seconds{target="rabbitmq"} 1000`}
	if diff := cmp.Diff(want, about(scrape(t, m), "last_reconcile")); diff != "" {
		t.Errorf("after it (-want +got):\n%s", diff)
	}
}

func TestMetricsUnwatchLeavesNothingOfABroker(t *testing.T) {
	m, now := New(""), time.Now()
	feed(m, now)
	other := about(scrape(t, m), `target="another"`)
	m.Unwatch("rabbitmq")
	lines := scrape(t, m)
	if left := about(lines, `target="rabbitmq"`); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	if diff := cmp.Diff(other, about(lines, `target="another"`)); diff != "" || len(other) == 0 {
		t.Errorf("of the broker that stays (-before +after):\n%s", diff)
	}
	if len(m.counted) > 0 || len(m.snapshots) != 1 {
		t.Errorf("it is remembered: %v, %v", m.counted, m.snapshots)
	}
	m.Watch("rabbitmq")
	want := []string{`unstuck_last_reconcile_timestamp_seconds{target="rabbitmq"} 0`}
	if diff := cmp.Diff(want, about(scrape(t, m), "last_reconcile", "rabbitmq")); diff != "" {
		t.Errorf("once it is watched again (-want +got):\n%s", diff)
	}
}

func TestMetricsTimeStuckGrowsBetweenReconciles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New("")
		m.Reconciled(snapshot(time.Now()))
		time.Sleep(30 * time.Second) // of the bubble's clock
		want := []string{
			`unstuck_node_stuck_seconds{node="rabbit-0",target="rabbitmq"} 0`,
			`unstuck_node_stuck_seconds{node="rabbit-1",target="rabbitmq"} 120`,
			`unstuck_node_stuck_seconds{node="rabbit-2",target="rabbitmq"} 0`,
		}
		if diff := cmp.Diff(want, about(scrape(t, m), "stuck_seconds")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestMetricsBudgetComesBackAfterADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, now := New(""), time.Now()
		s := snapshot(now)
		s.Deletions = append(s.Deletions, decide.Deletion{At: now, Outcome: decide.Aborted}, decide.Deletion{At: now, Outcome: decide.Failed, Cause: target.CauseStillThere}, decide.Deletion{At: now})
		m.Reconciled(s)
		budget := func() string { return strings.Join(about(scrape(t, m), "budget_left"), "") }
		if got, want := budget(), `unstuck_budget_left{target="rabbitmq"} 0`; got != want {
			t.Errorf("with 3 of 3 spent: got %s, want %s", got, want)
		}
		time.Sleep(22 * time.Hour) // of the bubble's clock
		if got, want := budget(), `unstuck_budget_left{target="rabbitmq"} 2`; got != want {
			t.Errorf("when the first two are a day old: got %s, want %s", got, want)
		}
		s.Policy.PerTargetPerDay = 0
		m.Reconciled(s)
		if got, want := budget(), `unstuck_budget_left{target="rabbitmq"} 0`; got != want {
			t.Errorf("with more spent than there is: got %s, want %s", got, want)
		}
	})
}

func TestMetricsSettledCountsADeletionThatRecoversLateAsBoth(t *testing.T) {
	m := New("")
	a := decide.Deletion{Target: "rabbitmq", At: time.Unix(0, 0), Outcome: decide.Escalated, Settled: time.Unix(600, 0)}
	m.Settled(a)
	a.Outcome, a.Settled = decide.Recovered, time.Unix(700, 0)
	m.Settled(a)
	a.Outcome = decide.Pending
	m.Settled(a) // not settled, and so not counted
	want := []string{
		`unstuck_deletion_outcomes_total{outcome="escalated",target="rabbitmq"} 1`,
		`unstuck_deletion_outcomes_total{outcome="recovered",target="rabbitmq"} 1`,
	}
	if diff := cmp.Diff(want, about(scrape(t, m), "deletion_outcomes_total")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := about(scrape(t, m), `unstuck_recovery_duration_seconds_sum{target="rabbitmq"} 700`); len(got) != 1 {
		t.Error("the recovery was not measured from the deletion on")
	}
}

func TestMetricsScrapeIsBrokenByNothingThatComesIn(t *testing.T) {
	m := New("\xff")
	m.Watch("\xff")
	m.ProbeDone(probe.Result{Target: "b", Node: "\xfe", Kind: probe.Login, Reason: "made up: secret=1"})
	m.ProbeDone(probe.Result{Target: "b", Node: "n", Kind: "made up"})
	m.Deleted(decide.Deletion{Target: "\xff"})
	m.Settled(decide.Deletion{Target: "\xff", Outcome: decide.Recovered})
	m.Settled(decide.Deletion{Target: "\xff", Outcome: "made up"})
	twin := remediate.NodeSnapshot{Node: target.Node{Name: "twin"}, Decision: decide.Decision{Phase: "made up"}}
	twin.Latest = []probe.Result{{Kind: "made up"}}
	odd := remediate.NodeSnapshot{Node: target.Node{Name: "\xfe"}}
	m.Reconciled(remediate.Snapshot{
		Target: "b", At: time.Now(), View: target.View{At: time.Now()},
		Nodes: []remediate.NodeSnapshot{twin, twin, odd},
	})

	lines := scrape(t, m)
	if made := about(lines, "made up"); len(made) > 0 {
		t.Errorf("what came in became a label: %q", made)
	}
	want := []string{`unstuck_probe_results_total{node="` + "\uFFFD" + `",probe="login",reason="not_run",status="unknown",target="b"} 1`}
	if diff := cmp.Diff(want, about(lines, "results_total")); diff != "" {
		t.Errorf("a reason that is not on the list (-want +got):\n%s", diff)
	}
	if got := about(lines, `unstuck_node_status{node="twin",status="unknown",target="b"} 1`); len(got) != 1 {
		t.Errorf("two nodes of one name: got %q", got)
	}
}

func TestMetricsTakeScrapesReconcilesAndProbesTogether(t *testing.T) {
	const rounds = 50
	m, now := New(""), time.Now()
	feed(m, now)
	var wg sync.WaitGroup
	for range rounds {
		wg.Go(func() { m.Reconciled(snapshot(now)) })
		wg.Go(func() { m.ProbeDone(results(now)[0]) })
		wg.Go(func() { m.Deleted(deletions(now)[0]); m.Settled(deletions(now)[0]) })
		wg.Go(func() { m.Watch("rabbitmq") })
		wg.Go(func() {
			if _, err := m.registry.Gather(); err != nil {
				t.Errorf("gather: %v", err)
			}
		})
	}
	wg.Wait()
	for _, want := range []string{
		`unstuck_deletions_total{target="rabbitmq"} 52`,
		`unstuck_decisions_total{action="hold",phase="confirmed",target="rabbitmq"} 51`,
		`unstuck_probe_results_total{node="rabbit-0",probe="login",reason="ok",status="healthy",target="rabbitmq"} 52`,
	} {
		if len(about(scrape(t, m), want)) != 1 {
			t.Errorf("%s is missing", want)
		}
	}
}
