package decide

import (
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// What an attack on Decide found, each kept with the right value.

func (tl *timeline) trip(name string, reason probe.Reason, stage probe.Stage) {
	r := tl.result(name, probe.Roundtrip, reason)
	r.Stage = stage
	tl.decide(r)
}

func (tl *timeline) notDeleted(what string) {
	tl.t.Helper()
	if d := tl.decisions["rabbit-1"]; d.Action == Delete {
		tl.t.Errorf("WRONG DELETION (%s) at +%s: %s", what, tl.now.Sub(epoch), d.Reason)
	}
}

// The look that showed what hung before the trouble is dropped as soon as six looks of the trouble are there, if it was taken after the last good round trip.
func TestNodeStateWithLookKeepsOneFromBeforeTheTrouble(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(2, probe.OK)
	tl.trip("rabbit-1", probe.OK, probe.StageClose) // round trips come every few minutes
	tl.rounds(4, probe.OK)
	tl.look(5) // one connection hangs in its login, and logins succeed
	tl.rounds(4, probe.OK)
	tl.want("rabbit-1", PhaseSuspect, Hold)
	for range 12 { // now logins hang, for another reason (connection_max, the network, ...)
		tl.rounds(4, probe.AwaitStart)
		tl.look(5)
		tl.notDeleted("only what hung before, " + string(tl.decisions["rabbit-1"].Evidence.Corroboration))
		if t.Failed() {
			return
		}
	}
}

// A look before the trouble that was cut does not show all that hung then.
func TestNodeStateHidesBehindACutLookNothingThatHungBefore(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(2, probe.OK)
	tl.look(5, 9)
	tl.rounds(4, probe.OK)
	cut := inLogin(probe.AwaitsLogin, 9)
	cut.Truncated = true
	tl.processes("rabbit-1", probe.ProcessesStuck, cut)
	tl.rounds(4, probe.OK)
	for range 4 {
		tl.rounds(4, probe.AwaitStart)
		tl.look(5, 9)
		tl.notDeleted("only what hung before")
	}
}

// Tools that could not reach the node for hours while logins succeeded corroborate logins that hang.
func TestToolsThatFailWhileLoginsSucceedProveNothingLater(t *testing.T) {
	tl := newTimeline(t)
	for range 20 {
		tl.rounds(4, probe.OK)
		r := tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive)
		tl.decide(r)
	}
	for range 4 {
		tl.rounds(4, probe.AwaitStart) // e.g. connection_max is reached: accepted, not greeted
		tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
	}
	if d := tl.decisions["rabbit-1"]; d.Action == Delete {
		t.Errorf("WRONG DELETION: %s; alarm: %s", d.Reason, tl.why("rabbit-1", GuardAlarm))
	}
}

// The first failure of the tools is of hours ago, of another trouble.
func TestToolsMustFailTwiceInTheSameTrouble(t *testing.T) {
	for name, between := range map[string]func(tl *timeline){
		"two hours in which nothing could be told": func(tl *timeline) { tl.rounds(480, probe.Cancelled) },
		"a round trip that succeeded":              func(tl *timeline) { tl.trip("rabbit-1", probe.OK, probe.StageClose) },
	} {
		t.Run(name, func(t *testing.T) {
			tl := newTimeline(t)
			tl.rounds(2, probe.AwaitStart)
			tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
			between(tl)
			tl.rounds(4, probe.AwaitStart)
			tl.now = tl.now.Add(15 * time.Second)
			since := tl.decisions["rabbit-1"].Evidence.Since
			tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive)) // once in this trouble
			tl.rounds(1, probe.AwaitStart)
			if d := tl.decisions["rabbit-1"]; d.Action == Delete {
				t.Errorf("WRONG DELETION: one look since %s, the other is of %s: %s", timeOfDay(since, tl.now), timeOfDay(tl.state.Nodes["rabbit-1"].Latest[probe.MaybeStuck].Started, tl.now), d.Reason)
			}
		})
	}
	t.Run("the look before the trouble", func(t *testing.T) {
		tl := newTimeline(t)
		tl.rounds(4, probe.OK)
		r := tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive)
		tl.now = tl.now.Add(10 * time.Second) // it ends after the latest good login
		tl.decide(r)
		tl.rounds(4, probe.AwaitStart)
		tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
		tl.rounds(1, probe.AwaitStart)
		if d := tl.decisions["rabbit-1"]; d.Action == Delete {
			t.Errorf("first tools at %s, trouble since %s: %s", timeOfDay(tl.state.Nodes["rabbit-1"].Latest[probe.MaybeStuck].Started, tl.now), timeOfDay(d.Evidence.Since, tl.now), d.Reason)
		}
	})
}

