package decide

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// epoch is when every timeline begins: a Monday, at noon.
var epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// timeline plays what happens to a broker of three nodes against Decide, at a login every 15 s.
type timeline struct {
	t         *testing.T
	now       time.Time
	state     State
	obs       Observation
	policy    Policy
	viewAge   time.Duration // how old what the supplier says is
	decisions map[string]Decision
	wedges    probe.ProcessID // how many were played
}

func newTimeline(t *testing.T) *timeline {
	tl := &timeline{t: t, now: epoch, policy: DefaultPolicy()}
	tl.policy.Mode = Remediate
	tl.obs = Observation{PausesKnown: true, HistoryKnown: true, Quorum: map[string]Quorum{}, Refusals: map[string]Refusal{}}
	tl.obs.View = target.View{Expected: 3, IsLeader: target.Yes, Operating: target.No}
	for i := range 3 {
		tl.obs.View.Nodes = append(tl.obs.View.Nodes, testNode(fmt.Sprintf("rabbit-%d", i), epoch.Add(-time.Hour)))
	}
	return tl
}

func testNode(name string, started time.Time) target.Node {
	return target.Node{
		Target: "rabbit", Name: name, UID: "uid-of-" + name, Host: "host-of-" + name, Started: started,
		Terminating: target.No, RollingOut: target.No, Owned: target.Yes, Disruptable: target.Yes,
	}
}

func (tl *timeline) node(name string) *target.Node {
	return &tl.obs.View.Nodes[slices.IndexFunc(tl.obs.View.Nodes, func(n target.Node) bool { return n.Name == name })]
}

// result makes a result that has just ended.
func (tl *timeline) result(name string, kind probe.Kind, reason probe.Reason) probe.Result {
	took := 5 * time.Millisecond
	if reason.Status() == probe.Stuck || reason == probe.Unreachable {
		took = 12 * time.Second
	}
	return probe.Result{
		Target: "rabbit", Node: name, UID: tl.node(name).UID, NodeStarted: tl.node(name).Started, Kind: kind, Reason: reason, NoAnswer: reason == probe.Unreachable,
		Started: tl.now.Add(-took), Took: took,
	}
}

// reconcile decides on what has been observed, and forgets the results.
func (tl *timeline) decide(results ...probe.Result) {
	tl.obs.Results = results
	tl.obs.View.At = tl.now.Add(-tl.viewAge)
	for _, n := range tl.obs.View.Nodes {
		if q, ok := tl.obs.Quorum[n.Name]; !ok || q.Peer == "auto" {
			tl.obs.Quorum[n.Name] = Quorum{UID: n.UID, Started: n.Started, Critical: target.No, Peer: "auto", Nodes: Identities(tl.obs.View), At: tl.now}
		}
		if r, ok := tl.obs.Refusals[n.Name]; !ok || r.Detail == "auto" {
			tl.obs.Refusals[n.Name] = Refusal{UID: n.UID, Started: n.Started, OnPurpose: target.No, Detail: "auto", Nodes: Identities(tl.obs.View), At: tl.now}
		}
	}
	var decisions []Decision
	tl.state, decisions = Decide(tl.state, tl.obs, tl.policy, tl.now)
	tl.decisions = map[string]Decision{}
	for _, d := range decisions {
		tl.decisions[d.Node] = d
	}
}

// round lets 15 s pass, in which every node logs in: rabbit-1 with the given reason, the others healthy.
func (tl *timeline) round(reason probe.Reason) {
	tl.now = tl.now.Add(15 * time.Second)
	tl.decide(tl.result("rabbit-0", probe.Login, probe.OK), tl.result("rabbit-1", probe.Login, reason), tl.result("rabbit-2", probe.Login, probe.OK))
}

func (tl *timeline) rounds(count int, reason probe.Reason) {
	for range count {
		tl.round(reason)
	}
}

// look adds a maybe_stuck of rabbit-1 that shows these connections stuck.
func (tl *timeline) look(ids ...probe.ProcessID) {
	r := tl.result("rabbit-1", probe.MaybeStuck, probe.ProcessesStuck)
	r.Took, r.Started = 6*time.Second, tl.now.Add(-6*time.Second)
	r.Processes = inLogin(probe.AwaitsLogin, ids...)
	tl.decide(r)
}

