package decide

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/target"
)

// Guard names a condition that must be open for a deletion to go ahead.
type Guard string

// The guards.
const (
	GuardObserveOnly       Guard = "observe-only"
	GuardPaused            Guard = "paused"
	GuardNotLeader         Guard = "not-leader"
	GuardStartupGrace      Guard = "startup-grace"
	GuardRollout           Guard = "rollout"
	GuardNoController      Guard = "no-controller"
	GuardPeers             Guard = "peers"
	GuardQuorumCritical    Guard = "quorum-critical"
	GuardStorm             Guard = "storm"
	GuardSelfDegraded      Guard = "self-degraded"
	GuardSameHost          Guard = "same-host"
	GuardInFlight          Guard = "in-flight"
	GuardBudget            Guard = "budget"
	GuardDisruptionBudget  Guard = "disruption-budget"
	GuardOperation         Guard = "operation-in-progress"
	GuardMaintenanceWindow Guard = "maintenance-window"
	GuardAlarm             Guard = "alarm"
	GuardUnconfirmed       Guard = "unconfirmed" // of manual deletions alone
)

// GuardState is a guard's answer about one node. The zero value is closed.
type GuardState struct {
	Guard Guard     `json:"guard"`
	Open  bool      `json:"open"`
	Why   string    `json:"why"`
	Until time.Time `json:"until,omitzero"` // when it opens by itself, if that is known
	// Unasked says of a closed guard that it is one of the last questions, which are not asked before nothing else is
	// closed.
	Unasked bool `json:"unasked,omitempty"`
}

// guard is one row of the table of guards: its name, what it is for, and the check.
type guard struct {
	Guard

	closedWhen string
	fixed      string // why nobody may override it; empty: a person may, who answers for it
	check      func(*scene, subject) GuardState
	wide       bool // the answer is the same for every node of the broker
}

// subject is the node that a guard is asked about.
type subject struct {
	target.Node
	NodeState

	evidence Evidence
}

func open(format string, args ...any) GuardState {
	return GuardState{Open: true, Why: fmt.Sprintf(format, args...)}
}

func closed(format string, args ...any) GuardState {
	return GuardState{Why: fmt.Sprintf(format, args...)}
}

func unasked(why string) GuardState { return GuardState{Why: why, Unasked: true} }

func closedUntil(until time.Time, format string, args ...any) GuardState {
	return GuardState{Why: fmt.Sprintf(format, args...), Until: until}
}

// answer opens a guard if a is what it wants to hear.
func answer(a, want target.Answer, ifOpen, ifClosed, question string) GuardState {
	switch a {
	case want:
		return open("%s", ifOpen)
	case target.CannotTell:
		return closed("cannot tell %s", question)
	case target.Yes, target.No:
	}
	return closed("%s", ifClosed)
}

var guards = []guard{
	{GuardObserveOnly, "the policy's mode is observe", "", checkObserveOnly, true},
	{GuardPaused, "somebody paused this broker or all of them, or one that is not known", "", checkPaused, true},
	{GuardNotLeader, "this replica does not hold the lease", "two replicas could delete two nodes at once", func(sc *scene,
		_ subject,
	) GuardState {
		return answer(sc.o.View.IsLeader, target.Yes, "this replica leads", "another replica leads",
			"whether this replica leads")
	}, true},
	{
		GuardStartupGrace,
		"the node is younger than its start-up grace period, or a cooldown since the last deletion has not passed", "",
		checkStartupGrace, false,
	},
	{
		GuardRollout, "the node is terminating or its set is rolling out",
		"the pod is already terminating, a replacement is not up yet, or the pod's UID is not known", checkRollout, false,
	},
	{GuardNoController, "nothing would recreate the node", "the node would be lost, not restarted", func(_ *scene,
		n subject,
	) GuardState {
		return answer(n.Owned, target.Yes, "it would be recreated", "nothing would recreate it", "what would recreate it")
	}, false},
	{
		GuardPeers,
		"any other node of the broker does not accept logins, is terminating, or was not looked at since the trouble began",
		"", checkPeers, false,
	},
	{
		GuardQuorumCritical,
		"queues would lose their quorum or their last copy: the node says so while its tools answer, a peer once they do not",
		"", checkQuorum, false,
	},
	{
		GuardStorm, "more nodes are stuck in the same way than the policy allows, and for a cooldown afterwards", "",
		checkStorm, false,
	},
	{
		GuardSelfDegraded,
		"no node accepts logins, the node belongs to two brokers of the configuration, or our own view is degraded", "",
		checkSelfDegraded, false,
	},
	{GuardSameHost, "something else on the same host went silent too", "", checkSameHost, false},
	{
		GuardInFlight, "another deletion on this broker is not settled",
		"a broker never has two deletions under way, and a deletion that was not written down cannot be settled",
		checkInFlight, true,
	},
	{GuardBudget, "the node's or the broker's deletions of the last 24 hours are spent", "", checkBudget, false},
	{
		GuardDisruptionBudget, "a disruption budget forbids it", "the budget's owner has not agreed; change the budget",
		func(_ *scene, n subject) GuardState {
			return answer(n.Disruptable, target.Yes, "no disruption budget forbids it", "a disruption budget forbids it",
				"whether a disruption budget forbids it")
		}, false,
	},
	{
		GuardOperation, "a deploy or a restart is under way in the namespace",
		"a namespace has one operation at a time; cancel the operation", func(sc *scene, _ subject) GuardState {
			return answer(sc.o.View.Operating, target.No, "no operation is under way",
				strings.TrimSpace("an operation is under way "+sc.o.View.Operation), "whether an operation is under way")
		}, true,
	},
	{GuardMaintenanceWindow, "it is outside the hours in which acting is allowed", "", checkMaintenanceWindow, true},
	{
		GuardAlarm,
		"the node itself says that it refuses on purpose: it has as many connections as it may have, is in maintenance, or " +
			"has an alarm", "", checkAlarm, false,
	},
}

