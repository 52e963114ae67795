package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cjworkbench/unstuck/remediate/decide"
)

// buckets are in seconds, three to a factor of ten at most. A healthy login takes 2 to 5 ms; one that hangs ends at
// the broker's handshake timeout (10 s by default) or at our own, beyond it; maybe_stuck takes 6 s and may take 45.
// All of them cost one series each for each broker, probe and stage: hence so few.
var buckets = []float64{0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 15, 30, 60}

// stageBuckets are those of buckets that a stage of a login can fall into.
var stageBuckets = buckets[:10]

// recoveryBuckets are in seconds, from a pod that stops at once to one that somebody had to bring back.
var recoveryBuckets = []float64{10, 20, 30, 60, 90, 120, 180, 300, 600, 1200, 3600}

// counters are the metrics of what happened.
type counters struct {
	results   *prometheus.CounterVec   // broker, node, probe, status, reason
	durations *prometheus.HistogramVec // broker, probe
	stages    *prometheus.HistogramVec // broker, stage
	decisions *prometheus.CounterVec   // broker, action, phase
	deletions *prometheus.CounterVec   // broker
	settled   *prometheus.CounterVec   // broker, outcome
	recovery  *prometheus.HistogramVec // broker
}

func newCounters() counters {
	return counters{
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "unstuck_probe_results_total",
			Help: "Probes that ended, by what they found. The status follows from the reason.",
		}, []string{"target", "node", "probe", "status", "reason"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "unstuck_probe_duration_seconds",
			Help:    "How long probes took, whatever they found.",
			Buckets: buckets,
		}, []string{"target", "probe"}),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "unstuck_probe_stage_duration_seconds",
			Help:    "How long each stage of a login took, of those that were completed.",
			Buckets: stageBuckets,
		}, []string{"target", "stage"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "unstuck_decisions_total",
			Help: "Decisions, one for each node and reconcile, by what was decided and the phase of the node.",
		}, []string{"target", "action", "phase"}),
		deletions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "unstuck_deletions_total",
			Help: "Nodes that were deleted.",
		}, []string{"target"}),
		settled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "unstuck_deletion_outcomes_total",
			Help: "Deletions by what became of them. One that was escalated and recovers later counts as both.",
		}, []string{"target", "outcome"}),
		recovery: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "unstuck_recovery_duration_seconds",
			Help:    "From a deletion until the new node accepts logins, of those that recovered.",
			Buckets: recoveryBuckets,
		}, []string{"target"}),
	}
}

// watch makes a broker's counters appear at zero. Probe results are left out: there are some twenty reasons for each
// probe and node, of which a broker that is healthy shows one.
func (c counters) watch(targetName string) {
	for _, phase := range decide.Phases() {
		c.decisions.WithLabelValues(targetName, decide.Hold.String(), string(phase))
	}
	c.decisions.WithLabelValues(targetName, decide.Delete.String(), string(decide.PhaseConfirmed))
	c.deletions.WithLabelValues(targetName)
	for _, o := range decide.Outcomes() {
		c.settled.WithLabelValues(targetName, string(o))
	}
	c.recovery.WithLabelValues(targetName)
}

// unwatch makes them disappear.
func (c counters) unwatch(targetName string) {
	of := prometheus.Labels{"target": targetName}
	for _, all := range []interface{ DeletePartialMatch(prometheus.Labels) int }{
		c.results, c.durations, c.stages, c.decisions, c.deletions, c.settled, c.recovery,
	} {
		all.DeletePartialMatch(of)
	}
}
