package remediate

import (
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// epoch is a Monday, at noon.
var epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func testNode(name string, started time.Time) target.Node {
	return target.Node{
		Target: "rabbit", Name: name, UID: "uid-of-" + name, Host: "host-of-" + name, Started: started,
		Terminating: target.No, RollingOut: target.No, Owned: target.Yes, Disruptable: target.Yes,
	}
}

// loginHangs is what maybe_stuck shows of a connection that hangs in its login.
func loginHangs() *probe.Processes {
	return &probe.Processes{
		Total: 300, Suspicious: 3, Baseline: 2, StuckReaders: 1, Waiting: probe.Waits{probe.AwaitsLogin: 1},
		Logins: []probe.Process{{ID: 7, Stack: 1, Mailbox: 1, Awaits: probe.AwaitsLogin}},
	}
}

// workHangs is what it shows of a channel that hangs in a call.
func workHangs() *probe.Processes {
	return &probe.Processes{
		Total: 300, Suspicious: 3, Baseline: 2, StuckChannels: 1, Waiting: probe.Waits{probe.AwaitsWork: 1},
		Work: []probe.Process{{ID: 7, Stack: 1, Mailbox: 1, Awaits: probe.AwaitsWork}},
	}
}

// everyGuard names all guards, for who would override them all.
func everyGuard() []decide.Guard {
	var all []decide.Guard
	for _, g := range decide.Guards() {
		all = append(all, g.Guard)
	}
	return all
}