// inLogin are connections that hang in their login with a message waiting.
func inLogin(awaits probe.Await, ids ...probe.ProcessID) *probe.Processes {
	p := &probe.Processes{Total: 300, Suspicious: 2 + len(ids), Baseline: 2, Waiting: probe.Waits{awaits: len(ids)}}
	if p.UnknownReaders = len(ids); awaits == probe.AwaitsLogin {
		p.StuckReaders, p.UnknownReaders = len(ids), 0
	}
	for _, id := range ids {
		p.Logins = append(p.Logins, probe.Process{ID: id, Stack: 1, Mailbox: 1, Awaits: awaits})
	}
	return p
}

// atWork are channels that hang in a call with messages waiting.
func atWork(stack uint64, mailbox int, ids ...probe.ProcessID) *probe.Processes {
	p := &probe.Processes{Total: 300, Suspicious: 2 + len(ids), Baseline: 2, StuckChannels: len(ids), Waiting: probe.Waits{probe.AwaitsWork: len(ids)}}
	for _, id := range ids {
		p.Work = append(p.Work, probe.Process{ID: id, Stack: stack, Mailbox: mailbox, Awaits: probe.AwaitsWork})
	}
	return p
}

// processes adds a maybe_stuck of a node that shows these.
func (tl *timeline) processes(name string, reason probe.Reason, p *probe.Processes) {
	r := tl.result(name, probe.MaybeStuck, reason)
	r.Took, r.Started, r.Processes = 6*time.Second, tl.now.Add(-6*time.Second), p
	tl.decide(r)
}

// wedge plays a login that is wedged, until it is confirmed. Each time other connections hang.
func (tl *timeline) wedge() {
	tl.wedges++
	id := 10 * tl.wedges
	tl.rounds(2, probe.AwaitTune)
	tl.look(id)
	tl.rounds(3, probe.AwaitTune)
	tl.look(id, id+1, id+2)
}

func (tl *timeline) want(name string, phase Phase, action Action, closed ...Guard) {
	tl.t.Helper()
	d, ok := tl.decisions[name]
	if !ok {
		tl.t.Fatalf("at %s there is no decision about %s", tl.now.Sub(epoch), name)
	}
	if d.Phase != phase || d.Action != action {
		tl.t.Errorf("at %s %s is %s: %s (%s); want %s: %s", tl.now.Sub(epoch), name, d.Phase, d.Action, d.Reason, phase, action)
	}
	for _, g := range closed {
		if !slices.Contains(d.Closed(), g) {
			tl.t.Errorf("at %s the guard %s is open (%s)", tl.now.Sub(epoch), g, tl.why(name, g))
		}
	}
}

func (tl *timeline) why(name string, g Guard) string {
	for _, s := range tl.decisions[name].Guards {
		if s.Guard == g {
			return s.Why
		}
	}
	return "no such guard"
}

func TestDecideLeavesAHealthyBrokerAlone(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(100, probe.OK)
	for name := range tl.decisions {
		tl.want(name, PhaseHealthy, Hold)
	}
}

func TestDecideDeletesAfterAWedgedLoginIsConfirmedAndCorroborated(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(4, probe.OK)
	tl.round(probe.AwaitTune)
	tl.want("rabbit-1", PhaseSuspect, Hold)
	tl.look(7)
	tl.rounds(2, probe.AwaitTune)
	tl.want("rabbit-1", PhaseSuspect, Hold)
	tl.look(7, 8)
	tl.want("rabbit-1", PhaseSuspect, Hold) // three times, but for 42 s only, and the looks too close together
	tl.rounds(2, probe.AwaitTune)
	tl.look(7, 8)
	tl.want("rabbit-1", PhaseConfirmed, Delete)
	tl.want("rabbit-0", PhaseHealthy, Hold)
	tl.want("rabbit-2", PhaseHealthy, Hold)
	if d := tl.decisions["rabbit-1"]; len(d.Closed()) > 0 || len(d.Guards) != len(guards) || d.UID != "uid-of-rabbit-1" {
		t.Errorf("the decision is %+v", d)
	}
}

