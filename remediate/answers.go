package remediate

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// majorityWithout asks a peer whether everything with a member on the node has an online majority among the others.
func (l *Loop) majorityWithout(ctx context.Context, peer, node target.Node, silent bool) decide.Quorum {
	name := l.state.Nodes[node.Name].Latest[probe.MaybeStuck].ErlangNode
	if name == "" {
		name = node.Name
	}
	question, err := EvalQuorum(name)
	if err != nil {
		return decide.Quorum{Detail: err.Error()}
	}
	out, err := l.output(ctx, peer, "rabbitmqctl", "-q", "-t", "15", "eval", question)
	if err != nil {
		return decide.Quorum{Detail: peer.Name + ": " + err.Error()}
	}
	return readQuorum(out, silent)
}

// readQuorum reads the answer to QuorumQuestion.
//
// What has one or two members has no majority without the node. If the node is silent, for its own tools cannot reach
// it, that serves nobody as it is, and only the node's restart brings it back. What has three or more could have a
// majority among the others, and must.
func readQuorum(out string, silent bool) decide.Quorum {
	lines, ok := answerLines(out, "unstuck quorum ")
	if !ok {
		return decide.Quorum{Detail: notWhole(out)}
	}
	verdict := strings.Fields(lines[len(lines)-1])[2:]
	if len(verdict) != 6 || (verdict[0] != "ok" && verdict[0] != "critical") || verdict[2] != "of" ||
		verdict[4] != "alone" {
		return decide.Quorum{Detail: "it cannot tell: " + strings.Join(verdict, " ")}
	}
	var without, small []string
	for _, line := range lines {
		fields := strings.Fields(line)
		if len(fields) != 8 || fields[2] != "lacks" {
			continue
		}
		members, err := strconv.Atoi(strings.TrimPrefix(fields[4], "members="))
		what := fields[3] + " " + strings.TrimPrefix(fields[6], "vhost=") + " " + strings.TrimPrefix(fields[7], "name=")
		if err != nil || members > 2 || !silent {
			without = append(without, what)
		} else {
			small = append(small, what)
		}
	}
	lacking, err := strconv.Atoi(verdict[1])
	switch {
	case err != nil:
		return decide.Quorum{Detail: "it cannot tell: " + strings.Join(verdict, " ")}
	case len(without) > 0:
		return decide.Quorum{Critical: target.Yes, Detail: "without it these have no majority: " + decide.Few(without)}
	case lacking > len(small):
		return decide.Quorum{
			Critical: target.Yes, Detail: fmt.Sprintf("without it %d have no majority, not all of which are named", lacking),
		}
	case len(small) > 0:
		return decide.Quorum{Critical: target.No, Detail: "these have no majority until it is back: " + decide.Few(small)}
	}
	return decide.Quorum{Critical: target.No}
}

// notWhole says that an answer was cut off.
func notWhole(out string) string {
	return "what it answers is not whole: " + store.Shorten(strings.Join(strings.Fields(out), " "), 200)
}

// answerLines gives the lines of an answer to one of our questions. The last begins with end, and only eval's own ok
// follows; not ok if that is not so, for then the answer was cut off.
func answerLines(out, end string) (lines []string, ok bool) {
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "unstuck ") || strings.Contains(line, "=") ||
			line == "ok" {
			lines = append(lines, line)
		}
	}
	if len(lines) < 2 || lines[len(lines)-1] != "ok" || !strings.HasPrefix(lines[len(lines)-2], end) {
		return nil, false
	}
	return lines[:len(lines)-1], true
}

// askRefusal asks a node in which probes of a kind hang whether it refuses on purpose.
func (l *Loop) askRefusal(ctx context.Context, n target.Node, kind probe.Kind) decide.Refusal {
	out, err := l.output(ctx, n, "rabbitmqctl", "-q", "-t", "15", "eval", LimitsQuestion)
	if err != nil {
		return decide.Refusal{Detail: err.Error()}
	}
	stuck := 0
	if look := l.state.Nodes[n.Name].Latest[probe.MaybeStuck]; look.Processes != nil {
		stuck = look.Processes.StuckReaders + look.Processes.UnknownReaders
	}
	return readLimits(out, kind.Role() == probe.Work, stuck)
}

