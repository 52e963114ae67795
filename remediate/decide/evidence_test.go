package decide

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/probe/stuck"
)

// hangingTrip lets 15 s pass, in which every login is good and rabbit-1's round trip hangs at its confirm.
func (tl *timeline) hangingTrip() {
	tl.now = tl.now.Add(15 * time.Second)
	hang := tl.result("rabbit-1", probe.Roundtrip, probe.AwaitConfirm)
	hang.Stage = probe.StagePublish
	trip := func(n string) probe.Result {
		r := tl.result(n, probe.Roundtrip, probe.OK)
		r.Stage = probe.StageClose
		return r
	}
	tl.decide(tl.result("rabbit-0", probe.Login, probe.OK), tl.result("rabbit-1", probe.Login, probe.OK), tl.result("rabbit-2", probe.Login, probe.OK),
		hang, trip("rabbit-0"), trip("rabbit-2"))
}

// wedgedWork plays round trips that hang, until that is confirmed.
func (tl *timeline) wedgedWork() {
	for range 3 {
		tl.hangingTrip()
	}
	tl.processes("rabbit-1", probe.WorkWaits, atWork(1, 1, 7))
	for range 4 {
		tl.hangingTrip()
	}
	tl.processes("rabbit-1", probe.WorkWaits, atWork(1, 2, 7))
}

//promise:5
func TestEvidenceOfWhom(t *testing.T) {
	t.Run("a container that restarted in its pod is another node, with the same process ids", func(t *testing.T) {
		tl := newTimeline(t)
		tl.rounds(2, probe.AwaitTune)
		tl.look(700)
		tl.node("rabbit-1").Started = tl.now.Add(time.Second)
		tl.rounds(1, probe.Unreachable)
		tl.rounds(3, probe.AwaitTune)
		tl.look(700)
		tl.want("rabbit-1", PhaseSuspect, Hold)
		if since := tl.decisions["rabbit-1"].Evidence.Since; since.Before(tl.node("rabbit-1").Started) {
			t.Errorf("the evidence begins at %s, and the container at %s", since, tl.node("rabbit-1").Started)
		}
		tl.rounds(18, probe.AwaitTune) // it wedges again, and is past its start-up
		tl.look(700)
		tl.want("rabbit-1", PhaseConfirmed, Delete)
	})
	t.Run("a result that is about the container before is dropped", func(t *testing.T) {
		tl := newTimeline(t)
		tl.rounds(2, probe.AwaitTune)
		late := tl.result("rabbit-1", probe.Login, probe.AwaitTune)
		tl.node("rabbit-1").Started = tl.now
		tl.decide(late)
		tl.want("rabbit-1", PhaseUnknown, Hold)
	})
	t.Run("what is asked about the container before is asked again", func(t *testing.T) {
		tl := newTimeline(t)
		tl.wedge()
		old := tl.obs.Quorum["rabbit-1"]
		old.Started, old.Peer = epoch, "rabbit-0"
		tl.obs.Quorum["rabbit-1"] = old
		tl.decide()
		tl.want("rabbit-1", PhaseConfirmed, Hold, GuardQuorumCritical)
	})
	t.Run("a start that is not known for a moment forgets nothing", func(t *testing.T) {
		tl := newTimeline(t)
		tl.wedge()
		started := tl.node("rabbit-1").Started
		tl.node("rabbit-1").Started = time.Time{}
		tl.decide()
		tl.want("rabbit-1", PhaseConfirmed, Hold, GuardStartupGrace)
		tl.node("rabbit-1").Started = started
		tl.decide()
		tl.want("rabbit-1", PhaseConfirmed, Delete)
	})
}

