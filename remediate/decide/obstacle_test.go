package decide

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

const unknownCause target.Cause = "of_another_version"

// Whatever keeps a node from being deleted, what it is or that nobody knows what, Decide holds, and says so; once it is
// gone it deletes. Nobody may override it.
func TestObstacleHoldsWhateverItsCauseIs(t *testing.T) {
	for _, cause := range append(target.Causes(), "", unknownCause) {
		for _, manual := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, manual %t", cause, manual), func(t *testing.T) {
				tl := newTimeline(t)
				tl.wedge()
				if manual {
					tl.obs.Request = &DeleteRequest{Node: "rabbit-1", UID: "uid-of-rabbit-1", By: "ada", Override: everyGuard()}
				}
				o := Obstacle{Node: "rabbit-1", UID: "uid-of-rabbit-1", Cause: cause, Detail: "so it is"}
				tl.obs.Obstacle = &o
				tl.decide()
				d := tl.decisions["rabbit-1"]
				var closed []Guard
				if g := guardOf(cause); g != "" {
					closed = []Guard{g}
				}
				if d.Action != Hold || !slices.Equal(d.Closed(), closed) {
					t.Errorf("%s, closed %v, want %v: %s", d.Action, d.Closed(), closed, d.Reason)
				}
				if said := fmt.Sprint(d.Reason, d.Guards); !strings.Contains(said, cause.Sentence("so it is")) {
					t.Errorf("it does not say why: %s", said)
				}
				err := d.HeldFor(o)
				held, ok := errors.AsType[*HeldError](err)
				if ok != (len(closed) > 0) || (ok && (!slices.Equal(held.Fixed, closed) || held.Closed[0].Guard != closed[0])) {
					t.Errorf("held for it by %v", err)
				}
				tl.obs.Obstacle = nil
				if tl.decide(); tl.decisions["rabbit-1"].Action != Delete || tl.decisions["rabbit-1"].HeldFor(o) != nil {
					t.Errorf("once it is gone: %s", tl.decisions["rabbit-1"].Reason)
				}
			})
		}
	}
}

func TestObstacleOfAnotherNodeHoldsTheOthersToo(t *testing.T) {
	for _, o := range []Obstacle{
		{Node: "rabbit-0", UID: "uid-of-rabbit-0", Cause: target.CauseRollout},
		{Node: "rabbit-1", UID: "another", Cause: target.CauseRollout},
		{Node: "rabbit-0", UID: "uid-of-rabbit-0", Cause: target.CauseOperation},
		{Node: "rabbit-0", UID: "uid-of-rabbit-0", Cause: unknownCause},
		{},
	} {
		tl := newTimeline(t)
		tl.wedge()
		tl.obs.Obstacle = &o
		tl.decide()
		var closed []Guard
		if o.Cause == target.CauseOperation { // it is the broker's
			closed = []Guard{GuardOperation}
		}
		if d := tl.decisions["rabbit-1"]; d.Action != Hold || !slices.Equal(d.Closed(), closed) {
			t.Errorf("%+v: %s, closed %v: %s", o, d.Action, d.Closed(), d.Reason)
		}
	}
}