// Peers whose logins hang because their authentication backend does (or they are full), and which have had one process that waits for a node for weeks, are called victims.
func TestNodeStateVictimIsNoneThatWaitsForItsBackend(t *testing.T) {
	for name, waiting := range map[string]probe.Waits{
		"backend":                       {probe.AwaitsBackend: 30, probe.AwaitsNode: 1},
		"dns":                           {probe.AwaitsDNS: 30, probe.AwaitsMetadata: 1},
		"full":                          {probe.AwaitsLimit: 60, probe.AwaitsNode: 1},
		"only one, which waited before": {probe.AwaitsNode: 1},
	} {
		t.Run(name, func(t *testing.T) {
			tl := newTimeline(t)
			chronic := &probe.Processes{
				Total: 300, Suspicious: 3, Waiting: probe.Waits{probe.AwaitsNode: 1, probe.AwaitsIdle: 2},
				Others: []probe.Process{{ID: 3, Stack: 9, Awaits: probe.AwaitsNode}},
			}
			for range 10 {
				tl.rounds(4, probe.OK)
				tl.processes("rabbit-0", probe.OK, chronic)
				tl.processes("rabbit-2", probe.OK, chronic)
			}
			look := &probe.Processes{Total: 300, Suspicious: 33, Waiting: waiting, Others: chronic.Others}
			reason := probe.BackendAwaited
			if name == "full" {
				reason = probe.Full
			} else if strings.HasPrefix(name, "only") {
				reason = probe.OK
			}
			for range 8 { // rabbit-1 is wedged; the logins of the others hang for their backend
				for range 4 {
					tl.now = tl.now.Add(15 * time.Second)
					tl.decide(tl.result("rabbit-0", probe.Login, probe.AwaitTune), tl.result("rabbit-1", probe.Login, probe.AwaitTune), tl.result("rabbit-2", probe.Login, probe.AwaitTune))
				}
				tl.processes("rabbit-0", reason, look)
				tl.processes("rabbit-2", reason, look)
				tl.look(7)
			}
			if d := tl.decisions["rabbit-1"]; d.Action == Delete {
				t.Errorf("WRONG DELETION: no node of the broker accepts logins: %s; peers: %q; storm: %q; self-degraded: %q", d.Reason,
					tl.why("rabbit-1", GuardPeers), tl.why("rabbit-1", GuardStorm), tl.why("rabbit-1", GuardSelfDegraded))
			}
		})
	}
}

// A result that is delivered twice counts twice.
func TestFoldCountsAResultThatIsDeliveredTwiceOnce(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(4, probe.OK)
	tl.now = tl.now.Add(15 * time.Second)
	a := tl.result("rabbit-1", probe.Login, probe.AwaitTune)
	tl.decide(a)
	tl.now = tl.now.Add(time.Second)
	tl.look(7)
	tl.now = tl.now.Add(55 * time.Second)
	b := tl.result("rabbit-1", probe.Login, probe.AwaitTune)
	tl.decide(tl.result("rabbit-0", probe.Login, probe.OK), b, b, tl.result("rabbit-2", probe.Login, probe.OK))
	tl.look(7)
	d := tl.decisions["rabbit-1"]
	if d.Action == Delete || d.Evidence.Stuck > 2 {
		t.Errorf("two logins hung, counted %d: %s %s", d.Evidence.Stuck, d.Action, d.Reason)
	}
}

// Rabbit-1 is wedged for six hours; once in nine minutes one login of rabbit-0 stalls, and the next is good.
func TestCheckStormIgnoresAPeerThatStallsNowAndThen(t *testing.T) {
	tl := newTimeline(t)
	for i := range 6 * 60 * 4 {
		tl.now = tl.now.Add(15 * time.Second)
		peer := probe.OK
		if i%36 == 2 {
			peer = probe.AwaitTune
		}
		tl.decide(tl.result("rabbit-0", probe.Login, peer), tl.result("rabbit-1", probe.Login, probe.AwaitTune), tl.result("rabbit-2", probe.Login, probe.OK))
		if i%4 == 3 {
			tl.look(7)
		}
		if tl.decisions["rabbit-1"].Action == Delete {
			return
		}
	}
	t.Errorf("never cured in 6 h: %s: %s", tl.decisions["rabbit-1"].Reason, tl.why("rabbit-1", GuardStorm))
}

// Something else on its host has been silent all along, while rabbit-1 was healthy there.
func TestCheckSameHostIgnoresASilenceOfHours(t *testing.T) {
	tl := newTimeline(t)
	tl.obs.SilentOnHosts = map[string][]Silent{"host-of-rabbit-1": {{"other/rabbit-7", tl.now}}}
	tl.rounds(4*60*3, probe.OK) // three hours
	for range 60 {
		tl.rounds(4, probe.AwaitTune)
		tl.look(7)
		if tl.decisions["rabbit-1"].Action == Delete {
			return
		}
	}
	t.Errorf("never cured: %s: %s", tl.decisions["rabbit-1"].Reason, tl.why("rabbit-1", GuardSameHost))
}