//promise:6
func TestEvidenceOfWhat(t *testing.T) {
	t.Run("a chronically stuck channel does not corroborate logins", func(t *testing.T) {
		tl := newTimeline(t)
		for range 5 {
			tl.rounds(4, probe.OK)
			tl.processes("rabbit-1", probe.WorkWaits, atWork(1, 1, 5))
		}
		tl.want("rabbit-1", PhaseHealthy, Hold)
		tl.rounds(2, probe.AwaitTune)
		tl.processes("rabbit-1", probe.WorkWaits, atWork(1, 1, 5))
		tl.rounds(4, probe.AwaitTune)
		tl.processes("rabbit-1", probe.WorkWaits, atWork(1, 1, 5))
		tl.want("rabbit-1", PhaseSuspect, Hold)
		if c := tl.decisions["rabbit-1"].Evidence.Corroboration; c != WaitsOnOthers {
			t.Errorf("the corroboration is %s", c)
		}
	})
	t.Run("a new stuck channel does not corroborate logins either", func(t *testing.T) {
		tl := newTimeline(t)
		for range 4 {
			tl.rounds(4, probe.AwaitTune)
			tl.processes("rabbit-1", probe.WorkWaits, atWork(1, 1, 5))
		}
		tl.want("rabbit-1", PhaseSuspect, Hold)
	})
	t.Run("connections that hang in their login do not corroborate round trips", func(t *testing.T) {
		tl := newTimeline(t)
		for range 4 {
			for range 4 {
				tl.hangingTrip()
			}
			tl.look(7)
		}
		if d := tl.decisions["rabbit-1"]; d.Action == Delete || d.Evidence.Corroborated {
			t.Errorf("%s: %s", d.Phase, d.Reason)
		}
	})
	t.Run("a stuck channel corroborates round trips", func(t *testing.T) {
		tl := newTimeline(t)
		tl.wedgedWork()
		tl.want("rabbit-1", PhaseConfirmed, Delete)
		if ev := tl.decisions["rabbit-1"].Evidence; ev.Kind != probe.Roundtrip || ev.Corroboration != SameProcesses {
			t.Errorf("the evidence is %+v", ev)
		}
	})
	t.Run("a cure is verified by a probe of the kind that failed", func(t *testing.T) {
		tl := newTimeline(t)
		tl.wedgedWork()
		tl.state.Deletions = append(tl.state.Deletions, Deletion{ID: "a", Target: "rabbit", Node: "rabbit-1", UID: "uid-of-rabbit-1", Probe: probe.Roundtrip, At: tl.now, Accepted: tl.now})
		tl.now = tl.now.Add(time.Minute)
		tl.node("rabbit-1").UID, tl.node("rabbit-1").Started = "new", tl.now
		tl.now = tl.now.Add(30 * time.Second)
		tl.hangingTrip() // logins succeed, and round trips hang as before
		if a := tl.state.Deletions[0]; a.Outcome != Pending {
			t.Errorf("outcome %q: %s", a.Outcome, a.Why)
		}
		tl.want("rabbit-1", PhaseRecovering, Hold, GuardInFlight)
		for range 40 {
			tl.hangingTrip()
		}
		if a := tl.state.Deletions[0]; a.Outcome != Escalated || !strings.Contains(a.Why, "await_confirm") {
			t.Errorf("outcome %q: %s", a.Outcome, a.Why)
		}
		trip := tl.result("rabbit-1", probe.Roundtrip, probe.OK)
		trip.Stage = probe.StageClose
		tl.decide(tl.result("rabbit-1", probe.Login, probe.OK), trip)
		if a := tl.state.Deletions[0]; a.Outcome != Recovered {
			t.Errorf("outcome %q: %s", a.Outcome, a.Why)
		}
	})
	t.Run("a login that was deleted for is not cured by a round trip from before", func(t *testing.T) {
		tl := newTimeline(t)
		tl.wedge()
		tl.state.Deletions = append(tl.state.Deletions, Deletion{ID: "a", Node: "rabbit-1", UID: "uid-of-rabbit-1", Probe: probe.Login, At: tl.now, Accepted: tl.now})
		tl.node("rabbit-1").UID, tl.node("rabbit-1").Started = "new", tl.now
		tl.round(probe.AwaitTune)
		if a := tl.state.Deletions[0]; a.Outcome != Pending {
			t.Errorf("outcome %q: %s", a.Outcome, a.Why)
		}
	})
}

// shifted is t with the wall clock set by d and the monotonic clock as it is: what time.Now gives after the machine has been
// suspended for d, or after somebody has set its clock.
func shifted(tm time.Time, d time.Duration) time.Time {
	type raw struct {
		wall uint64
		ext  int64
		loc  *time.Location
	}
	r := (*raw)(unsafe.Pointer(&tm))
	r.wall += uint64(d/time.Second) << 30
	return tm
}

