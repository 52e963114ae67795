package share

import (
	"slices"
	"time"
)

// Member is one replica among others. It is not safe for concurrent use.
type Member struct {
	me     string
	seats  []*Claim // one of them is ours, or shall be; the others show who is there
	shards []*Claim
	order  [][]int // the seats, as Rank has them for each shard
	seat   int     // ours, or the one that we try to get; -1: none yet

	leaving bool
}

// NewMember makes a member called me, which no other process may ever be called, of at most so many.
func NewMember(me string, seats, shards int, t Times) *Member {
	m := &Member{me: me, seat: -1}
	all := make([]int, seats)
	for i := range seats {
		all[i] = i
		m.seats = append(m.seats, newHarmlessClaim(me, t))
	}
	for i := range shards {
		m.shards = append(m.shards, NewClaim(me, t))
		m.order = append(m.order, Rank(i, all))
	}
	return m
}

// Shards is how many shards there are.
func (m *Member) Shards() int { return len(m.shards) }

// Leave has the member give up all that it holds, for it stops. If nothing acts any more, it need not wait for what was
// begun. Left says when it is done.
func (m *Member) Leave(idle bool) {
	m.leaving = true
	for _, c := range slices.Concat(m.seats, m.shards) {
		c.idle = idle
	}
}

// Left says whether the member holds nothing, as far as it knows.
func (m *Member) Left() bool {
	return !slices.ContainsFunc(m.seats, (*Claim).Ours) && !slices.ContainsFunc(m.shards, (*Claim).Ours)
}

// Leads says whether this member may act upon the brokers of the shard now, and since when without a break.
func (m *Member) Leads(shard int, now time.Time) (since time.Time, leads bool) {
	return m.shards[shard].Held(now)
}

// Another gives who else holds the shard's Lease as far as this member knows; empty: nobody, or it does not look.
func (m *Member) Another(shard int) string {
	if c := m.shards[shard]; !c.Ours() && c.alive() && c.lease.Holder != nobody {
		return c.lease.Holder
	}
	return ""
}

// Watches says whether this member should watch the brokers of the shard: it is among the first of those who are there, or
// leads it, or is among the first of those who may be given it. The latter are others while one who has just come is among
// the first: then the one who leads goes on, and so does the one who would take over if that one died now.
func (m *Member) Watches(shard int) bool {
	return m.shards[shard].Ours() || m.among(shard, Watchers, (*Claim).alive) || m.among(shard, Watchers, (*Claim).warm)
}

// shouldLead says whether this member should hold the shard's Lease: the one who comes first does, once it is warm. Until
// then it stays where it is, and if that is nowhere, it goes to the first who is warm. Where nobody is, all just begin.
func (m *Member) shouldLead(shard int, now time.Time) bool {
	first := slices.IndexFunc(m.order[shard], func(seat int) bool { return m.seats[seat].alive() })
	if first < 0 || m.leaving {
		return false
	}
	if m.seats[m.order[shard][first]].warm() || !slices.ContainsFunc(m.seats, (*Claim).warm) {
		return m.among(shard, 1, (*Claim).alive)
	}
	lease := m.shards[shard]
	return lease.Ours() || lease.Free(now) && m.among(shard, 1, (*Claim).warm)
}

// among says whether this member is among the first of whom that is true, in the order of the shard.
func (m *Member) among(shard, first int, is func(*Claim) bool) bool {
	if m.leaving || !m.seated() {
		return false
	}
	for _, seat := range m.order[shard] {
		switch {
		case first == 0:
			return false
		case !is(m.seats[seat]):
		case seat == m.seat:
			return true
		default:
			first--
		}
	}
	return false
}

// seated says whether this member has a seat, so that the others know of it.
func (m *Member) seated() bool { return m.seat >= 0 && m.seats[m.seat].Ours() }

// NextSeat says what to ask for of that seat now. It must be asked for every Retry, of each seat.
func (m *Member) NextSeat(seat int, now time.Time) Request {
	if m.seat >= 0 && !m.seats[m.seat].Ours() && !m.seats[m.seat].Free(now) {
		m.seat = -1 // somebody else was faster, or has taken it while we could not be heard
	}
	if m.seat < 0 {
		m.seat = m.choose(now)
	}
	return m.seats[seat].Next(now, seat == m.seat && !m.leaving, !m.leaving)
}

// choose gives a seat to try for, once all have been looked at: a free one, each member beginning elsewhere, or else all
// of them would try for the same. -1: there is none.
func (m *Member) choose(now time.Time) int {
	if slices.ContainsFunc(m.seats, func(c *Claim) bool { return c.heard.IsZero() }) {
		return -1
	}
	first := ShardOf(m.me, len(m.seats))
	for i := range m.seats {
		if seat := (first + i) % len(m.seats); m.seats[seat].Ours() || m.seats[seat].Free(now) {
			return seat
		}
	}
	return -1
}

// NoteSeat takes in how that went; see Claim.Note.
func (m *Member) NoteSeat(seat int, r Request, began, ended time.Time, l Lease, o Outcome) {
	m.seats[seat].Note(r, began, ended, l, o)
}

// NextShard says what to ask for of the shard's Lease now. It must be asked for every Retry, of each shard.
func (m *Member) NextShard(shard int, now time.Time) Request {
	return m.shards[shard].Next(now, m.shouldLead(shard, now), m.Watches(shard))
}

// NoteShard takes in how that went; see Claim.Note.
func (m *Member) NoteShard(shard int, r Request, began, ended time.Time, l Lease, o Outcome) {
	m.shards[shard].Note(r, began, ended, l, o)
}
