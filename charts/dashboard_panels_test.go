package charts_test

import "strings"

// panel is a panel of the dashboard, or with the kind row the head of those that follow it.
type panel struct {
	kind  string
	title string
	about string // its description: what it shows, and what to make of it
	unit  string // as Grafana names them
	width int    // of 24
	asks  []ask
	with  map[string]any // what of Grafana's JSON it has besides
}

// ask is a query, and how what it finds is called.
type ask struct{ expr, legend string }

// of picks the series of a metric that are about the brokers that were chosen, ours those about the release.
func of(metric string, more ...string) string {
	return ours(metric, append([]string{`target=~"$target"`}, more...)...)
}

func ours(metric string, more ...string) string {
	return metric + "{" + strings.Join(append([]string{`job="$job"`, `namespace=~"$namespace"`}, more...), ", ") + "}"
}

// spoken leaves of series about a broker those of the replica that speaks for it, so that two replicas double nothing.
func spoken(expr string) string {
	return expr + " and on (job, namespace, instance, target) " + ours("unstuck:is_authoritative")
}

// perNode is each node once, also where for a moment all replicas speak.
func perNode(expr string, more ...string) string {
	return "max by (" + strings.Join(append([]string{"job", "namespace", "target", "node"}, more...), ", ") + ") (" + spoken(expr) + ")"
}

// rate is by how much a counter grows in a second, lately.
func rate(series string) string { return "rate(" + series + "[$__rate_interval])" }

var (
	stat     = "stat"
	graph    = "timeseries"
	heatmap  = "heatmap"
	timeline = "state-timeline"

	bars     = map[string]any{"fieldConfig.defaults.custom": map[string]any{"drawStyle": "bars", "fillOpacity": 60, "stacking": map[string]any{"mode": "normal"}}}
	statuses = meanings("unknown", "purple", "healthy", "green", "faulty", "orange", "stuck", "red") // 0, 1, 2 and 3
	modes    = meanings("observe", "blue", "remediate", "green")

	// deletedAt is when a node was last deleted, in milliseconds since 1970 as Grafana wants it.
	deletedAt = "1000 * max by (target) (" + of("unstuck_last_deletion_timestamp_seconds") + " > 0)"
)

// panels is the dashboard, from top to bottom.
func panels() (all []panel) {
	all = append(all, overviewPanels()...)
	all = append(all, loginPanels()...)
	all = append(all, nodePanels()...)
	all = append(all, deletionPanels()...)
	all = append(all, operationPanels()...)
	return append(all, daemonPanels()...)
}

func overviewPanels() []panel {
	return []panel{
		{kind: "row", title: "Brokers"},
		{
			stat, "Nodes that accept logins",
			"The share of a broker's nodes that accept Unstuck's logins, averaged over the brokers. A missing " +
				"node counts as one that accepts none.",
			"percentunit", 4,
			[]ask{{"avg(" + of("unstuck:broker_logins_work:ratio") + ")", ""}},
			thresholds("red", 0.5, "orange", 0.999, "green"),
		},
		{
			stat, "Nodes by status",
			"How many nodes have each status. By itself, Unstuck deletes only stuck nodes. If a node is unknown, " +
				"no probe can tell how it is.",
			"none", 8,
			[]ask{{"sum by (status) (" + perNode(of("unstuck_node_status"), "status") + ")", "{{status}}"}},
			coloured("unknown", "purple", "healthy", "green", "faulty", "orange", "stuck", "red"),
		},
		{
			stat, "Stuck for", "How long the longest-stuck node has been stuck. 0 if no node is stuck.",
			"s", 4,
			[]ask{{"max(" + spoken(of("unstuck_node_stuck_seconds")) + ")", ""}},
			thresholds("green", 1, "orange", 60, "red"),
		},
		{
			stat, "Deletions that need a person",
			"Deletions that did not help. Unstuck deletes nothing more in a broker with such a deletion.",
			"none", 4,
			[]ask{{"sum(max by (job, namespace, target) (" + spoken(of("unstuck_deletions_in_progress", `state="escalated"`)) + "))", ""}},
			thresholds("green", 1, "red"),
		},
		{
			stat, "Wrong with Unstuck",
			"What keeps Unstuck from working: loops that cannot read or write, missing rights, invalid files.",
			"none", 4,
			[]ask{
				{"sum(max by (job, namespace, target) (" + ours("unstuck_reconcile_degraded") + "))", "loops"},
				{"count(count by (verb, resource, namespace, exported_namespace) (" + ours("unstuck_permission_missing") + ")) or vector(0)", "rights"},
				{"count(min by (file) (" + ours("unstuck_file_valid") + ") == 0) or vector(0)", "files"},
			},
			thresholds("green", 1, "red"),
		},
		tableOf("Brokers",
			"Each broker and each application, as the leader sees it. Applications have no logins.", []column{
				{"Accept logins", "percentunit", "avg by (target) (" + of("unstuck:broker_logins_work:ratio") + ")", nil},
				{"Over 30 days", "percentunit", "1 - avg by (target) (" + of("unstuck:broker_login_errors:ratio_30d") + ")", nil},
				{"Nodes", "none", "max by (target) (" + spoken(of("unstuck_target_nodes_expected")) + ")", nil},
				{"Stuck for", "s", "max by (target) (" + spoken(of("unstuck_node_stuck_seconds")) + ")", nil},
				{"Mode", "none", "max by (target) (" + spoken(of("unstuck_target_mode", `mode="remediate"`)) + ")", modes},
				{"Deletions left today", "none", "min by (target) (" + spoken(of("unstuck_budget_left")) + ")", nil},
				{"Last deletion", "dateTimeFromNow", deletedAt, nil},
			}),
	}
}

