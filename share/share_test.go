package share

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func TestBrokersAreSpreadEvenlyOverTheShards(t *testing.T) {
	const shards, brokers = 64, 64_000
	count := make([]int, shards)
	for i := range brokers {
		count[ShardOf(fmt.Sprintf("rabbitmq-%d", i), shards)]++
	}
	if least, most := slices.Min(count), slices.Max(count); least < 850 || most > 1150 {
		t.Errorf("of %d brokers the shards have %d to %d", brokers, least, most)
	}
}

// Replicas of other versions must put each broker into the same shard, or two would act upon it.
func TestTheShardOfABrokerIsTheSameForEver(t *testing.T) {
	for broker, want := range map[string]int{"": 48, "rabbitmq": 47, "rabbitmq-production": 51, "größe": 4} {
		if got := ShardOf(broker, 64); got != want {
			t.Errorf("%q: %d, want %d", broker, got, want)
		}
	}
	if got, want := fmt.Sprint(Rank(0, upTo(8)), Rank(1, upTo(8))), "[1 4 2 5 3 7 0 6] [1 6 4 3 2 5 0 7]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestASeatThatComesOrGoesMovesItsOwnShardsAndNoOther(t *testing.T) {
	const shards = 256
	for seats := 2; seats < 20; seats++ {
		all := upTo(seats)
		moved := 0
		for shard := range shards {
			before, after := Rank(shard, all[:seats-1]), Rank(shard, all)
			if without := slices.DeleteFunc(slices.Clone(after), func(s int) bool { return s == seats-1 }); !slices.Equal(without, before) {
				t.Fatalf("shard %d: %v without the last seat, %v with it", shard, before, after)
			}
			if after[0] != before[0] {
				moved++
			}
		}
		if fair := shards / seats; moved < fair/3 || moved > 2*fair {
			t.Errorf("the seat number %d takes %d shards, and %d would be fair", seats, moved, fair)
		}
	}
}

func TestTheOrderOfTheSeatsDoesNotMatter(t *testing.T) {
	backwards := upTo(16)
	slices.Reverse(backwards)
	given := slices.Clone(backwards)
	for shard := range 100 {
		if a, b := Rank(shard, upTo(16)), Rank(shard, backwards); !slices.Equal(a, b) {
			t.Errorf("shard %d: %v and %v", shard, a, b)
		}
	}
	if !slices.Equal(given, backwards) {
		t.Error("it changes what it was given")
	}
}

// The argument of claim.go: what is begun by the holder has ended before another can hold the Lease, on clocks of which one
// runs 3 % faster.
func TestTheTimesLeaveAMarginForClocksThatDoNotRunEquallyFast(t *testing.T) {
	d := DefaultTimes
	if d.Renew >= d.Lease-d.Call {
		t.Errorf("it may act for %s after a renewal, and that takes up to %s: others take the lease after %s", d.Renew, d.Call, d.Lease)
	}
	if slow := 1.03 * float64(d.Renew+d.Call); slow >= float64(d.Lease) {
		t.Errorf("by a clock 3 %% faster than the holder's that is %s", time.Duration(slow))
	}
	if d.Renew < 4*d.Retry || d.Call >= d.Renew {
		t.Error("a call that fails would cost the lease")
	}
}