// On a node with a slow disk each look shows one process that waits for it, another each time, before the trouble as well.
func TestDecideCuresThoughADiskIsAlwaysWaitedFor(t *testing.T) {
	tl := newTimeline(t)
	id := probe.ProcessID(1000)
	busy := func(p *probe.Processes) *probe.Processes {
		id++
		p.Others = []probe.Process{{ID: id, Stack: 9, Awaits: probe.AwaitsDisk}}
		if p.Waiting == nil {
			p.Waiting = probe.Waits{}
		}
		p.Waiting[probe.AwaitsDisk] = 1
		return p
	}
	for range 10 {
		tl.rounds(4, probe.OK)
		tl.trip("rabbit-1", probe.OK, probe.StageClose)
		tl.processes("rabbit-1", probe.OK, busy(&probe.Processes{Total: 300, Suspicious: 1}))
	}
	tl.rounds(1, probe.OK)
	tl.trip("rabbit-1", probe.OK, probe.StageClose)
	for range 120 {
		for range 4 {
			tl.hangingTrip()
		}
		tl.processes("rabbit-1", probe.WorkWaits, busy(atWork(1, 1, 5)))
		if tl.decisions["rabbit-1"].Action == Delete {
			return
		}
	}
	t.Errorf("never cured in two hours: %s", tl.decisions["rabbit-1"].Reason)
}

// The deletion was written down by a clock that was an hour ahead (and read back by a new daemon).
func TestSettleEndsADeletionOfAClockThatWasAhead(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(2, probe.OK)
	tl.state.Deletions = []Deletion{{ID: "a", Target: "rabbit", Node: "rabbit-1", UID: "uid-of-rabbit-1", Probe: probe.Login, At: tl.now.Add(time.Hour), Accepted: tl.now.Add(time.Hour)}}
	tl.node("rabbit-1").UID, tl.node("rabbit-1").Started = "new", tl.now
	tl.rounds(4*30, probe.OK)
	if a := tl.state.Deletions[0]; a.Outcome == Pending {
		t.Errorf("the new node has logged us in for 30 min: outcome %q; %s", a.Outcome, tl.decisions["rabbit-1"].Reason)
	}
}

// After a deletion for round trips an alarm keeps them from succeeding: what hung does not hang any more.
func TestDeletionCuredCountsARoundTripThatAnAlarmEnds(t *testing.T) {
	tl := newTimeline(t)
	tl.wedgedWork()
	tl.state.Deletions = append(tl.state.Deletions, Deletion{ID: "a", Target: "rabbit", Node: "rabbit-1", UID: "uid-of-rabbit-1", Probe: probe.Roundtrip, At: tl.now, Accepted: tl.now})
	tl.now = tl.now.Add(time.Minute)
	tl.node("rabbit-1").UID, tl.node("rabbit-1").Started = "new", tl.now
	for range 60 { // an hour with an alarm
		tl.rounds(4, probe.OK)
		tl.trip("rabbit-1", probe.Blocked, probe.StagePublish)
	}
	a := tl.state.Deletions[0]
	for range 60 { // and rabbit-0 is wedged
		for range 4 {
			tl.now = tl.now.Add(15 * time.Second)
			tl.decide(tl.result("rabbit-0", probe.Login, probe.AwaitTune), tl.result("rabbit-1", probe.Login, probe.OK), tl.result("rabbit-2", probe.Login, probe.OK))
		}
		tl.trip("rabbit-1", probe.Blocked, probe.StagePublish)
		tl.processes("rabbit-0", probe.ProcessesStuck, inLogin(probe.AwaitsLogin, 7))
		if tl.decisions["rabbit-0"].Action == Delete {
			return
		}
	}
	t.Errorf("the deletion: %s: %s; rabbit-0, wedged for an hour: %s", a.Outcome, a.Why, tl.decisions["rabbit-0"].Reason)
}

// Victims and suspect on one host.
// A chronic process that waits for another node, and a daemon that was restarted before it had a look.
// No connection hung at the first look, three do at the second.
func TestCorroborationSaysOfNothingThatDidNotHangThatItGetsOn(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(3, probe.AwaitTune)
	tl.processes("rabbit-1", probe.OK, &probe.Processes{Total: 300, Suspicious: 2})
	tl.rounds(4, probe.AwaitTune)
	tl.look(7, 8, 9)
	if ev := tl.decisions["rabbit-1"].Evidence; ev.Corroboration == GetsOn {
		t.Errorf("nothing hung at the first look: %q", ev.CorroborationDetail)
	}
}

// The same process, the same stack, but the look is the second one and the mailbox shrank: said to be "other processes or another place".
func TestCorroborationSaysThatAMailboxShrinks(t *testing.T) {
	tl := newTimeline(t)
	tl.hangingTrip()
	tl.processes("rabbit-1", probe.WorkWaits, atWork(1, 900, 5))
	for range 4 {
		tl.hangingTrip()
	}
	tl.processes("rabbit-1", probe.WorkWaits, atWork(1, 3, 5))
	if ev := tl.decisions["rabbit-1"].Evidence; strings.Contains(ev.CorroborationDetail, "other processes each time, or the same ones in another place") {
		t.Errorf("it is the same one, in the same place, with fewer messages: %q", ev.CorroborationDetail)
	}
}

// An hour of hanging logins.
func TestSceneReasonSaysThatTheCountIsOfTheLatestProbes(t *testing.T) {
	tl := newTimeline(t)
	for range 60 {
		tl.rounds(4, probe.AwaitTune)
		tl.processes("rabbit-1", probe.BackendAwaited, &probe.Processes{Total: 300, Suspicious: 9, Waiting: probe.Waits{probe.AwaitsBackend: 7}})
	}
	d := tl.decisions["rabbit-1"]
	if strings.Contains(d.Reason, "stuck 4 times since 12:00") {
		t.Errorf("240 logins have hung: %q", d.Reason)
	}
}