//promise:7
func TestEvidenceSinceWhen(t *testing.T) {
	t.Run("evidence from before a suspension is old", func(t *testing.T) {
		tl := newTimeline(t)
		tl.now = time.Now() // with a monotonic reading
		for i := range tl.obs.View.Nodes {
			tl.obs.View.Nodes[i].Started = tl.now.Add(-time.Hour)
		}
		tl.obs.Pauses = []Pause{{Target: "rabbit", By: "ada", Until: tl.now.Round(0).Add(30 * time.Minute)}}
		tl.wedge()
		tl.want("rabbit-1", PhaseConfirmed, Hold, GuardPaused)
		tl.now = shifted(tl.now.Add(time.Second), time.Hour)
		tl.decide()
		if d := tl.decisions["rabbit-1"]; d.Action == Delete || d.Phase == PhaseConfirmed {
			t.Errorf("%s on evidence that is an hour old: %s", d.Action, d.Reason)
		}
		tl.wedge() // it is stuck all the same, and proved anew
		tl.want("rabbit-1", PhaseConfirmed, Delete)
	})
	t.Run("a clock that is set back makes nothing start anew", func(t *testing.T) {
		tl := newTimeline(t)
		tl.now = time.Now()
		for i := range tl.obs.View.Nodes {
			tl.obs.View.Nodes[i].Started = tl.now.Add(-24 * time.Hour)
		}
		tl.wedge()
		tl.now = shifted(tl.now.Add(3*time.Minute), -2*time.Minute)
		tl.decide()
		if d := tl.decisions["rabbit-1"]; d.Action == Delete {
			t.Errorf("%s on evidence that is three minutes old: %s", d.Action, d.Reason)
		}
	})
	t.Run("connections that hung while logins still succeeded corroborate nothing", func(t *testing.T) {
		tl := newTimeline(t)
		tl.rounds(3, probe.OK)
		tl.look(5)
		tl.rounds(3, probe.OK)
		for range 4 {
			tl.rounds(4, probe.AwaitTune)
			tl.look(5)
		}
		tl.want("rabbit-1", PhaseSuspect, Hold)
		if c := tl.decisions["rabbit-1"].Evidence.Corroboration; c != Chronic {
			t.Errorf("the corroboration is %s", c)
		}
		for range 3 {
			tl.rounds(4, probe.AwaitTune)
			tl.look(5, 9) // and one that hangs since
		}
		tl.want("rabbit-1", PhaseConfirmed, Delete)
	})
	t.Run("a look that began before the trouble corroborates nothing", func(t *testing.T) {
		tl := newTimeline(t)
		tl.rounds(2, probe.OK)
		tl.look(7)
		tl.rounds(5, probe.AwaitTune)
		if ev := tl.decisions["rabbit-1"].Evidence; ev.Corroboration != NotLooked {
			t.Errorf("the evidence is %+v", ev)
		}
	})
	t.Run("the first look is not kept for ever: one process that got through does not hide a wedge", func(t *testing.T) {
		tl := newTimeline(t)
		tl.rounds(2, probe.AwaitTune)
		tl.look(1)
		for range 3 {
			tl.rounds(4, probe.AwaitTune)
			tl.look(7, 8, 9)
		}
		tl.want("rabbit-1", PhaseConfirmed, Delete)
	})
	t.Run("looks of long ago do not crowd out the latest", func(t *testing.T) {
		tl := newTimeline(t)
		for i := range probe.ProcessID(30) { // slow for half an hour
			tl.rounds(4, probe.AwaitTune)
			tl.look(100 + i)
		}
		tl.want("rabbit-1", PhaseSuspect, Hold)
		for range 3 {
			tl.rounds(4, probe.AwaitTune)
			tl.look(7, 8, 9)
		}
		tl.want("rabbit-1", PhaseConfirmed, Delete)
		if n := len(tl.state.Nodes["rabbit-1"].Looks); n > maxLooks {
			t.Errorf("%d looks are kept", n)
		}
	})
}

