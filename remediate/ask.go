package remediate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/clock"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// Exit codes of RabbitMQ's tools (rabbitmq-server, deps/rabbitmq_cli, ExitCodes; sysexits.h).
const (
	exitOK          = 0
	exitUsage       = 64
	exitUnavailable = 69
)

// keptOutput bounds what is kept of a command's output, in bytes.
const keptOutput = 16 << 10

// lastQuestions are the guards that are asked of the broker itself, right before a deletion. That costs nodes half a
// CPU second each, so they are not asked before nothing else is closed.
var lastQuestions = []decide.Guard{decide.GuardQuorumCritical, decide.GuardAlarm}

// wantsAnswers says whether the last questions are all that holds a deletion back, and have not just been asked.
func (l *Loop) wantsAnswers(d decide.Decision) bool {
	closed := d.Closed()
	return d.Phase == decide.PhaseConfirmed && len(closed) > 0 && l.unasked(d) &&
		!slices.ContainsFunc(closed, func(g decide.Guard) bool { return !slices.Contains(lastQuestions, g) })
}

// unasked says whether the last questions about d's node have not been asked a moment ago.
func (l *Loop) unasked(d decide.Decision) bool {
	q := l.quorum[d.Node]
	return q.UID != d.UID || q.Nodes != decide.Identities(l.view) || clock.Elapsed(q.At, time.Now()) > l.Policy.ResultTTL/4
}

// askLast asks the last questions about d's node, at the same time, and notes the answers.
func (l *Loop) askLast(ctx context.Context, d decide.Decision) {
	node, peers := l.nodeAndPeers(d.Node)
	of := decide.Identities(l.view)
	tools := l.state.Nodes[d.Node].Latest[probe.MaybeStuck].Reason != probe.ToolsUnresponsive
	var q decide.Quorum
	mirrors := decide.Quorum{Critical: target.No, NotApplicable: true}
	var r decide.Refusal
	var both sync.WaitGroup
	both.Go(func() { q = l.askQuorum(ctx, node, peers, tools) })
	if tools {
		both.Go(func() {
			r = l.askRefusal(ctx, node, d.Evidence.Kind)
			// there are no mirrored queues since 4.0
			if major, _, _ := strings.Cut(r.Version, "."); major == "" || major == "3" {
				mirrors = l.critical(ctx, node, mirrorQuestion)
			}
		})
	}
	both.Wait()
	if tools {
		peer := q.Peer
		q = combine([]decide.Quorum{q, mirrors})
		q.Peer = peer
	}
	now := time.Now()
	q.UID, q.Started, q.Nodes, q.At = node.UID, node.Started, of, now
	r.UID, r.Started, r.Nodes, r.At = node.UID, node.Started, of, now
	l.quorum[d.Node], l.refusals[d.Node] = q, r
}

// askQuorum asks whether a queue would lose its quorum, or its last copy, if the node went.
//
// While the node's tools answer, the node itself is asked: it says what depends on it. A peer would speak of itself.
// Once they do not, the node serves no quorum any more, and each peer may be critical for that very reason: a healthy
// peer is asked whether every queue with a member on the node has an online majority among the others. Nobody knows
// then which classic mirrored queues it leads (up to 3.13), and what it leads alone is as lost as it will be.
func (l *Loop) askQuorum(ctx context.Context, node target.Node, peers []target.Node, tools bool) decide.Quorum {
	if !tools {
		return l.askPeers(ctx, node, peers, true)
	}
	q := l.critical(ctx, node, quorumQuestion)
	if q.Peer = node.Name; q.Critical == target.CannotTell && !q.NotApplicable {
		if theirs := l.askPeers(ctx, node, peers, false); theirs.Critical != target.CannotTell {
			q = theirs
		}
	}
	return q
}

// askPeers asks one peer after the other, until one can tell, whether the others have a majority without the node. A
// node that is silent serves nothing.
func (l *Loop) askPeers(ctx context.Context, node target.Node, peers []target.Node, silent bool) decide.Quorum {
	q := decide.Quorum{Detail: "there is nobody to ask"}
	for _, p := range peers {
		q = l.majorityWithout(ctx, p, node, silent)
		if q.Peer = p.Name; q.Critical != target.CannotTell {
			return q
		}
	}
	return q
}

// combine makes one answer of several: critical if any is, cannot tell if any cannot.
func combine(answers []decide.Quorum) decide.Quorum {
	all := decide.Quorum{Critical: target.No, NotApplicable: true}
	for _, a := range answers {
		switch {
		case a.Critical == target.Yes:
			return a
		case a.NotApplicable:
		case a.Critical == target.CannotTell:
			all.Critical, all.Detail, all.NotApplicable = target.CannotTell, a.Detail, false
		default:
			all.NotApplicable = false
		}
	}
	return all
}

// harmless is what both questions print, on 3.10 and 4.0, if no queue depends on the node. The exit code alone does not
// say so: it is 0 too where the check does not apply, for the node is in maintenance mode or takes itself for the only
// one of its cluster, and a stream that was cut off can look like one that ended well.
const harmless = " reported no "

