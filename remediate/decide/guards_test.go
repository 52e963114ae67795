package decide

import (
	"slices"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// guardRows are the ways to close each guard, on a broker where everything else asks for the deletion of rabbit-1.
// cannotTell marks those in which the guard has nothing to go by.
var guardRows = []struct {
	guard      Guard
	name       string
	cannotTell bool
	spoil      func(*timeline)
}{
	{GuardObserveOnly, "the mode is observe", false, func(tl *timeline) { tl.policy.Mode = Observe }},
	{GuardObserveOnly, "no mode was given", true, func(tl *timeline) { tl.policy.Mode = 0 }},
	{GuardPaused, "this broker is paused", false, func(tl *timeline) {
		tl.obs.Pauses = []Pause{{Target: "rabbit", Reason: "upgrade", By: "me", Until: tl.now.Add(time.Minute)}}
	}},
	{GuardPaused, "everything is paused", false, func(tl *timeline) { tl.obs.Pauses = []Pause{{Until: tl.now.Add(time.Minute)}} }},
	{GuardPaused, "a broker is paused that is not known", false, func(tl *timeline) {
		tl.obs.Targets, tl.obs.Pauses = []string{"orders", "rabbit"}, []Pause{{Target: "rabitt", By: "me", Until: tl.now.Add(time.Minute)}}
	}},
	{GuardPaused, "somebody forgot to say until when", false, func(tl *timeline) { tl.obs.Pauses = []Pause{{Target: "rabbit", By: "me"}} }},
	{GuardPaused, "the pauses cannot be read", true, func(tl *timeline) { tl.obs.PausesKnown = false }},
	{GuardNotLeader, "another replica leads", false, func(tl *timeline) { tl.obs.View.IsLeader = target.No }},
	{GuardNotLeader, "nobody knows who leads", true, func(tl *timeline) { tl.obs.View.IsLeader = target.CannotTell }},
	{GuardStartupGrace, "the node has just started", false, func(tl *timeline) { tl.node("rabbit-1").Started = tl.now.Add(-time.Minute) }},
	{GuardStartupGrace, "its start is in the future", false, func(tl *timeline) { tl.node("rabbit-1").Started = tl.now.Add(time.Hour) }},
	{GuardStartupGrace, "its start is unknown", true, func(tl *timeline) { tl.node("rabbit-1").Started = time.Time{} }},
	{GuardStartupGrace, "a deletion on the broker has settled a minute ago", false, func(tl *timeline) {
		tl.state.Deletions = []Deletion{{ID: "a", Node: "rabbit-0", At: tl.now.Add(-2 * time.Minute), Outcome: Recovered, Settled: tl.now.Add(-time.Minute)}}
	}},
	{GuardRollout, "it is terminating", false, func(tl *timeline) { tl.node("rabbit-1").Terminating = target.Yes }},
	{GuardRollout, "its set is rolling out", false, func(tl *timeline) { tl.node("rabbit-1").RollingOut = target.Yes }},
	{GuardRollout, "nobody knows whether it is terminating", true, func(tl *timeline) { tl.node("rabbit-1").Terminating = target.CannotTell }},
	{GuardRollout, "nobody knows whether its set is rolling out", true, func(tl *timeline) { tl.node("rabbit-1").RollingOut = target.CannotTell }},
	{GuardRollout, "it has no UID", true, func(tl *timeline) {
		tl.node("rabbit-1").UID = ""
		tl.decide()
		tl.now = tl.now.Add(20 * time.Second)
		tl.wedge()
	}},
	{GuardSelfDegraded, "two nodes have one name", true, func(tl *timeline) {
		twin := *tl.node("rabbit-1")
		twin.UID = "another"
		tl.obs.View.Nodes = append(tl.obs.View.Nodes, twin)
		tl.obs.View.Expected++
	}},
	{GuardNoController, "nothing would recreate it", false, func(tl *timeline) { tl.node("rabbit-1").Owned = target.No }},
	{GuardNoController, "nobody knows what would recreate it", true, func(tl *timeline) { tl.node("rabbit-1").Owned = target.CannotTell }},
	{GuardPeers, "a peer is faulty", false, func(tl *timeline) { tl.peer(probe.Refused) }},
	{GuardPeers, "a peer is stuck", false, func(tl *timeline) { tl.peer(probe.AwaitTune) }},
	{GuardPeers, "a peer is unknown", true, func(tl *timeline) { tl.peer(probe.Unreachable) }},
	{GuardPeers, "a peer that still accepts logins is terminating", false, func(tl *timeline) { tl.node("rabbit-2").Terminating = target.Yes }},
	{GuardPeers, "nobody knows whether a peer is terminating", true, func(tl *timeline) { tl.node("rabbit-2").Terminating = target.CannotTell }},
	{GuardPeers, "a peer is missing", false, func(tl *timeline) { tl.obs.View.Nodes = tl.obs.View.Nodes[:2] }},
	{GuardPeers, "there is one too many", false, func(tl *timeline) { tl.obs.View.Expected = 2 }},
	{GuardPeers, "nobody knows how many there should be", true, func(tl *timeline) { tl.obs.View.Expected = 0 }},
	{GuardPeers, "it is the only node", false, func(tl *timeline) { tl.alone() }},
	{GuardPeers, "a peer has not been probed yet", true, func(tl *timeline) { tl.node("rabbit-2").UID = "new" }},
	{GuardPeers, "a peer has not been probed for too long", true, func(tl *timeline) {
		for range 10 {
			tl.now = tl.now.Add(15 * time.Second)
			tl.decide(tl.result("rabbit-0", probe.Login, probe.OK), tl.result("rabbit-1", probe.Login, probe.AwaitTune))
		}
	}},
	{GuardQuorumCritical, "a peer says so", false, func(tl *timeline) {
		tl.obs.Quorum["rabbit-1"] = Quorum{UID: "uid-of-rabbit-1", Critical: target.Yes, Peer: "rabbit-0", Nodes: Identities(tl.obs.View), At: tl.now}
	}},
	{GuardQuorumCritical, "nobody has been asked", true, func(tl *timeline) { tl.obs.Quorum["rabbit-1"] = Quorum{UID: "uid-of-rabbit-1", Critical: target.No} }},
	{GuardQuorumCritical, "the peer could not answer", true, func(tl *timeline) {
		tl.obs.Quorum["rabbit-1"] = Quorum{UID: "uid-of-rabbit-1", Peer: "rabbit-0", Nodes: Identities(tl.obs.View), At: tl.now}
	}},
	{GuardQuorumCritical, "the answer is about the node's predecessor", true, func(tl *timeline) {
		tl.obs.Quorum["rabbit-1"] = Quorum{UID: "old", Critical: target.No, Peer: "rabbit-0", Nodes: Identities(tl.obs.View), At: tl.now}
	}},
	{GuardQuorumCritical, "the answer is old", true, func(tl *timeline) {
		tl.obs.Quorum["rabbit-1"] = Quorum{UID: "uid-of-rabbit-1", Critical: target.No, Peer: "rabbit-0", Nodes: Identities(tl.obs.View), At: tl.now.Add(-time.Hour)}
	}},
	{GuardQuorumCritical, "the answer is about the node before its container started again", true, func(tl *timeline) {
		tl.obs.Quorum["rabbit-1"] = Quorum{UID: "uid-of-rabbit-1", Critical: target.No, Peer: "rabbit-0", Nodes: Identities(tl.obs.View), At: tl.now}
	}},
	{GuardAlarm, "the node refuses on purpose", false, func(tl *timeline) { tl.refusal(target.Yes, "it has 900 of 900 sockets") }},
	{GuardAlarm, "the node does not say", true, func(tl *timeline) { tl.refusal(target.CannotTell, "exit 75") }},
	{GuardAlarm, "the node has not been asked", true, func(tl *timeline) { tl.obs.Refusals["rabbit-1"] = Refusal{OnPurpose: target.No} }},
	{GuardAlarm, "it was asked too long ago", true, func(tl *timeline) {
		tl.refusal(target.No, "")
		r := tl.obs.Refusals["rabbit-1"]
		r.At = tl.now.Add(-time.Hour)
		tl.obs.Refusals["rabbit-1"] = r
	}},
	{GuardAlarm, "it was asked before its container started again", true, func(tl *timeline) {
		tl.obs.Refusals["rabbit-1"] = Refusal{UID: "uid-of-rabbit-1", OnPurpose: target.No, Nodes: Identities(tl.obs.View), At: tl.now}
	}},
	{GuardSelfDegraded, "two brokers of the configuration have it", false, func(tl *timeline) {
		tl.obs.ClaimedBy = map[string][]string{"uid-of-rabbit-1": {"orders", "rabbit"}}
	}},
	{GuardStorm, "two nodes are stuck", false, func(tl *timeline) { tl.peer(probe.AwaitTune) }},
	{GuardStorm, "two nodes were stuck a moment ago", false, func(tl *timeline) {
		for range 4 {
			tl.now = tl.now.Add(15 * time.Second)
			tl.decide(tl.result("rabbit-0", probe.Login, probe.AwaitTune), tl.result("rabbit-1", probe.Login, probe.AwaitTune), tl.result("rabbit-2", probe.Login, probe.OK))
		}
		tl.rounds(1, probe.AwaitTune)
		tl.look(10, 11, 12)
	}},
	{GuardStorm, "the supplier's view is old", true, func(tl *timeline) { tl.viewAge = 3 * time.Minute }},
	{GuardPeers, "the supplier's view is old", true, func(tl *timeline) { tl.viewAge = 3 * time.Minute }},
	{GuardRollout, "the supplier's view is old", true, func(tl *timeline) { tl.viewAge = 3 * time.Minute }},
	{GuardSelfDegraded, "every node fails at once", false, func(tl *timeline) {
		tl.now = tl.now.Add(13 * time.Second)
		tl.decide(tl.result("rabbit-0", probe.Login, probe.Unreachable), tl.result("rabbit-2", probe.Login, probe.Unreachable))
	}},
	{GuardSelfDegraded, "our own view is degraded", true, func(tl *timeline) { tl.obs.Degraded = "probes start 9s late" }},
	{GuardSameHost, "another broker's node on the host is silent", false, func(tl *timeline) {
		tl.obs.SilentOnHosts = map[string][]Silent{"host-of-rabbit-1": {{"other/rabbit-9", tl.now}, {"rabbit/rabbit-1", tl.now}}}
	}},
	{GuardSameHost, "its host is unknown", true, func(tl *timeline) { tl.node("rabbit-1").Host = "" }},
	{GuardInFlight, "a peer's deletion is not settled", false, func(tl *timeline) {
		tl.state.Deletions = []Deletion{{ID: "a", Node: "rabbit-0", UID: "uid-of-rabbit-0", At: tl.now.Add(-time.Minute)}}
	}},
	{GuardInFlight, "a peer's deletion was escalated", false, func(tl *timeline) {
		tl.state.Deletions = []Deletion{{ID: "a", Node: "rabbit-0", UID: "uid-of-rabbit-0", At: tl.now, Outcome: Escalated}}
	}},
	{GuardInFlight, "a deletion has an outcome that we do not know", true, func(tl *timeline) {
		tl.state.Deletions = []Deletion{{ID: "a", Node: "rabbit-0", At: tl.now.Add(-time.Hour), Outcome: "deleting"}}
	}},
	{GuardInFlight, "the earlier deletions cannot be read", true, func(tl *timeline) { tl.obs.HistoryKnown = false }},
	{GuardBudget, "the node's is spent", false, func(tl *timeline) { tl.spend("rabbit-1", 23*time.Hour) }},
	{GuardBudget, "the broker's is spent", false, func(tl *timeline) {
		tl.spend("rabbit-0", 23*time.Hour)
		tl.spend("rabbit-0", 22*time.Hour)
		tl.spend("rabbit-2", 21*time.Hour)
	}},
	{GuardBudget, "none was given", true, func(tl *timeline) { tl.policy.PerNodePerDay = 0 }},
	{GuardBudget, "the earlier deletions cannot be read", true, func(tl *timeline) { tl.obs.HistoryKnown = false }},
	{GuardDisruptionBudget, "a budget forbids it", false, func(tl *timeline) { tl.node("rabbit-1").Disruptable = target.No }},
	{GuardDisruptionBudget, "nobody knows", true, func(tl *timeline) { tl.node("rabbit-1").Disruptable = target.CannotTell }},
	{GuardOperation, "a deploy is under way", false, func(tl *timeline) { tl.obs.View.Operating, tl.obs.View.Operation = target.Yes, "deploy 1" }},
	{GuardOperation, "nobody knows", true, func(tl *timeline) { tl.obs.View.Operating = target.CannotTell }},
	{GuardMaintenanceWindow, "it is night", false, func(tl *timeline) {
		tl.policy.MaintenanceWindows = []MaintenanceWindow{{Days: [7]bool{time.Monday: true}, From: 2 * time.Hour, To: 3 * time.Hour}}
	}},
	{GuardMaintenanceWindow, "the window is empty", true, func(tl *timeline) { tl.policy.MaintenanceWindows = []MaintenanceWindow{{}} }},
}

// peer gives rabbit-2 a login with that reason, now.
func (tl *timeline) peer(reason probe.Reason) {
	tl.now = tl.now.Add(13 * time.Second)
	tl.decide(tl.result("rabbit-2", probe.Login, reason))
}

// refusal is what rabbit-1 says when it is asked whether it refuses on purpose.
func (tl *timeline) refusal(onPurpose target.Answer, detail string) {
	n := tl.node("rabbit-1")
	tl.obs.Refusals[n.Name] = Refusal{UID: n.UID, Started: n.Started, OnPurpose: onPurpose, Detail: detail, Nodes: Identities(tl.obs.View), At: tl.now}
}

// alone makes rabbit-1 the only node.
func (tl *timeline) alone() {
	tl.obs.View.Nodes = []target.Node{*tl.node("rabbit-1")}
	tl.obs.View.Expected = 1
}

// spend adds a deletion that went well so long ago.
func (tl *timeline) spend(node string, ago time.Duration) {
	at := tl.now.Add(-ago)
	tl.state.Deletions = append(tl.state.Deletions, Deletion{ID: at.String(), Node: node, UID: "x", At: at, Outcome: Recovered, Settled: at})
}

//promise:12
func TestGuardsEachHoldTheDeletionBackByThemselves(t *testing.T) {
	for _, row := range guardRows {
		t.Run(string(row.guard)+": "+row.name, func(t *testing.T) {
			tl := newTimeline(t)
			tl.wedge()
			tl.want("rabbit-1", PhaseConfirmed, Delete)
			row.spoil(tl)
			tl.decide()
			if d := tl.decisions["rabbit-1"]; d.Action != Hold {
				t.Errorf("%s (%s), want hold", d.Action, d.Reason)
			}
			if !slices.Contains(tl.decisions["rabbit-1"].Closed(), row.guard) {
				t.Errorf("the guard is open: %s", tl.why("rabbit-1", row.guard))
			}
			for _, g := range tl.decisions["rabbit-1"].Guards {
				if g.Why == "" {
					t.Errorf("%s does not say why", g.Guard)
				}
			}
		})
	}
}

//promise:12
func TestGuardsAreEachClosedByTheWorldAndWhenTheyCannotTell(t *testing.T) {
	for _, g := range guards {
		told, unknown := false, false
		for _, row := range guardRows {
			if row.guard == g.Guard {
				told, unknown = told || !row.cannotTell, unknown || row.cannotTell
			}
		}
		if !told || !unknown {
			t.Errorf("%s: a row that closes it %v, one in which it cannot tell %v; want both", g.Guard, told, unknown)
		}
	}
}

func TestGuardsCloseIfTheSupplierThatTheyRestOnSaysNothing(t *testing.T) {
	tl := newTimeline(t)
	tl.wedge()
	tl.obs.View.At = time.Time{}
	tl.obs.Results = nil
	_, decisions := Decide(tl.state, tl.obs, tl.policy, tl.now)
	for _, d := range decisions {
		for _, g := range []Guard{GuardPeers, GuardSelfDegraded, GuardRollout, GuardStorm} {
			if !slices.Contains(d.Closed(), g) {
				t.Errorf("%s: %s is open", d.Node, g)
			}
		}
	}
	tl.obs.View.At = tl.now.Add(-3 * time.Minute)
	_, decisions = Decide(tl.state, tl.obs, tl.policy, tl.now)
	if d := decisions[1]; d.Action == Delete {
		t.Errorf("deletes on a view that is three minutes old: %s", d.Reason)
	}
}

func TestDecideDeletesTheOnlyNodeIfThePolicySaysSo(t *testing.T) {
	tl := newTimeline(t)
	tl.policy.SingleNode = true
	tl.wedge()
	tl.alone()
	tl.decide()
	tl.want("rabbit-1", PhaseConfirmed, Delete)
}

func TestMaintenanceWindowMayEndOnTheNextDay(t *testing.T) {
	monday := MaintenanceWindow{Days: [7]bool{time.Monday: true}, From: 22 * time.Hour, To: 6 * time.Hour}
	for at, want := range map[string]bool{
		"2026-11-23T21:59:59Z": false, "2026-11-23T22:00:00Z": true, "2026-11-24T05:59:59Z": true,
		"2026-11-24T06:00:00Z": false, "2026-11-23T05:00:00Z": false, "2026-11-24T23:00:00Z": false,
	} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if monday.Contains(when) != want {
			t.Errorf("at %s open is %v, want %v", at, !want, want)
		}
	}
}

