package probe

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/cjworkbench/unstuck/target"
)

// LogAgeOptions are the settings of NewLogAge.
type LogAgeOptions struct {
	MaxAge time.Duration // a longer silence is reported; 5 min if zero

	// LastLogin gives the time of our own latest good login to a node, or the zero time if there was none. Nil
	// means that we never log in to these nodes: they are pods of an application, and only their log counts.
	LastLogin func(n target.Node) time.Time

	// Tolerance is how long a line may take to reach us; 30 s if zero.
	Tolerance time.Duration

	Timeout time.Duration // for reading the log; 10 s if zero
}

// NewLogAge gives a probe that measures how long a log has been silent. If there is a log, the Result has its age,
// whatever the reason.
//
// The times in a log come from another host's clock, which may be wrong. So the probe compares the end of the log
// with the end at the look before, and measures by our own clock for how long it has not changed. A line is no
// older than the last look that did not show it, whatever its time. Before there is such a look, the log is no
// older than our own watching. So the probe finds a silence that began before our first look MaxAge after that
// look.
//
// Silence alone proves nothing about a broker: an idle broker writes nothing. But a good login makes a broker write
// three lines, so our own logins tell the two apart:
//
//	the log                                  our latest good login                        reason
//	silent for at most MaxAge                any                                          OK
//	silent for longer                        Tolerance after a look that showed this end  LogSilent: lines get lost
//	silent for longer                        before that, or never                        OK; a policy may ask for it
//	its last line is older, by its own time  any, and we have not watched for as long     NotRun: too early to tell
//	no line, the node at most MaxAge old     any                                          NotRun: too early to tell
//	no line, the node's age unknown          any                                          NotRun: too early to tell
//
// In the third row no login came far enough to write a line, so the log is not at fault. Whether the node is at
// fault, the login must tell. A decision that wants the silence as corroboration compares LogAge with its own
// limit.
//
// The probe presumes that the broker logs connections at level info, its default. If the broker does not, leave out
// this probe: every look would say LogSilent.
//
// An application's pods (LastLogin nil) are Silent if their log has not changed for longer than MaxAge.
func NewLogAge(l target.LogReader, o LogAgeOptions) func(ctx context.Context, n target.Node) Result {
	o.MaxAge = cmp.Or(o.MaxAge, 5*time.Minute)
	o.Tolerance = cmp.Or(o.Tolerance, 30*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)

	var watch logWatch
	return func(ctx context.Context, n target.Node) Result {
		r := Result{Target: n.Target, Node: n.Name, UID: n.UID, NodeStarted: n.Started, Kind: LogAge, Started: time.Now()}
		// First the login, then the log: by then the log has the lines that the login made the broker write.
		var login time.Time
		if o.LastLogin != nil {
			login = o.LastLogin(n)
		}
		readCtx, cancel := context.WithTimeout(ctx, o.Timeout)
		defer cancel()
		lines, err := l.LastLines(readCtx, n, lastLines)
		now := time.Now()
		r.Took = now.Sub(r.Started)
		switch {
		case err == nil:
			r.judgeLog(lines, watch.look(n, lines, now), n, login, o, now)
		case ctx.Err() != nil:
			r.Reason, r.Detail = Cancelled, "stopped before the log had been read"
		case readCtx.Err() != nil:
			r.Reason, r.Detail = ExecFailed, fmt.Sprintf("no answer within %v when reading the log", o.Timeout)
		default:
			r.Reason, r.Detail = ExecFailed, fmt.Sprintf("read the log: %v", err)
		}
		return r
	}
}

// lastLines is how many lines the probe reads: more than one, because a line may continue another and carry no time
// of its own.
const lastLines = 20

// judgeLog fills in what the last lines of n's log mean, given the earlier looks and our latest good login.
func (r *Result) judgeLog(lines []target.LogLine, seen logSeen, n target.Node, login time.Time, o LogAgeOptions,
	now time.Time,
) {
	last, what := newest(lines), "last line"
	if last.IsZero() {
		if n.Started.IsZero() || now.Sub(n.Started) <= o.MaxAge {
			r.Reason, r.Detail = NotRun, "the log holds no line with a time yet"
			return
		}
		last, what = n.Started, "no line since the start"
	}
	told := max(0, now.Sub(last)) // by the log's own clock
	quiet := now.Sub(seen.since)
	r.LogAge = max(quiet, min(told, now.Sub(seen.before)))
	age := r.LogAge.Round(time.Second)
	silent := r.LogAge > o.MaxAge
	switch {
	case o.LastLogin == nil && quiet > o.MaxAge:
		r.Reason, r.Detail = Silent, fmt.Sprintf("no new line for %v, more than %v", quiet.Round(time.Second), o.MaxAge)
	case !silent && !seen.moved && told > o.MaxAge:
		r.Reason = NotRun
		r.Detail = fmt.Sprintf("%s %v ago by its own clock, which may be late, and we have watched for %v: too early to tell",
			what, told.Round(time.Second), quiet.Round(time.Second))
	case !silent || o.LastLogin == nil:
		r.Reason, r.Detail = OK, fmt.Sprintf("%s %v ago", what, age)
	case login.After(seen.since.Add(o.Tolerance)):
		r.Reason = LogSilent
		r.Detail = fmt.Sprintf("%s %v ago, but our login %v ago succeeded and should have been logged",
			what, age, max(0, now.Sub(login)).Round(time.Second))
	default:
		r.Reason = OK
		r.Detail = fmt.Sprintf("%s %v ago, and no good login of ours since we saw it: proves nothing by itself", what, age)
	}
}

// newest gives the latest time in lines, and zero if no line has a time.
func newest(lines []target.LogLine) time.Time {
	var last time.Time
	for _, line := range lines {
		if line.At.After(last) {
			last = line.At
		}
	}
	return last
}