const lookText = `2026-11-23 00:38:01 There are 271 processes.
2026-11-23 00:38:06 Found 1 suspicious processes.
2026-11-23 00:38:06 [{pid,<11016.500.0>},
                     {registered_name,[]},
                     {current_stacktrace,
                         [%s
                          {rabbit_channel,handle_method,3,[]},
                          {rabbit_channel,handle_cast,2,[]},
                          {gen_server2,handle_msg,2,[]}]},
                     {initial_call,{proc_lib,init_p,5}},
                     {message_queue_len,%d},
                     {links,[]},
                     {monitors,[]},
                     {monitored_by,[]},
                     {heap_size,4185}]
`

//promise:8
func TestEvidenceDoesItProgress(t *testing.T) {
	look := func(tl *timeline, frames string, mailbox int) {
		p, err := stuck.Parse(strings.NewReader(fmt.Sprintf(lookText, frames, mailbox)))
		if err != nil || p.Truncated {
			tl.t.Fatal(err, p)
		}
		tl.processes("rabbit-1", probe.WorkWaits, &p)
	}
	const declares = `{gen,do_call,4,[]},{gen_server2,call,3,[]},{rabbit_amqqueue,declare,6,[]},`
	const deletes = `{gen,do_call,4,[]},{gen_server2,call,3,[]},{rabbit_amqqueue,delete,4,[]},`
	for name, row := range map[string]struct {
		first, second     string
		waiting, waiting2 int
		want              Action
	}{
		"it waits elsewhere":                       {declares, deletes, 900, 3, Hold},
		"it waits elsewhere for as many":           {declares, deletes, 3, 3, Hold},
		"it has worked messages off":               {declares, declares, 900, 3, Hold},
		"it has not moved":                         {declares, declares, 3, 3, Delete},
		"it has not moved, and more messages wait": {declares, declares, 3, 900, Delete},
		"it has not moved, and no message waits":   {declares, declares, 0, 0, Hold},
	} {
		t.Run("a channel: "+name, func(t *testing.T) {
			tl := newTimeline(t)
			tl.hangingTrip()
			tl.hangingTrip()
			look(tl, row.first, row.waiting)
			for range 4 {
				tl.hangingTrip()
			}
			look(tl, row.second, row.waiting2)
			if d := tl.decisions["rabbit-1"]; d.Action != row.want {
				t.Errorf("%s: %s", d.Action, d.Reason)
			}
		})
	}
	t.Run("a channel that is gone in the look between has moved", func(t *testing.T) {
		tl := newTimeline(t)
		tl.hangingTrip()
		tl.hangingTrip()
		look(tl, declares, 3)
		tl.hangingTrip()
		tl.processes("rabbit-1", probe.OK, &probe.Processes{Total: 300, Suspicious: 1})
		for range 3 {
			tl.hangingTrip()
		}
		look(tl, declares, 3)
		if d := tl.decisions["rabbit-1"]; d.Action == Delete {
			t.Errorf("%s: %s", d.Action, d.Reason)
		}
	})
	t.Run("a list that is cut shows what it shows, and nothing by what it lacks", func(t *testing.T) {
		tl := newTimeline(t)
		cut := inLogin(probe.AwaitsLogin, 7)
		cut.Truncated = true
		other := inLogin(probe.AwaitsLogin, 1)
		other.Truncated = true
		tl.rounds(2, probe.AwaitTune)
		tl.processes("rabbit-1", probe.ProcessesStuck, cut)
		tl.rounds(2, probe.AwaitTune)
		tl.processes("rabbit-1", probe.ProcessesStuck, other)
		tl.rounds(2, probe.AwaitTune)
		tl.processes("rabbit-1", probe.ProcessesStuck, cut)
		tl.want("rabbit-1", PhaseConfirmed, Delete)
	})
	t.Run("a look between that failed says nothing", func(t *testing.T) {
		tl := newTimeline(t)
		tl.rounds(2, probe.AwaitTune)
		tl.look(7)
		tl.rounds(2, probe.AwaitTune)
		tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ExecFailed))
		tl.rounds(2, probe.AwaitTune)
		tl.look(7)
		tl.want("rabbit-1", PhaseConfirmed, Delete)
	})
}