func TestDecideForgetsOneBadLoginWithTheNextGoodOne(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(2, probe.AwaitTune)
	tl.look(7)
	tl.round(probe.OK)
	tl.want("rabbit-1", PhaseSuspect, Hold) // for its processes were stuck at the last look
	tl.rounds(2, probe.AwaitTune)
	tl.look(7)
	tl.want("rabbit-1", PhaseSuspect, Hold)
	if ev := tl.decisions["rabbit-1"].Evidence; ev.Stuck != 2 || ev.Corroborated {
		t.Errorf("after a good login the evidence is %+v", ev)
	}
}

//promise:10
func TestDecideBreaksTheRunForEveryFaultyReasonAndNeverDeletes(t *testing.T) {
	for _, v := range probe.Verdicts() {
		if v.Status != probe.Faulty {
			continue
		}
		tl := newTimeline(t)
		tl.wedge()
		tl.want("rabbit-1", PhaseConfirmed, Delete)
		tl.round(v.Reason)
		tl.want("rabbit-1", PhaseFaulty, Hold)
		tl.rounds(40, v.Reason)
		tl.want("rabbit-1", PhaseFaulty, Hold)
	}
}

func TestDecideHoldsWhileUnknownButKeepsTheRun(t *testing.T) {
	for _, v := range probe.Verdicts() {
		if v.Status != probe.Unknown {
			continue
		}
		tl := newTimeline(t)
		tl.wedge()
		tl.want("rabbit-1", PhaseConfirmed, Delete)
		tl.round(v.Reason)
		tl.want("rabbit-1", PhaseConfirmed, Hold)
		tl.round(probe.AwaitTune)
		tl.want("rabbit-1", PhaseConfirmed, Delete)
		tl.rounds(40, v.Reason)
		tl.want("rabbit-1", PhaseUnknown, Hold)
	}
}

func TestDecideNeverDeletesForFailingLoginsAlone(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(60, probe.AwaitTune)
	tl.want("rabbit-1", PhaseSuspect, Hold)
	if ev := tl.decisions["rabbit-1"].Evidence; !ev.Enough || ev.Corroborated || !strings.Contains(ev.CorroborationDetail, "has not run") {
		t.Errorf("the evidence is %+v", ev)
	}
	for _, reason := range []probe.Reason{probe.OK, probe.ExecFailed, probe.Cancelled, probe.NotRun} {
		tl.round(probe.AwaitTune)
		tl.decide(tl.result("rabbit-1", probe.MaybeStuck, reason))
		tl.want("rabbit-1", PhaseSuspect, Hold)
	}
}

func TestCorroborationNeedsCommandsAndTheReasonSaysSo(t *testing.T) {
	tl := newTimeline(t)
	tl.obs.NoCommands = true
	tl.wedge()
	tl.want("rabbit-1", PhaseSuspect, Hold)
	if d := tl.decisions["rabbit-1"]; !strings.Contains(d.Reason, "commands cannot be run next to it") {
		t.Errorf("the reason is %q", d.Reason)
	}
}

func TestCorroborationFromBeforeTheTroubleDoesNotCount(t *testing.T) {
	tl := newTimeline(t)
	tl.round(probe.OK)
	tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
	tl.now = tl.now.Add(time.Minute)
	tl.rounds(6, probe.AwaitTune)
	tl.want("rabbit-1", PhaseSuspect, Hold)
}

func TestToolsThatCannotReachTheirNodeCorroborate(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(2, probe.AwaitStart)
	tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
	tl.rounds(4, probe.AwaitStart)
	tl.want("rabbit-1", PhaseSuspect, Hold) // once may be a hiccup
	tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
	tl.want("rabbit-1", PhaseConfirmed, Delete)
}

func TestToolsThatCannotReachANodeThatAcceptsLoginsAreNoCorroboration(t *testing.T) {
	tl := newTimeline(t)
	for range 6 {
		tl.round(probe.OK)
		hang := tl.result("rabbit-1", probe.Roundtrip, probe.AwaitDeclare)
		hang.Stage = probe.StageDeclare
		tl.decide(hang, tl.result("rabbit-0", probe.Roundtrip, probe.OK), tl.result("rabbit-2", probe.Roundtrip, probe.OK))
		tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
		tl.want("rabbit-1", PhaseSuspect, Hold)
	}
	if ev := tl.decisions["rabbit-1"].Evidence; !ev.Enough || !strings.Contains(ev.CorroborationDetail, "but logins can") {
		t.Errorf("the evidence is %+v", ev)
	}
}