// mirrorQuestion is not asked of 4.0 and later, which have no mirrored queues any more. It does nothing there, and
// prints noMirrors.
//
// A tool that cannot reach its node exits with the same code as one that found queues, and says that it tried to
// contact it.
const (
	unreachable    = "attempted to contact"
	quorumQuestion = "check_if_node_is_quorum_critical"
	mirrorQuestion = "check_if_node_is_mirror_sync_critical"
	noMirrors      = "ok"
)

// critical asks n one of the two questions. A broker that does not know the question answers with a usage error.
func (l *Loop) critical(ctx context.Context, n target.Node, question string) decide.Quorum {
	exit, out, errs, err := l.run(ctx, n, "rabbitmq-queues", "-q", "-t", "10", question)
	if err != nil {
		return decide.Quorum{Critical: target.CannotTell, Detail: n.Name + ": " + err.Error()}
	}
	if exit != exitOK { // what went wrong stands in either
		out += "\n" + errs
	}
	return readCritical(n.Name, question, exit, out)
}

// readCritical reads the answer of a node to one of the two questions.
func readCritical(node, question string, exit int, out string) decide.Quorum {
	said := strings.Join(strings.Fields(out), " ")
	switch {
	case exit == exitOK && strings.Contains(said, harmless):
		return decide.Quorum{Critical: target.No}
	case exit == exitOK && question == mirrorQuestion && said == noMirrors:
		return decide.Quorum{Critical: target.CannotTell, NotApplicable: true}
	case exit == exitUsage && strings.Contains(said, question) && strings.Contains(said, "not found") &&
		!strings.Contains(said, "'rabbit' app"):
		return decide.Quorum{Critical: target.CannotTell, NotApplicable: true}
	case exit == exitUnavailable && strings.Contains(said, "queue") && !strings.Contains(said, unreachable):
		return decide.Quorum{Critical: target.Yes, Detail: store.Shorten(said, 300)}
	}
	return decide.Quorum{
		Critical: target.CannotTell, Detail: fmt.Sprintf("%s: exit %d: %s", node, exit, store.Shorten(said, 300)),
	}
}

// clusterStatus gives the cluster as n sees it, as JSON.
func (l *Loop) clusterStatus(ctx context.Context, n target.Node) (string, error) {
	return l.output(ctx, n, "rabbitmqctl", "-q", "-t", "15", "cluster_status", "--formatter", "json")
}

// whoLocks prints the nodes whose transactions hold locks and do not wait for one themselves. The queue holds tuples of
// what is locked, how, by which process, its transaction, and the transaction that it waits for.
const whoLocks = `Waiting = [element(4, Q) || Q <- mnesia_locker:get_lock_queue()],
[io:format("~s~n", [N]) || N <- lists:usort(
	[node(P) || {_, _, {tid, _, P} = T} <- mnesia_locker:get_held_locks(), not lists:member(T, Waiting)])], ok.`

// lockHolder names the nodes whose processes hold locks on the metadata, as n sees them; "" if there are none. Mnesia
// only (up to 3.13, and 4.x where Khepri is not enabled).
func (l *Loop) lockHolder(ctx context.Context, n target.Node) (string, error) {
	out, err := l.output(ctx, n, "rabbitmqctl", "-q", "-t", "15", "eval", whoLocks)
	var names []string
	for line := range strings.Lines(out) {
		if strings.Contains(line, "@") { // the last line is the result of the expression
			names = append(names, strings.TrimSpace(line))
		}
	}
	return strings.Join(names, ", "), err
}

// output runs a command that must succeed.
func (l *Loop) output(ctx context.Context, n target.Node, argv ...string) (string, error) {
	exit, out, errs, err := l.run(ctx, n, argv...)
	if err == nil && exit != exitOK {
		err = fmt.Errorf("%s: exit %d: %s", argv[0], exit,
			store.Shorten(strings.Join(strings.Fields(out+" "+errs), " "), 300))
	}
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(out), nil
}

// run runs a command, and gives its exit code and what it printed. A tool warns on standard error of much that has
// nothing to do with what it was asked.
func (l *Loop) run(ctx context.Context, n target.Node, argv ...string) (exit int, stdout, stderr string, err error) {
	if l.Exec == nil {
		return 0, "", "", errors.New("commands cannot be run")
	}
	var out, errs limited
	exit, err = bounded(ctx, &l.gate, "run "+called(argv)+" in "+n.Name, askTimeout,
		func(ctx context.Context) (int, error) {
			return l.Exec.Exec(ctx, n, argv, &out, &errs)
		})
	switch {
	case errors.Is(err, errHangs): // which says what
		return 0, "", "", err
	case err != nil:
		return 0, "", "", fmt.Errorf("run %s in %s: %w", called(argv), n.Name, err)
	}
	return exit, out.String(), errs.String(), nil
}

// called is a command by its name and what it is to do: the first of its arguments that begins with a letter.
func called(argv []string) string {
	i := slices.IndexFunc(argv[1:], func(arg string) bool { return arg != "" && arg[0] >= 'a' && arg[0] <= 'z' })
	if i < 0 {
		return argv[0]
	}
	return argv[0] + " " + argv[1+i]
}

// limited keeps the first keptOutput bytes written to it.
type limited struct{ bytes.Buffer }

func (b *limited) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), keptOutput-b.Len())])
	return len(p), nil
}
