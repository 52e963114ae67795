package decide

import (
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

func TestBasisSaysWhatTheReasonSays(t *testing.T) {
	onlyNode1 := func(tl *timeline, cause target.Cause) {
		tl.obs.Obstacle = &Obstacle{Node: "rabbit-1", UID: "uid-of-rabbit-1", Cause: cause, Detail: "so it is"}
	}
	asks := func(tl *timeline, node string, override ...Guard) {
		tl.obs.Request = &DeleteRequest{Node: node, UID: "uid-of-" + node, By: "ada", Override: override}
	}
	hung := Basis{GroundProved, probe.Login, probe.AwaitTune, ""}
	with := func(g Ground, c target.Cause) Basis { return Basis{g, hung.Probe, hung.Finding, c} }
	for name, tc := range map[string]struct {
		change func(*timeline)
		node   string
		want   Basis
	}{
		"a healthy node":               {nil, "rabbit-0", Basis{GroundPhase, probe.Login, probe.OK, ""}},
		"a node that is to be deleted": {nil, "rabbit-1", hung},
		"a guard is closed":            {func(tl *timeline) { tl.obs.View.IsLeader = target.No }, "rabbit-1", with(GroundGuards, "")},
		"the lock is another's":        {func(tl *timeline) { onlyNode1(tl, target.CauseLock) }, "rabbit-1", with(GroundGuards, target.CauseLock)},
		"the incident is not stored":   {func(tl *timeline) { onlyNode1(tl, target.CauseIncident) }, "rabbit-1", with(GroundObstacle, target.CauseIncident)},
		"that of a healthy one":        {func(tl *timeline) { onlyNode1(tl, target.CauseIncident) }, "rabbit-0", Basis{GroundPhase, probe.Login, probe.OK, ""}},
		"another node comes first": {func(tl *timeline) {
			tl.obs.Obstacle = &Obstacle{Node: "rabbit-0", UID: "uid-of-rabbit-0", Cause: target.CauseIncident}
		}, "rabbit-1", with(GroundAnother, "")},
		"another is asked for":     {func(tl *timeline) { asks(tl, "rabbit-0") }, "rabbit-1", with(GroundRequest, "")},
		"asked for, and held back": {func(tl *timeline) { asks(tl, "rabbit-0") }, "rabbit-0", Basis{GroundGuards, probe.Login, probe.OK, ""}},
		"asked for":                {func(tl *timeline) { asks(tl, "rabbit-0", everyGuard()...) }, "rabbit-0", Basis{GroundManual, probe.Login, probe.OK, ""}},
		"the latest login cannot tell": {func(tl *timeline) {
			tl.decide(tl.result("rabbit-1", probe.Login, probe.Cancelled))
		}, "rabbit-1", Basis{GroundUntold, probe.Login, probe.Cancelled, ""}},
		"nothing is known yet": {func(tl *timeline) { tl.state = State{} }, "rabbit-1", Basis{Ground: GroundPhase}},
		"what is known is old": {func(tl *timeline) { tl.now = tl.now.Add(time.Hour) }, "rabbit-0", Basis{Ground: GroundPhase, Probe: probe.Login}},
	} {
		t.Run(name, func(t *testing.T) {
			tl := newTimeline(t)
			tl.wedge()
			if tc.change != nil {
				tc.change(tl)
			}
			tl.decide()
			if d := tl.decisions[tc.node]; d.Basis != tc.want {
				t.Errorf("%+v, want %+v: %s", d.Basis, tc.want, d.Reason)
			}
		})
	}
}

func TestBasisIsTheSameByValuesAndNotByWords(t *testing.T) {
	d := Decision{
		Target: "b", Node: "n", UID: "1", Started: time.Unix(1, 0), Status: probe.Stuck, Phase: PhaseConfirmed, Reason: "3 of 4",
		Basis: Basis{GroundGuards, probe.Login, probe.AwaitTune, ""}, Guards: []GuardState{{Guard: GuardPeers, Why: "one"}, {Guard: GuardAlarm, Unasked: true}},
		Evidence: Evidence{Kind: probe.Login, Stuck: 3, Enough: true, Corroboration: ToolsTwice},
	}
	for name, tc := range map[string]struct {
		change func(*Decision)
		want   bool
	}{
		"nothing":              {func(*Decision) {}, true},
		"the sentence":         {func(d *Decision) { d.Reason = "4 of 4" }, true},
		"the time":             {func(d *Decision) { d.At, d.Next = time.Unix(9, 0), time.Unix(9, 0) }, true},
		"a count":              {func(d *Decision) { d.Evidence.Stuck = 4 }, true},
		"what a guard says":    {func(d *Decision) { d.Guards[0].Why = "two" }, true},
		"an open guard":        {func(d *Decision) { d.Guards = append(d.Guards, GuardState{Guard: GuardStorm, Open: true}) }, true},
		"another guard":        {func(d *Decision) { d.Guards[0].Guard = GuardStorm }, false},
		"the container":        {func(d *Decision) { d.Started = time.Unix(2, 0) }, false},
		"the node":             {func(d *Decision) { d.UID = "2" }, false},
		"the phase":            {func(d *Decision) { d.Phase = PhaseSuspect }, false},
		"the action":           {func(d *Decision) { d.Action = Delete }, false},
		"the finding":          {func(d *Decision) { d.Basis.Finding = probe.AwaitStart }, false},
		"the corroboration":    {func(d *Decision) { d.Evidence.Corroboration = ToolsOnce }, false},
		"whether it is enough": {func(d *Decision) { d.Evidence.Enough = false }, false},
	} {
		e := d
		e.Guards = append([]GuardState(nil), d.Guards...)
		tc.change(&e)
		if d.Same(e) != tc.want || e.Same(d) != tc.want {
			t.Errorf("%s: the same %t, want %t", name, d.Same(e), tc.want)
		}
	}
}