// What could not tell was the round trip.
func TestSceneUntoldNamesTheProbeThatCouldNotTell(t *testing.T) {
	tl := newTimeline(t)
	tl.wedgedWork()
	tl.now = tl.now.Add(15 * time.Second)
	tl.decide(tl.result("rabbit-0", probe.Login, probe.OK), tl.result("rabbit-1", probe.Login, probe.OK), tl.result("rabbit-2", probe.Login, probe.OK))
	r := tl.result("rabbit-1", probe.Roundtrip, probe.Cancelled)
	r.Stage = probe.StagePublish
	tl.decide(r)
	if d := tl.decisions["rabbit-1"]; strings.Contains(d.Reason, "could not tell: login ok") {
		t.Errorf("%q", d.Reason)
	}
	tl = newTimeline(t)
	tl.wedgedWork()
	for range 9 { // logins only
		tl.rounds(1, probe.OK)
	}
	if d := tl.decisions["rabbit-1"]; strings.Contains(d.Reason, "could not tell: roundtrip await_confirm") {
		t.Errorf("it is old, and it told: %q", d.Reason)
	}
}

// Two nodes.
func TestGuardsSayCountsOfOneInTheSingular(t *testing.T) {
	tl := newTimeline(t)
	tl.obs.View.Nodes, tl.obs.View.Expected = tl.obs.View.Nodes[:2], 2
	for range 3 {
		tl.now = tl.now.Add(15 * time.Second)
		tl.decide(tl.result("rabbit-0", probe.Login, probe.OK), tl.result("rabbit-1", probe.Login, probe.AwaitTune))
	}
	if why := tl.why("rabbit-1", GuardPeers); strings.Contains(why, "1 others are") {
		t.Errorf("%q", why)
	}
	tl = newTimeline(t)
	tl.obs.View.Nodes = tl.obs.View.Nodes[:2]
	tl.obs.View.Nodes = tl.obs.View.Nodes[1:]
	tl.now = tl.now.Add(15 * time.Second)
	tl.decide(tl.result("rabbit-1", probe.Login, probe.AwaitTune))
	if why := tl.why("rabbit-1", GuardPeers); strings.Contains(why, "there are 1 nodes") {
		t.Errorf("%q", why)
	}
	tl = newTimeline(t)
	tl.policy.FailureThreshold, tl.policy.Window = 1, 1
	tl.rounds(1, probe.AwaitTune)
	if r := tl.decisions["rabbit-1"].Reason; strings.Contains(r, "stuck 1 times") {
		t.Errorf("%q", r)
	}
}

// Three nodes fail in three ways, two of which are the broker's own answers.
func TestCheckSelfDegradedExceptsNodesThatSayWhyTheyRefuse(t *testing.T) {
	tl := newTimeline(t)
	tl.wedge()
	tl.now = tl.now.Add(13 * time.Second)
	tl.decide(tl.result("rabbit-0", probe.Login, probe.VhostDown), tl.result("rabbit-2", probe.Login, probe.Refused))
	if why := tl.why("rabbit-1", GuardSelfDegraded); strings.Contains(why, "more likely it is us") {
		t.Errorf("rabbit-0: vhost_down, rabbit-2: refused, rabbit-1: stuck: %q", why)
	}
}

// Victims are called healthy.
func TestCheckPeersDoesNotCallVictimsHealthy(t *testing.T) {
	tl := newTimeline(t)
	waits := &probe.Processes{Total: 300, Suspicious: 12, Waiting: probe.Waits{probe.AwaitsNode: 10, probe.AwaitsIdle: 2}}
	for range 6 {
		tl.now = tl.now.Add(15 * time.Second)
		tl.decide(tl.result("rabbit-0", probe.Login, probe.AwaitTune), tl.result("rabbit-1", probe.Login, probe.AwaitStart), tl.result("rabbit-2", probe.Login, probe.AwaitTune))
		tl.processes("rabbit-0", probe.OK, waits)
		tl.processes("rabbit-2", probe.OK, waits)
		tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
	}
	if why := tl.why("rabbit-1", GuardPeers); strings.Contains(why, "healthy") {
		t.Errorf("the logins of both hang: %q", why)
	}
}

// One bad login makes a node "stuck".
func TestCheckStormDoesNotCallOneBadLoginStuck(t *testing.T) {
	tl := newTimeline(t)
	tl.wedge()
	tl.now = tl.now.Add(14 * time.Second)
	tl.decide(tl.result("rabbit-0", probe.Login, probe.AwaitTune))
	if why := tl.why("rabbit-1", GuardStorm); strings.Contains(why, "nodes that are stuck by their login: 2") {
		t.Errorf("rabbit-0 is %s (%s): %q", tl.decisions["rabbit-0"].Phase, tl.decisions["rabbit-0"].Reason, why)
	}
}

