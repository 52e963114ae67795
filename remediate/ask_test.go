package remediate

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

const latin1 = `warning: the VM is running with native name encoding of latin1 which may cause Elixir to malfunction as it expects utf8. Please ensure your locale is set to UTF-8 (which can be verified by running "locale" in your shell) or set the ELIXIR_ERL_OPTIONS="+fnu" environment variable
`

// On 4.x the mirror question prints "ok", and in a container without a UTF-8 locale a warning besides.
func TestLoopTakesAWarningOfElixirForNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		w.warning = latin1
		w.play(t, 30*time.Minute, nil)
		if w.did("delete") == 0 {
			t.Errorf("never deleted: %s: %v", w.loop.Snapshot().Nodes[1].Decision.Reason, guardWhy(w, decide.GuardQuorumCritical))
		}
	})
}

// The quorum question itself hangs in the node (its queue processes are wedged), its peers can tell; 4.x.
func TestLoopDeletesANodeThatAnswersHalfOfTheQuestions(t *testing.T) {
	for name, mirror := range map[string]func() (int, string){
		"4.x, prints ok": func() (int, string) { return 0, "ok\n" },
		"the mirror one hangs too": func() (int, string) {
			return 75, "Error: operation check_if_node_is_mirror_sync_critical on node rabbit@rabbit-1 timed out. Timeout value used: 10000\n"
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld()
				w.wedge()
				w.exec = func(n target.Node, command string) (int, string) {
					switch {
					case strings.Contains(command, mirrorQuestion):
						return mirror()
					case strings.Contains(command, quorumQuestion):
						return 75, "Error: operation check_if_node_is_quorum_critical on node rabbit@rabbit-1 timed out. Timeout value used: 10000\n"
					}
					return 0, strings.Replace(answered(command), "rabbitmq=3.10.8", "rabbitmq=4.0.5", 1)
				}
				w.play(t, 30*time.Minute, nil)
				if w.did("delete") == 0 {
					t.Errorf("never deleted: %s: %v", w.loop.Snapshot().Nodes[1].Decision.Reason, guardWhy(w, decide.GuardQuorumCritical))
				}
			})
		})
	}
}

// Alarms count for what round trips do, whatever the last login did.
func TestLoopAskLastAsksForAlarmsByTheKindThatHangs(t *testing.T) {
	w := newFakeWorld()
	w.exec = func(_ target.Node, command string) (int, string) {
		return 0, strings.Replace(answered(command), "alarms=none", "alarms=memory", 1)
	}
	l := NewLoop(Options{Target: "rabbit", Policy: decide.DefaultPolicy(), World: w, Runner: w, Store: w, Recorder: w, Exec: w})
	l.view, l.state = target.View{Nodes: w.nodes}, decide.State{Nodes: map[string]decide.NodeState{}}
	for kind, want := range map[probe.Kind]target.Answer{probe.Roundtrip: target.Yes, probe.Login: target.No} {
		l.askLast(t.Context(), decide.Decision{Node: "rabbit-1", Evidence: decide.Evidence{Kind: kind}})
		if r := l.refusals["rabbit-1"]; r.OnPurpose != want {
			t.Errorf("%s hangs, an alarm is on: %+v, want %s", kind, r, want)
		}
	}
}

// TestLoopCuresAFrozenNodeWithAQuorumQueue: both peers say of themselves that they are critical, for as long as the node is frozen.
//
//promise:14
func TestLoopCuresAFrozenNodeWithAQuorumQueue(t *testing.T) {
	const asked = "unstuck quorum asked rabbit@rabbit-0 without rabbit@rabbit-1\n"
	for name, row := range map[string]struct {
		answer string
		want   int
		why    string
	}{
		"the others have a majority":        {asked + "unstuck quorum ok 0 of 4 alone 0\nok\n", 1, ""},
		"a queue of two, and one of one":    {asked + "unstuck quorum lacks quorum members=2 online=1 vhost=%2F name=two\nunstuck quorum lacks quorum members=1 online=0 vhost=%2F name=one\nunstuck quorum critical 2 of 4 alone 1\nok\n", 1, ""},
		"a queue of three with one online":  {asked + "unstuck quorum lacks quorum members=3 online=1 vhost=%2F name=three\nunstuck quorum critical 1 of 4 alone 0\nok\n", 0, "quorum %2F three"},
		"more than it names":                {asked + "unstuck quorum lacks quorum members=1 online=0 vhost=%2F name=one\nunstuck quorum critical 21 of 40 alone 1\nok\n", 0, "not all of which are named"},
		"it cannot tell":                    {"unstuck quorum unknown timed_out\nok\n", 0, "timed_out"},
		"an answer that is cut off":         {asked + "unstuck quorum ok 0 of 4 alone 0\n", 0, "not whole"},
		"an answer that is somebody else's": {"Error: something\n", 0, "not whole"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld()
				w.reason["uid-of-rabbit-1"], w.looks["uid-of-rabbit-1"] = probe.AwaitStart, probe.ToolsUnresponsive
				w.exec = func(n target.Node, command string) (int, string) {
					switch {
					case strings.Contains(command, "unstuck quorum"):
						if !strings.Contains(command, `Name = "rabbit@rabbit-1"`) {
							t.Errorf("asked about another: %.40s", command)
						}
						return 0, row.answer
					case strings.Contains(command, "check_if_node_is_quorum_critical"):
						return 69, fmt.Sprintf("queue 'qq' in vhost '/' would lose quorum if node rabbit@%s is stopped", n.Name)
					}
					return 0, answered(command)
				}
				w.play(t, 6*time.Minute, nil)
				d := w.loop.Snapshot().Nodes[1].Decision
				why := ""
				for _, g := range d.Guards {
					if g.Guard == decide.GuardQuorumCritical {
						why = g.Why
					}
				}
				if w.did("delete") != row.want || (row.want == 0 && !strings.Contains(why, row.why)) {
					t.Errorf("%d deletions, want %d; %s: %s; the guard says %q", w.did("delete"), row.want, d.Phase, d.Reason, why)
				}
			})
		})
	}
}
