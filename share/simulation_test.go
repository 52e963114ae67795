package share

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"
)

var seedFlag = flag.Uint64("seed", 0, "the seed of the simulation; 0: another one each time")

// seed gives the seed, and says how to have the same again.
func seed(t *testing.T) uint64 {
	s := *seedFlag
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("once more: go test ./share -run '^%s$' -seed %d", t.Name(), s)
	return s
}

// chaos has something go wrong four times a minute: replicas are started, stopped, killed, cut off and suspended, their
// clocks are set, somebody deletes Leases, and at times the API server is away. There are ten at least, and at most so many.
func (w *world) chaos(atMost int) {
	w.after(15*w.ExpFloat64(), func() {
		if w.calm {
			return
		}
		there := slices.DeleteFunc(slices.Clone(w.replicas), func(r *replica) bool { return r.dead || r.leaving })
		r := there[w.IntN(len(there))]
		switch p := w.IntN(100); {
		case p < 30 || len(there) <= 10:
			if len(there) < atMost {
				w.start()
			}
		case p < 45:
			w.report.killed++
			r.dead = true
		case p < 55:
			w.report.left++
			r.Leave(false)
			w.after(12, func() { r.dead = true })
		case p < 75:
			w.report.cut++
			r.cut = w.now + 40*w.Float64()
		case p < 87:
			w.report.suspended++
			r.suspended = w.now + 40*w.Float64()
		case p < 91:
			w.report.set++
			r.ahead += w.IntN(7200) - 3600
		case p < 95:
			w.report.deleted++
			for range 1 + w.IntN(5) {
				delete(w.leases, fmt.Sprintf("shard-%d", w.IntN(w.shards)))
			}
		default:
			w.report.outages++
			w.away = w.now + 30*w.Float64()
		}
		w.replicas = slices.DeleteFunc(w.replicas, func(r *replica) bool { return r.dead })
		w.chaos(atMost)
	})
}

func TestOfAHundredThousandNodesEachIsProbedAndNoneIsActedOnByTwo(t *testing.T) {
	const seats, shards, nodes, replicas = 20, 64, 100_000, 16
	w := newWorld(seed(t), DefaultTimes, seats, shards, nodes)
	for range replicas {
		w.start()
	}
	w.chaos(replicas)
	const calm = 600
	w.run(calm)
	w.calm = true
	w.run(calm + 240)
	t.Logf("%+v", w.report)
	for _, s := range w.trouble {
		t.Error(s)
	}
	// 15 s is what a probe takes to come round. Both watchers may be lost at once, and their successors too.
	if w.report.unprobed > 120 {
		t.Errorf("for %.0f s nobody probed a node", w.report.unprobed)
	}
	if w.report.killed+w.report.cut+w.report.suspended < 5 || w.report.failures < 100 || w.report.handovers < shards {
		t.Error("hardly anything went wrong")
	}
	if share := float64(w.report.led) / float64(w.report.led+w.report.notLed); share < 0.7 {
		t.Errorf("shards were led for only %.0f %% of the time", 100*share)
	}
	if w.report.unled > 180 {
		t.Errorf("for %.0f s nobody led a shard", w.report.unled)
	}
	w.settled(t)
}

// settled checks that everything is where it belongs, as it is a while after the last trouble.
func (w *world) settled(t *testing.T) {
	t.Helper()
	w.replicas = slices.DeleteFunc(w.replicas, func(r *replica) bool { return r.dead })
	least, most := w.shards, 0
	for _, r := range w.replicas {
		leads := 0
		for shard := range w.shards {
			if _, yes := r.Leads(shard, r.clock(w)); yes {
				leads++
			}
		}
		least, most = min(least, leads), max(most, leads)
	}
	t.Logf("of %d shards each of %d replicas leads %d to %d", w.shards, len(w.replicas), least, most)
	for shard := range w.shards {
		var leaders, watchers int
		for _, r := range w.replicas {
			if _, yes := r.Leads(shard, r.clock(w)); yes {
				leaders++
			}
			if r.Watches(shard) {
				watchers++
			}
		}
		if leaders != 1 || watchers != Watchers {
			t.Errorf("shard %d has %d leaders and %d watchers", shard, leaders, watchers)
		}
	}
}

// The simulation is worth something only if it sees what must not be.
func TestTheSimulationSeesTwoActIfTheTimesLeaveThemRoom(t *testing.T) {
	for what, change := range map[string]func(*Times){
		"who holds the lease believes so for too long": func(t *Times) { t.Renew = t.Lease },
		"others take the lease too early":              func(t *Times) { t.Lease = t.Renew },
	} {
		t.Run(what, func(t *testing.T) {
			times := DefaultTimes
			change(&times)
			w := newWorld(seed(t), times, 10, 32, 300)
			for range 8 {
				w.start()
			}
			w.every(20, func() { // the network is cut for half of the replicas, and comes back
				for _, r := range w.replicas {
					if w.IntN(2) == 0 {
						r.cut = w.now + 19
					}
				}
			})
			w.run(3600)
			if len(w.trouble) == 0 {
				t.Errorf("nobody noticed: %+v", w.report)
			}
		})
	}
}