func loginPanels() []panel {
	stages := func(part string) string {
		return "sum by (stage) (" + spoken(rate(of("unstuck_probe_stage_duration_seconds_"+part))) + ")"
	}
	return []panel{
		{kind: "row", title: "Logins"},
		{
			graph, "Nodes that accept logins, by broker",
			"The share of a broker's nodes that accept Unstuck's logins. Its average over 30 days is the service " +
				"level of docs/alerts.md.",
			"percentunit", 12,
			[]ask{{"avg by (target) (" + of("unstuck:broker_logins_work:ratio") + ")", "{{target}}"}},
			map[string]any{"fieldConfig.defaults.max": 1},
		},
		{
			graph, "Probes that found something",
			"Probes that did not find the node healthy, by reason. docs/verdicts.md says what each reason means.",
			"cps", 12,
			[]ask{{
				"sum by (target, node, probe, reason) (" + spoken(rate(of("unstuck_probe_results_total", `status!="healthy"`))) + ")",
				"{{target}} {{node}}: {{reason}} ({{probe}})",
			}},
			bars,
		},
		{
			heatmap, "How long logins took",
			"All logins, successful or not. A healthy login takes milliseconds. A login that hangs ends at " +
				"Unstuck's deadline, 12 s by default.",
			"s", 12,
			[]ask{{"sum by (le) (" + spoken("increase("+of("unstuck_probe_duration_seconds_bucket", `probe="login"`)+"[$__rate_interval])") + ")", "{{le}}"}},
			nil,
		},
		{
			graph, "Mean time of each stage",
			"The mean time of each stage of a login, over the completed ones. A stage that no login completes is " +
				"missing.",
			"s", 12,
			[]ask{{stages("sum") + " / (" + stages("count") + " > 0)", "{{stage}}"}},
			nil,
		},
		{
			heatmap, "Stage $stage",
			"The time of this stage of a login, over the completed ones. Choose other stages with the variable " +
				"Stage.",
			"s", 6,
			[]ask{{"sum by (le) (" + spoken("increase("+of("unstuck_probe_stage_duration_seconds_bucket", `stage=~"$stage"`)+"[$__rate_interval])") + ")", "{{le}}"}},
			map[string]any{"repeat": "stage", "repeatDirection": "h", "maxPerRow": 4},
		},
	}
}

func nodePanels() []panel {
	status := func(name string) string { return perNode(of("unstuck_node_status", `status="`+name+`"`)) }
	closed := "count by (guard) (" + perNode(of("unstuck_node_guard_closed"), "guard")
	stuck := " and on (job, namespace, target, node) " + perNode(of("unstuck_node_stuck_seconds")) + " > 0"
	const node = "{{target}} {{node}}"
	return []panel{
		{kind: "row", title: "Nodes"},
		{
			timeline, "Status of each node",
			"Unknown is no fault: no probe can tell. Only stuck can lead to a deletion.",
			"none", 24,
			[]ask{{status("healthy") + " + 2 * " + status("faulty") + " + 3 * " + status("stuck"), node}},
			map[string]any{"fieldConfig.defaults.mappings": statuses, "options.showValue": "never", "options.mergeValues": true},
		},
		{
			graph, "Time stuck",
			"How long a node has been stuck, by its probes. With the default thresholds Unstuck confirms a stuck " +
				"node after about a minute.",
			"s", 12,
			[]ask{{perNode(of("unstuck_node_stuck_seconds")), node}},
			nil,
		},
		{
			graph, "Since a login was tried",
			"How long ago the last login to a node ended, successful or not. The time grows while a login hangs, " +
				"and grows for good if Unstuck no longer tries.",
			"s", 12,
			[]ask{{"time() - " + perNode(of("unstuck_node_last_probe_timestamp_seconds", `probe="login"`)), node}},
			nil,
		},
		{
			graph, "Guards that hold stuck nodes back",
			"How many stuck nodes each guard holds back. docs/guards.md says what each guard means, and what " +
				"opens it.",
			"none", 12,
			[]ask{{closed + stuck + ")", "{{guard}}"}},
			bars,
		},
		{
			graph, "Closed guards",
			"How many nodes each guard would hold back, stuck or not. quorum-critical and alarm are closed until " +
				"Unstuck asks their questions, right before a deletion.",
			"none", 12,
			[]ask{{closed + ")", "{{guard}}"}},
			nil,
		},
		{
			graph, "Suspicious processes",
			"Erlang processes that waited in one place throughout the last maybe_stuck, and how many such " +
				"processes the healthy node has.",
			"none", 12,
			[]ask{
				{perNode(of("unstuck_node_suspicious_processes")), node},
				{perNode(of("unstuck_node_suspicious_processes_baseline")), node + " when healthy"},
			},
			nil,
		},
		{
			graph, "Age of the log",
			"How old the last line in the log of a node, or of an application's pod, was when Unstuck last read " +
				"that log.",
			"s", 12,
			[]ask{{perNode(of("unstuck_node_log_age_seconds")), node}},
			nil,
		},
	}
}