func TestToolsThatCannotReachANodeThatStillGreetsUsAreNoCorroboration(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(3, probe.AwaitStart)
	tl.round(probe.AwaitTune) // starved of CPU: now and then it comes as far as this
	tl.rounds(2, probe.AwaitStart)
	tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
	tl.want("rabbit-1", PhaseSuspect, Hold)
	tl.rounds(3, probe.AwaitStart)
	tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
	tl.want("rabbit-1", PhaseConfirmed, Delete) // the last four attempts met no life at all
}

//promise:2
func TestCorroborationIsNoneByConnectionsThatAreOthersEachTime(t *testing.T) {
	tl := newTimeline(t)
	for i := range 60 {
		tl.round(probe.AwaitTune)
		tl.look(probe.ProcessID(100+i), probe.ProcessID(200+i))
		tl.want("rabbit-1", PhaseSuspect, Hold)
	}
	if w := tl.decisions["rabbit-1"].Evidence.CorroborationDetail; !strings.Contains(w, "slow, not stuck") {
		t.Errorf("the corroboration says %q", w)
	}
}

func TestCorroborationNeedsManyConnectionsThatHangNobodyKnowsWhere(t *testing.T) {
	for _, row := range []struct {
		persisting int
		want       Phase
	}{{20, PhaseConfirmed}, {19, PhaseSuspect}, {500, PhaseConfirmed}} {
		tl := newTimeline(t)
		var ids []probe.ProcessID
		for i := range row.persisting {
			ids = append(ids, probe.ProcessID(i+1))
		}
		tl.rounds(2, probe.AwaitTune)
		tl.processes("rabbit-1", probe.ProcessesStuck, inLogin(probe.AwaitsUnknown, ids...))
		tl.rounds(4, probe.AwaitTune)
		tl.processes("rabbit-1", probe.ProcessesStuck, inLogin(probe.AwaitsUnknown, ids...))
		if d := tl.decisions["rabbit-1"]; d.Phase != row.want {
			t.Errorf("%d that persist: %s (%s), want %s", row.persisting, d.Phase, d.Reason, row.want)
		}
	}
}

func TestDecideDeletesAFrozenNodeThoughItsPeersRoundTripsHang(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(2, probe.AwaitStart)
	for _, peer := range []string{"rabbit-0", "rabbit-2"} {
		hang := tl.result(peer, probe.Roundtrip, probe.AwaitDeclare)
		hang.Stage = probe.StageDeclare
		tl.decide(hang)
	}
	tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
	tl.rounds(4, probe.AwaitStart)
	tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
	tl.want("rabbit-1", PhaseConfirmed, Delete)
}

func TestCorroborationNeedsTwoLooksThatLieApart(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(5, probe.AwaitTune)
	tl.look(7)
	tl.now = tl.now.Add(20 * time.Second)
	tl.look(7)
	tl.want("rabbit-1", PhaseSuspect, Hold)
	tl.now = tl.now.Add(20 * time.Second)
	tl.look(7)
	tl.want("rabbit-1", PhaseConfirmed, Delete)
}

func TestDecideAsksForLogSilenceIfThePolicyWantsIt(t *testing.T) {
	tl := newTimeline(t)
	tl.policy.LogSilence = time.Minute
	tl.wedge()
	tl.want("rabbit-1", PhaseSuspect, Hold)
	talks := tl.result("rabbit-1", probe.LogAge, probe.OK)
	talks.LogAge = 10 * time.Second
	tl.decide(talks)
	tl.want("rabbit-1", PhaseSuspect, Hold)
	tl.now = tl.now.Add(time.Second)
	silent := tl.result("rabbit-1", probe.LogAge, probe.OK)
	silent.LogAge = 2 * time.Minute
	tl.decide(silent)
	tl.want("rabbit-1", PhaseConfirmed, Delete)
}

func TestDecideTakesLogSilenceAloneForNoProof(t *testing.T) {
	tl := newTimeline(t)
	for range 40 {
		tl.round(probe.OK)
		tl.decide(tl.result("rabbit-1", probe.LogAge, probe.LogSilent))
		tl.want("rabbit-1", PhaseHealthy, Hold)
	}
}