func TestNeitherClocksThatAreSetNorLeasesThatAreDeletedLetTwoAct(t *testing.T) {
	w := newWorld(seed(t), DefaultTimes, 10, 32, 300)
	for range 8 {
		w.start()
	}
	w.every(20, func() {
		for _, r := range w.replicas {
			switch w.IntN(4) {
			case 0:
				r.ahead += w.IntN(7200) - 3600
			case 1:
				r.cut = w.now + 19
			}
		}
		for range 8 {
			delete(w.leases, fmt.Sprintf("shard-%d", w.IntN(w.shards)))
		}
	})
	w.run(1800)
	for _, s := range w.trouble {
		t.Error(s)
	}
	if w.report.handovers == 0 || w.report.led == 0 {
		t.Errorf("nothing changed hands: %+v", w.report)
	}
}

func TestWhenBothWatchersOfANodeDieOthersProbeItWithinHalfAMinute(t *testing.T) {
	const replicas = 6
	w := newWorld(seed(t), DefaultTimes, replicas, 16, 1600)
	w.calm = true
	for range replicas {
		w.start()
	}
	w.run(300)
	w.settled(t)
	w.report.unprobed = 0
	for _, r := range w.replicas {
		r.dead = r.Watches(0)
	}
	w.run(600)
	// The lease, a look at it, the next one, and the quarter of a minute that a probe takes to come round.
	if limit := DefaultTimes.Lease + 2*DefaultTimes.Look + 15*time.Second; w.report.unprobed > limit.Seconds()+15 {
		t.Errorf("for %.0f s nobody probed a node", w.report.unprobed)
	}
	w.settled(t)
	if len(w.replicas) != replicas-Watchers {
		t.Errorf("%d replicas are left", len(w.replicas))
	}
}

func TestAReplicaThatComesLeadsNothingUntilItHasEvidenceOfItsOwn(t *testing.T) {
	w := newWorld(seed(t), DefaultTimes, 4, 16, 48)
	w.calm = true
	w.start()
	w.run(300)
	newcomer := w.start()
	leads := func() (n int) {
		for shard := range w.shards {
			if _, yes := newcomer.Leads(shard, newcomer.clock(w)); yes {
				n++
			}
		}
		return n
	}
	w.run(410)
	if n := leads(); n > 0 {
		t.Errorf("after less than two minutes it leads %d shards", n)
	}
	for shard := range w.shards {
		if !newcomer.Watches(shard) {
			t.Errorf("it does not watch shard %d", shard)
		}
	}
	w.run(460)
	if n := leads(); n == 0 || n == w.shards {
		t.Errorf("after two minutes and a half it leads %d shards of %d", n, w.shards)
	}
	w.settled(t)
}

// A replica that has just come may take the place of a watcher, but not of one who could act.
func TestWhileAReplicaComesTwoWithEvidenceWatchEachShardAndEitherIsFollowedInTime(t *testing.T) {
	w := newWorld(seed(t), DefaultTimes, 6, 64, 192)
	w.calm = true
	old := []*replica{w.start(), w.start(), w.start()}
	w.run(300)
	w.settled(t)
	w.start()
	for w.now < 400 {
		w.run(w.now + 1)
		for shard := range w.shards {
			watchers := 0
			for _, r := range old {
				if r.Watches(shard) {
					watchers++
				}
			}
			if watchers < Watchers {
				t.Fatalf("at %.0f s shard %d is watched by %d of those who were there before", w.now, shard, watchers)
			}
		}
	}
	old[0].dead = true // and begins anew at once, as a pod does
	w.start()
	w.report.unled = 0
	w.run(440)
	w.lead()
	// The last renewal is seen after Look, and as old after Lease, each at the next turn.
	if d := DefaultTimes; w.report.unled > (d.Lease + 2*d.Look + 4*d.Retry).Seconds() {
		t.Errorf("for %.0f s nobody led a shard", w.report.unled)
	}
	w.run(700)
	w.settled(t)
}

func TestAReplicaThatStopsGivesItsShardsToTheOthersAtOnce(t *testing.T) {
	w := newWorld(seed(t), DefaultTimes, 4, 16, 48)
	w.calm = true
	a, b := w.start(), w.start()
	w.run(300)
	a.Leave(false)
	w.run(312)
	if !a.Left() {
		t.Error("after 12 s it has not given up everything")
	}
	a.dead = true
	w.run(320)
	for shard := range w.shards {
		if _, yes := b.Leads(shard, b.clock(w)); !yes {
			t.Errorf("after 20 s shard %d is nobody's", shard)
		}
	}
}