// GuardDoc is a guard's line in the documentation.
type GuardDoc struct {
	Guard      Guard
	ClosedWhen string
	Fixed      string // why nobody may override it; empty: a person may, who answers for it
}

// Guards lists every guard, in the order in which decisions show them. The last, GuardUnconfirmed, is one of manual
// deletions alone.
func Guards() []GuardDoc {
	docs := make([]GuardDoc, 0, len(guards)+1)
	for _, g := range append(slices.Clone(guards), guardUnconfirmed) {
		docs = append(docs, GuardDoc{g.Guard, g.closedWhen, g.fixed})
	}
	return docs
}

func checkObserveOnly(sc *scene, _ subject) GuardState {
	if sc.policy.Mode == Remediate {
		return open("mode is remediate")
	}
	return closed("mode is observe: this broker is only watched")
}

func checkPaused(sc *scene, n subject) GuardState {
	if !sc.o.PausesKnown {
		return closed("cannot tell whether somebody paused it")
	}
	for _, p := range sc.o.Pauses {
		if (p.Target == "" || p.Target == n.Target) && p.Until.IsZero() { // written by a person; when in doubt, hold
			return closed("paused by %s with no end: %s", p.By, p.Reason)
		}
		if (p.Target == "" || p.Target == n.Target) && p.Until.After(sc.now) {
			return closedUntil(p.Until, "paused by %s until %s: %s", p.By, p.Until.UTC().Format(time.RFC3339), p.Reason)
		}
	}
	for _, p := range sc.o.Pauses { // somebody mistyped a name, which may be this one's
		if p.Stray(sc.o.Targets) && !p.Over(sc.now) {
			return closedUntil(p.Until, "%s, and may be meant for this one", p.StrayText(sc.o.Targets))
		}
	}
	return open("not paused")
}

func checkStartupGrace(sc *scene, n subject) GuardState {
	if n.Node.Started.IsZero() {
		return closed("cannot tell how old it is")
	}
	old := n.age(sc.now)
	if left := sc.policy.StartupGracePeriod - old; left > 0 {
		return closedUntil(sc.now.Add(left), "it is %s old, and has %s to start up", old.Round(time.Second),
			sc.policy.StartupGracePeriod)
	}
	for _, a := range sc.state.Deletions {
		wait := sc.policy.ResultTTL
		if a.NothingDeleted() && a.Outcome == Failed {
			wait = max(wait, refusedFor)
		}
		if again := a.Settled.Add(wait); a.NothingDeleted() && a.UID == n.Node.UID && sc.now.Before(again) {
			return closedUntil(again, "nothing came of its deletion at %s: %s", timeOfDay(a.Settled, sc.now), a.Why)
		}
		until := a.Settled.Add(sc.policy.Cooldown)
		if a.Outcome != Pending && !a.NothingDeleted() && sc.now.Before(until) {
			return closedUntil(until, "cooling down since the deletion of %s", a.Node)
		}
	}
	return open("it is %s old", old.Round(time.Second))
}

// age is how old the node is at least. The clock of the cluster is another than ours: a node that we have watched for a
// while is as old as that at least, and one that we saw appear is no older.
func (n subject) age(now time.Time) time.Duration {
	watched := now.Sub(n.Seen)
	switch {
	case n.Seen.IsZero():
		watched = 0
	case n.Appeared:
		return watched
	}
	return max(now.Sub(n.Node.Started), watched)
}

func checkRollout(sc *scene, n subject) GuardState {
	if !sc.known {
		return closed("cannot tell: the supplier's view is missing or old")
	}
	if n.Node.UID == "" {
		return closed("cannot tell which node this is: it has no UID")
	}
	if g := answer(n.Terminating, target.No, "", "it is terminating", "whether it is terminating"); !g.Open {
		return g
	}
	return answer(n.RollingOut, target.No, "nothing is rolling out", "its set is rolling out",
		"whether its set is rolling out")
}