// Alarms: the evidence is of round trips, and one login hung last.
// The login within the round trip hung, and "logins succeed".
func TestSceneReasonTakesTheLoginOfAHangingRoundTripForNoSuccess(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(2, probe.OK)
	tl.now = tl.now.Add(13 * time.Second)
	tl.trip("rabbit-1", probe.AwaitTune, probe.StageTune)
	if d := tl.decisions["rabbit-1"]; strings.Contains(d.Reason, "logins succeed") {
		t.Errorf("%q", d.Reason)
	}
}

// A time on the third day.
func TestTimeOfDayHasTheDateOfAnotherDay(t *testing.T) {
	tl := newTimeline(t)
	tl.obs.Pauses = []Pause{{Target: "rabbit", By: "ada"}}
	for range 3 * 24 * 12 {
		tl.rounds(20, probe.AwaitTune)
		tl.look(7)
	}
	tl.obs.Pauses = nil
	tl.rounds(1, probe.AwaitTune)
	if d := tl.decisions["rabbit-1"]; strings.Contains(d.Reason, "since 12:00:03") {
		t.Errorf("at %s: %q", tl.now, d.Reason)
	}
}

// Chronic round trips: suspicion words for a look that is stuck, tools.
func TestGuardsNeedNoCoolingDownAfterADeletionThatFailed(t *testing.T) {
	tl := newTimeline(t)
	tl.wedge()
	tl.state.Deletions = []Deletion{{ID: "a", Target: "rabbit", Node: "rabbit-1", UID: "uid-of-rabbit-1", At: tl.now.Add(-3 * time.Minute), Settled: tl.now, Outcome: Failed, Cause: target.CauseStillThere, Why: "the delete failed: forbidden", RequestError: "forbidden"}}
	tl.decide()
	if why := tl.why("rabbit-1", GuardStartupGrace); !strings.HasPrefix(why, "nothing came of its deletion") {
		t.Errorf("nothing was deleted, and startup-grace says %q", why)
	}
	if why := tl.why("rabbit-1", GuardBudget); !strings.HasPrefix(why, "0 of 3 ") {
		t.Errorf("nothing was deleted, and budget says %q", why)
	}
}

// Logins wait in their own node for a process that waits for the disk (for other nodes, the metadata, ...): as with channels, the stack of the login alone does not tell.
func TestNodeStateWaitsOutsideClearsLoginsThatWaitForSuchAProcess(t *testing.T) {
	for _, a := range []probe.Await{probe.AwaitsDisk, probe.AwaitsNode, probe.AwaitsMetadata, probe.AwaitsLock, probe.AwaitsBackend, probe.AwaitsDNS, probe.AwaitsLimit} {
		t.Run(a.String(), func(t *testing.T) {
			tl := newTimeline(t)
			tl.rounds(4, probe.OK)
			tl.processes("rabbit-1", probe.OK, &probe.Processes{Total: 300, Suspicious: 2})
			tl.rounds(4, probe.OK)
			for range 6 {
				tl.rounds(4, probe.AwaitStart)
				p := inLogin(probe.AwaitsLogin, 5, 6, 7)
				p.Waiting[a] = 60
				p.Others = []probe.Process{{ID: 3, Stack: 9, Mailbox: 3, Awaits: a}}
				tl.processes("rabbit-1", probe.ProcessesStuck, p)
				if tl.decisions["rabbit-1"].Action == Delete {
					t.Fatalf("WRONG DELETION: %s", tl.decisions["rabbit-1"].Reason)
				}
			}
		})
	}
}

// Peers whose logins wait within their node for a process that waits for the frozen node.
func TestNodeStateVictimMayWaitAtSecondHand(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(4, probe.OK)
	for range 40 {
		tl.now = tl.now.Add(15 * time.Second)
		tl.decide(tl.result("rabbit-0", probe.Login, probe.AwaitTune), tl.result("rabbit-1", probe.Login, probe.AwaitStart), tl.result("rabbit-2", probe.Login, probe.AwaitTune))
		p := inLogin(probe.AwaitsLogin, 5, 6, 7)
		p.Waiting[probe.AwaitsNode] = 1
		p.Others = []probe.Process{{ID: 3, Stack: 9, Mailbox: 3, Awaits: probe.AwaitsNode}}
		tl.processes("rabbit-0", probe.ProcessesStuck, p)
		tl.processes("rabbit-2", probe.ProcessesStuck, p)
		tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
	}
	tl.want("rabbit-1", PhaseConfirmed, Delete)
}

// A two-node broker of 4.3: the metadata store has two members, so each node says of itself that it is critical, for ever.
// Evidence of a run that a suspension of five minutes interrupts; the monotonic clock stands meanwhile.
func TestRunEndsWithASuspension(t *testing.T) {
	tl := newTimeline(t)
	tl.now = time.Now()
	for i := range tl.obs.View.Nodes {
		tl.obs.View.Nodes[i].Started = tl.now.Add(-time.Hour)
	}
	tl.rounds(2, probe.AwaitTune)
	tl.look(7)
	tl.now = shifted(tl.now.Add(time.Second), 5*time.Minute)
	tl.rounds(1, probe.AwaitTune)
	d := tl.decisions["rabbit-1"]
	if d.Evidence.Stuck > 1 {
		t.Errorf("three results, the first two of 5 min before, more than fresh: %s; since %s: %+v", d.Reason, timeOfDay(d.Evidence.Since, tl.now), d.Evidence)
	}
	tl.look(7)
	tl.rounds(1, probe.AwaitTune)
}