func TestDecideCountsAFullAcceptQueueOnlyIfToolsCannotReachTheNode(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(20, probe.Unreachable)
	tl.want("rabbit-1", PhaseUnknown, Hold)
	if why := tl.decisions["rabbit-1"].Reason; !strings.HasSuffix(why, "login unreachable; it would be frozen if its own tools could not reach it either, and they have not been asked lately") {
		t.Errorf("before its tools are asked: %s", why)
	}
	tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.OK))
	tl.rounds(6, probe.Unreachable)
	tl.want("rabbit-1", PhaseUnknown, Hold) // exec reaches the node and the node is healthy: it is the network
	tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
	tl.rounds(2, probe.Unreachable)
	tl.want("rabbit-1", PhaseSuspect, Hold)
	tl.rounds(4, probe.Unreachable)
	tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
	tl.round(probe.Unreachable)
	tl.want("rabbit-1", PhaseConfirmed, Delete)
}

// On a host so busy that tools can tell nothing for minutes a frozen node's accept queue fills up meanwhile. Once they can,
// the node is cured.
func TestDecideCuresAFrozenNodeOnceItsToolsCanTellAfterLong(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(2, probe.OK)
	for i := range 60 { // a quarter of an hour
		reason := probe.AwaitStart
		if i > 8 {
			reason = probe.Unreachable
		}
		tl.round(reason)
		if i%8 == 0 {
			tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ExecFailed))
		}
	}
	tl.want("rabbit-1", PhaseUnknown, Hold)
	if why := tl.decisions["rabbit-1"].Reason; why != "cannot tell how it is: login unreachable; it would be frozen if its own tools could not reach it either, but maybe_stuck says exec_failed" {
		t.Errorf("meanwhile: %s", why)
	}
	for range 2 {
		tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
		tl.rounds(10, probe.Unreachable)
	}
	tl.want("rabbit-1", PhaseConfirmed, Delete)
}

func TestDecideTakesNoNodeForStuckWhoseNameOrRouteIsGone(t *testing.T) {
	tl := newTimeline(t)
	tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
	for range 20 {
		tl.now = tl.now.Add(15 * time.Second)
		r := tl.result("rabbit-1", probe.Login, probe.Unreachable)
		r.NoAnswer = false
		tl.decide(tl.result("rabbit-0", probe.Login, probe.OK), r, tl.result("rabbit-2", probe.Login, probe.OK))
		tl.decide(tl.result("rabbit-1", probe.MaybeStuck, probe.ToolsUnresponsive))
	}
	tl.want("rabbit-1", PhaseUnknown, Hold)
	if why := tl.decisions["rabbit-1"].Reason; why != "cannot tell how it is: login unreachable" {
		t.Errorf("it says %s", why)
	}
}

func TestDecideHoldsAHangingDeclareUntilThePeersAreAskedTheSame(t *testing.T) {
	tl := newTimeline(t)
	tl.decide(tl.result("rabbit-0", probe.Roundtrip, probe.OK), tl.result("rabbit-1", probe.Roundtrip, probe.OK), tl.result("rabbit-2", probe.Roundtrip, probe.OK))
	hang := func(tl *timeline, name string) probe.Result {
		r := tl.result(name, probe.Roundtrip, probe.AwaitDeclare)
		r.Stage = probe.StageDeclare
		return r
	}
	for range 5 {
		tl.round(probe.OK)
		tl.decide(hang(tl, "rabbit-1"))
		tl.processes("rabbit-1", probe.WorkWaits, atWork(1, 1, 7))
	}
	tl.want("rabbit-1", PhaseConfirmed, Hold, GuardPeers)
	if why := tl.why("rabbit-1", GuardPeers); !strings.Contains(why, "rabbit-0 has not been tried by a roundtrip since the trouble began") {
		t.Errorf("the guard says %q", why)
	}

	locked := *tl // the metadata is locked: it hangs everywhere
	locked.state.Nodes = maps.Clone(tl.state.Nodes)
	for range 5 {
		locked.now = locked.now.Add(15 * time.Second)
		locked.decide(hang(&locked, "rabbit-0"), hang(&locked, "rabbit-2"))
	}
	locked.decide(hang(&locked, "rabbit-1"))
	locked.want("rabbit-1", PhaseConfirmed, Hold, GuardPeers, GuardStorm)

	tl.decide(tl.result("rabbit-0", probe.Roundtrip, probe.OK))
	tl.want("rabbit-1", PhaseConfirmed, Hold, GuardPeers)
	tl.decide(tl.result("rabbit-2", probe.Roundtrip, probe.OK))
	tl.want("rabbit-1", PhaseConfirmed, Delete)
}

