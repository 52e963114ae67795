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
		case Suspect, Recovering, Lost:
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

// confirm asks for a look at the node's processes while its logins fail: at once, again when the same processes
// should show, and then often enough for the witness not to grow old.
func (l *Loop) confirm(d Decision) {
	ns := l.state.Nodes[d.Node]
	if d.Evidence.Kind == "" && ns.Latest[probe.Login].Reason != probe.Unreachable {
		return
	}
	look := ns.Latest[probe.MaybeStuck]
	var wait time.Duration
	switch {
	case look.Started.Before(d.Evidence.Since) || look.Reason == "":
	case d.Evidence.Corroborated || d.Evidence.Kind == "":
		wait = l.Policy.Evidence / 4
	default:
		wait = l.Policy.PersistFor
	}
	l.ask(d.Node, probe.MaybeStuck, look.Started, wait)
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
