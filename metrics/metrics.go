// Package metrics says in Prometheus' language what the daemon sees and does. It is the only importer of
// client_golang; docs/metrics.md lists every metric.
package metrics

import (
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

// maxScrapes bounds how many scrapes are served at once: each holds all its series in memory. More get a 503.
const maxScrapes = 4

// Metrics is all that is measured. It is for use by many goroutines at once.
//
// What happened is counted here, in counters and histograms. What is, as of a broker's last reconcile, is kept as the
// snapshot of that reconcile and turned into gauges by each scrape: so a node that has vanished leaves nothing behind.
type Metrics struct {
	registry    *prometheus.Registry
	permissions *prometheus.GaugeVec
	operations  *operations
	files       *files
	reload      *reload
	discovery   discovery
	counters
	notifications notifications

	mu        sync.Mutex
	snapshots map[string]remediate.Snapshot  // by broker; a snapshot without a time: there was none yet
	counted   map[string]map[string]struct{} // by broker: the nodes of which there are probe results
}

var _ remediate.Recorder = (*Metrics)(nil)

// New gives metrics on a registry of their own, with those of the Go runtime and of the process. The version is
// that of unstuck_build_info.
func New(version string) *Metrics {
	m := &Metrics{
		registry:      prometheus.NewRegistry(),
		permissions:   newPermissions(),
		operations:    newOperations(),
		files:         &files{checks: make(map[File]func() error)},
		reload:        new(reload),
		discovery:     newDiscovery(),
		counters:      newCounters(),
		notifications: newNotifications(),
		snapshots:     make(map[string]remediate.Snapshot),
		counted:       make(map[string]map[string]struct{}),
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "unstuck_build_info",
		Help: "Always 1; the labels say which unstuck this is.",
	}, []string{"version", "go_version"})
	build.WithLabelValues(valid(version), runtime.Version()).Set(1)

	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		build, m.permissions, m.results, m.durations, m.stages, m.decisions, m.deletions, m.settled, m.recovery,
		m.discovery.resources, m.discovery.problems,
		m.operations.ended, m.operations, m.files, m.reload, gauges{m},
	)
	m.registry.MustRegister(m.notifications.all()...)
	return m
}

// Handler serves the metrics in the format that the caller asks for. If some cannot be gathered it serves the
// others, and counts that in promhttp_metric_handler_errors_total.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		Registry:            m.registry,
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
	})
}

// Watch makes the metrics of a broker appear, at zero, before anything has happened: an alert upon a broker that
// was never reconciled needs a series to look at, and the first increase of a counter can be seen only from zero.
func (m *Metrics) Watch(targetName string) {
	targetName = valid(targetName)
	m.watch(targetName)

	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.snapshots[targetName]; !ok {
		m.snapshots[targetName] = remediate.Snapshot{Target: targetName}
	}
}

// Unwatch makes the metrics of a broker that is watched no longer disappear. What comes of it afterwards makes them
// appear again: everything that tells of it must have ended.
func (m *Metrics) Unwatch(targetName string) {
	targetName = valid(targetName)
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.snapshots, targetName)
	delete(m.counted, targetName)
	m.unwatch(targetName)
}

// ProbeDone counts one probe. A result whose kind is not on the list is dropped, so that no label is ever free text.
func (m *Metrics) ProbeDone(r probe.Result) {
	if !slices.Contains(probe.Kinds(), r.Kind) {
		return
	}
	targetName, node, kind := valid(r.Target), valid(r.Node), string(r.Kind)
	m.durations.WithLabelValues(targetName, kind).Observe(r.Took.Seconds())
	for _, stage := range probe.Stages() {
		if took := r.Stages[stage]; took > 0 {
			m.stages.WithLabelValues(targetName, stage.String()).Observe(took.Seconds())
		}
	}

	m.mu.Lock() // held until the series is there, or a node that vanishes meanwhile could leave it behind for good
	defer m.mu.Unlock()
	nodes := m.counted[targetName]
	if nodes == nil {
		nodes = make(map[string]struct{})
		m.counted[targetName] = nodes
	}
	nodes[node] = struct{}{}
	reason := r.Reason.Verdict().Reason
	m.results.WithLabelValues(targetName, node, kind, reason.Status().String(), string(reason)).Inc()
}

// Reconciled takes the state of a broker as of its loop's last reconcile, in place of the one before, and counts the
// decisions in it.
func (m *Metrics) Reconciled(s remediate.Snapshot) {
	s.Target = valid(s.Target)
	here := make(map[string]struct{}, len(s.Nodes))
	for _, n := range s.Nodes {
		here[valid(n.Name)] = struct{}{}
		if slices.Contains(decide.Phases(), n.Decision.Phase) {
			m.decisions.WithLabelValues(s.Target, n.Decision.Action.String(), string(n.Decision.Phase)).Inc()
		}
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	m.snapshots[s.Target] = s
	if s.View.At.IsZero() {
		return // the supplier sees nothing, which does not mean that the nodes are gone
	}
	for node := range m.counted[s.Target] {
		if _, ok := here[node]; !ok {
			delete(m.counted[s.Target], node)
			m.results.DeletePartialMatch(prometheus.Labels{"target": s.Target, "node": node})
		}
	}
}

// Deleted counts a deletion.
func (m *Metrics) Deleted(a decide.Deletion) { m.deletions.WithLabelValues(valid(a.Target)).Inc() }

// Settled counts what became of a deletion, and measures how long a recovery took. A deletion that is escalated and
// recovers later counts as both.
func (m *Metrics) Settled(a decide.Deletion) {
	if !slices.Contains(decide.Outcomes(), a.Outcome) {
		return
	}
	m.settled.WithLabelValues(valid(a.Target), string(a.Outcome)).Inc()
	if a.Outcome == decide.Recovered {
		m.recovery.WithLabelValues(valid(a.Target)).Observe(a.Settled.Sub(a.At).Seconds())
	}
}

// valid makes a name fit for a label: Prometheus' library panics on one that is not UTF-8.
func valid(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }
