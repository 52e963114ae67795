// Package stuck runs `rabbitmq-diagnostics maybe_stuck` next to a node, reads what it prints, and says for whom the
// node's processes wait.
package stuck

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// Limits says how many connections in their login are too many if it is unknown what they wait for.
type Limits struct {
	AboveBaseline int     // this many ...
	Share         float64 // ... and at least this share of all processes of the node, 0 to 1
}

// DefaultLimits are far above any healthy node. A healthy node showed no connection that hangs in its login
// with a message waiting: not without clients, not with 300 idle connections, and not with 20 publishers and
// consumers at full speed beside 4 clients that log in and out all the time. docs/verdicts.md has the table. The
// share keeps 20 odd connections from condemning a node that has tens of thousands.
var DefaultLimits = Limits{AboveBaseline: 20, Share: 0.05}

// verdict says what these processes show at one look, and why.
//
// A connection accuses the node if it hangs in its login with a message waiting, and waits for nothing but its own
// node: a healthy node never showed one. (A slow node shows some, but not the same ones at every look: see
// Persisting.) If it is unknown what the connections wait for, many are needed.
//
// All other processes accuse what they wait for: a limit, a server, another node. They do not accuse this node. A
// hanging channel or queue says nothing about logins; it corroborates a hanging round trip.
func verdict(p probe.Processes, limits Limits) (probe.Reason, string) {
	many := p.UnknownReaders > 0 && p.UnknownReaders >= limits.AboveBaseline &&
		float64(p.UnknownReaders) >= limits.Share*float64(p.Total)
	detail := describe(p, " ("+baselineText(p.Baseline)+")")
	switch {
	case p.StuckReaders > 0 || many:
		return probe.ProcessesStuck, detail
	case p.Waiting[probe.AwaitsLimit] > 0:
		return probe.Full, detail
	case p.Waiting[probe.AwaitsBackend]+p.Waiting[probe.AwaitsDNS] > 0:
		return probe.BackendAwaited, detail
	case p.Waiting[probe.AwaitsMetadata]+p.Waiting[probe.AwaitsLock] > 0:
		return probe.MetadataAwaited, detail
	case p.StuckChannels > 0:
		return probe.WorkWaits, detail
	}
	return probe.OK, detail
}

// describe says in a sentence what hangs, how many processes are suspicious, how many are usual, and what they wait
// for.
func describe(p probe.Processes, usual string) string {
	return strings.Join(append(hanging(p), waits(p, usual)...), "; ")
}

// hanging says what hangs, of what counts as evidence.
func hanging(p probe.Processes) []string {
	var said []string
	if p.StuckReaders > 0 {
		said = append(said, verb(p.StuckReaders, "connection hangs in its login", "connections hang in their login")+
			" with a message waiting")
	}
	if p.UnknownReaders > 0 {
		said = append(said, verb(p.UnknownReaders, "connection hangs in its login, it is",
			"connections hang in their login, it is")+" not known for whom")
	}
	if p.StuckChannels > 0 {
		said = append(said, verb(p.StuckChannels, "channel or queue hangs", "channels or queues hang")+
			" in a call with a message waiting")
	}
	return said
}

// waits says how many processes are suspicious, and what those wait for that do not accuse this node.
func waits(p probe.Processes, usual string) []string {
	of := fmt.Sprintf("of %d processes ", p.Total)
	said := []string{verb(p.Suspicious, of+"is", of+"are") + " suspicious" + usual}
	for _, a := range probe.Awaits() {
		if n := p.Waiting[a]; n > 0 && a != probe.AwaitsIdle && a != probe.AwaitsWork && a != probe.AwaitsLogin {
			said = append(said, verb(n, "waits ", "wait ")+a.Words(n))
		}
	}
	return said
}

// verb puts n before the words that agree with it.
func verb(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

func baselineText(n int) string {
	if n < 0 {
		return "no baseline yet"
	}
	return fmt.Sprintf("%d when it is healthy", n)
}

// Options are the settings of New.
type Options struct {
	Baselines      *Baselines    // what is normal for a node; nil: nothing is known
	Limits         Limits        // DefaultLimits if zero
	CommandTimeout time.Duration // the command's own timeout, its -t, in whole seconds; 30 s if zero
	ExecTimeout    time.Duration // our timeout, from the command's start to its end; 45 s if zero
	Command        []string      // what to run before the arguments; rabbitmq-diagnostics if empty
}

// New gives a probe that runs `rabbitmq-diagnostics maybe_stuck` next to a node. It takes at least 5.5 s,
// and half a second of the node's CPU: run it to confirm, and otherwise seldom.
//
// Its findings are those of verdict and ToolsUnresponsive. If it could find nothing, the finding is
// NotRun, ExecFailed or Cancelled. OK means that this look showed nothing, not that the node accepts logins.
func New(x target.Execer, o Options) func(ctx context.Context, n target.Node) probe.Result {
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits
	}
	o.CommandTimeout = cmp.Or(o.CommandTimeout, 30*time.Second)
	o.ExecTimeout = cmp.Or(o.ExecTimeout, 45*time.Second)
	command := o.Command
	if len(command) == 0 {
		command = []string{"rabbitmq-diagnostics"}
	}
	seconds := strconv.Itoa(int(math.Ceil(o.CommandTimeout.Seconds())))
	argv := append(append([]string(nil), command...), "-q", "-t", seconds, "maybe_stuck")

	return func(ctx context.Context, n target.Node) probe.Result {
		r := probe.Result{
			Target: n.Target, Node: n.Name, UID: n.UID, NodeStarted: n.Started, Kind: probe.MaybeStuck, Started: time.Now(),
		}
		var (
			parser stuckParser
			out    = probe.Head{Max: 4 << 10} // of stdout: some versions print their errors there
			errs   = probe.Head{Max: 16 << 10}
		)
		execCtx, cancel := context.WithTimeout(ctx, o.ExecTimeout)
		defer cancel()
		exit, err := x.Exec(execCtx, n, argv, io.MultiWriter(&parser, &out), &errs)
		r.Took = time.Since(r.Started)
		failed := err != nil || exit != 0 // an answer that came just before the end still counts
		switch {
		case failed && ctx.Err() != nil:
			r.Reason, r.Detail = probe.Cancelled, "stopped before maybe_stuck had ended"
		case failed && execCtx.Err() != nil:
			r.Reason, r.Detail = probe.ExecFailed, fmt.Sprintf("maybe_stuck did not end within %v", o.ExecTimeout)
		case err != nil:
			r.Reason, r.Detail = probe.ExecFailed, fmt.Sprintf("run maybe_stuck: %v", err)
		case exit == 0 || exit == exitTempFail:
			judge(&r, &parser, o, exit)
		default:
			r.Reason, r.Detail = explainExit(exit, string(errs.Text)+"\n"+string(out.Text), r.Took)
		}
		if r.Reason == probe.ToolsUnresponsive {
			r.ErlangNode = contacted(string(errs.Text) + "\n" + string(out.Text))
			if why := starved(execCtx, x, n, command, r.Took); why != "" {
				r.Reason, r.Detail = probe.ExecFailed, r.Detail+", which proves nothing: "+why
			}
			r.Took = time.Since(r.Started)
		}
		return r
	}
}

// starved says why the time that the tool took proves nothing about the node: the tool did not get to run, or we
// heard from it late. It gives "" if the tool took that long because it waited. On a machine with every core busy,
// a wrong cookie took 23 s, longer than a frozen node takes on an idle machine. So starved asks the tool for its
// version. That takes about as long as a refusal, without the node. The rest of the time is the node's only if the
// version took less than a third.
func starved(ctx context.Context, x target.Execer, n target.Node, command []string, took time.Duration) (why string) {
	limit := took / 3
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	argv := append(append([]string(nil), command...), "--version") // up to 3.7 an unknown option: 64
	exit, err := x.Exec(ctx, n, argv, io.Discard, io.Discard)
	switch {
	case ctx.Err() != nil:
		return fmt.Sprintf("the tool could not even tell its version within %v", limit.Round(100*time.Millisecond))
	case err != nil:
		return fmt.Sprintf("the tool could not even tell its version: %v", err)
	case exit != 0 && exit != exitUsage:
		return fmt.Sprintf("the tool could not even tell its version: exit code %d", exit)
	}
	return ""
}

// The exit codes of RabbitMQ's tools that mean something here, as in sysexits.h. Other codes may come from a shell
// or a container runtime.
const (
	exitUsage       = 64 // also: the rabbit app does not run
	exitUnavailable = 69
	exitTempFail    = 75 // ran into its own -t
)

// judge fills in what the command printed and what that means. If the command ran into its own -t, its output was
// cut and shows too few processes: a process that the output shows to be stuck is stuck, but an output without such
// a process proves nothing.
func judge(r *probe.Result, parser *stuckParser, o Options, exit int) {
	p, err := parser.result()
	if o.Baselines != nil {
		if n, ok := o.Baselines.For(*r); ok {
			p.Baseline = n
		}
	}
	if p.Total > 0 || p.Suspicious > 0 {
		r.Processes = &p
	}
	reason, detail := verdict(p, o.Limits)
	switch {
	case exit == exitTempFail && err == nil && reason == probe.ProcessesStuck:
		r.Reason, r.Detail = reason, detail+"; the list is not complete: maybe_stuck ran into its timeout"
	case exit == exitTempFail:
		r.Reason = probe.ExecFailed
		r.Detail = fmt.Sprintf("maybe_stuck ran into its timeout of %v (exit code 75)", o.CommandTimeout)
	case err != nil:
		r.Reason, r.Detail = probe.ExecFailed, "the command printed something that is not maybe_stuck's"
	case p.Truncated:
		r.Reason, r.Detail = probe.ExecFailed, "the output of maybe_stuck is not complete: "+detail
	default:
		r.Reason, r.Detail = reason, detail
	}
}

// silence is the shortest time that the tool takes to give up on a node that does not answer: it tries twice, and
// each time Erlang waits 7 s for the first words of the distribution protocol (net_setuptime of the kernel
// application). A live node that refuses its tool, most likely for a wrong cookie, answers at once. In both cases
// the tool prints the same lines and exits with the same code, so only the time tells them apart; see starved.
// docs/verdicts.md has our measurements.
const silence = 14 * time.Second

// explainExit tells from the tool's exit code and words why the tool could not do its work. The words are those of
// rabbit_nodes_common.erl and rabbitmq_cli's output.ex, 3.7 to 4.3. They end with a hash of the Erlang cookie, so
// we never repeat them as they are.
func explainExit(exit int, said string, took time.Duration) (probe.Reason, string) {
	has := func(text string) bool { return strings.Contains(said, text) }
	switch {
	case exit == exitUsage && has("requires the 'rabbit' app to be running"):
		return probe.NotRun, "the node runs without its rabbit app: it is booting, or was told stop_app"
	case exit != exitUnavailable || !has("attempted to contact:"):
		return probe.ExecFailed, fmt.Sprintf("maybe_stuck ended with exit code %d: %s", exit, probe.FirstLine(said))
	case has("Authentication failed"), has("authentication failed"), has("Hostname mismatch:"):
		return probe.ExecFailed, "the node refused its own tool: another Erlang cookie, or another name for the host"
	case has("unable to connect to epmd"):
		return probe.ExecFailed, "the tool could not ask epmd, the port mapper, where the node is"
	case has("not running at all"):
		return probe.NotRun, "epmd knows no node of that name: it is down or booting, or the tool asks for the wrong name"
	case has("can't establish TCP connection") && !has("timeout (timed out)"):
		return probe.NotRun, "the node does not accept its own tool's connection: it is going down or booting"
	case has("can't establish TCP connection"), has("TCP connection succeeded but Erlang distribution failed"):
		took = took.Round(100 * time.Millisecond)
		if took < silence {
			return probe.ExecFailed, fmt.Sprintf("the node refused its own tool after %v: most likely another Erlang cookie",
				took)
		}
		return probe.ToolsUnresponsive, fmt.Sprintf("the node's own tool got no answer from it and gave up after %v", took)
	}
	return probe.ExecFailed, "the tool could not reach the node at first, but could a moment later"
}

// contacted gives the name of the node that a tool tried to reach, from "attempted to contact: ['rabbit@host']",
// and "" if the tool names none or several.
func contacted(said string) string {
	_, rest, _ := strings.Cut(said, "attempted to contact: [")
	name, _, ok := strings.Cut(rest, "]")
	name = strings.Trim(name, "'")
	if !ok || !IsErlangNode(name) {
		return ""
	}
	return name
}

// IsErlangNode says whether name can be the name of an Erlang node: it has a host, and nothing in it ends an atom
// or a line.
func IsErlangNode(name string) bool {
	before, host, ok := strings.Cut(name, "@")
	return ok && before != "" && host != "" && len(name) <= 255 && strings.IndexFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("@.-_:", r)
	}) < 0
}
