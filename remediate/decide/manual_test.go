package decide

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// everyGuard names all guards, for who would override them all.
func everyGuard() []Guard {
	var all []Guard
	for _, g := range Guards() {
		all = append(all, g.Guard)
	}
	return all
}

// request decides on what a person asks for of the node, and gives the decision about it.
func (tl *timeline) request(node string, override ...Guard) (Decision, error) {
	tl.t.Helper()
	o := DeleteRequest{Node: node, UID: "uid-of-" + node, Override: override, By: "ada", From: "10.0.0.9", Reason: "clients hang"}
	tl.obs.Request = &o
	_, decisions := Decide(tl.state, tl.obs, tl.policy, tl.now)
	tl.obs.Request = nil
	for _, other := range decisions {
		if (other.Node != node || other.UID != o.UID) && other.Action == Delete {
			tl.t.Errorf("deletes %s of UID %s, asked for %s of UID %s", other.Node, other.UID, node, o.UID)
		}
	}
	d, err := Requested(decisions, o)
	if err != nil {
		return d, err
	}
	if held := d.Held(o); (held == nil) != (d.Action == Delete) {
		tl.t.Errorf("the action is %s, and held back by %v", d.Action, held)
	}
	return d, d.Held(o)
}

func TestGuardFixedSaysWhichGuardsAPersonMayOverride(t *testing.T) {
	may := map[Guard]bool{
		GuardObserveOnly: true, GuardPaused: true, GuardStartupGrace: true, GuardPeers: true, GuardQuorumCritical: true, GuardStorm: true,
		GuardSelfDegraded: true, GuardSameHost: true, GuardBudget: true, GuardMaintenanceWindow: true, GuardAlarm: true, GuardUnconfirmed: true,
		GuardNotLeader: false, GuardRollout: false, GuardNoController: false, GuardInFlight: false, GuardDisruptionBudget: false, GuardOperation: false,
	}
	for _, g := range Guards() {
		want, known := may[g.Guard]
		if !known || want != (g.Fixed == "") {
			t.Errorf("%s: nobody may, for %q; want that a person may: %v", g.Guard, g.Fixed, want)
		}
	}
	if Guard("pause").Fixed() == "" {
		t.Error("what is no guard may be overridden")
	}
}

func TestDeleteRequestIsHeldBackByAGuardUnlessItOverridesItByName(t *testing.T) {
	for _, row := range guardRows {
		t.Run(string(row.guard)+": "+row.name, func(t *testing.T) {
			tl := newTimeline(t)
			tl.wedge()
			row.spoil(tl)
			tl.decide()
			if tl.node("rabbit-1").UID == "" {
				if _, err := tl.request("rabbit-1", everyGuard()...); !errors.Is(err, target.ErrChanged) {
					t.Errorf("which node it is, nobody knows: %v", err)
				}
				return
			}
			d, err := tl.request("rabbit-1")
			closed := d.Closed()
			if !slices.Contains(closed, row.guard) || err == nil {
				t.Fatalf("closed are %v: %v", closed, err)
			}
			others := slices.DeleteFunc(everyGuard(), func(g Guard) bool { return g == row.guard })
			_, err = tl.request("rabbit-1", others...)
			held, ok := errors.AsType[*HeldError](err)
			if !ok || !slices.ContainsFunc(held.Closed, func(g GuardState) bool { return g.Guard == row.guard && g.Why != "" }) {
				t.Errorf("with every other guard overridden: %v", err)
			}
			fixed := slices.DeleteFunc(slices.Clone(closed), func(g Guard) bool { return g.Fixed() == "" })
			_, err = tl.request("rabbit-1", everyGuard()...)
			if held, ok = errors.AsType[*HeldError](err); ok != (len(fixed) > 0) || (ok && !slices.Equal(held.Fixed, fixed)) {
				t.Errorf("with all of them overridden: %v, want to be held back by %v", err, fixed)
			}
			if len(fixed) > 0 {
				return
			}
			if d, err = tl.request("rabbit-1", closed...); err != nil {
				t.Errorf("with just those overridden that are closed: %v", err)
			}
			for _, said := range append([]string{"ada", "10.0.0.9", "clients hang"}, strings.Fields(GuardNames(closed))...) {
				if !strings.Contains(d.Reason, strings.Trim(said, ",")) {
					t.Errorf("the reason is %q, want %q in it", d.Reason, said)
				}
			}
		})
	}
}

func TestDeleteRequestMustOverrideBothOfTwoThingsThatAreWrong(t *testing.T) {
	for _, one := range guardRows {
		for _, two := range guardRows {
			if one.guard == two.guard || one.guard.Fixed() != "" || two.guard.Fixed() != "" {
				continue
			}
			tl := newTimeline(t)
			tl.wedge()
			if one.spoil(tl); len(tl.obs.View.Nodes) < 3 {
				continue // what the second spoils may be gone
			}
			two.spoil(tl)
			tl.decide()
			d, _ := tl.request("rabbit-1")
			closed := d.Closed()
			if !slices.Contains(closed, one.guard) || !slices.Contains(closed, two.guard) {
				continue // the second undid the first
			}
			but := slices.DeleteFunc(slices.Clone(closed), func(g Guard) bool { return g == one.guard })
			if d, err := tl.request("rabbit-1", but...); d.Action == Delete {
				t.Errorf("%s and %s: deleted with %v overridden, %v", one.name, two.name, but, err)
			}
		}
	}
}

