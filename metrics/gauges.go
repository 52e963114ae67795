package metrics

import (
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// The gauges of a broker.
var (
	lastReconcile = prometheus.NewDesc("unstuck_last_reconcile_timestamp_seconds",
		"When the broker's loop last looked at it and decided; 0: never.", []string{"target"}, nil)
	reconcileDegraded = prometheus.NewDesc("unstuck_reconcile_degraded",
		"1 while the broker's loop cannot see or write down all that it needs, and holds for that reason; else 0.",
		[]string{"target"}, nil)
	targetInfo = prometheus.NewDesc("unstuck_target_info",
		"Always 1; the labels say where the broker comes from.", []string{"target", "source", "namespace", "resource"}, nil)
	isLeader = prometheus.NewDesc("unstuck_is_leader",
		"1 while this replica is the one that may act upon the broker, 0 while another one is or it cannot tell.",
		[]string{"target"}, nil)
	mode = prometheus.NewDesc("unstuck_target_mode",
		"1 for the mode that the broker is in, 0 for the other.", []string{"target", "mode"}, nil)
	expected = prometheus.NewDesc("unstuck_target_nodes_expected",
		"How many nodes there should be; 0: cannot tell.", []string{"target"}, nil)
	unsettled = prometheus.NewDesc("unstuck_deletions_in_progress",
		"Deletions that are under way (pending), or did not help in time and need a person (escalated).",
		[]string{"target", "state"}, nil)
	lastDeletion = prometheus.NewDesc("unstuck_last_deletion_timestamp_seconds",
		"When a node of the broker was last deleted; 0: not that is known.", []string{"target"}, nil)
	budgetLeft = prometheus.NewDesc("unstuck_budget_left",
		"How many more nodes of the broker may be deleted within the present 24 hours.", []string{"target"}, nil)
)

// The gauges of a node.
var (
	status = prometheus.NewDesc("unstuck_node_status",
		"1 for the status that the node has, 0 for the others.", []string{"target", "node", "status"}, nil)
	phase = prometheus.NewDesc("unstuck_node_phase",
		"Always 1, and only for the phase that the node is in.", []string{"target", "node", "phase"}, nil)
	guardClosed = prometheus.NewDesc("unstuck_node_guard_closed",
		"Always 1, and only for the guards that keep the node from being deleted.", []string{"target", "node", "guard"}, nil)
	terminating = prometheus.NewDesc("unstuck_node_terminating",
		"Always 1, and only for nodes that have been asked to stop and are still there.", []string{"target", "node"}, nil)
	lastReason = prometheus.NewDesc("unstuck_node_reason",
		"Always 1, and only for what the node's last probe of this kind found.",
		[]string{"target", "node", "probe", "reason"}, nil)
	stuckFor = prometheus.NewDesc("unstuck_node_stuck_seconds",
		"For how long the node has been stuck by what its probes say; 0: it is not.", []string{"target", "node"}, nil)
	lastProbe = prometheus.NewDesc("unstuck_node_last_probe_timestamp_seconds",
		"When the node's last probe of this kind ended.", []string{"target", "node", "probe"}, nil)
	processes = prometheus.NewDesc("unstuck_node_processes",
		"Erlang processes on the node, by its last maybe_stuck. Missing if that could not be read.",
		[]string{"target", "node"}, nil)
	suspicious = prometheus.NewDesc("unstuck_node_suspicious_processes",
		"Erlang processes on the node that waited in one place throughout its last maybe_stuck.", []string{"target", "node"},
		nil)
	baseline = prometheus.NewDesc("unstuck_node_suspicious_processes_baseline",
		"Suspicious processes that the node has when it is healthy. Missing until that is learned.",
		[]string{"target", "node"}, nil)
	stuckReaders = prometheus.NewDesc("unstuck_node_stuck_readers",
		"Connections that its last maybe_stuck found stuck in login with a message waiting.", []string{"target", "node"}, nil)
	stuckChannels = prometheus.NewDesc("unstuck_node_stuck_channels",
		"Channels that its last maybe_stuck found stuck in a call with a message waiting.", []string{"target", "node"}, nil)
	logAge = prometheus.NewDesc("unstuck_node_log_age_seconds",
		"For how long the node's log had been silent when it was last looked at, as far as that has been watched.",
		[]string{"target", "node"}, nil)
	certFrom = prometheus.NewDesc("unstuck_node_certificate_not_before_timestamp_seconds",
		"From when on the certificate holds that the node last presented. Missing without TLS.", []string{"target", "node"},
		nil)
	certUntil = prometheus.NewDesc("unstuck_node_certificate_not_after_timestamp_seconds",
		"Until when the certificate holds that the node last presented. Missing without TLS.", []string{"target", "node"},
		nil)
)

// gauges turns the snapshots into metrics, at each scrape.
type gauges struct{ *Metrics }

// Describe names every gauge.
func (gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		lastReconcile, reconcileDegraded, targetInfo, isLeader, mode, expected, unsettled, lastDeletion, budgetLeft,
		status, phase, guardClosed, terminating, lastReason, stuckFor, lastProbe,
		processes, suspicious, baseline, stuckReaders, stuckChannels, logAge, certFrom, certUntil,
	} {
		ch <- d
	}
}

