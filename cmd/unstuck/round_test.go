package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/probe"
)

// told remembers what was reported.
type told struct {
	lines []string
	err   error
}

func (d *told) report(t endpoint, r probe.Result) error {
	d.lines = append(d.lines, fmt.Sprintf("%s %s", t.address, r.Reason))
	return d.err
}

// after gives a probe that answers after d, or is cancelled before.
func after(d time.Duration, reason probe.Reason) func(context.Context) probe.Result {
	return func(ctx context.Context) probe.Result {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return probe.Result{Reason: reason}
		case <-ctx.Done():
			return probe.Result{Reason: probe.Cancelled}
		}
	}
}

func TestRoundProbesTargetsTogetherAndReportsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := round{
			targets: []endpoint{{address: "a"}, {address: "b"}, {address: "c"}},
			probes: []func(context.Context) probe.Result{
				after(3*time.Second, probe.OK), after(time.Second, probe.AwaitTune), after(2*time.Second, probe.Refused),
			},
		}
		var out told
		started := time.Now()
		worst, err := r.repeat(t.Context(), &out)
		if worst != probe.Stuck || err != nil {
			t.Errorf("worst %s, %v", worst, err)
		}
		if took := time.Since(started); took != 3*time.Second {
			t.Errorf("it took %s, want that of the slowest", took)
		}
		if got := strings.Join(out.lines, ", "); got != "a ok, b await_tune, c refused" {
			t.Errorf("reported %s", got)
		}
	})
}

func TestRoundProbesThousandsOfTargetsAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r round
		for range 3*maxAtOnce - 1 {
			r.targets = append(r.targets, endpoint{})
			r.probes = append(r.probes, after(time.Second, probe.OK))
		}
		var out told
		started := time.Now()
		if _, err := r.repeat(t.Context(), &out); err != nil || len(out.lines) != len(r.targets) {
			t.Errorf("%d reported, %v", len(out.lines), err)
		}
		if took := time.Since(started); took != 3*time.Second {
			t.Errorf("it took %s, want 3s: three lots of at most %d", took, maxAtOnce)
		}
	})
}

func TestRoundRepeatGivesTheLastWholeRoundWhenInterrupted(t *testing.T) {
	for name, c := range map[string]struct {
		takes, stop time.Duration
		lines       int
		want        probe.Status
	}{
		"between two rounds":          {time.Second, 25 * time.Second, 3, probe.Stuck},
		"in the middle of a round":    {time.Second, 20*time.Second + time.Second/2, 2, probe.Stuck},
		"in the middle of the first":  {time.Second, time.Second / 2, 0, probe.Unknown},
		"rounds longer than interval": {12 * time.Second, 37 * time.Second, 3, probe.Stuck},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), c.stop)
				defer cancel()
				r := round{
					targets: []endpoint{{address: "a"}}, interval: 10 * time.Second,
					probes: []func(context.Context) probe.Result{after(c.takes, probe.AwaitTune)},
				}
				var out told
				started := time.Now()
				worst, err := r.repeat(ctx, &out)
				if worst != c.want || err != nil || len(out.lines) != c.lines {
					t.Errorf("worst %s, %v, reported %v; want %s and %d lines", worst, err, out.lines, c.want, c.lines)
				}
				if took := time.Since(started); took != c.stop {
					t.Errorf("it ended after %s, want at once after %s", took, c.stop)
				}
			})
		})
	}
}

func TestRoundReportsASingleRoundThatIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := round{targets: []endpoint{{address: "a"}}, probes: []func(context.Context) probe.Result{after(time.Minute, probe.OK)}}
		var out told
		worst, err := r.repeat(ctx, &out)
		if worst != probe.Unknown || err != nil || strings.Join(out.lines, "") != "a cancelled" {
			t.Errorf("worst %s, %v, reported %v", worst, err, out.lines)
		}
	})
}

func TestRoundStopsTheProbesWhenNothingCanBePrinted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := round{
			targets: []endpoint{{}, {}}, interval: time.Minute,
			probes: []func(context.Context) probe.Result{after(time.Second, probe.OK), after(time.Hour, probe.OK)},
		}
		broken := errors.New("broken pipe")
		started := time.Now()
		if _, err := r.repeat(t.Context(), &told{err: broken}); !errors.Is(err, broken) {
			t.Errorf("error %v, want %v", err, broken)
		}
		if took := time.Since(started); took != time.Second {
			t.Errorf("it went on for %s", took)
		}
	})
}

func TestExitCodeIsThatOfTheWorstStatus(t *testing.T) {
	for _, c := range []struct {
		statuses []probe.Status
		want     int
	}{
		{nil, 0},
		{[]probe.Status{probe.Healthy}, 0},
		{[]probe.Status{probe.Healthy, probe.Unknown}, 3},
		{[]probe.Status{probe.Unknown, probe.Faulty, probe.Healthy}, 1},
		{[]probe.Status{probe.Faulty, probe.Stuck, probe.Unknown}, 2},
	} {
		worst := probe.Healthy
		for _, s := range c.statuses {
			worst = probe.Worse(worst, s)
		}
		if got := exitCode(worst); got != c.want {
			t.Errorf("%v: exit code %d, want %d", c.statuses, got, c.want)
		}
	}
	for _, s := range probe.Statuses() {
		if probe.Worse(s, s) != s {
			t.Errorf("%s has no weight", s)
		}
	}
}