//promise:9
func TestEvidenceForWhomDoesItWait(t *testing.T) {
	for reason, awaits := range map[probe.Reason]probe.Await{
		probe.Full: probe.AwaitsLimit, probe.BackendAwaited: probe.AwaitsBackend, probe.MetadataAwaited: probe.AwaitsMetadata, probe.OK: probe.AwaitsClient,
	} {
		t.Run("those that wait for "+string(awaits)+" accuse nobody here", func(t *testing.T) {
			tl := newTimeline(t)
			for range 6 {
				tl.rounds(4, probe.AwaitStart)
				tl.processes("rabbit-1", reason, &probe.Processes{Total: 600, Suspicious: 64, Waiting: probe.Waits{awaits: 64}})
			}
			tl.want("rabbit-1", PhaseSuspect, Hold)
			if ev := tl.decisions["rabbit-1"].Evidence; ev.Corroborated || !strings.Contains(ev.CorroborationDetail, "maybe_stuck") {
				t.Errorf("the evidence is %+v", ev)
			}
		})
	}
}

// A frozen peer that has queues: the metadata store waits for it, and so do channels that call its queues. (Found by TestSoak.)
func TestNodeStateWaitsOutsideClearsChannelsWhoseQueuesWaitOutside(t *testing.T) {
	play := func(t *testing.T, others probe.Waits) *timeline {
		t.Helper()
		tl := newTimeline(t)
		tl.rounds(4, probe.OK)
		for range 8 {
			tl.hangingTrip()
			look := atWork(1, 1, 5)
			reason := probe.WorkWaits
			look.Waiting = probe.Waits{probe.AwaitsWork: 5}
			maps.Copy(look.Waiting, others)
			if look.Waiting[probe.AwaitsMetadata] > 0 {
				reason = probe.MetadataAwaited
			}
			tl.processes("rabbit-1", reason, look)
		}
		return tl
	}
	for _, a := range []probe.Await{
		probe.AwaitsLimit, probe.AwaitsBackend, probe.AwaitsDNS, probe.AwaitsMetadata, probe.AwaitsLock, probe.AwaitsNode, probe.AwaitsDisk,
	} {
		t.Run(a.String(), func(t *testing.T) {
			tl := play(t, probe.Waits{a: 1})
			tl.want("rabbit-1", PhaseSuspect, Hold)
			if ev := tl.decisions["rabbit-1"].Evidence; ev.Corroborated {
				t.Errorf("the evidence is %+v", ev)
			}
		})
	}
	t.Run("what waited outside before the trouble is not its cause, what does so besides is", func(t *testing.T) {
		waits := func(p *probe.Processes, ids ...probe.ProcessID) *probe.Processes {
			for _, id := range ids {
				p.Others = append(p.Others, probe.Process{ID: id, Stack: 9, Awaits: probe.AwaitsNode})
			}
			p.Waiting[probe.AwaitsNode] = len(ids)
			return p
		}
		tl := newTimeline(t)
		well := tl.result("rabbit-1", probe.Roundtrip, probe.OK)
		well.Stage = probe.StageClose
		tl.processes("rabbit-1", probe.OK, waits(&probe.Processes{Total: 300, Suspicious: 1, Waiting: probe.Waits{}}, 3))
		tl.rounds(1, probe.OK)
		well.Started = tl.now
		tl.decide(well)
		for range 8 {
			tl.hangingTrip()
			tl.processes("rabbit-1", probe.WorkWaits, waits(atWork(1, 1, 5), 3, 77))
		}
		tl.want("rabbit-1", PhaseSuspect, Hold)
		for range 4 {
			tl.hangingTrip()
			tl.processes("rabbit-1", probe.WorkWaits, waits(atWork(1, 1, 5), 3))
		}
		tl.want("rabbit-1", PhaseConfirmed, Delete)
	})
	t.Run("nothing outside", func(t *testing.T) {
		play(t, probe.Waits{probe.AwaitsClient: 3, probe.AwaitsIdle: 9, probe.AwaitsChildren: 1}).want("rabbit-1", PhaseConfirmed, Delete)
	})
}