func checkSelfDegraded(sc *scene, n subject) GuardState {
	nodes, claims := len(sc.o.View.Nodes), sc.o.ClaimedBy[n.Node.UID]
	switch {
	case !sc.known:
		return closed("our own view is missing or old")
	case sc.o.Degraded != "":
		return closed("our own view is degraded: %s", sc.o.Degraded)
	case len(claims) > 1:
		return closed("it belongs to several brokers of the configuration: %s", Few(claims))
	case nodes > 1 && len(sc.deaf) >= nodes && len(sc.answering) == 0:
		return closed("no node accepts logins, and none says why: more likely it is us")
	}
	return open("our own view is good")
}

func checkAlarm(sc *scene, n subject) GuardState {
	r, ok := sc.o.Refusals[n.Name]
	switch {
	case sc.policy.App:
		return open("an application has no alarms")
	case n.evidence.Corroboration == ToolsTwice:
		return open("its tools cannot reach it: it cannot be asked")
	case !ok || r.UID != n.Node.UID || !r.Started.Equal(n.Node.Started) || sc.outdated(r.At, r.Nodes):
		return unasked("it has not been asked whether it refuses on purpose")
	}
	return answer(r.OnPurpose, target.No, "it refuses nobody on purpose", "it refuses on purpose: "+r.Detail,
		strings.TrimSpace("whether it refuses on purpose: "+r.Detail))
}

func checkSameHost(sc *scene, n subject) GuardState {
	if n.Host == "" {
		return closed("cannot tell on which host it runs")
	}
	var others []string
	for _, s := range sc.o.SilentOnHosts[n.Host] {
		// or else this one lived on without it
		if s.Name != n.Target+"/"+n.Name && !s.Since.Before(n.LastGood[sc.policy.LivenessKind()].Add(-sc.policy.ResultTTL)) {
			others = append(others, s.Name)
		}
	}
	if len(others) > 0 {
		slices.Sort(others)
		return closed("on host %s these are silent too: %s", n.Host, Few(others))
	}
	return open("nothing else on host %s is silent", n.Host)
}

func checkInFlight(sc *scene, _ subject) GuardState {
	if !sc.o.HistoryKnown {
		return closed("cannot tell whether a deletion is under way")
	}
	for _, a := range sc.state.Deletions {
		switch a.Outcome {
		case Pending:
			return closedUntil(a.At.Add(sc.policy.RecoveryTimeout), "the deletion of %s is not settled", a.Node)
		case Escalated:
			return closed("the deletion of %s did not help: a person must look", a.Node)
		case Recovered, Aborted, Failed, Removed:
		default:
			return closed("what became of the deletion of %s is unknown: %q", a.Node, a.Outcome)
		}
	}
	return open("no deletion is under way")
}

func checkBudget(sc *scene, n subject) GuardState {
	if !sc.o.HistoryKnown {
		return closed("cannot tell what was deleted in the last 24 hours")
	}
	node, all := 0, 0
	var nodeFrees, allFrees time.Time
	for _, a := range sc.state.Deletions {
		frees := a.At.Add(24 * time.Hour)
		if a.NothingDeleted() || !sc.now.Before(frees) {
			continue
		}
		if all++; allFrees.IsZero() {
			allFrees = frees
		}
		if a.Node != n.Name {
			continue
		}
		if node++; nodeFrees.IsZero() {
			nodeFrees = frees
		}
	}
	switch {
	case node >= sc.policy.PerNodePerDay:
		return closedUntil(nodeFrees, "%d of %d deletions of this node in 24 hours are spent: a person must look", node,
			sc.policy.PerNodePerDay)
	case all >= sc.policy.PerTargetPerDay:
		return closedUntil(allFrees, "%d of %d deletions on this broker in 24 hours are spent", all,
			sc.policy.PerTargetPerDay)
	}
	return open("%d of %d deletions on this broker in 24 hours are spent", all, sc.policy.PerTargetPerDay)
}

func checkMaintenanceWindow(sc *scene, _ subject) GuardState {
	if len(sc.policy.MaintenanceWindows) == 0 {
		return open("acting is allowed at any time")
	}
	of := ""
	if zone := sc.policy.MaintenanceWindows[0].TimeZone; zone != nil {
		of = " of " + zone.String() // all windows of a policy are in the same
	}
	for _, w := range sc.policy.MaintenanceWindows {
		if w.Contains(sc.now) {
			return open("acting is allowed at this hour%s", of)
		}
	}
	return closed("acting is not allowed at this hour%s", of)
}

// Few joins names for a sentence: up to five, and how many more there are.
func Few(names []string) string {
	if len(names) > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:5], ", "), len(names)-5)
	}
	return strings.Join(names, ", ")
}
