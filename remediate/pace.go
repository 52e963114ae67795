package remediate

import (
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

// pace tells the runner how to go on with each node: sooner while it is suspect, more slowly once it is confirmed, for
// each login leaks processes there; and asks for the looks that a decision is still waiting for.
func (l *Loop) pace(decisions []decide.Decision) {
	for _, d := range decisions {
		l.Runner.SetPace(d.Node, d.Phase.Pace())
		l.confirm(d)
		if d.Evidence.Kind.Role() == probe.Work {
			l.lookAtPeers(d, decisions)
		}
	}
}

// confirm asks for the looks that the decision about a node still needs: at its processes while its logins fail, at
// once, again when the same processes should show, and then often enough for the corroboration not to grow old; and for
// more round trips while those hang, for they are scheduled minutes apart.
func (l *Loop) confirm(d decide.Decision) {
	ns, ev := l.state.Nodes[d.Node], d.Evidence
	look := ns.Latest[probe.MaybeStuck]
	switch {
	case l.Exec == nil: // there is nobody to ask
	case ev.Kind != "" && (look.Started.Before(ev.Since) || look.Reason == ""):
		l.ask(d.Node, probe.MaybeStuck, look.Started, 0)
	case ev.Kind != "" && !ev.Corroborated:
		l.ask(d.Node, probe.MaybeStuck, ns.Compared(ev), l.Policy.RecheckAfter)
	case ev.Kind != "", look.Status() == probe.Stuck, ns.Latest[probe.Login].Reason == probe.Unreachable:
		l.ask(d.Node, probe.MaybeStuck, look.Started, l.Policy.EvidenceTTL/4)
	}
	if kind := l.toRepeat(d); kind != "" {
		wait := l.Policy.MinDuration / 4
		if d.Phase == decide.PhaseConfirmed {
			wait = l.Policy.ResultTTL / 2
		}
		l.ask(d.Node, kind, ns.Latest[kind].Started, wait)
	}
}

// toRepeat is the kind of probe of the node's work that d waits for: the one that hangs, or the one that will show that
// the node is cured. It is empty if there is none.
func (l *Loop) toRepeat(d decide.Decision) probe.Kind {
	if d.Evidence.Kind.Role() == probe.Work {
		return d.Evidence.Kind
	}
	for _, a := range l.state.Deletions {
		open := a.Outcome == decide.Pending || a.Outcome == decide.Escalated
		if open && a.Node == d.Node && a.Probe.Role() == probe.Work {
			return a.Probe
		}
	}
	return ""
}

// lookAtPeers asks for a round trip through each peer that has not had one since the node's own began to hang: what
// hangs everywhere at once is nobody's own fault.
func (l *Loop) lookAtPeers(d decide.Decision, decisions []decide.Decision) {
	kind := d.Evidence.Kind
	for _, peer := range decisions {
		latest := l.state.Nodes[peer.Node].Latest[kind]
		switch {
		case peer.Node == d.Node:
		case !latest.Started.After(d.Evidence.Since):
			l.ask(peer.Node, kind, latest.Started, 0)
		case !decide.HasAnswered(latest): // it hung as well; a frozen node makes it hang for a while
			l.ask(peer.Node, kind, latest.Started, l.Policy.MinDuration/4)
		}
	}
}

// ask asks for a probe of node, wait after an earlier one began. It asks once, and again if nothing comes of it.
func (l *Loop) ask(node string, kind probe.Kind, last time.Time, wait time.Duration) {
	const patience = 30 * time.Second
	key := node + "/" + string(kind)
	now, due := time.Now(), last.Add(wait)
	asked := l.asked[key]
	if now.Before(due) || !asked.Before(due) && now.Sub(asked) < patience+wait {
		return
	}
	l.asked[key] = now
	l.Runner.RunNow(node, kind)
}