func TestNodeStateStartsAnewWithAnotherUID(t *testing.T) {
	tl := newTimeline(t)
	tl.wedge()
	late := tl.result("rabbit-1", probe.Login, probe.AwaitTune)
	tl.node("rabbit-1").UID = "another"
	tl.decide(late)
	tl.want("rabbit-1", PhaseUnknown, Hold)
	tl.want("rabbit-0", PhaseHealthy, Hold, GuardPeers)
	if s := tl.state.Nodes["rabbit-1"]; s.running() || len(s.Latest) > 0 {
		t.Errorf("the new node inherits %+v", s)
	}
}

func TestDecideHoldsTheBrokerUntilTheNewNodeAcceptsLogins(t *testing.T) {
	tl := newTimeline(t)
	tl.wedge()
	tl.state.Deletions = append(tl.state.Deletions, Deletion{ID: "a", Node: "rabbit-1", UID: "uid-of-rabbit-1", At: tl.now, Accepted: tl.now})
	tl.round(probe.AwaitTune)
	tl.want("rabbit-1", PhaseRecovering, Hold, GuardInFlight, GuardBudget)
	tl.node("rabbit-1").UID = "new"
	tl.node("rabbit-1").Started = tl.now
	tl.round(probe.Refused)
	tl.want("rabbit-1", PhaseRecovering, Hold, GuardInFlight)
	tl.round(probe.OK)
	tl.want("rabbit-1", PhaseHealthy, Hold, GuardStartupGrace, GuardBudget)
	if a := tl.state.Deletions[0]; a.Outcome != Recovered || a.NewUID != "new" || !a.Settled.Equal(tl.now) {
		t.Errorf("the deletion is %+v", a)
	}
	tl.now = tl.now.Add(23 * time.Hour)
	tl.wedge()
	tl.want("rabbit-1", PhaseConfirmed, Hold, GuardBudget)
	if c := tl.decisions["rabbit-1"].Closed(); len(c) != 1 {
		t.Errorf("closed are %v, want the budget alone: a second deletion in a day needs a person", c)
	}
	tl.now = tl.now.Add(time.Hour)
	tl.wedge()
	tl.want("rabbit-1", PhaseConfirmed, Delete)
}

//promise:20
func TestDecideEscalatesANodeThatStaysAwayAndDoesNothingMore(t *testing.T) {
	tl := newTimeline(t)
	tl.wedge()
	tl.state.Deletions = []Deletion{{ID: "a", Node: "rabbit-1", UID: "uid-of-rabbit-1", At: tl.now}}
	tl.node("rabbit-1").UID = "new"
	tl.rounds(39, probe.AwaitTune)
	tl.want("rabbit-1", PhaseRecovering, Hold, GuardInFlight)
	tl.rounds(2, probe.AwaitTune)
	tl.want("rabbit-1", PhaseEscalated, Hold, GuardInFlight)
	if a := tl.state.Deletions[0]; a.Outcome != Escalated || !strings.Contains(a.Why, "await_tune") {
		t.Errorf("the deletion is %+v", a)
	}
	tl.rounds(300, probe.AwaitTune) // more than an hour
	tl.want("rabbit-1", PhaseEscalated, Hold, GuardInFlight)
	tl.round(probe.OK)
	tl.want("rabbit-1", PhaseHealthy, Hold)
	if a := tl.state.Deletions[0]; a.Outcome != Recovered {
		t.Errorf("the deletion is %+v", a)
	}
}

func TestSettleAbortsADeletionOnceTheSameNodeAcceptsLogins(t *testing.T) {
	tl := newTimeline(t)
	tl.wedge()
	tl.state.Deletions = []Deletion{{ID: "a", Node: "rabbit-1", UID: "uid-of-rabbit-1", At: tl.now}}
	tl.rounds(20, probe.OK)
	if a := tl.state.Deletions[0]; a.Outcome != Aborted {
		t.Errorf("the deletion is %+v", a)
	}
	tl.wedge()
	tl.want("rabbit-1", PhaseConfirmed, Delete)
}