// Collect gives the gauges as of now.
func (g gauges) Collect(ch chan<- prometheus.Metric) {
	g.mu.Lock()
	snapshots := slices.Collect(maps.Values(g.snapshots))
	g.mu.Unlock()

	now := time.Now()
	for _, s := range snapshots {
		collectTarget(ch, s, now)
		for _, n := range s.Nodes {
			collectNode(ch, s.Target, n, now)
		}
	}
}

// send gives one gauge to Prometheus. Labels that do not fit make the scrape say so; they do not end it.
func send(ch chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	m, err := prometheus.NewConstMetric(d, prometheus.GaugeValue, value, labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err)
	}
	ch <- m
}

func collectTarget(ch chan<- prometheus.Metric, s remediate.Snapshot, now time.Time) {
	send(ch, lastReconcile, unix(s.At), s.Target)
	from := s.Source.Known()
	send(ch, targetInfo, 1, s.Target, string(from.Kind), valid(from.Namespace), valid(from.Name))
	if s.At.IsZero() {
		return
	}
	send(ch, reconcileDegraded, truth(s.Error != ""), s.Target)
	send(ch, isLeader, truth(s.View.IsLeader == target.Yes), s.Target)
	for _, m := range []decide.Mode{decide.Observe, decide.Remediate} {
		send(ch, mode, truth(s.Policy.Mode == m), s.Target, m.String())
	}
	send(ch, expected, float64(s.View.Expected), s.Target)

	var pending, escalated, spent int
	var last time.Time
	for _, a := range s.Deletions {
		if a.NothingDeleted() {
			continue
		}
		if a.At.After(last) && a.Outcome != decide.Failed {
			last = a.At
		}
		if now.Sub(a.At) < 24*time.Hour {
			spent++
		}
		if a.Outcome == decide.Pending {
			pending++
		}
		if a.Outcome == decide.Escalated {
			escalated++
		}
	}
	send(ch, unsettled, float64(pending), s.Target, "pending")
	send(ch, unsettled, float64(escalated), s.Target, "escalated")
	send(ch, lastDeletion, unix(last), s.Target)
	send(ch, budgetLeft, float64(max(0, s.Policy.PerTargetPerDay-spent)), s.Target)
}

func collectNode(ch chan<- prometheus.Metric, targetName string, n remediate.NodeSnapshot, now time.Time) {
	name := valid(n.Name)
	for _, st := range probe.Statuses() {
		send(ch, status, truth(n.Decision.Status == st), targetName, name, st.String())
	}
	if slices.Contains(decide.Phases(), n.Decision.Phase) {
		send(ch, phase, 1, targetName, name, string(n.Decision.Phase))
	}
	for _, guard := range n.Decision.HeldBy() {
		send(ch, guardClosed, 1, targetName, name, string(guard))
	}
	if n.Terminating == target.Yes {
		send(ch, terminating, 1, targetName, name)
	}
	stuck := time.Duration(0)
	if !n.Stuck.IsZero() {
		stuck = max(0, now.Sub(n.Stuck))
	}
	send(ch, stuckFor, stuck.Seconds(), targetName, name)
	if c := presented(n.Latest); c != nil {
		send(ch, certFrom, unix(c.From), targetName, name)
		send(ch, certUntil, unix(c.Until), targetName, name)
	}
	for _, r := range n.Latest {
		if slices.Contains(probe.Kinds(), r.Kind) {
			send(ch, lastProbe, unix(r.Ended()), targetName, name, string(r.Kind))
			send(ch, lastReason, 1, targetName, name, string(r.Kind), string(r.Reason.Verdict().Reason))
		}
		if p := r.Processes; p != nil {
			collectProcesses(ch, targetName, name, *p)
		}
		if r.Kind == probe.LogAge && r.Status() != probe.Unknown {
			send(ch, logAge, r.LogAge.Seconds(), targetName, name)
		}
	}
}

// presented gives the certificate that the node presented last, in a login or a round trip; nil: in neither.
func presented(latest []probe.Result) *probe.Validity {
	var last probe.Result
	for _, r := range latest {
		if r.Certificate != nil && !r.Ended().Before(last.Ended()) {
			last = r
		}
	}
	return last.Certificate
}

func collectProcesses(ch chan<- prometheus.Metric, targetName, node string, p probe.Processes) {
	send(ch, processes, float64(p.Total), targetName, node)
	send(ch, suspicious, float64(p.Suspicious), targetName, node)
	send(ch, stuckReaders, float64(p.StuckReaders), targetName, node)
	send(ch, stuckChannels, float64(p.StuckChannels), targetName, node)
	if p.Baseline >= 0 {
		send(ch, baseline, float64(p.Baseline), targetName, node)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// unix gives t in seconds since 1970, and 0 for no time at all.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}