// Nothing is deleted on a result from before a suspension of 90 s.
// Out of order, late.
func TestFoldClearsByALateResultNothingThatBeganAfterIt(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(4, probe.OK)
	late := tl.result("rabbit-1", probe.Login, probe.AwaitTune) // 12 s
	tl.round(probe.OK)
	tl.decide(late, late, late)
	tl.want("rabbit-1", PhaseHealthy, Hold)
	// a good login that ended before, delivered late, must not clear the run
	good := tl.result("rabbit-1", probe.Login, probe.OK)
	tl.rounds(3, probe.AwaitTune)
	tl.decide(good)
	if tl.decisions["rabbit-1"].Evidence.Stuck != 3 {
		t.Errorf("%+v", tl.decisions["rabbit-1"].Evidence)
	}
	// a round trip that began before the logins hung, delivered late
	trip := tl.result("rabbit-1", probe.Roundtrip, probe.OK)
	trip.Started = tl.now.Add(-time.Minute)
	trip.Took = time.Second
	trip.Stage = probe.StageClose
	tl.decide(trip)
	if tl.decisions["rabbit-1"].Evidence.Stuck != 3 {
		t.Errorf("a round trip of a minute ago clears the run: %s", tl.decisions["rabbit-1"].Reason)
	}
}

// Round trip evidence, and login.
// Before the trouble the probes did not succeed, nor did they hang: they were answered, or could not tell. What hung then is no cause either.
func TestCorroborationIsNoneByWhatHungWhileProbesWereAnswered(t *testing.T) {
	for _, before := range []probe.Reason{probe.AccessRefused, probe.Unreachable, probe.Cancelled, probe.Slow} {
		t.Run("login/"+string(before), func(t *testing.T) {
			tl := newTimeline(t)
			for range 20 {
				tl.rounds(4, before)
				tl.look(5)
			}
			for range 4 {
				tl.rounds(4, probe.AwaitStart)
				tl.look(5)
				tl.notDeleted("it hung before the run began, for 20 minutes")
			}
		})
	}
	t.Run("round trips, an alarm before", func(t *testing.T) {
		tl := newTimeline(t)
		for range 20 {
			tl.rounds(4, probe.OK)
			tl.trip("rabbit-1", probe.Blocked, probe.StagePublish)
			tl.processes("rabbit-1", probe.WorkWaits, atWork(1, 1, 5))
		}
		for range 6 {
			for range 4 {
				tl.hangingTrip()
			}
			tl.processes("rabbit-1", probe.WorkWaits, atWork(1, 1, 5))
			tl.notDeleted("it hung before the run began, for 20 minutes")
		}
	})
}

// The same for a round trip: the earlier look is crowded out.
func TestNodeStateWithLookKeepsOneFromBeforeRoundTripsHung(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(1, probe.OK)
	for range 6 {
		tl.rounds(4, probe.OK)
		tl.trip("rabbit-1", probe.OK, probe.StageClose)
		tl.processes("rabbit-1", probe.WorkWaits, atWork(1, 1, 5))
	}
	tl.rounds(4, probe.OK)
	tl.trip("rabbit-1", probe.OK, probe.StageClose)
	for range 14 {
		for range 4 {
			tl.hangingTrip()
		}
		tl.processes("rabbit-1", probe.WorkWaits, atWork(1, 1, 5))
		tl.notDeleted("hung before")
	}
}

// The login of a round trip that hangs at its confirm was good when it began, and counts as good when it ends.
func TestLoggedInIsWhenTheLoginWithinARoundTripWasOver(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(4, probe.OK)
	began := tl.now.Add(time.Second)
	tl.now = tl.now.Add(2 * time.Second) // here login and queues wedge
	wedged := tl.now
	tl.now = tl.now.Add(14 * time.Second)
	tl.decide(tl.result("rabbit-1", probe.Login, probe.AwaitTune))
	tl.now = tl.now.Add(7 * time.Second)
	tl.look(7) // began at +15 s
	tl.now = began.Add(25 * time.Second)
	trip := tl.result("rabbit-1", probe.Roundtrip, probe.AwaitConfirm)
	trip.Started, trip.Took, trip.Stage = began, 25*time.Second, probe.StagePublish
	tl.decide(trip)
	ns := tl.state.Nodes["rabbit-1"]
	if good := ns.LastGood[probe.Login]; good.After(wedged) {
		t.Errorf("logins have hung since %s, and the last good one is of %s; runs %v", timeOfDay(wedged, tl.now), timeOfDay(good, tl.now), ns.Runs[probe.Login])
	}
	for range 20 {
		tl.rounds(4, probe.AwaitTune)
		tl.look(7)
	}
	if d := tl.decisions["rabbit-1"]; d.Action != Delete {
		t.Errorf("20 minutes later: %s", d.Reason)
	}
}

