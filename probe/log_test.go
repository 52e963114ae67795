package probe

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/target"
)

var someNode = target.Node{Target: "b", Name: "rabbit-1", UID: "u1"}

type fakeLog struct {
	lastLines func(ctx context.Context, n target.Node, count int) ([]target.LogLine, error)
}

func (f fakeLog) LastLines(ctx context.Context, n target.Node, count int) ([]target.LogLine, error) {
	return f.lastLines(ctx, n, count)
}

// writtenLog is a log whose lines were written at these times, and carry the times of a clock that is late by this
// much.
type writtenLog struct {
	late    time.Duration
	written []time.Time
	forever time.Duration // if more than 0, there has been one line every so often, always
}

func (l writtenLog) LastLines(_ context.Context, _ target.Node, count int) ([]target.LogLine, error) {
	var lines []target.LogLine
	for _, at := range l.written {
		if !at.After(time.Now()) {
			lines = append(lines, target.LogLine{At: at.Add(-l.late), Text: "GET /healthz"})
		}
	}
	if l.forever > 0 {
		lines = append(lines, target.LogLine{At: time.Now().Truncate(l.forever).Add(-l.late), Text: "GET /healthz"})
	}
	return lines[max(0, len(lines)-count):], nil
}

func TestLogAgeJudgesSilenceByOurOwnLogins(t *testing.T) {
	const never = time.Duration(-1 << 62)
	type row struct {
		lines   []time.Duration // how long ago each was written
		late    time.Duration   // by how much the clock is that they are written by
		login   time.Duration   // how long ago our latest good one was; never: there was none
		other   bool            // another pod than a broker's
		started time.Duration   // how long ago the node was; 0: nobody knows
		watched time.Duration   // for how long we have been looking, every 30 s; 0: an hour
		want    Reason
		age     time.Duration
		detail  string
	}
	const hour, minute, second = time.Hour, time.Minute, time.Second
	ago := func(ages ...time.Duration) []time.Duration { return ages }
	for name, test := range map[string]row{
		"a line just now":                              {lines: ago(minute, second), login: second, want: OK, age: second},
		"a line at the limit":                          {lines: ago(5 * minute), login: second, want: OK, age: 5 * minute},
		"silence after a good login":                   {lines: ago(6 * minute), login: 10 * second, want: LogSilent, age: 6 * minute, detail: "should have been logged"},
		"silence since the last good login":            {lines: ago(6 * minute), login: 6 * minute, want: OK, age: 6 * minute, detail: "proves nothing"},
		"silence since soon after it":                  {lines: ago(6 * minute), login: 6*minute - 30*second, want: OK, age: 6 * minute},
		"silence since well before it":                 {lines: ago(6 * minute), login: 6*minute - 31*second, want: LogSilent, age: 6 * minute},
		"silence, and no login ever succeeded":         {lines: ago(hour), login: never, want: OK, age: hour, detail: "proves nothing"},
		"a clock that is ahead":                        {lines: ago(second), late: -hour, login: second, want: OK},
		"silence by a clock that is ahead":             {lines: ago(10 * minute), late: -hour, login: second, want: LogSilent, age: 10 * minute},
		"a clock that is late":                         {lines: ago(second), late: hour, login: second, want: OK, age: 30 * second},
		"a clock that is late, and no good login":      {lines: ago(6 * minute), late: hour, login: 6 * minute, want: OK, age: 6*minute + 30*second, detail: "proves nothing"},
		"a clock that is late, at the first look":      {lines: ago(second), late: hour, login: second, watched: second, want: NotRun, detail: "too early to tell"},
		"lines out of order":                           {lines: ago(hour, 2*hour, second), login: second, want: OK, age: second},
		"silence, at the first look":                   {lines: ago(6 * minute), login: 10 * second, watched: second, want: NotRun, detail: "too early to tell"},
		"silence since before we looked":               {lines: ago(hour), login: 10 * second, watched: 6 * minute, want: LogSilent, age: 6 * minute},
		"no line yet, just started":                    {started: minute, login: second, want: NotRun},
		"no line, nobody knows since when":             {login: second, want: NotRun},
		"no line since the start, though we logged in": {started: hour, login: second, want: LogSilent, age: hour, detail: "no line since the start"},
		"no line since the start, and no login":        {started: hour, login: never, want: OK, age: hour},
		"another pod that logs":                        {lines: ago(minute), other: true, want: OK, age: minute},
		"another pod that does not":                    {lines: ago(6 * minute), other: true, want: Silent, age: 6 * minute, detail: "more than 5m0s"},
		"another pod, at the first look":               {lines: ago(6 * minute), other: true, watched: second, want: NotRun, detail: "too early to tell"},
		"another pod that is silent for longer":        {lines: ago(hour), other: true, watched: 5 * minute, want: NotRun, age: 5 * minute},
		"another pod that we have watched for long":    {lines: ago(hour), other: true, watched: 6 * minute, want: Silent, age: 6 * minute},
		"another pod, silent, with a clock ahead":      {lines: ago(6 * minute), late: -hour, other: true, want: Silent, age: 6 * minute},
		"another pod that never did":                   {started: hour, other: true, want: Silent, age: hour},
		"another pod that just started":                {started: minute, other: true, want: NotRun},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const every = 30 * time.Second
				watched := cmp.Or(test.watched, time.Hour)
				now := time.Now().Add(watched)
				n := someNode
				if test.started > 0 {
					n.Started = now.Add(-test.started)
				}
				log := writtenLog{late: test.late}
				for _, ago := range test.lines {
					log.written = append(log.written, now.Add(-ago))
				}
				var o LogAgeOptions
				if !test.other {
					o.LastLogin = func(n target.Node) time.Time {
						if test.login == never || n.UID != "u1" {
							return time.Time{}
						}
						return now.Add(-test.login)
					}
				}
				run := NewLogAge(log, o)
				for left := watched; left > 0 && watched >= every; left -= every {
					run(t.Context(), n)
					time.Sleep(every)
				}
				time.Sleep(time.Until(now))
				r := run(t.Context(), n)
				if r.Reason != test.want || r.LogAge != test.age || !strings.Contains(r.Detail, test.detail) {
					t.Errorf("%s, %v old (%s), want %s, %v old (%s)", r.Reason, r.LogAge, r.Detail, test.want, test.age, test.detail)
				}
				if r.Kind != LogAge || r.UID != "u1" || r.Target != "b" || r.Node != "rabbit-1" || !r.Started.Equal(now) {
					t.Errorf("result %+v", r)
				}
			})
		})
	}
}

