package stuck

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/probe"
)

// look gives a result for the baselines; at is in minutes.
func look(broker, uid string, kind probe.Kind, reason probe.Reason, at int, p *probe.Processes) probe.Result {
	return probe.Result{
		Target: broker, UID: uid, Kind: kind, Reason: reason, Processes: p,
		Started: time.Date(2026, 11, 23, 0, at, 0, 0, time.UTC),
	}
}

func suspicious(n int) *probe.Processes {
	return &probe.Processes{Total: 300, Suspicious: n, Baseline: -1}
}

func TestBaselinesAreLearntFromNodesThatAreWell(t *testing.T) {
	login := func(uid string, reason probe.Reason) probe.Result { return look("b", uid, probe.Login, reason, 0, nil) }
	sweep := func(uid string, p *probe.Processes) probe.Result {
		return look("b", uid, probe.MaybeStuck, probe.OK, 0, p)
	}
	for name, test := range map[string]struct {
		seen []probe.Result
		want int // -1: none
	}{
		"nothing is known at first":                {nil, -1},
		"without a login a look does not count":    {[]probe.Result{sweep("u", suspicious(3))}, -1},
		"after a good login it does":               {[]probe.Result{login("u", probe.OK), sweep("u", suspicious(3))}, 3},
		"also if it finds nothing":                 {[]probe.Result{login("u", probe.OK), sweep("u", suspicious(0))}, 0},
		"after a login that hangs it does not":     {[]probe.Result{login("u", probe.OK), login("u", probe.AwaitTune), sweep("u", suspicious(500))}, -1},
		"after one that was refused neither":       {[]probe.Result{login("u", probe.AccessRefused), sweep("u", suspicious(3))}, -1},
		"nor after a roundtrip that hangs":         {[]probe.Result{login("u", probe.OK), look("b", "u", probe.Roundtrip, probe.AwaitDeclare, 0, nil), sweep("u", suspicious(9))}, -1},
		"nor before the next good one":             {[]probe.Result{login("u", probe.OK), sweep("u", suspicious(2)), login("u", probe.Cancelled), sweep("u", suspicious(9))}, 2},
		"what is cut short does not count":         {[]probe.Result{login("u", probe.OK), sweep("u", &probe.Processes{Suspicious: 3, Truncated: true})}, -1},
		"nor what shows a reader stuck":            {[]probe.Result{login("u", probe.OK), sweep("u", &probe.Processes{Suspicious: 60, StuckReaders: 1})}, -1},
		"nor what shows a channel stuck":           {[]probe.Result{login("u", probe.OK), sweep("u", &probe.Processes{Suspicious: 60, StuckChannels: 1})}, -1},
		"nor what shows one, wherever it waits":    {[]probe.Result{login("u", probe.OK), sweep("u", &probe.Processes{Suspicious: 60, UnknownReaders: 1})}, -1},
		"nor with the metadata locked":             {[]probe.Result{login("u", probe.OK), sweep("u", &probe.Processes{Suspicious: 60, Waiting: probe.Waits{probe.AwaitsMetadata: 1}})}, -1},
		"nor a look that failed":                   {[]probe.Result{login("u", probe.OK), look("b", "u", probe.MaybeStuck, probe.ExecFailed, 0, nil)}, -1},
		"the most of the last looks":               {[]probe.Result{login("u", probe.OK), sweep("u", suspicious(2)), sweep("u", suspicious(7)), sweep("u", suspicious(1))}, 7},
		"what is usual may grow":                   {[]probe.Result{login("u", probe.OK), sweep("u", suspicious(1)), look("b", "u", probe.MaybeStuck, probe.ProcessesStuck, 0, suspicious(60))}, 60},
		"a peer's, while there is no own":          {[]probe.Result{login("v", probe.OK), sweep("v", suspicious(4)), login("w", probe.OK), sweep("w", suspicious(6)), login("u", probe.OK)}, 6},
		"its own rather than a peer's":             {[]probe.Result{login("v", probe.OK), sweep("v", suspicious(4)), login("u", probe.OK), sweep("u", suspicious(1))}, 1},
		"another broker's nodes are no peers":      {[]probe.Result{look("c", "v", probe.Login, probe.OK, 0, nil), look("c", "v", probe.MaybeStuck, probe.OK, 0, suspicious(4)), login("u", probe.OK)}, -1},
		"a node without a UID is no node":          {[]probe.Result{login("", probe.OK), sweep("", suspicious(3)), login("u", probe.OK)}, -1},
		"a vanished node is no peer any more":      {[]probe.Result{login("v", probe.OK), sweep("v", suspicious(4)), login("u", probe.OK), look("b", "u", probe.Login, probe.OK, 25*60, nil)}, -1},
		"one that is heard of stays one":           {[]probe.Result{login("v", probe.OK), sweep("v", suspicious(4)), look("b", "v", probe.Login, probe.OK, 20*60, nil), look("b", "u", probe.Login, probe.OK, 25*60, nil)}, 4},
		"the sixth look pushes the first one out":  {append([]probe.Result{login("u", probe.OK), sweep("u", suspicious(50))}, repeat(sweep("u", suspicious(2)), 5)...), 2},
		"the fifth does not":                       {append([]probe.Result{login("u", probe.OK), sweep("u", suspicious(50))}, repeat(sweep("u", suspicious(2)), 4)...), 50},
		"results from the past change nothing bad": {[]probe.Result{look("b", "u", probe.Login, probe.OK, 60, nil), look("b", "u", probe.MaybeStuck, probe.OK, 0, suspicious(2))}, 2},
	} {
		var b Baselines
		for _, r := range test.seen {
			b.Observe(r)
		}
		n, ok := b.For(probe.Result{UID: "u"})
		if !ok {
			n = -1
		}
		if n != test.want {
			t.Errorf("%s: %d, want %d", name, n, test.want)
		}
	}
}

func repeat(r probe.Result, times int) []probe.Result {
	var all []probe.Result
	for range times {
		all = append(all, r)
	}
	return all
}

func TestBaselinesForgetVanishedNodes(t *testing.T) {
	var b Baselines
	for day := range 30 {
		for i := range 100 {
			b.Observe(look("b", fmt.Sprintf("%d-%d", day, i), probe.Login, probe.OK, day*24*60, nil))
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
				b.Observe(look("b", uid, probe.Login, probe.OK, n, nil))
				b.Observe(look("b", uid, probe.MaybeStuck, probe.OK, n, suspicious(i)))
				if got, ok := b.For(probe.Result{UID: uid}); !ok || got != i {
					t.Errorf("node %d: %d, %v", i, got, ok)
					return
				}
			}
		})
	}
	all.Wait()
}