func deletionPanels() []panel {
	recovery := func(part string) string {
		return "sum by (target) (increase(" + of("unstuck_recovery_duration_seconds_"+part) + "[7d]))"
	}
	return []panel{
		{kind: "row", title: "Deletions"},
		{
			graph, "Deletions by what became of them",
			"Deletions that were settled within the last hour, by outcome. A deletion that was escalated and " +
				"recovered later counts as both.",
			"none", 8,
			[]ask{{"sum by (target, outcome) (increase(" + of("unstuck_deletion_outcomes_total") + "[1h])) > 0", "{{target}} {{outcome}}"}},
			bars,
		},
		{
			graph, "Deletions left today", "How many more deletions the broker's budget for 24 hours allows.",
			"none", 8,
			[]ask{{"min by (target) (" + spoken(of("unstuck_budget_left")) + ")", "{{target}}"}},
			nil,
		},
		{
			graph, "Mean time to recover",
			"The mean time from a deletion until the new node accepts logins, over the last week. Missing if " +
				"nothing was deleted.",
			"s", 8,
			[]ask{{recovery("sum") + " / (" + recovery("count") + " > 0)", "{{target}}"}},
			nil,
		},
	}
}

func operationPanels() []panel {
	return []panel{
		{kind: "row", title: "Operations"},
		{
			graph, "Operations that ended",
			"Deploys, promotions, reverts, restarts and tasks that ended within the last hour, by result.",
			"none", 12,
			[]ask{{
				"sum by (environment, kind, result) (increase(" + ours("unstuck_operations_total") + "[1h])) > 0",
				"{{environment}}: {{kind}} {{result}}",
			}},
			bars,
		},
		{
			graph, "Operations under way",
			"How long an operation has been under way. Until it ends, no other operation begins there, and " +
				"Unstuck deletes no stuck node in its namespace.",
			"s", 12,
			[]ask{{"time() - max by (environment, kind) (" + ours("unstuck_operation_started_timestamp_seconds") + ")", "{{environment}}: {{kind}}"}},
			nil,
		},
	}
}

func daemonPanels() []panel {
	perReplica := func(title, about, unit, expr string) panel {
		return panel{graph, title, about, unit, 8, []ask{{expr, "{{instance}}"}}, nil}
	}
	return []panel{
		{kind: "row", title: "Unstuck itself"},
		{
			graph, "Replicas", "How many replicas Prometheus scrapes, by version.", "none", 8,
			[]ask{{"count by (version) (" + ours("unstuck_build_info") + ")", "{{version}}"}},
			nil,
		},
		perReplica("Brokers led",
			"How many brokers and applications each replica leads. One replica leads all of them; during a "+
				"change of leader, none does for some seconds.",
			"none", "sum by (instance) ("+ours("unstuck_is_leader")+")"),
		perReplica("Since the last reconcile",
			"How long ago the slowest loop last reconciled. Each loop should reconcile every five seconds.",
			"s", "time() - min by (instance) ("+ours("unstuck_last_reconcile_timestamp_seconds")+")"),
		perReplica("Probes", "How many probes each replica runs in a second. Each replica probes every node.",
			"cps", "sum by (instance) ("+rate(ours("unstuck_probe_duration_seconds_count"))+")"),
		perReplica("CPU", "How much of one core each replica uses.",
			"percentunit", "sum by (instance) ("+rate(ours("process_cpu_seconds_total"))+")"),
		perReplica("Memory",
			"Resident memory of each replica. The chart's limit is 256 MiB, unless resources.limits changes it.",
			"bytes", "max by (instance) ("+ours("process_resident_memory_bytes")+")"),
		perReplica("Heap", "Memory in use by the Go heap of each replica.",
			"bytes", "max by (instance) ("+ours("go_memstats_heap_inuse_bytes")+")"),
		perReplica("Goroutines",
			"Goroutines of each replica: some for each node. A number that only grows is a leak.",
			"none", "max by (instance) ("+ours("go_goroutines")+")"),
		perReplica("File descriptors",
			"Files and sockets that each replica has open. A number that only grows is a leak.",
			"none", "max by (instance) ("+ours("process_open_fds")+")"),
	}
}