func TestObstacleEndsTheDeletionThatItIsAboutAndNoOther(t *testing.T) {
	pending := func(tl *timeline) Deletion {
		return Deletion{ID: "a", Target: "rabbit", Node: "rabbit-1", UID: "uid-of-rabbit-1", At: tl.now}
	}
	for _, c := range append(target.Causes(), "", unknownCause) {
		tl := newTimeline(t)
		tl.wedge()
		tl.state.Deletions = []Deletion{pending(tl)}
		tl.obs.Obstacle = &Obstacle{Node: "rabbit-1", UID: "uid-of-rabbit-1", Deletion: "a", Cause: c, Detail: "so it is"}
		tl.decide()
		a := tl.state.Deletions[0]
		switch {
		case !c.Known():
			if a.Outcome != Pending {
				t.Errorf("%q ended it: %+v", c, a)
			}
		case a.Outcome != Aborted || a.Cause != c || a.Why != c.Sentence("so it is") || !a.Settled.Equal(tl.now) || !a.NothingDeleted():
			t.Errorf("%q: %+v", c, a)
		}
	}
	for name, spoil := range map[string]func(*Deletion, *Obstacle){
		"of another":    func(_ *Deletion, o *Obstacle) { o.Deletion = "b" },
		"of none":       func(_ *Deletion, o *Obstacle) { o.Deletion = "" },
		"without an ID": func(a *Deletion, o *Obstacle) { a.ID, o.Deletion = "", "" },
		"accepted":      func(a *Deletion, _ *Obstacle) { a.Accepted = a.At },
		"escalated":     func(a *Deletion, _ *Obstacle) { a.Outcome = Escalated },
	} {
		tl := newTimeline(t)
		tl.wedge()
		a, o := pending(tl), Obstacle{Node: "rabbit-1", UID: "uid-of-rabbit-1", Deletion: "a", Cause: target.CauseLastLook}
		spoil(&a, &o)
		tl.state.Deletions, tl.obs.Obstacle = []Deletion{a}, &o
		tl.decide()
		if got := tl.state.Deletions[0]; got.Outcome != a.Outcome || got.Cause != "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// What is refused for the third time for one cause has failed, whatever the words; but for what a guard is about, which
// may pass and come again as something else: three peers that are replaced one after the other hold no node back for an
// hour.
func TestObstacleThatIsThereAgainAndAgainIsAFailure(t *testing.T) {
	for name, c := range map[string]struct {
		before [2]target.Cause
		now    target.Cause
		uid    string
		want   Outcome
		about  [3]string // what each is about
	}{
		"one cause":                {[2]target.Cause{target.CauseRejected, target.CauseRejected}, target.CauseRejected, "uid-of-rabbit-1", Failed, [3]string{}},
		"of a guard, about others": {[2]target.Cause{target.CausePeers, target.CausePeers}, target.CausePeers, "uid-of-rabbit-1", Aborted, [3]string{"rabbit-0", "rabbit-2", "rabbit-0"}},
		"not of a guard":           {[2]target.Cause{target.CauseRejected, target.CauseRejected}, target.CauseRejected, "uid-of-rabbit-1", Failed, [3]string{"a", "b", "c"}},
		"of a guard, the same":     {[2]target.Cause{target.CausePeers, target.CausePeers}, target.CausePeers, "uid-of-rabbit-1", Failed, [3]string{"rabbit-0", "rabbit-0", "rabbit-0"}},
		"another":                  {[2]target.Cause{target.CauseRejected, target.CausePeers}, target.CauseRejected, "uid-of-rabbit-1", Aborted, [3]string{}},
		"of another node":          {[2]target.Cause{target.CauseRejected, target.CauseRejected}, target.CauseRejected, "another", Aborted, [3]string{}},
		"none":                     {[2]target.Cause{"", ""}, target.CauseRejected, "uid-of-rabbit-1", Aborted, [3]string{}},
		"we were too slow":         {[2]target.Cause{target.CauseLate, target.CauseLate}, target.CauseLate, "uid-of-rabbit-1", Aborted, [3]string{}},
		"another replica is ahead": {[2]target.Cause{target.CauseOvertaken, target.CauseOvertaken}, target.CauseOvertaken, "uid-of-rabbit-1", Aborted, [3]string{}},
	} {
		tl := newTimeline(t)
		tl.wedge()
		a := Deletion{ID: "a", Target: "rabbit", Node: "rabbit-1", UID: c.uid, At: tl.now, Settled: tl.now, Outcome: Aborted, Why: "in some words"}
		b, now := a, a
		b.ID, b.Why, now.ID, now.UID, now.Outcome = "b", "in others", "c", "uid-of-rabbit-1", Pending
		a.Cause, b.Cause = c.before[0], c.before[1]
		a.About, b.About = c.about[0], c.about[1]
		tl.state.Deletions = []Deletion{a, b, now}
		tl.obs.Obstacle = &Obstacle{Node: "rabbit-1", UID: "uid-of-rabbit-1", Deletion: "c", Cause: c.now, About: c.about[2]}
		tl.decide()
		if got := tl.state.Deletions[2]; got.Outcome != c.want || got.Cause != c.now {
			t.Errorf("%s: %+v, want %q", name, got, c.want)
		}
	}
}

// Three refusals of a day that have nothing to do with each other are no lasting one.
func TestObstacleIsAFailureOnlyIfItFollowsItself(t *testing.T) {
	const passed = 3 * time.Hour
	for name, c := range map[string]struct {
		ago     [2]time.Duration // of those before
		between *target.Cause    // of one between them and now; nil: there is none
		want    Outcome
	}{
		"at once":                        {[2]time.Duration{2 * time.Minute, time.Minute}, nil, Failed},
		"as seldom as it is tried then":  {[2]time.Duration{2*time.Hour + time.Minute, time.Hour + time.Minute}, nil, Failed},
		"hours apart":                    {[2]time.Duration{2 * passed, passed}, nil, Aborted},
		"the last two only":              {[2]time.Duration{passed, time.Minute}, nil, Aborted},
		"with another between":           {[2]time.Duration{3 * time.Minute, 2 * time.Minute}, new(target.CausePeers), Aborted},
		"with our own slowness between":  {[2]time.Duration{3 * time.Minute, 2 * time.Minute}, new(target.CauseLate), Failed},
		"with another replica's between": {[2]time.Duration{3 * time.Minute, 2 * time.Minute}, new(target.CauseOvertaken), Failed},
		"with an intent alone between":   {[2]time.Duration{3 * time.Minute, 2 * time.Minute}, new(target.Cause("")), Failed},
	} {
		tl := newTimeline(t)
		tl.wedge()
		now := Deletion{ID: "now", Target: "rabbit", Node: "rabbit-1", UID: "uid-of-rabbit-1", At: tl.now, Outcome: Pending}
		add := func(id string, cause target.Cause, ago time.Duration) {
			b := now
			b.ID, b.At, b.Settled, b.Outcome, b.Cause = id, tl.now.Add(-ago), tl.now.Add(-ago), Aborted, cause
			tl.state.Deletions = append(tl.state.Deletions, b)
		}
		add("a", target.CauseRejected, c.ago[0])
		add("b", target.CauseRejected, c.ago[1])
		if c.between != nil {
			add("c", *c.between, time.Minute)
		}
		tl.state.Deletions = append(tl.state.Deletions, now)
		tl.obs.Obstacle = &Obstacle{Node: "rabbit-1", UID: "uid-of-rabbit-1", Deletion: "now", Cause: target.CauseRejected}
		tl.decide()
		if got := tl.state.Deletions[len(tl.state.Deletions)-1]; got.Outcome != c.want {
			t.Errorf("%s: %+v, want %q", name, got, c.want)
		}
	}
}

// A deletion counts unless it is certain that nothing was deleted: of a cause that is not known, or none, it is not.
func TestDeletionNothingDeletedIsCertainOfKnownCausesAlone(t *testing.T) {
	for _, c := range []struct {
		outcome Outcome
		cause   target.Cause
		nothing bool
	}{
		{Aborted, "", true},
		{Aborted, target.CauseGone, true},
		{Failed, target.CauseStillThere, true},
		{Aborted, unknownCause, false},
		{Failed, unknownCause, false},
		{Failed, "", false},
		{Recovered, target.CauseGone, false},
		{Escalated, "", false},
		{Pending, target.CauseGone, false},
	} {
		tl := newTimeline(t)
		tl.wedge()
		a := Deletion{ID: "a", Target: "rabbit", Node: "rabbit-0", UID: "before", NewUID: "uid-of-rabbit-0", At: tl.now.Add(-time.Hour), Settled: tl.now.Add(-time.Minute), Outcome: c.outcome, Cause: c.cause}
		if got := a.NothingDeleted(); got != c.nothing {
			t.Errorf("%q for %q: %t", c.outcome, c.cause, got)
		}
		if c.outcome == Pending || c.outcome == Escalated {
			continue
		}
		tl.state.Deletions = []Deletion{a}
		tl.rounds(1, probe.AwaitTune)
		counts, cools := !strings.HasPrefix(tl.why("rabbit-1", GuardBudget), "0 of "), strings.HasPrefix(tl.why("rabbit-1", GuardStartupGrace), "cooling down")
		if counts != !tl.state.Deletions[0].NothingDeleted() || cools != counts {
			t.Errorf("%q for %q counts in the budget %t, and cools down %t: %s", c.outcome, c.cause, counts, cools, tl.decisions["rabbit-1"].Reason)
		}
	}
}