// readLimits reads the answer to LimitsQuestion. An alarm of memory or disk keeps messages out, and no logins, so it
// counts where round trips hang. A node is full on purpose if it would be full without the connections that hang in
// their login as well: those of a wedged node pile up until it has as many as it may. What it does not say of itself it
// may be full of.
func readLimits(out string, roundtrips bool, stuck int) decide.Refusal {
	lines, ok := answerLines(out, "unstuck limits end")
	if !ok {
		return decide.Refusal{Detail: notWhole(out)}
	}
	facts := make(map[string]string, len(lines))
	var listeners []string
	for _, line := range lines {
		name, value, _ := strings.Cut(line, "=")
		if name == "listener" {
			listeners = append(listeners, value)
			continue
		}
		facts[name] = value
	}
	r := decide.Refusal{Version: facts["rabbitmq"]}
	var on, unsaid []string
	note := func(refuses, silent string) {
		if refuses != "" {
			on = append(on, refuses)
		}
		if silent != "" {
			unsaid = append(unsaid, silent)
		}
	}
	note(refusesAsAWhole(facts))
	in, err := strconv.Atoi(facts["connections"]) // logged in
	if err != nil {
		note("", "connections")
	}
	for _, l := range limits {
		note(l.full(facts, in, stuck))
	}
	for _, value := range listeners {
		note(fullListener(value, in, stuck))
	}
	alarms := facts["alarms"]
	if strings.Contains(alarms, "file_descriptor_limit") && stuck == 0 {
		note("the alarm file_descriptor_limit is on", "")
	}
	if roundtrips {
		for _, name := range []string{"alarms", "alarms_elsewhere"} {
			switch value := facts[name]; value {
			case "none":
			case "unknown", "":
				note("", "which "+name+" are on")
			default:
				note("alarms are on: "+value, "")
			}
		}
	}
	switch {
	case len(on) > 0:
		r.OnPurpose, r.Detail = target.Yes, store.Shorten(strings.Join(slices.Compact(on), ", "), 300)
	case len(unsaid) > 0:
		r.Detail = "it does not say: " + store.Shorten(strings.Join(unsaid, ", "), 200)
	default:
		r.OnPurpose = target.No
	}
	return r
}

// refusesAsAWhole says whether the node refuses everybody, and what of that it does not say.
func refusesAsAWhole(facts map[string]string) (refuses, unsaid string) {
	state, maintenance := facts["state"], facts["maintenance"]
	switch {
	case state == "" || state == "unknown":
		return "", "state"
	case state != "ready":
		return "RabbitMQ is " + state, ""
	case maintenance == "draining":
		return "it is in maintenance", ""
	case maintenance != "regular":
		return "", "maintenance"
	}
	return "", ""
}

// limit is how much a node may have of something. Those that hang in their login are among what is used, unless only
// those count that are logged in.
type limit struct{ used, limit, what string }

var limits = []limit{
	{"file_handles_used", "file_handles_limit", "file descriptors"},
	{"sockets_used", "sockets_limit", "sockets"},
	{"descriptors_used", "descriptors_limit", "file descriptors of the process"},
	{"connections", "connection_max", "connections"},
	{"ports_used", "ports_limit", "Erlang ports"},
	{"processes_used", "processes_limit", "Erlang processes"},
}

// full says whether the node has as many as it may, not counting those that hang in their login; in is how many are
// logged in.
func (l limit) full(facts map[string]string, in, stuck int) (full, unsaid string) {
	value, bound := facts[l.used], facts[l.limit]
	if bound == "none" || bound == "infinity" || bound == "0" {
		return "", ""
	}
	most, err := strconv.Atoi(bound)
	if err != nil {
		return "", l.limit
	}
	used, err := strconv.Atoi(value)
	if err != nil && l.used == "descriptors_used" { // where no more can be had it cannot count them
		used, err = in+stuck, nil
	}
	if err != nil {
		return "", l.used
	}
	without := max(used-stuck, in)
	if l.used == "connections" {
		without = in
	}
	if without >= most-most/50 {
		return fmt.Sprintf("it has %d of %d %s", used, most, l.what), ""
	}
	return "", ""
}

// fullListener says whether a listener of AMQP has as many connections as it takes. Where several supervisors share
// them, one may be full before the others are.
func fullListener(value string, in, stuck int) (full, unsaid string) {
	f := strings.Fields(value)
	if value == "unknown" {
		return "", "listener"
	}
	if len(f) != 7 || !strings.HasPrefix(f[0], "amqp") {
		return "", ""
	}
	if f[3] == "suspended" {
		return "its listener on port " + f[2] + " is suspended", ""
	}
	if f[5] == "infinity" {
		return "", ""
	}
	has, err := strconv.Atoi(f[4])
	each, err2 := strconv.Atoi(f[5])
	supervisors, err3 := strconv.Atoi(f[6])
	if err != nil || err2 != nil || err3 != nil {
		return "", "listener"
	}
	most := each * supervisors
	if margin := most / 50; supervisors > 1 {
		most -= max(margin, most/5)
	} else {
		most -= margin
	}
	if max(has-stuck, min(has, in)) >= most {
		return fmt.Sprintf("its listener on port %s has %d connections of %d", f[2], has, each*supervisors), ""
	}
	return "", ""
}
