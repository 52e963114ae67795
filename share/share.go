// Package share decides which of many replicas watches which brokers, and which of them may act.
//
// Brokers are dealt to a fixed number of shards by a hash of their name. For each shard there is a Lease: who holds it
// acts upon the brokers of that shard, and nobody else does. Who ought to hold it, and who watches besides, follows from
// who is there. For that each replica takes a seat, which is a Lease too, and looks at all the others.
//
// So there are two kinds of being wrong. A replica that is wrong about who is there, for a while or for long, probes
// what others probe too, or leaves a shard to its second watcher: that costs logins. Whether it may act it learns from
// the shard's Lease alone, and for that it needs nobody's opinion, only a clock that runs about as fast as others do.
//
// Everything here is pure: times, answers and failures are arguments. Package kube asks the API server and keeps the time.
package share

import (
	"cmp"
	"hash/fnv"
	"slices"
	"time"
)

// Watchers is how many members watch a shard at least, if there are as many: the one that acts, and one that has its own
// evidence when it must take over.
const Watchers = 2

// Times are the bounds of a Lease. That no two hold it takes Renew + Call < Lease; the rest is the margin for clocks that
// do not run equally fast.
type Times struct {
	Lease time.Duration // nobody takes it from its holder who has not seen it unchanged for so long
	Renew time.Duration // the holder counts itself as such for so long after it asked for the renewal
	Call  time.Duration // how long what was begun as the holder may take
	Retry time.Duration // a holder renews, and who wants to be the holder looks, so often
	Look  time.Duration // and others so often
	Warm  time.Duration // a member is given shards to lead once it has been there for so long: it needs evidence of its own
}

// DefaultTimes hold for clocks of which one runs up to 3 % faster than the other. Renew and Call make 14 of 15 s.
var DefaultTimes = Times{
	Lease: 15 * time.Second, Renew: 9 * time.Second, Call: 5 * time.Second,
	Retry: 2 * time.Second, Look: 5 * time.Second, Warm: 2 * time.Minute,
}

// ShardOf gives the shard of a broker, from 0.
func ShardOf(broker string, shards int) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(broker)) // never fails
	return int(mix(h.Sum64()) % uint64(shards))
}

// Rank gives the seats in the order in which they should have the shard. It is rendezvous hashing (Thaler and
// Ravishankar, "Using name-based mappings to increase hit rates", 1998): each seat has a weight for each shard that
// depends on nothing else, so that a seat that comes or goes moves its own shards and no other.
func Rank(shard int, seats []int) []int {
	ranked := slices.Clone(seats)
	slices.SortFunc(ranked, func(a, b int) int {
		return cmp.Or(cmp.Compare(weight(shard, b), weight(shard, a)), cmp.Compare(a, b))
	})
	return ranked
}

func weight(shard, seat int) uint64 { return mix(mix(uint64(shard)+1) ^ uint64(seat)) }

// mix spreads what differs in one bit over all of them: the finalizer of splitmix64 (Steele, Lea and Flood, "Fast
// splittable pseudorandom number generators", 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Of two clocks each question asks the one that can err only in the safe direction. Whoever gives something up goes by the
// one that says more; whoever waits for another to have given it up goes by the one that nobody can set.

// lapse is how much time has passed, by the wall clock if that says more: the other stands while a machine is suspended.
func lapse(since, now time.Time) time.Duration {
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}

// waited is how much time has passed at least. The wall clock has no say: it may just have been set an hour ahead. Both
// times must have a reading of the other clock, as those of time.Now do.
func waited(since, now time.Time) time.Duration { return now.Sub(since) }