//promise:13
func TestCheckPeersAsksThreeQuestions(t *testing.T) {
	again := func(tl *timeline) {
		tl.rounds(4, probe.AwaitTune)
		tl.look(7, 8, 9)
	}
	for name, spoil := range map[string]func(tl *timeline, peer string){
		"an alarm": func(tl *timeline, peer string) {
			r := tl.result(peer, probe.Roundtrip, probe.Blocked)
			r.Stage = probe.StagePublish
			tl.decide(r)
		},
		"a right that is missing": func(tl *timeline, peer string) {
			r := tl.result(peer, probe.Roundtrip, probe.NotAllowed)
			r.Stage = probe.StageDeclare
			tl.decide(r)
		},
		"a channel that hangs": func(tl *timeline, peer string) { tl.processes(peer, probe.WorkWaits, atWork(1, 1, 5)) },
		"a round trip that hangs": func(tl *timeline, peer string) {
			r := tl.result(peer, probe.Roundtrip, probe.AwaitDeclare)
			r.Stage = probe.StageDeclare
			tl.decide(r)
		},
		"connections that hang, and logins succeed": func(tl *timeline, peer string) {
			tl.processes(peer, probe.ProcessesStuck, inLogin(probe.AwaitsLogin, 5))
		},
	} {
		t.Run(name+" on every peer does not bar the cure", func(t *testing.T) {
			tl := newTimeline(t)
			tl.rounds(4, probe.OK)
			for range 8 {
				spoil(tl, "rabbit-0")
				spoil(tl, "rabbit-2")
				again(tl)
			}
			tl.want("rabbit-1", PhaseConfirmed, Delete)
		})
	}
	t.Run("a peer whose login hangs because it waits for the suspect is a victim", func(t *testing.T) {
		tl := newTimeline(t)
		waits := &probe.Processes{Total: 300, Suspicious: 12, Waiting: probe.Waits{probe.AwaitsNode: 10, probe.AwaitsIdle: 2}}
		play := func(look *probe.Processes) {
			for range 6 {
				tl.now = tl.now.Add(15 * time.Second)
				tl.decide(tl.result("rabbit-0", probe.Login, probe.AwaitTune), tl.result("rabbit-1", probe.Login, probe.AwaitStart), tl.result("rabbit-2", probe.Login, probe.AwaitTune))
				tl.processes("rabbit-0", probe.OK, look)
				tl.processes("rabbit-2", probe.OK, look)
				tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
			}
		}
		play(waits)
		tl.want("rabbit-1", PhaseConfirmed, Delete)
		tl.want("rabbit-0", PhaseSuspect, Hold)
		play(&probe.Processes{Total: 300, Suspicious: 2, Waiting: probe.Waits{probe.AwaitsIdle: 2}})
		tl.want("rabbit-1", PhaseConfirmed, Hold, GuardPeers, GuardStorm, GuardSelfDegraded)
	})
	t.Run("nobody accepts logins, and nothing says why: it may be us", func(t *testing.T) {
		tl := newTimeline(t)
		tl.wedge()
		tl.now = tl.now.Add(13 * time.Second)
		tl.decide(tl.result("rabbit-0", probe.Login, probe.AccessRefused), tl.result("rabbit-2", probe.Login, probe.AccessRefused))
		tl.want("rabbit-1", PhaseConfirmed, Hold, GuardPeers, GuardSelfDegraded)
	})
}

