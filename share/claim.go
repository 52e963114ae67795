package share

import (
	"cmp"
	"time"
)

// Lease is a Lease as an answer showed it.
type Lease struct {
	Holder  string        // empty: nobody
	Version string        // another one with each write; empty: there is no such Lease
	Held    time.Duration // how long the holder had held it when it last renewed it, by its own clock
}

// Request is what a Claim wants to be asked for. The zero value is nothing.
type Request struct {
	Verb   Verb
	Holder string    // to be written
	Taken  time.Time // likewise: when that one took it,
	At     time.Time // and renewed it
	Over   string    // the version that it must still have, or else nothing is written; empty: it must not exist
}

// Acquired is when the holder took the Lease, by the clock by which At is now. That may have been set since, and those who
// read the Lease want to know how long ago it was.
func (r Request) Acquired() time.Time { return r.At.Round(0).Add(-waited(r.Taken, r.At)) }

// Verb is a kind of request.
type Verb int

// The kinds of requests.
const (
	Nothing Verb = iota
	Get
	Write
)

// Outcome is how a request went.
type Outcome int

// The outcomes.
const (
	Unclear   Outcome = iota // there was no answer, or an error: a write may have been done, or be done later
	Done                     // the answer shows the Lease as it is, a written one too
	Overtaken                // nothing was written, for the Lease has another version by now
)

// Claim is what one process knows of one Lease, and does to hold it. It asks for nothing by itself: Next says what, and
// Note takes in what came of it.
//
//	            Next: Write me           Next: Write me, every Retry
//	free ------------------------> held ----------------------------> held
//	  ^   nobody's, or unchanged    |  no renewal for Renew: Held says no
//	  |   for all of Lease          |
//	  |                             |  not wanted: Held says no at once
//	  +---- Next: Write nobody <--- leaving, for Call: what was begun ends meanwhile
//
// A Lease that does not exist may have been deleted by hand just now, and whoever held it does not know yet. So it is made
// as that of somebody who never renews it, and ends like any other.
type Claim struct {
	times Times
	me    string // this process's alone: a successor with the same name would take what it never had for its own

	lease   Lease
	stale   bool      // a write was overtaken: look before the next one
	heard   time.Time // when the latest answer came; zero: none yet
	changed time.Time // when the answer came that first showed this version

	renewed time.Time // when the latest write began that made or kept us the holder; zero: we are not
	taken   time.Time // when we became that, if nobody else was in between
	leaving time.Time // when we stopped acting, to give it up
	idle    bool      // nothing that was begun goes on

	// harmless says that nothing is begun by the Lease's holder that two must not do.
	harmless bool
}

// nobody is the holder of a Lease that was just made.
const nobody = "nobody-yet"

// NewClaim makes the claim of me, who must be unique, to a Lease of which nothing is known.
func NewClaim(me string, t Times) *Claim { return &Claim{me: me, times: t} }

// newHarmlessClaim makes one to a Lease by which nobody acts.
func newHarmlessClaim(me string, t Times) *Claim { return &Claim{me: me, times: t, harmless: true} }

// Held says whether we hold the Lease now, and since when without a break. What is begun while it says so, and ends within
// Call, ends before anybody else could hold it.
func (c *Claim) Held(now time.Time) (since time.Time, held bool) {
	if c.renewed.IsZero() || !c.leaving.IsZero() || lapse(c.renewed, now) >= c.times.Renew {
		return time.Time{}, false
	}
	return c.taken, true
}

// Ours says whether the latest answer shows us as the holder: we may hold it, and must still give it up.
func (c *Claim) Ours() bool { return c.lease.Holder == c.me }

// Free says whether the Lease is there to be taken: nobody's, or unchanged for so long that whoever holds it cannot know.
func (c *Claim) Free(now time.Time) bool {
	return !c.heard.IsZero() && (c.lease.Holder == "" || waited(c.changed, now) >= c.times.Lease)
}

// alive says whether whoever holds the Lease was alive at our latest look. While we ourselves hear nothing, that stays.
func (c *Claim) alive() bool {
	return c.lease.Holder != "" && waited(c.changed, c.heard) < c.times.Lease
}

// warm says whether the holder is, and has been for a while by its own word: all who look agree on that, but for Look.
func (c *Claim) warm() bool { return c.alive() && c.lease.Held >= c.times.Warm }

// Next says what to ask for now, where the Lease is wanted or not; and where it is not, whether to look who has it. It
// must be called every Retry, and its answer be noted before it is called again.
func (c *Claim) Next(now time.Time, wanted, look bool) Request {
	switch {
	case wanted:
		c.leaving = time.Time{}
	case c.Ours() && c.leaving.IsZero():
		c.leaving = now
	}
	get := Request{Verb: Get}
	switch {
	case c.heard.IsZero() && (wanted || look), c.stale:
		return get
	case c.Ours() && wanted:
		return Request{Verb: Write, Holder: c.me, Taken: cmp.Or(c.taken, now), At: now, Over: c.lease.Version}
	case c.Ours() && (c.idle || waited(c.leaving, now) >= c.times.Call):
		c.renewed = time.Time{}
		return Request{Verb: Write, Over: c.lease.Version}
	case wanted && c.lease.Version == "" && !c.harmless:
		return Request{Verb: Write, Holder: nobody, Taken: now, At: now}
	case wanted && c.Free(now):
		return Request{Verb: Write, Holder: c.me, Taken: now, At: now, Over: c.lease.Version}
	case !c.Ours() && (wanted || look && waited(c.heard, now) >= c.times.Look):
		return get
	}
	return Request{}
}

// Note takes in that the request r, which began and ended at those times by our own clock, went so. The Lease counts
// only if that is Done.
func (c *Claim) Note(r Request, began, ended time.Time, l Lease, o Outcome) {
	if o != Done {
		// An unclear write may have been done, or be done later. Whatever comes next is written over the version that was
		// known before, and so only if it was not, and never will be.
		c.stale = c.stale || o == Overtaken
		return
	}
	if l.Holder != c.lease.Holder {
		c.leaving = time.Time{}
	}
	if l.Version != c.lease.Version || c.heard.IsZero() {
		c.changed = ended
	}
	c.lease, c.heard, c.stale = l, ended, false
	switch {
	case l.Holder != c.me:
		c.renewed, c.taken = time.Time{}, time.Time{}
	case r.Verb == Write:
		c.renewed, c.taken = began, r.Taken
	}
}