// A queue that has hung for weeks on a peer, with its round trips; rabbit-1's channel hangs now.
func TestCheckPeersIgnoresARoundTripThatHungBefore(t *testing.T) {
	tl := newTimeline(t)
	hang := func(name string) probe.Result {
		r := tl.result(name, probe.Roundtrip, probe.AwaitConfirm)
		r.Stage = probe.StagePublish
		return r
	}
	good := func(name string) probe.Result {
		r := tl.result(name, probe.Roundtrip, probe.OK)
		r.Stage = probe.StageClose
		return r
	}
	chronic := atWork(1, 1, 9)
	chronic.Others, chronic.Waiting[probe.AwaitsDisk] = []probe.Process{{ID: 3, Stack: 9, Awaits: probe.AwaitsDisk}}, 1
	for i := range 4 * 60 * 4 {
		tl.now = tl.now.Add(15 * time.Second)
		one := good("rabbit-1")
		if i > 4*60 {
			one = hang("rabbit-1")
		}
		tl.decide(tl.result("rabbit-0", probe.Login, probe.OK), tl.result("rabbit-1", probe.Login, probe.OK), tl.result("rabbit-2", probe.Login, probe.OK),
			hang("rabbit-0"), one, good("rabbit-2"))
		if i%4 == 0 {
			tl.processes("rabbit-0", probe.WorkWaits, chronic)
			if i > 4*60 {
				tl.processes("rabbit-1", probe.WorkWaits, atWork(1, 1, 5))
			} else {
				tl.processes("rabbit-1", probe.OK, &probe.Processes{Total: 300, Suspicious: 2})
			}
		}
		if tl.decisions["rabbit-1"].Action == Delete {
			return
		}
	}
	t.Errorf("three hours: %s; storm %q; peers %q", tl.decisions["rabbit-1"].Reason, tl.why("rabbit-1", GuardStorm), tl.why("rabbit-1", GuardPeers))
}

// A peer whose round trips cannot be had (a queue limit closed it before ... or they end as unknown each time).
func TestCheckPeersIgnoresRoundTripsThatNeverTell(t *testing.T) {
	for _, reason := range []probe.Reason{probe.Cancelled, probe.NotRun, probe.Protocol} {
		t.Run(string(reason), func(t *testing.T) {
			tl := newTimeline(t)
			trip := func(name string, r probe.Reason, s probe.Stage) probe.Result {
				x := tl.result(name, probe.Roundtrip, r)
				x.Stage = s
				return x
			}
			for i := range 4 * 60 * 3 {
				tl.now = tl.now.Add(15 * time.Second)
				tl.decide(tl.result("rabbit-0", probe.Login, probe.OK), tl.result("rabbit-1", probe.Login, probe.OK), tl.result("rabbit-2", probe.Login, probe.OK),
					trip("rabbit-0", reason, probe.StageOpen), trip("rabbit-1", probe.AwaitConfirm, probe.StagePublish), trip("rabbit-2", probe.OK, probe.StageClose))
				if i%4 == 0 {
					tl.processes("rabbit-1", probe.WorkWaits, atWork(1, 1, 5))
				}
				if tl.decisions["rabbit-1"].Action == Delete {
					return
				}
			}
			t.Errorf("three hours: %s; peers %q", tl.decisions["rabbit-1"].Reason, tl.why("rabbit-1", GuardPeers))
		})
	}
}

// Greeted, and the tools reach nothing: login and distribution both wedged for six hours.
// A delete that was refused, and a person deletes the pod: "recovered" is not ours.
// The last questions were answered 100 s ago; since then a deploy has restarted a peer, whose members are catching up.
func TestCheckQuorumVoidsAnAnswerOnceAPeerIsAnother(t *testing.T) {
	tl := newTimeline(t)
	tl.obs.View.Operating = target.Yes
	tl.wedge()
	n := *tl.node("rabbit-1")
	tl.obs.Quorum["rabbit-1"] = Quorum{UID: n.UID, Started: n.Started, Critical: target.No, Peer: "rabbit-1", At: tl.now}
	tl.obs.Refusals["rabbit-1"] = Refusal{UID: n.UID, Started: n.Started, OnPurpose: target.No, At: tl.now}
	tl.rounds(2, probe.AwaitTune)
	tl.node("rabbit-0").UID, tl.node("rabbit-0").Started = "new", tl.now // replaced by the deploy
	tl.rounds(4, probe.AwaitTune)
	tl.look(10, 11, 12)
	tl.obs.View.Operating = target.No
	tl.rounds(1, probe.AwaitTune)
	if d := tl.decisions["rabbit-1"]; d.Action == Delete {
		t.Errorf("deleted on answers of %s ago; rabbit-0 was started %s ago: %s", tl.now.Sub(tl.obs.Quorum["rabbit-1"].At), tl.now.Sub(tl.node("rabbit-0").Started), tl.why("rabbit-1", GuardQuorumCritical))
	}
}