func TestSettleReportsANodeThatStillTerminates(t *testing.T) {
	tl := newTimeline(t)
	tl.wedge()
	tl.state.Deletions = []Deletion{{ID: "a", Node: "rabbit-1", UID: "uid-of-rabbit-1", At: tl.now}}
	tl.node("rabbit-1").Terminating = target.Yes
	tl.rounds(41, probe.AwaitTune)
	tl.want("rabbit-1", PhaseEscalated, Hold, GuardRollout)
	if a := tl.state.Deletions[0]; !strings.Contains(a.Why, "grace has passed") {
		t.Errorf("the deletion is %+v", a)
	}
}

func TestDecideBelievesGoodLoginsNotRoundTripsThatHangInTheirs(t *testing.T) {
	tl := newTimeline(t)
	for range 8 {
		tl.round(probe.OK)
		hang := tl.result("rabbit-1", probe.Roundtrip, probe.AwaitTune)
		hang.Stage = probe.StageTune
		tl.decide(hang)
		tl.look(7)
		if d := tl.decisions["rabbit-1"]; d.Phase == PhaseConfirmed || d.Action == Delete {
			t.Fatalf("%s: %s (%s), and every login is good", d.Phase, d.Action, d.Reason)
		}
	}
}

func TestRunBeginsAnewAfterAnInterruption(t *testing.T) {
	for name, interrupt := range map[string]func(*timeline){
		"by looks that could not tell": func(tl *timeline) { tl.rounds(3, probe.Cancelled) },
		"by nothing for three minutes": func(tl *timeline) { tl.now = tl.now.Add(3 * time.Minute); tl.round(probe.Cancelled) },
	} {
		tl := newTimeline(t)
		tl.round(probe.AwaitTune)
		tl.look(7)
		interrupt(tl)
		tl.rounds(3, probe.AwaitTune)
		tl.look(7)
		if ev := tl.decisions["rabbit-1"].Evidence; ev.Enough {
			t.Errorf("interrupted %s, three logins in 42 s are enough: %+v", name, ev)
		}
	}
}

func TestDecideDoesNotTryAgainAtOnceAfterADeletionCameToNothing(t *testing.T) {
	tl := newTimeline(t)
	tl.wedge()
	tl.state.Deletions = []Deletion{{ID: "a", Node: "rabbit-1", UID: "uid-of-rabbit-1", At: tl.now, Outcome: Aborted, Settled: tl.now, Why: "gone"}}
	tl.round(probe.AwaitTune)
	tl.want("rabbit-1", PhaseConfirmed, Hold, GuardStartupGrace)
}

func TestEvidenceGrowsOld(t *testing.T) {
	tl := newTimeline(t)
	tl.wedge()
	tl.now = tl.now.Add(tl.policy.EvidenceTTL + time.Minute)
	tl.decide(tl.result("rabbit-0", probe.Login, probe.OK), tl.result("rabbit-1", probe.Login, probe.AwaitTune), tl.result("rabbit-2", probe.Login, probe.OK))
	tl.want("rabbit-1", PhaseSuspect, Hold)
	if ev := tl.decisions["rabbit-1"].Evidence; ev.Stuck != 1 || ev.Corroborated {
		t.Errorf("the evidence is %+v", ev)
	}
}

