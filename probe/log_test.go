package probe

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type fakeLog struct {
	lastLines func(ctx context.Context, n Node, count int) ([]LogLine, error)
}

func (f fakeLog) LastLines(ctx context.Context, n Node, count int) ([]LogLine, error) {
	return f.lastLines(ctx, n, count)
}

func TestSilenceIsJudgedByOurOwnLogins(t *testing.T) {
	const never = time.Duration(-1 << 62)
	type row struct {
		lines   []time.Duration // how long ago each was written
		login   time.Duration   // how long ago our latest good one was; never: there was none
		other   bool            // another pod than a broker's
		started time.Duration   // how long ago the node was; 0: nobody knows
		want    Reason
		age     time.Duration
		detail  string
	}
	for name, test := range map[string]row{
		"a line just now":                              {lines: []time.Duration{time.Minute, time.Second}, login: time.Second, want: OK, age: time.Second},
		"a line at the limit":                          {lines: []time.Duration{5 * time.Minute}, login: time.Second, want: OK, age: 5 * time.Minute},
		"silence after a good login":                   {lines: []time.Duration{6 * time.Minute}, login: 10 * time.Second, want: LogSilent, age: 6 * time.Minute, detail: "should have been logged"},
		"silence since the last good login":            {lines: []time.Duration{6 * time.Minute}, login: 6 * time.Minute, want: OK, age: 6 * time.Minute, detail: "proves nothing"},
		"silence since soon after it":                  {lines: []time.Duration{6 * time.Minute}, login: 6*time.Minute - 30*time.Second, want: OK, age: 6 * time.Minute},
		"silence since well before it":                 {lines: []time.Duration{6 * time.Minute}, login: 6*time.Minute - 31*time.Second, want: LogSilent, age: 6 * time.Minute},
		"silence, and no login ever succeeded":         {lines: []time.Duration{time.Hour}, login: never, want: OK, age: time.Hour, detail: "proves nothing"},
		"a clock that is ahead":                        {lines: []time.Duration{-time.Hour}, login: time.Second, want: OK, age: 0},
		"a clock that lags a little":                   {lines: []time.Duration{4 * time.Minute}, login: time.Second, want: OK, age: 4 * time.Minute},
		"lines out of order":                           {lines: []time.Duration{time.Hour, time.Second, 2 * time.Hour}, login: time.Second, want: OK, age: time.Second},
		"no line yet, just started":                    {started: time.Minute, login: time.Second, want: NotRun},
		"no line, nobody knows since when":             {login: time.Second, want: NotRun},
		"no line since the start, though we logged in": {started: time.Hour, login: time.Second, want: LogSilent, age: time.Hour, detail: "no line since the start"},
		"no line since the start, and no login":        {started: time.Hour, login: never, want: OK, age: time.Hour},
		"another pod that logs":                        {lines: []time.Duration{time.Minute}, other: true, want: OK, age: time.Minute},
		"another pod that does not":                    {lines: []time.Duration{6 * time.Minute}, other: true, want: Silent, age: 6 * time.Minute, detail: "more than 5m0s"},
		"another pod that never did":                   {started: time.Hour, other: true, want: Silent, age: time.Hour},
		"another pod that just started":                {started: time.Minute, other: true, want: NotRun},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now := time.Now()
				n := someNode
				if test.started > 0 {
					n.Started = now.Add(-test.started)
				}
				log := fakeLog{func(context.Context, Node, int) ([]LogLine, error) {
					lines := []LogLine{{Text: "a line without a time"}}
					for _, ago := range test.lines {
						lines = append(lines, LogLine{At: now.Add(-ago)})
					}
					return lines, nil
				}}
				var o LogAgeOptions
				if !test.other {
					o.LastLogin = func(n Node) time.Time {
						if test.login == never || n.UID != "u1" {
							return time.Time{}
						}
						return now.Add(-test.login)
					}
				}
				r := NewLogAge(log, o)(t.Context(), n)
				if r.Reason != test.want || r.LogAge != test.age || !strings.Contains(r.Detail, test.detail) {
					t.Errorf("%s, %v old (%s), want %s, %v old (%s)", r.Reason, r.LogAge, r.Detail, test.want, test.age, test.detail)
				}
				if r.Kind != LogAge || r.UID != "u1" || r.Broker != "b" || r.Node != "rabbit-1" || !r.Started.Equal(now) {
					t.Errorf("result %+v", r)
				}
			})
		})
	}
}

// A login that ends while the log is being read may not be in it yet.
func TestALoginDuringTheReadIsNotHeldAgainstTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		written, login := time.Now().Add(-time.Hour), time.Time{}
		log := fakeLog{func(context.Context, Node, int) ([]LogLine, error) {
			login = time.Now()
			return []LogLine{{At: written}}, nil
		}}
		r := NewLogAge(log, LogAgeOptions{LastLogin: func(Node) time.Time { return login }})(t.Context(), someNode)
		if r.Reason != OK {
			t.Errorf("%s: %s", r.Reason, r.Detail)
		}
	})
}

func TestALogThatCannotBeReadSaysNothing(t *testing.T) {
	hang := fakeLog{func(ctx context.Context, _ Node, _ int) ([]LogLine, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	broken := fakeLog{func(context.Context, Node, int) ([]LogLine, error) { return nil, errors.New("forbidden") }}
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
