package remediate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/probe"
)

// Exit codes of RabbitMQ's tools (rabbitmq-server, deps/rabbitmq_cli, ExitCodes; sysexits.h).
const (
	exitOK          = 0
	exitUsage       = 64
	exitUnavailable = 69
)

// keptOutput bounds what is kept of a command's output, in bytes.
const keptOutput = 16 << 10

// wantsQuorum says whether the quorum question is all that holds a deletion back. It costs the peers half a CPU second
// each, so it is not asked before.
func (l *Loop) wantsQuorum(d Decision) bool {
	closed := d.Closed()
	return d.Phase == Confirmed && len(closed) == 1 && closed[0] == GuardQuorumCritical &&
		(l.quorum[d.Node].UID != d.UID || time.Since(l.quorum[d.Node].At) > l.Policy.Fresh/4)
}

// askQuorum asks every healthy peer whether a queue would lose its quorum if one more node went, and notes the answer.
// The command speaks of the node that it asks, so a peer is asked of itself: if it has queues with no member to spare,
// losing another node is losing them.
//
// Of the classic mirrored queues (up to 3.13) that it leads only the node itself knows, so it is asked too. If its own
// tools cannot reach it, nobody can, and what it leads alone is as lost as it will be.
func (l *Loop) askQuorum(ctx context.Context, name string) {
	node, peers := l.nodeAndPeers(name)
	var names []string
	var answers []Quorum
	for _, p := range peers {
		names = append(names, p.Name)
		answers = append(answers, l.critical(ctx, p, "check_if_node_is_quorum_critical"))
	}
	if l.state.Nodes[name].Latest[probe.MaybeStuck].Reason != probe.ToolsUnresponsive {
		answers = append(answers, l.critical(ctx, node, mirrorQuestion))
	}
	q := Quorum{Detail: "there is nobody to ask"}
	if len(peers) > 0 {
		q = combine(answers)
	}
	q.UID, q.Peer, q.At = node.UID, strings.Join(names, ", "), time.Now()
	l.quorum[name] = q
}

// combine makes one answer of several: critical if any is, cannot tell if any cannot.
func combine(answers []Quorum) Quorum {
	all := Quorum{Critical: probe.No, NotApplicable: true}
	for _, a := range answers {
		switch {
		case a.Critical == probe.Yes:
			return a
		case a.NotApplicable:
		case a.Critical == probe.CannotTell:
			all.Critical, all.Detail, all.NotApplicable = probe.CannotTell, a.Detail, false
		default:
			all.NotApplicable = false
		}
	}
	return all
}

// harmless is what both questions print, on 3.10 and 4.0, if no queue depends on the node. The exit code alone does not
// say so: it is 0 too where the check does not apply, for the node is in maintenance mode or takes itself for the only one
// of its cluster, and a stream that was cut off can look like one that ended well.
const harmless = " reported no "

// mirrorQuestion does nothing since 4.0, which has no mirrored queues any more: it prints noMirrors.
const (
	mirrorQuestion = "check_if_node_is_mirror_sync_critical"
	noMirrors      = "ok"
)

// critical asks n one of the two questions. A broker that does not know the question answers with a usage error.
func (l *Loop) critical(ctx context.Context, n probe.Node, question string) Quorum {
	exit, out, err := l.run(ctx, n, "rabbitmq-queues", "-q", "-t", "10", question)
	said := strings.Join(strings.Fields(out), " ")
	switch {
	case err != nil:
		return Quorum{Critical: probe.CannotTell, Detail: n.Name + ": " + err.Error()}
	case exit == exitOK && strings.Contains(said, harmless):
		return Quorum{Critical: probe.No}
	case exit == exitOK && question == mirrorQuestion && said == noMirrors:
		return Quorum{Critical: probe.CannotTell, NotApplicable: true}
	case exit == exitUsage && strings.Contains(said, question) && strings.Contains(said, "not found") && !strings.Contains(said, "'rabbit' app"):
		return Quorum{Critical: probe.CannotTell, NotApplicable: true}
	case exit == exitUnavailable && strings.Contains(said, "queues"):
		return Quorum{Critical: probe.Yes, Detail: shorten(said, 300)}
	}
	return Quorum{Critical: probe.CannotTell, Detail: fmt.Sprintf("%s: exit %d: %s", n.Name, exit, shorten(said, 300))}
}

// clusterStatus gives the cluster as n sees it, as JSON.
func (l *Loop) clusterStatus(ctx context.Context, n probe.Node) (string, error) {
	return l.output(ctx, n, "rabbitmqctl", "-q", "-t", "15", "cluster_status", "--formatter", "json")
}

// whoLocks prints the nodes whose transactions hold locks and do not wait for one themselves. The queue holds tuples of
// what is locked, how, by which process, its transaction, and the transaction that it waits for.
const whoLocks = `Waiting = [element(4, Q) || Q <- mnesia_locker:get_lock_queue()],
[io:format("~s~n", [N]) || N <- lists:usort(
	[node(P) || {_, _, {tid, _, P} = T} <- mnesia_locker:get_held_locks(), not lists:member(T, Waiting)])], ok.`

// lockHolder names the nodes whose processes hold locks on the metadata, as n sees them; "" if there are none. Mnesia
// only (up to 3.13, and 4.x where Khepri is not enabled).
func (l *Loop) lockHolder(ctx context.Context, n probe.Node) (string, error) {
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
func (l *Loop) output(ctx context.Context, n probe.Node, argv ...string) (string, error) {
	exit, out, err := l.run(ctx, n, argv...)
	if err == nil && exit != exitOK {
		err = fmt.Errorf("%s: exit %d: %s", argv[0], exit, shorten(strings.Join(strings.Fields(out), " "), 300))
	}
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(out), nil
}

func (l *Loop) run(ctx context.Context, n probe.Node, argv ...string) (int, string, error) {
	if l.Exec == nil {
		return 0, "", errors.New("commands cannot be run")
	}
	var out limited
	exit, err := bounded(ctx, &l.gate, "run a command", askTimeout, func(ctx context.Context) (int, error) {
		return l.Exec.Exec(ctx, n, argv, &out, &out)
	})
	if err != nil {
		return 0, "", fmt.Errorf("run %s in %s: %w", argv[0], n.Name, err)
	}
	return exit, out.String(), nil
}

// limited keeps the first keptOutput bytes written to it.
type limited struct{ bytes.Buffer }

func (b *limited) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), keptOutput-b.Len())])
	return len(p), nil
}

func shorten(s string, longest int) string {
	if len(s) > longest {
		return strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return s
}
