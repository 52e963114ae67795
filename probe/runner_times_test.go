package probe

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/cjworkbench/unstuck/target"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestTimetableTurnsLieOnAGridOfWholePeriods(t *testing.T) {
	for _, period := range []time.Duration{time.Second, 7 * time.Second, 15 * time.Second, time.Hour, 7 * 24 * time.Hour} {
		for _, share := range []float64{0, 0.25, 1.0 / 3, 0.999999} {
			table := timetable{schedule: cron.Every(period), period: period, phase: share}
			for _, at := range []time.Time{noon, noon.Add(time.Nanosecond), noon.Add(12345678901)} {
				slot := table.slotAfter(at)
				if wait := slot.Sub(at); wait <= 0 || wait > period {
					t.Errorf("period %s, phase %v: slot %s after %s", period, share, wait, at)
				}
				if again := table.slotAfter(slot); again.Sub(slot) != period {
					t.Errorf("period %s, phase %v: the next slot %s after the last", period, share, again.Sub(slot))
				}
				if earlier := table.slotAfter(slot.Add(-time.Nanosecond)); !earlier.Equal(slot) {
					t.Errorf("period %s, phase %v: slot at %s, or at %s", period, share, slot, earlier)
				}
			}
		}
	}
}

func TestTimetableFirstLiesOnTheGridForShortPeriodsElseInItsSpan(t *testing.T) {
	at := noon.Add(3 * time.Second)
	every := func(period time.Duration) cron.Schedule { return cron.ConstantDelaySchedule{Delay: period} }
	for _, tt := range []struct {
		probe Probe
		span  time.Duration // the first run lies within it
		grid  bool          // and on the grid
	}{
		{Probe{Schedule: every(5 * time.Second)}, 5 * time.Second, true},
		{Probe{Schedule: every(700 * time.Millisecond)}, 700 * time.Millisecond, true},
		{Probe{Schedule: every(15 * time.Second)}, 15 * time.Second, true},
		{Probe{Schedule: every(time.Minute)}, 15 * time.Second, false},
		{Probe{Schedule: every(time.Minute), First: 2 * time.Minute}, time.Minute, true},
		{Probe{Schedule: every(time.Hour), First: 2 * time.Minute}, 2 * time.Minute, false},
	} {
		for _, name := range []string{"x", "y", "z"} {
			table := newTimetable(&tt.probe, target.Node{Name: name})
			first := table.first(at)
			if wait := first.Sub(at); wait < 0 || wait > tt.span {
				t.Errorf("%+v of %s: first run after %s, want at most %s", tt.probe, name, wait, tt.span)
			}
			if tt.grid && !table.slotAfter(first.Add(-time.Nanosecond)).Equal(first) {
				t.Errorf("%+v of %s: first run at %s, which is not a slot", tt.probe, name, first)
			}
		}
	}
}

func TestTimetableNextSkipsTheTurnRightAfterARunOutOfTurn(t *testing.T) {
	table := timetable{schedule: cron.Every(time.Hour), period: time.Hour, phase: 0.5} // at half past
	for _, tt := range []struct {
		started, ended, want time.Duration // since noon
	}{
		{30 * time.Minute, 30*time.Minute + time.Second, 90 * time.Minute},
		{25 * time.Minute, 26 * time.Minute, 90 * time.Minute},
		{-time.Minute, time.Minute, 30 * time.Minute},
		{-40 * time.Minute, 31 * time.Minute, 90 * time.Minute},
	} {
		if got := table.next(noon.Add(tt.ended), noon.Add(tt.started)).Sub(noon); got != tt.want {
			t.Errorf("run from %s to %s: next at %s, want %s", tt.started, tt.ended, got, tt.want)
		}
	}
}

func TestTimetableTakesCronSpecsInUTCWhereverWeAre(t *testing.T) {
	spec, err := cron.ParseStandard("30 3 * * *")
	if err != nil {
		t.Fatal(err)
	}
	table := timetable{schedule: spec, phase: 0.5}
	here := noon.In(time.FixedZone("elsewhere", 3*3600))
	if got, want := table.next(here, here), noon.Add(15*time.Hour+30*time.Minute+specSpread/2); !got.Equal(want) {
		t.Errorf("next at %s, want %s", got, want)
	}
}

func TestJobStartIsSpreadAnewAndPutOffOnceAfterAStallOfOurs(t *testing.T) {
	p := &Probe{Kind: Login, Schedule: cron.Every(15 * time.Second), Suspect: 5 * time.Second}
	newJob := func() job {
		return job{probe: p, times: timetable{schedule: p.Schedule, period: 15 * time.Second, phase: 0.2}, due: noon}
	}
	punctual := newJob()
	if !punctual.start(noon.Add(tooLate)) {
		t.Error("a start that is not too late was put off")
	}

	late := newJob()
	now := noon.Add(40 * time.Second)
	if late.start(now) || late.due.Sub(now) != 3*time.Second {
		t.Errorf("a start 40 s late is due again at %s, want a fifth of 15 s after %s", late.due, now)
	}
	if now = now.Add(time.Minute); !late.start(now) {
		t.Error("the start was put off twice in a row")
	}
	late.run, late.due = nil, now
	if now = now.Add(time.Minute); late.start(now) {
		t.Error("the next late start was not put off")
	}

	asked := newJob()
	asked.asked = true
	if !asked.start(noon.Add(time.Minute)) {
		t.Error("a run that was asked for was put off")
	}
	suspect := newJob()
	suspect.pace = PaceSuspect
	if !suspect.start(noon.Add(time.Minute)) {
		t.Error("the run of a suspect node was put off")
	}
}

func TestLatenessRemembersLateStartsForAboutAMinute(t *testing.T) {
	var l lateness
	at := noon
	pass := func(d time.Duration) {
		for range d / beatInterval {
			at = at.Add(beatInterval)
			l.beat(at)
		}
	}
	if got := l.worst(at); got != 0 {
		t.Errorf("before anything began: %s late", got)
	}
	l.beat(at)
	l.note(2 * time.Second)
	l.note(time.Second)
	pass(lateWindow - beatInterval)
	if got := l.worst(at); got != 2*time.Second {
		t.Errorf("after 29 s: %s late, want 2s", got)
	}
	pass(2*lateWindow + beatInterval)
	if got := l.worst(at); got != 0 {
		t.Errorf("after another minute: %s late, want 0", got)
	}
	// A stall shows before any late start, and stays.
	at = at.Add(20 * time.Second)
	if got := l.worst(at); got != 19*time.Second {
		t.Errorf("in a stall: %s late, want 19s", got)
	}
	l.beat(at)
	pass(10 * time.Second)
	if got := l.worst(at); got != 19*time.Second {
		t.Errorf("after the stall: %s late, want 19s", got)
	}
}

func TestRunnerIsNotLateIfItGetsToRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runRunner(t, nodesNamed("x", "y"), Probe{Kind: Login, Schedule: cron.Every(15 * time.Second), Run: func(ctx context.Context, n target.Node) Result {
			return taking(20*time.Second)(ctx, n) // longer than the period: that is not lateness
		}})
		time.Sleep(10*time.Minute + 500*time.Millisecond)
		if got := r.Late(); got != 0 {
			t.Errorf("%s late", got)
		}
	})
}