func TestDecideChangesNothingThatItWasGiven(t *testing.T) {
	tl := newTimeline(t)
	tl.wedge()
	tl.state.Deletions = []Deletion{{ID: "a", Node: "rabbit-1", UID: "x", At: epoch.Add(-25 * time.Hour), Outcome: Recovered, Settled: epoch.Add(-25 * time.Hour)}}
	before := fmt.Sprintf("%+v %+v", tl.state, tl.obs)
	a, da := Decide(tl.state, tl.obs, tl.policy, tl.now.Add(time.Hour))
	b, db := Decide(tl.state, tl.obs, tl.policy, tl.now.Add(time.Hour))
	if after := fmt.Sprintf("%+v %+v", tl.state, tl.obs); after != before {
		t.Error(cmp.Diff(before, after))
	}
	if d := cmp.Diff(a, b) + cmp.Diff(da, db); d != "" {
		t.Error("the same arguments gave two answers", d)
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, nodes := range []int{3, 1000} {
		b.Run(fmt.Sprintf("%d nodes", nodes), func(b *testing.B) {
			o := Observation{PausesKnown: true, HistoryKnown: true, View: target.View{At: epoch, Expected: nodes, IsLeader: target.Yes, Operating: target.No}}
			for i := range nodes {
				n := testNode(fmt.Sprintf("rabbit-%d", i), epoch.Add(-time.Hour))
				o.View.Nodes = append(o.View.Nodes, n)
				o.Results = append(o.Results, probe.Result{Node: n.Name, UID: n.UID, NodeStarted: n.Started, Kind: probe.Login, Reason: probe.OK, Started: epoch})
			}
			state, _ := Decide(State{}, o, DefaultPolicy(), epoch)
			o.Results = o.Results[:1] // one more result, as in a reconcile of the loop
			o.Results[0].Started = epoch.Add(time.Second)
			b.ReportAllocs()
			for b.Loop() {
				Decide(state, o, DefaultPolicy(), epoch.Add(time.Second))
			}
		})
	}
}

func TestNodeStateOutdatesARoundTripThatFailedToLogInByALaterLogin(t *testing.T) {
	tl := newTimeline(t)
	tl.round(probe.Refused)
	refused := tl.result("rabbit-1", probe.Roundtrip, probe.Refused)
	refused.Stage = probe.StageTCP
	tl.decide(refused)
	tl.want("rabbit-1", PhaseFaulty, Hold)
	tl.round(probe.OK)
	tl.want("rabbit-1", PhaseHealthy, Hold)
	blocked := tl.result("rabbit-1", probe.Roundtrip, probe.Blocked)
	blocked.Stage = probe.StagePublish
	tl.decide(blocked)
	tl.round(probe.OK)
	tl.want("rabbit-1", PhaseFaulty, Hold)
}

func TestDecideIsAskedAgainWithWhatKeptTheLoopFromADeletion(t *testing.T) {
	for name, c := range map[string]struct {
		obstacle Obstacle
		manual   bool
		want     string // of the reason
		closed   []Guard
	}{
		"the incident cannot be stored": {
			obstacle: Obstacle{Node: "rabbit-1", UID: "uid-of-rabbit-1", Cause: target.CauseIntent, Detail: "the disk is full"}, want: "confirmed stuck; held back: the intent could not be written down: the disk is full",
		},
		"that of a node before it": {
			obstacle: Obstacle{Node: "rabbit-0", UID: "uid-of-rabbit-0", Cause: target.CauseIncident},
			want:     "confirmed stuck; rabbit-0 comes first, and is held back: the incident could not be stored",
		},
		"the lock is another's": {
			obstacle: Obstacle{Node: "rabbit-1", UID: "uid-of-rabbit-1", Cause: target.CauseLock, Detail: "ada has it"},
			want:     "confirmed stuck; held back by operation-in-progress", closed: []Guard{GuardOperation},
		},
		"the incident of a manual deletion cannot be stored": {
			obstacle: Obstacle{Node: "rabbit-1", UID: "uid-of-rabbit-1", Cause: target.CauseIncident}, manual: true,
			want: "ada asks for its deletion; held back: the incident could not be stored",
		},
		"the lock for a manual deletion is another's": {
			obstacle: Obstacle{Node: "rabbit-1", UID: "uid-of-rabbit-1", Cause: target.CauseLock, Detail: "ada has it"}, manual: true,
			want: "ada asks for its deletion; held back by operation-in-progress (the lock cannot be taken: ada has it)", closed: []Guard{GuardOperation},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tl := newTimeline(t)
			tl.wedge()
			if c.manual {
				tl.obs.Request = &DeleteRequest{Node: "rabbit-1", UID: "uid-of-rabbit-1", By: "ada"}
			}
			tl.decide()
			if d := tl.decisions["rabbit-1"]; d.Action != Delete {
				t.Fatalf("without it: %s (%s)", d.Action, d.Reason)
			}
			tl.obs.Obstacle = &c.obstacle
			tl.decide()
			if d := tl.decisions["rabbit-1"]; d.Action != Hold || d.Reason != c.want || !slices.Equal(d.Closed(), c.closed) {
				t.Errorf("%s, closed %v, %q: want %q", d.Action, d.Closed(), d.Reason, c.want)
			}
			tl.obs.Obstacle = nil
			if tl.decide(); tl.decisions["rabbit-1"].Action != Delete {
				t.Errorf("once it is gone: %q", tl.decisions["rabbit-1"].Reason)
			}
		})
	}
}