// A question that was not asked is no reason: a person would look for an alarm that there is not.
func TestDecisionHeldByNamesTheUnaskedOnlyIfNothingElseHolds(t *testing.T) {
	guards := func(states ...GuardState) Decision { return Decision{Guards: states} }
	other, open := GuardState{Guard: GuardPaused}, GuardState{Guard: GuardStartupGrace, Open: true}
	quorum, alarm := GuardState{Guard: GuardQuorumCritical, Unasked: true}, GuardState{Guard: GuardAlarm, Unasked: true}
	answered := GuardState{Guard: GuardAlarm, Why: "it refuses on purpose"}
	for name, c := range map[string]struct {
		of   Decision
		want []Guard
	}{
		"another guard is closed":        {guards(other, open, quorum, alarm), []Guard{GuardPaused}},
		"nothing else is":                {guards(open, quorum, alarm), []Guard{GuardQuorumCritical, GuardAlarm}},
		"one was asked, and is closed":   {guards(other, quorum, answered), []Guard{GuardPaused, GuardAlarm}},
		"one was asked, nothing else is": {guards(open, quorum, answered), []Guard{GuardAlarm}},
		"none":                           {guards(open), nil},
	} {
		if got := c.of.HeldBy(); !slices.Equal(got, c.want) {
			t.Errorf("%s: held by %v, want %v", name, got, c.want)
		}
	}
	tl := newTimeline(t)
	tl.obs.HistoryKnown = false
	tl.obs.Refusals["rabbit-1"] = Refusal{} // which is not its
	tl.rounds(4, probe.AwaitTune)
	tl.look(7, 8, 9)
	tl.rounds(4, probe.AwaitTune)
	tl.look(7, 8, 9)
	d := tl.decisions["rabbit-1"]
	if d.Action == Delete || strings.Contains(d.Reason, string(GuardAlarm)) || !slices.Contains(d.Closed(), GuardAlarm) {
		t.Errorf("%s: %s; closed: %v", d.Action, d.Reason, d.Closed())
	}
}

func TestCorroborationIsAClosedList(t *testing.T) {
	for _, c := range Corroborations() {
		f := finding{Corroboration: c, kind: probe.Login, count: 3, look: probe.Result{Reason: probe.Full, Detail: "detail"}, apart: time.Minute}
		if s := f.sentence(DefaultPolicy()); s == "" || s == (finding{}).sentence(DefaultPolicy()) {
			t.Errorf("%s has no sentence", c)
		}
	}
	if len(slices.Compact(slices.Sorted(slices.Values(Corroborations())))) != len(Corroborations()) {
		t.Error("one is listed twice")
	}
}

func TestCheckSelfDegradedClosesForTwoBrokersOfTheSamePods(t *testing.T) {
	tl := newTimeline(t)
	tl.wedge()
	tl.want("rabbit-1", PhaseConfirmed, Delete)
	tl.obs.ClaimedBy = map[string][]string{"uid-of-rabbit-1": {"one", "two"}}
	tl.decide()
	tl.want("rabbit-1", PhaseConfirmed, Hold, GuardSelfDegraded)
	if why := tl.why("rabbit-1", GuardSelfDegraded); !strings.Contains(why, "one, two") {
		t.Errorf("the guard says %q", why)
	}
}

// TestDecideHoldsWhenThreeOfEachFourLoginsHang: a login that succeeds clears what was counted. The node serves some of its clients, and the alerts of
// the login budget tell of the others.
func TestDecideHoldsWhenThreeOfEachFourLoginsHang(t *testing.T) {
	tl := newTimeline(t)
	for range 20 {
		tl.rounds(1, probe.OK)
		tl.rounds(3, probe.AwaitTune)
		tl.look(7)
	}
	tl.want("rabbit-1", PhaseSuspect, Hold)
}

func TestNodeStateComparedSaysByWhichLookTheNextIsDue(t *testing.T) {
	at := func(s int) time.Time { return epoch.Add(time.Duration(s) * time.Second) }
	look := func(s int, p *probe.Processes) probe.Result {
		return probe.Result{Kind: probe.MaybeStuck, Started: at(s), Processes: p}
	}
	none, hangs := &probe.Processes{}, inLogin(probe.AwaitsLogin, 5)
	ns := NodeState{
		Tools:  Tools{Looks: []probe.Result{look(3, nil), look(13, nil), look(20, nil)}},
		Looks:  []probe.Result{look(1, hangs), look(11, none), look(12, hangs), look(20, hangs)},
		Latest: map[probe.Kind]probe.Result{probe.MaybeStuck: look(20, hangs)},
	}
	for c, want := range map[Corroboration]int{ToolsOnce: 13, SeenOnce: 12, GetsOn: 20, NothingHangs: 20} {
		if got := ns.Compared(Evidence{Kind: probe.Login, Since: at(10), Corroboration: c}); !got.Equal(at(want)) {
			t.Errorf("%s: %v, want %v", c, got, at(want))
		}
	}
}
