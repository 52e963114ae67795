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
	MaxAge time.Duration // silence for longer than this is worth a word; 5 min if zero

	// LastLogin gives the time of our own latest good login to a node, or the zero time if there was none. Nil
	// means that we never log in to these nodes: pods of an application, which are judged by age alone.
	LastLogin func(n target.Node) time.Time

	// Tolerance is for how long a line may be on its way to us; 30 s if zero.
	Tolerance time.Duration

	Timeout time.Duration // for reading the log; 10 s if zero
}

// NewLogAge gives a probe that looks how long a log has been silent. That is in the Result whenever there is a log,
// whatever the reason.
//
// The times in a log are of another host's clock, which may be wrong. So what counts is whether the end of the log
// differs from what it was at the look before, and for how long, by our own clock, it has not. A line is no older than
// the last look that did not show it, whatever its time. Until there has been one the log is no older than our own
// watching, so that a silence that began before us is found MaxAge after we began to look.
//
// Silence alone proves nothing about a broker: one that nobody uses writes nothing. But a good login makes it write
// three lines, so our own logins tell which it is:
//
//	the log                             our latest good login                          reason
//	silent for at most MaxAge           any                                            OK
//	silent for longer                   Tolerance after a look that showed this end    LogSilent: lines get lost
//	silent for longer                   before that, or never                          OK; with logins that fail a policy may ask for it
//	the last line is older by its time  any; we have not watched for as long           NotRun: too early to tell
//	no line, the node's age unknown or at most MaxAge  any                             NotRun: too early to tell
//
// In the third row the log keeps what a login would have written, and no login got that far: the log is not at
// fault, and whether the node is must come from the login. A decision that wants the silence as corroboration
// compares LogAge with its own limit.
//
// This presumes that the broker logs connections at level info, its default. Where it does not, leave out this
// probe, or every look says LogSilent.
//
// An application's pods (LastLogin nil) are Silent when their log has not changed for longer than MaxAge.
func NewLogAge(l target.LogReader, o LogAgeOptions) func(ctx context.Context, n target.Node) Result {
	o.MaxAge = cmp.Or(o.MaxAge, 5*time.Minute)
	o.Tolerance = cmp.Or(o.Tolerance, 30*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)

	var watch logWatch
	return func(ctx context.Context, n target.Node) Result {
		r := Result{Target: n.Target, Node: n.Name, UID: n.UID, NodeStarted: n.Started, Kind: LogAge, Started: time.Now()}
		// First the login, then the log: what the login made the broker write is in it by then.
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

// lastLines is how many lines to ask for: more than one, because a line may be the continuation of another and
// carry no time of its own.
const lastLines = 20

// judgeLog fills in what the last lines of n's log mean, given what the looks before showed and our latest good login.
func (r *Result) judgeLog(lines []target.LogLine, seen logSeen, n target.Node, login time.Time, o LogAgeOptions, now time.Time) {
	last, what := newest(lines), "last line"
	if last.IsZero() {
		if n.Started.IsZero() || now.Sub(n.Started) <= o.MaxAge {
			r.Reason, r.Detail = NotRun, "the log holds no line with a time yet"
			return
		}
		last, what = n.Started, "no line since the start"
	}
	told := max(0, now.Sub(last)) // as its own clock says
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

// newest gives the latest time in lines, zero if none has a time.
func newest(lines []target.LogLine) time.Time {
	var last time.Time
	for _, line := range lines {
		if line.At.After(last) {
			last = line.At
		}
	}
	return last
}
