package share

import (
	"testing"
	"time"
)

// claimant is a claim at some second of its clock.
type claimant struct {
	*Claim

	t *testing.T
}

func newClaimant(t *testing.T) claimant { return claimant{NewClaim("me", DefaultTimes), t} }

func second(s float64) time.Time {
	return time.Unix(1_790_000_000, 0).Add(time.Duration(s * float64(time.Second)))
}

// next checks what it asks for.
func (c claimant) next(at float64, wanted bool, verb Verb, holder, over string) Request {
	c.t.Helper()
	r := c.Next(second(at), wanted, true)
	if r.Verb != verb || r.Holder != holder || r.Over != over {
		c.t.Errorf("after %g s it asks for %+v", at, r)
	}
	return r
}

// held checks whether it holds the Lease, and since when.
func (c claimant) held(at, since float64, want bool) {
	c.t.Helper()
	got, held := c.Held(second(at))
	if held != want || held && !got.Equal(second(since)) {
		c.t.Errorf("after %g s: %t, since %s", at, held, got)
	}
}

// take has it take a Lease that was given up, at the first second.
func (c claimant) take() {
	c.t.Helper()
	c.Note(c.next(0, true, Get, "", ""), second(0), second(0.1), Lease{Version: "0"}, Done)
	c.Note(c.next(1, true, Write, "me", "0"), second(1), second(5), Lease{Holder: "me", Version: "1"}, Done)
}

func TestALeaseIsHeldFromBeforeItWasAskedForAndNotFromTheAnswer(t *testing.T) {
	c := newClaimant(t)
	c.take()
	c.held(9.9, 1, true)
	c.held(10, 0, false)
	c.Note(c.next(11, true, Write, "me", "1"), second(11), second(11.1), Lease{Holder: "me", Version: "2"}, Done)
	c.held(12, 1, true) // nobody has written in between
}

func TestALeaseIsTakenFromItsHolderOnceItHasBeenSeenUnchangedForLongEnough(t *testing.T) {
	c := newClaimant(t)
	theirs := Lease{Holder: "other", Version: "1"}
	c.Note(c.next(0, true, Get, "", ""), second(0), second(2), theirs, Done)
	for at := 2.0; at < 17; at++ {
		c.Note(c.next(at, true, Get, "", ""), second(at), second(at), theirs, Done)
	}
	r := c.next(17, true, Write, "me", "1")
	c.Note(r, second(17), second(17.1), Lease{}, Overtaken)
	c.held(17.2, 0, false)
	c.Note(c.next(19, true, Get, "", ""), second(19), second(19.1), Lease{Holder: "other", Version: "2"}, Done)
	c.next(34, true, Get, "", "")
	c.next(34.1, true, Write, "me", "2")
}

func TestALeaseThatIsNotWantedAnyMoreIsNotHeldAndGivenUpWhenWhatWasBegunHasEnded(t *testing.T) {
	c := newClaimant(t)
	c.take()
	c.next(6, false, Nothing, "", "")
	c.held(6, 0, false)
	c.next(10.9, false, Nothing, "", "")
	c.Note(c.next(11, false, Write, "", "1"), second(11), second(11.1), Lease{Version: "2"}, Done)
	if c.Ours() {
		t.Error("it is still ours")
	}

	c = newClaimant(t)
	c.take()
	c.next(6, false, Nothing, "", "")
	c.next(7, true, Write, "me", "1") // it is wanted again
	c.held(7, 1, true)
}

func TestAWriteWithoutAnAnswerChangesNothingAndTheNextOneFollowsItUp(t *testing.T) {
	c := newClaimant(t)
	c.take()
	c.Note(c.next(6, true, Write, "me", "1"), second(6), second(11), Lease{}, Unclear)
	c.held(9.9, 1, true)
	c.held(10, 0, false)
	// It was done all the same. So this one is overtaken, by ourselves.
	c.Note(c.next(11, true, Write, "me", "1"), second(11), second(11.1), Lease{}, Overtaken)
	c.Note(c.next(13, true, Get, "", ""), second(13), second(13.1), Lease{Holder: "me", Version: "2"}, Done)
	c.held(13.2, 0, false) // to see our own name is no renewal
	c.Note(c.next(15, true, Write, "me", "2"), second(15), second(15.1), Lease{Holder: "me", Version: "3"}, Done)
	c.held(16, 1, true)
}

func TestALeaseThatSomebodyTookByForceIsLostAtOnce(t *testing.T) {
	c := newClaimant(t)
	c.take()
	c.Note(c.next(3, true, Write, "me", "1"), second(3), second(3.1), Lease{}, Overtaken)
	c.Note(c.next(5, true, Get, "", ""), second(5), second(5.1), Lease{Holder: "other", Version: "2"}, Done)
	c.held(5.2, 0, false)
	if c.Ours() {
		t.Error("it is another's")
	}
}

func TestAClockThatStoodWhileTheMachineSleptHoldsNothing(t *testing.T) {
	c := newClaimant(t)
	began := time.Now()
	c.Note(Request{Verb: Get}, began, began, Lease{Version: "0"}, Done)
	c.Note(c.Next(began, true, true), began, began, Lease{Holder: "me", Version: "1"}, Done)
	if _, held := c.Held(time.Now()); !held {
		t.Fatal("it does not hold it")
	}
	if _, held := c.Held(began.Round(0).Add(time.Minute)); held { // the wall clock alone
		t.Error("a minute later it does")
	}
}

// Somebody may have deleted it by hand, and whoever held it does not know yet.
func TestALeaseThatDoesNotExistIsTakenOnlyWhenNobodyCanHoldItAnyMore(t *testing.T) {
	for what, before := range map[string]Lease{"seen before": {Holder: "other", Version: "1"}, "never seen": {}} {
		t.Run(what, func(t *testing.T) {
			c := newClaimant(t)
			c.Note(c.next(0, true, Get, "", ""), second(0), second(0.1), before, Done)
			if before.Holder != "" {
				c.Note(c.next(2, true, Get, "", ""), second(2), second(2.1), Lease{}, Done)
			}
			c.Note(c.next(4, true, Write, nobody, ""), second(4), second(4.1), Lease{Holder: nobody, Version: "2"}, Done)
			c.next(19, true, Get, "", "")
			c.next(19.1, true, Write, "me", "2")
		})
	}
}

func TestASeatThatDoesNotExistIsTakenAtOnceForNobodyActsByIt(t *testing.T) {
	c := claimant{newHarmlessClaim("me", DefaultTimes), t}
	c.Note(c.next(0, true, Get, "", ""), second(0), second(0.1), Lease{}, Done)
	c.next(2, true, Write, "me", "")
}