// Our clock is behind that of the cluster, or ahead of it.
func TestCheckStartupGraceBearsThatTheClockOfTheClusterDiffers(t *testing.T) {
	t.Run("behind", func(t *testing.T) {
		tl := newTimeline(t)
		tl.node("rabbit-1").Started = epoch.Add(time.Hour) // by the clock of the cluster
		tl.rounds(2, probe.OK)
		for range 30 {
			tl.rounds(4, probe.AwaitTune)
			tl.look(7)
			if tl.decisions["rabbit-1"].Action == Delete {
				return
			}
		}
		t.Errorf("seen for 30 minutes: %s", tl.why("rabbit-1", GuardStartupGrace))
	})
	t.Run("ahead", func(t *testing.T) {
		tl := newTimeline(t)
		tl.rounds(4, probe.OK)
		tl.node("rabbit-1").UID, tl.node("rabbit-1").Started = "new", tl.now.Add(-10*time.Minute) // it appeared just now
		began := tl.now
		for range 6 {
			tl.rounds(2, probe.AwaitTune)
			tl.look(7)
			if d := tl.decisions["rabbit-1"]; d.Action == Delete {
				t.Errorf("deleted %s after it appeared: %s", tl.now.Sub(began), tl.why("rabbit-1", GuardStartupGrace))
				return
			}
		}
	})
}

// Events of a container restart: a round trip's evidence.
// Five nodes, one frozen.
func TestDecideCuresOneOfFiveNodes(t *testing.T) {
	tl := newTimeline(t)
	tl.obs.View.Expected = 5
	for _, n := range []string{"rabbit-3", "rabbit-4"} {
		tl.obs.View.Nodes = append(tl.obs.View.Nodes, testNode(n, epoch.Add(-time.Hour)))
	}
	for range 8 {
		tl.now = tl.now.Add(15 * time.Second)
		var rs []probe.Result
		for _, n := range []string{"rabbit-0", "rabbit-2", "rabbit-3", "rabbit-4"} {
			rs = append(rs, tl.result(n, probe.Login, probe.OK))
		}
		tl.decide(append(rs, tl.result("rabbit-1", probe.Login, probe.Unreachable), tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))...)
	}
	tl.want("rabbit-1", PhaseConfirmed, Delete)
}

// What is silent on a host is not what waits for another node, nor what only passes no messages on.
func TestNodeStateSilentExceptsWhatWaitsForAnotherOrPassesNothingOn(t *testing.T) {
	tl := newTimeline(t)
	tl.now = tl.now.Add(15 * time.Second)
	tl.decide(tl.result("rabbit-0", probe.Login, probe.AwaitTune), tl.result("rabbit-1", probe.Login, probe.AwaitStart), tl.result("rabbit-2", probe.Login, probe.OK))
	tl.processes("rabbit-0", probe.OK, &probe.Processes{Total: 300, Suspicious: 12, Waiting: probe.Waits{probe.AwaitsNode: 10, probe.AwaitsIdle: 2}})
	r := tl.result("rabbit-2", probe.Roundtrip, probe.AwaitConfirm)
	r.Stage = probe.StagePublish
	tl.decide(r)
	for name, want := range map[string]bool{"rabbit-0": false, "rabbit-1": true, "rabbit-2": false} {
		if got := tl.state.Nodes[name].Silent(tl.decisions[name], tl.policy); got != want {
			t.Errorf("%s (%s): silent %t, want %t", name, tl.decisions[name].Reason, got, want)
		}
	}
}

// Tools cannot reach a node that boots either: that is not while logins succeeded.
func TestToolsThatFailedWhileTheNodeBootedCountLater(t *testing.T) {
	tl := newTimeline(t)
	for range 5 {
		tl.rounds(4, probe.Refused)
		tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
	}
	for range 2 {
		tl.rounds(4, probe.AwaitStart)
		tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
	}
	tl.want("rabbit-1", PhaseConfirmed, Delete)
}

// A round trip that began before the node froze comes back late; connecting has timed out since.
func TestFoldEndsNoSilenceByALateRoundTrip(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(2, probe.OK)
	trip := tl.result("rabbit-1", probe.Roundtrip, probe.AwaitConfirm)
	trip.Started, trip.Stage = tl.now, probe.StagePublish
	tl.rounds(1, probe.Unreachable)
	tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
	trip.Took = tl.now.Sub(trip.Started)
	tl.decide(trip)
	tl.rounds(3, probe.Unreachable)
	tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
	tl.want("rabbit-1", PhaseConfirmed, Delete)
}

// A minute in which we could not tell, in the midst of the trouble, makes nothing of what hangs older than the trouble.
func TestNodeStateChronicIgnoresWhatWeCouldNotTell(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(4, probe.OK)
	tl.trip("rabbit-1", probe.OK, probe.StageClose)
	for range 2 {
		tl.hangingTrip()
	}
	tl.processes("rabbit-1", probe.WorkWaits, atWork(1, 1, 5)) // one queue, and nothing else ever
	for range 6 {
		tl.rounds(1, probe.OK)
		tl.trip("rabbit-1", probe.Cancelled, probe.StagePublish)
	}
	for range 12 {
		for range 4 {
			tl.hangingTrip()
		}
		tl.processes("rabbit-1", probe.WorkWaits, atWork(1, 1, 5))
		if tl.decisions["rabbit-1"].Action == Delete {
			return
		}
	}
	t.Errorf("never cured: %s", tl.decisions["rabbit-1"].Reason)
}