func TestDecisionSaysWhenToLookAgain(t *testing.T) {
	tl := newTimeline(t)
	tl.wedge()
	until := tl.now.Add(20 * time.Second)
	tl.obs.Pauses = []Pause{{Until: until, By: "me", Reason: "r"}}
	tl.decide()
	if d := tl.decisions["rabbit-1"]; !d.Next.Equal(until) {
		t.Errorf("looks again at %s, want %s, when the pause ends", d.Next, until)
	}
}

func TestMaintenanceWindowNamesItsTimeZone(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	w := MaintenanceWindow{Days: [7]bool{time.Monday: true}, From: 2 * time.Hour, To: 3 * time.Hour}
	at := time.Date(2026, 7, 6, 0, 30, 0, 0, time.UTC) // a Monday, 02:30 in Berlin
	for zone, want := range map[*time.Location]GuardState{
		nil:    {Why: "acting is not allowed at this hour"},
		berlin: {Why: "acting is allowed at this hour of Europe/Berlin", Open: true},
	} {
		w.TimeZone = zone
		sc := scene{policy: Policy{MaintenanceWindows: []MaintenanceWindow{w}}, now: at}
		if got := checkMaintenanceWindow(&sc, subject{}); got.Open != want.Open || got.Why != want.Why {
			t.Errorf("%v: %+v, want %+v", zone, got, want)
		}
	}
}
