package share

import (
	"testing"
	"time"
	"unsafe"
)

// setAhead gives a time of time.Now as it would be if the wall clock had been set so many seconds ahead before, which the
// other clock does not notice. Nothing in package time makes such a time; inside, the wall clock's seconds are above 30 bits
// of nanoseconds.
func setAhead(t time.Time, seconds int) time.Time {
	inside := (*struct {
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&t))
	inside.wall += uint64(int64(seconds)) << 30
	return t
}

func TestAClockThatIsSetAheadIsWhatTheTestsTakeItFor(t *testing.T) {
	now := time.Now()
	for _, seconds := range []int{3600, -3600} {
		set := setAhead(now, seconds)
		if set.Sub(now) != 0 || set.Round(0).Sub(now.Round(0)) != time.Duration(seconds)*time.Second {
			t.Errorf("%s is %s after %s by the one clock, and by the other not %d s", set, set.Sub(now), now, seconds)
		}
	}
}

func TestAClockThatIsSetHasNobodyTakeWhatAnotherHolds(t *testing.T) {
	began := time.Now()
	theirs := Lease{Holder: "other", Version: "1"}
	c := NewClaim("me", DefaultTimes)
	c.Note(c.Next(began, true, true), began, began, theirs, Done)
	if r := c.Next(setAhead(began.Add(time.Second), 3600), true, true); r.Verb != Get {
		t.Errorf("a second later by the clock that nobody sets, and an hour by the other, it asks for %+v", r)
	}
	if r := c.Next(setAhead(began.Add(DefaultTimes.Lease), -3600), true, true); r.Verb != Write {
		t.Errorf("when the lease has ended, an hour ago by the clock that was set, it asks for %+v", r)
	}
}

func TestAClockThatIsSetHasNobodyGiveUpWhileWhatWasBegunGoesOn(t *testing.T) {
	began := time.Now()
	c := NewClaim("me", DefaultTimes)
	c.Note(Request{Verb: Get}, began, began, Lease{Version: "1"}, Done)
	c.Note(c.Next(began, true, true), began, began, Lease{Holder: "me", Version: "2"}, Done)
	if r := c.Next(began.Add(time.Second), false, true); r.Verb != Nothing {
		t.Errorf("it asks for %+v", r)
	}
	if r := c.Next(setAhead(began.Add(2*time.Second), 3600), false, true); r.Verb != Nothing {
		t.Errorf("a second later by the clock that nobody sets it asks for %+v", r)
	}
	if r := c.Next(began.Add(time.Second+DefaultTimes.Call), false, true); r.Verb != Write || r.Holder != "" {
		t.Errorf("when what was begun has ended it asks for %+v", r)
	}
}

func TestHowLongALeaseHasBeenHeldDoesNotChangeWhenTheClockIsSet(t *testing.T) {
	taken := time.Now()
	r := Request{Taken: taken, At: setAhead(taken.Add(time.Minute), -3600)}
	if held := r.At.Round(0).Sub(r.Acquired()); held != time.Minute {
		t.Errorf("after a minute it has been held for %s", held)
	}
}
