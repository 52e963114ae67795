package probe

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// look gives a result for the baselines; at is in minutes.
func look(broker, uid string, kind Kind, reason Reason, at int, p *Processes) Result {
	return Result{
		Target: broker, UID: uid, Kind: kind, Reason: reason, Processes: p,
		Started: time.Date(2026, 11, 23, 0, at, 0, 0, time.UTC),
	}
}

func suspicious(n int) *Processes { return &Processes{Total: 300, Suspicious: n, Baseline: -1} }

func TestBaselinesAreLearntFromNodesThatAreWell(t *testing.T) {
	login := func(uid string, reason Reason) Result { return look("b", uid, Login, reason, 0, nil) }
	sweep := func(uid string, p *Processes) Result { return look("b", uid, MaybeStuck, OK, 0, p) }
	for name, test := range map[string]struct {
		seen []Result
		want int // -1: none
	}{
		"nothing is known at first":                {nil, -1},
		"without a login a look does not count":    {[]Result{sweep("u", suspicious(3))}, -1},
		"after a good login it does":               {[]Result{login("u", OK), sweep("u", suspicious(3))}, 3},
		"also if it finds nothing":                 {[]Result{login("u", OK), sweep("u", suspicious(0))}, 0},
		"after a login that hangs it does not":     {[]Result{login("u", OK), login("u", AwaitTune), sweep("u", suspicious(500))}, -1},
		"after one that was refused neither":       {[]Result{login("u", AccessRefused), sweep("u", suspicious(3))}, -1},
		"nor after a roundtrip that hangs":         {[]Result{login("u", OK), look("b", "u", Roundtrip, AwaitDeclare, 0, nil), sweep("u", suspicious(9))}, -1},
		"nor before the next good one":             {[]Result{login("u", OK), sweep("u", suspicious(2)), login("u", Cancelled), sweep("u", suspicious(9))}, 2},
		"what is cut short does not count":         {[]Result{login("u", OK), sweep("u", &Processes{Suspicious: 3, Truncated: true})}, -1},
		"nor what shows a reader stuck":            {[]Result{login("u", OK), sweep("u", &Processes{Suspicious: 60, StuckReaders: 1})}, -1},
		"nor what shows a channel stuck":           {[]Result{login("u", OK), sweep("u", &Processes{Suspicious: 60, StuckChannels: 1})}, -1},
		"nor what shows one, wherever it waits":    {[]Result{login("u", OK), sweep("u", &Processes{Suspicious: 60, UnknownReaders: 1})}, -1},
		"nor with the metadata locked":             {[]Result{login("u", OK), sweep("u", &Processes{Suspicious: 60, Waiting: Waits{AwaitsMetadata: 1}})}, -1},
		"nor a look that failed":                   {[]Result{login("u", OK), look("b", "u", MaybeStuck, ExecFailed, 0, nil)}, -1},
		"the most of the last looks":               {[]Result{login("u", OK), sweep("u", suspicious(2)), sweep("u", suspicious(7)), sweep("u", suspicious(1))}, 7},
		"what is usual may grow":                   {[]Result{login("u", OK), sweep("u", suspicious(1)), look("b", "u", MaybeStuck, ProcessesStuck, 0, suspicious(60))}, 60},
		"a peer's, while there is no own":          {[]Result{login("v", OK), sweep("v", suspicious(4)), login("w", OK), sweep("w", suspicious(6)), login("u", OK)}, 6},
		"its own rather than a peer's":             {[]Result{login("v", OK), sweep("v", suspicious(4)), login("u", OK), sweep("u", suspicious(1))}, 1},
		"another broker's nodes are no peers":      {[]Result{look("c", "v", Login, OK, 0, nil), look("c", "v", MaybeStuck, OK, 0, suspicious(4)), login("u", OK)}, -1},
		"a node without a UID is no node":          {[]Result{login("", OK), sweep("", suspicious(3)), login("u", OK)}, -1},
		"a vanished node is no peer any more":      {[]Result{login("v", OK), sweep("v", suspicious(4)), login("u", OK), look("b", "u", Login, OK, 25*60, nil)}, -1},
		"one that is heard of stays one":           {[]Result{login("v", OK), sweep("v", suspicious(4)), look("b", "v", Login, OK, 20*60, nil), look("b", "u", Login, OK, 25*60, nil)}, 4},
		"the sixth look pushes the first one out":  {append([]Result{login("u", OK), sweep("u", suspicious(50))}, repeat(sweep("u", suspicious(2)), 5)...), 2},
		"the fifth does not":                       {append([]Result{login("u", OK), sweep("u", suspicious(50))}, repeat(sweep("u", suspicious(2)), 4)...), 50},
		"results from the past change nothing bad": {[]Result{look("b", "u", Login, OK, 60, nil), look("b", "u", MaybeStuck, OK, 0, suspicious(2))}, 2},
	} {
		var b Baselines
		for _, r := range test.seen {
			b.Observe(r)
		}
		n, ok := b.For(Result{UID: "u"})
		if !ok {
			n = -1
		}
		if n != test.want {
			t.Errorf("%s: %d, want %d", name, n, test.want)
		}
	}
}

func repeat(r Result, times int) []Result {
	var all []Result
	for range times {
		all = append(all, r)
	}
	return all
}

func TestBaselinesForgetVanishedNodes(t *testing.T) {
	var b Baselines
	for day := range 30 {
		for i := range 100 {
			b.Observe(look("b", fmt.Sprintf("%d-%d", day, i), Login, OK, day*24*60, nil))
		}
	}
	if n := len(b.nodes); n > 300 {
		t.Errorf("%d nodes are remembered of 100 that are replaced each day", n)
	}
}

func TestBaselinesMayBeUsedByManyAtOnce(t *testing.T) {
	var b Baselines
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			uid := fmt.Sprint(i)
			for n := range 200 {
				b.Observe(look("b", uid, Login, OK, n, nil))
				b.Observe(look("b", uid, MaybeStuck, OK, n, suspicious(i)))
				if got, ok := b.For(Result{UID: uid}); !ok || got != i {
					t.Errorf("node %d: %d, %v", i, got, ok)
					return
				}
			}
		})
	}
	all.Wait()
}