func TestLogAgeCallsNoLogThatGetsOnSilentWhateverTheClockSays(t *testing.T) {
	for name, log := range map[string]writtenLog{
		"a line each second, three minutes late":  {late: 3 * time.Minute, forever: time.Second},
		"a line every 45 s, three minutes late":   {late: 3 * time.Minute, forever: 45 * time.Second},
		"a line every two minutes, a day late":    {late: 24 * time.Hour, forever: 2 * time.Minute},
		"a line every two minutes, an hour ahead": {late: -time.Hour, forever: 2 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			run := NewLogAge(log, LogAgeOptions{MaxAge: 2 * time.Minute})
			n := target.Node{Started: time.Now().Add(-time.Hour)}
			for range 100 {
				if r := run(t.Context(), n); r.Reason == Silent {
					t.Fatalf("%s: %s", name, r.Detail)
				}
				time.Sleep(30 * time.Second)
			}
		})
	}
}

func TestLogWatchKeepsALogForEachContainerStartAndForgetsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w logWatch
		lines := []target.LogLine{{At: time.Now(), Text: "the same"}}
		n := target.Node{Name: "x", UID: "u", Started: time.Now()}
		w.look(n, lines, time.Now())
		time.Sleep(time.Minute)
		if seen := w.look(n, lines, time.Now()); time.Since(seen.since) != time.Minute || seen.moved {
			t.Errorf("the same log: %+v", seen)
		}
		again := n
		again.Started = time.Now()
		if seen := w.look(again, lines, time.Now()); time.Since(seen.since) != 0 {
			t.Errorf("another start: %+v", seen)
		}
		for i := range 1000 {
			n.UID = strconv.Itoa(i)
			w.look(n, lines, time.Now())
			time.Sleep(time.Minute)
		}
		if most := 2 * int(forgetLogAfter/time.Minute); len(w.logs) > most+2 {
			t.Errorf("%d logs are remembered, of which all but 120 have not been looked at for two hours", len(w.logs))
		}
	})
}

// A login that ends during the read of the log may not be in the log yet.
func TestLogAgeDoesNotHoldALoginDuringTheReadAgainstTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		written, login := time.Now().Add(-time.Hour), time.Time{}
		log := fakeLog{func(context.Context, target.Node, int) ([]target.LogLine, error) {
			login = time.Now()
			return []target.LogLine{{At: written}}, nil
		}}
		asked := func(target.Node) time.Time { return login }
		run := NewLogAge(log, LogAgeOptions{LastLogin: asked})
		run(t.Context(), someNode)
		login = time.Time{}
		time.Sleep(time.Hour)
		r := run(t.Context(), someNode)
		if r.Reason != OK {
			t.Errorf("%s: %s", r.Reason, r.Detail)
		}
	})
}

func TestLogAgeSaysNothingIfTheLogCannotBeRead(t *testing.T) {
	hang := fakeLog{func(ctx context.Context, _ target.Node, _ int) ([]target.LogLine, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	broken := fakeLog{func(context.Context, target.Node, int) ([]target.LogLine, error) { return nil, errors.New("forbidden") }}
	for name, test := range map[string]struct {
		log    fakeLog
		stop   time.Duration
		want   Reason
		detail string
		took   time.Duration
	}{
		"it is forbidden":   {broken, time.Hour, ExecFailed, "read the log: forbidden", 0},
		"it never answers":  {hang, time.Hour, ExecFailed, "no answer within 10s", 10 * time.Second},
		"we are told to go": {hang, 2 * time.Second, Cancelled, "stopped", 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), test.stop)
				defer cancel()
				r := NewLogAge(test.log, LogAgeOptions{})(ctx, someNode)
				if r.Reason != test.want || r.Status() != Unknown || !strings.Contains(r.Detail, test.detail) || r.Took != test.took {
					t.Errorf("%s after %v: %s", r.Reason, r.Took, r.Detail)
				}
			})
		})
	}
}
