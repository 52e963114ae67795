package remediate

import (
	"time"

	"github.com/cjworkbench/unstuck/probe"
)

// pace tells the runner how to go on with each node: sooner while it is suspect, more slowly once it is confirmed, for
// each login leaks processes there; and asks for the looks that a decision is still waiting for.
func (l *Loop) pace(decisions []Decision) {
	for _, d := range decisions {
		switch d.Phase {
		case Confirmed:
			l.Runner.SetPace(d.Node, probe.PaceConfirmed)
		case Suspect, Unclear, Recovering, Lost:
			l.Runner.SetPace(d.Node, probe.PaceSuspect)
		case Blind, Well, Ailing:
			l.Runner.SetPace(d.Node, probe.PaceNormal)
		}
		l.confirm(d)
		if d.Evidence.Kind == probe.Roundtrip {
			l.lookAtPeers(d, decisions)
		}
	}
}

// confirm asks for the looks that the decision about a node still needs: at its processes while its logins fail, at
// once, again when the same processes should show, and then often enough for the witness not to grow old; and for more
// round trips while those hang, for they are scheduled minutes apart.
func (l *Loop) confirm(d Decision) {
	ns, ev := l.state.Nodes[d.Node], d.Evidence
	look := ns.Latest[probe.MaybeStuck]
	switch {
	case l.Exec == nil: // there is nobody to ask
	case ev.Kind != "" && (look.Started.Before(ev.Since) || look.Reason == ""):
		l.ask(d.Node, probe.MaybeStuck, look.Started, 0)
	case ev.Kind != "" && !ev.Corroborated:
		l.ask(d.Node, probe.MaybeStuck, look.Started, l.Policy.PersistFor)
	case ev.Kind != "", look.Status() == probe.Stuck, ns.Latest[probe.Login].Reason == probe.Unreachable:
		l.ask(d.Node, probe.MaybeStuck, look.Started, l.Policy.Evidence/4)
	}
	if ev.Kind == probe.Roundtrip {
		wait := l.Policy.MinTime / 4
		if d.Phase == Confirmed {
			wait = l.Policy.Fresh / 2
		}
		l.ask(d.Node, probe.Roundtrip, ns.Latest[probe.Roundtrip].Started, wait)
	}
}

// lookAtPeers asks for a round trip through each peer that has not had one since the node's own began to hang: what
// hangs everywhere at once is nobody's own fault.
func (l *Loop) lookAtPeers(d Decision, decisions []Decision) {
	for _, peer := range decisions {
		latest := l.state.Nodes[peer.Node].Latest[probe.Roundtrip].Started
		if peer.Node != d.Node && !latest.After(d.Evidence.Since) {
			l.ask(peer.Node, probe.Roundtrip, latest, 0)
		}
	}
}

// ask asks for a probe of node, wait after its last began. It asks once, and again if nothing comes of it.
func (l *Loop) ask(node string, kind probe.Kind, last time.Time, wait time.Duration) {
	const patience = 30 * time.Second
	key := node + "/" + string(kind)
	now := time.Now()
	asked := l.asked[key]
	if now.Sub(last) < wait || (asked.After(last) && now.Sub(asked) < patience+wait) {
		return
	}
	l.asked[key] = now
	l.Runner.RunNow(node, kind)
}