func TestDeleteRequestMustSaySoIfTheNodeIsNotProvedStuck(t *testing.T) {
	for _, tc := range []struct {
		name string
		play func(*timeline)
		says string
	}{
		{"it accepts logins", func(tl *timeline) { tl.rounds(4, probe.OK) }, "it is healthy, there is nothing to cure"},
		{"it has an alarm", func(tl *timeline) { tl.rounds(4, probe.Blocked) }, "what a restart does not cure"},
		{"it is a suspect", func(tl *timeline) { tl.rounds(4, probe.OK); tl.round(probe.AwaitTune) }, "it is suspect, not confirmed stuck"},
		{"it cannot be reached", func(tl *timeline) { tl.rounds(4, probe.OK); tl.rounds(2, probe.Unreachable) }, "not confirmed stuck"},
		{"it was confirmed, and cannot be reached", func(tl *timeline) { tl.wedge(); tl.round(probe.Unreachable) }, "the latest login could not tell"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tl := newTimeline(t)
			tc.play(tl)
			tl.decide()
			all := slices.DeleteFunc(everyGuard(), func(g Guard) bool { return g == GuardUnconfirmed })
			d, err := tl.request("rabbit-1", all...)
			held, ok := errors.AsType[*HeldError](err)
			if !ok || len(held.Closed) != 1 || held.Closed[0].Guard != GuardUnconfirmed || !strings.Contains(held.Closed[0].Why, tc.says) || len(held.Fixed) > 0 {
				t.Errorf("%v: %+v, want it to say %q", err, d.Guards[len(d.Guards)-1], tc.says)
			}
			if _, err := tl.request("rabbit-1", everyGuard()...); err != nil {
				t.Errorf("a person says so: %v", err)
			}
		})
	}
	tl := newTimeline(t)
	tl.wedge()
	if d, err := tl.request("rabbit-1"); err != nil || len(d.Closed()) > 0 || !strings.Contains(d.Guards[len(d.Guards)-1].Why, "maybe_stuck") {
		t.Errorf("one that is proved stuck: %v, %+v", err, d.Guards)
	}
}

func TestDeleteRequestIsAboutTheNodeOfItsUIDAndNoOther(t *testing.T) {
	tl := newTimeline(t)
	tl.wedge()
	for _, node := range []string{"rabbit-0", "rabbit-2"} { // whose names come before and after that of the stuck one
		if _, err := tl.request(node, everyGuard()...); err != nil { // request fails the test if rabbit-1 goes too
			t.Errorf("%s: %v", node, err)
		}
	}
	tl.node("rabbit-0").UID = "another"
	tl.decide()
	if _, err := tl.request("rabbit-0", everyGuard()...); !errors.Is(err, target.ErrChanged) {
		t.Errorf("%v, want %v", err, target.ErrChanged)
	}
	if _, err := tl.request("rabbit-9", everyGuard()...); !errors.Is(err, target.ErrGone) {
		t.Errorf("%v, want %v", err, target.ErrGone)
	}
	if tl.decide(); tl.decisions["rabbit-1"].Action == Delete {
		t.Error("rabbit-1 goes although rabbit-0 has just come")
	}
}

func TestDecisionHasNoGuardOfADeleteRequestWithoutOne(t *testing.T) {
	tl := newTimeline(t)
	tl.rounds(4, probe.OK)
	for _, d := range tl.decisions {
		if slices.ContainsFunc(d.Guards, func(g GuardState) bool { return g.Guard == GuardUnconfirmed }) {
			t.Errorf("%s has it", d.Node)
		}
	}
	before, _ := json.Marshal(tl.state)
	if _, err := tl.request("rabbit-1", everyGuard()...); err != nil {
		t.Fatal(err)
	}
	after, _ := json.Marshal(tl.state)
	if diff := cmp.Diff(string(before), string(after)); diff != "" {
		t.Errorf("the state was changed in place:\n%s", diff)
	}
}

func TestCheckBudgetCountsManualDeletions(t *testing.T) {
	tl := newTimeline(t)
	tl.wedge()
	at := tl.now.Add(-time.Hour)
	tl.state.Deletions = []Deletion{{ID: "a", Node: "rabbit-1", UID: "x", At: at, Outcome: Recovered, Settled: at, Manual: &Manual{By: "ada"}}}
	tl.decide()
	if d := tl.decisions["rabbit-1"]; !slices.Contains(d.Closed(), GuardBudget) {
		t.Errorf("closed are %v", d.Closed())
	}
}
