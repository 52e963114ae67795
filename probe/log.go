package probe

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// LogAgeOptions are the settings of NewLogAge.
type LogAgeOptions struct {
	MaxAge time.Duration // silence for longer than this is worth a word; 5 min if zero

	// LastLogin gives the time of our own latest good login to a node, or the zero time if there was none. Nil
	// means that we never log in to these nodes: pods of an application, which are judged by age alone.
	LastLogin func(n Node) time.Time

	// Tolerance is by how much the node's clock, and the way of its lines to us, may lag behind; 30 s if zero.
	Tolerance time.Duration

	Timeout time.Duration // for reading the log; 10 s if zero
}

// NewLogAge gives a probe that looks at the age of a log's last line. The age is in the Result whenever there is
// one, whatever the reason.
//
// Silence alone proves nothing about a broker: one that nobody uses writes nothing. But a good login makes it write
// three lines, so our own logins tell which it is:
//
//	last line                                   our latest good login      reason
//	at most MaxAge old                          any                        OK
//	older than MaxAge                           after it, by > Tolerance   LogSilent: lines get lost
//	older than MaxAge                           before it, or never        OK; with logins that fail it corroborates
//	none, the node younger than MaxAge          any                        NotRun: too early to tell
//	none, the node older than MaxAge            as if the last line had been written when the node started
//
// In the third row the log keeps what a login would have written, and no login got that far: the log is not at
// fault, and whether the node is must come from the login. A decision that wants the silence as corroboration
// compares LogAge with its own limit.
//
// This presumes that the broker logs connections at level info, its default. Where it does not, leave out this
// probe, or every look says LogSilent.
//
// An application's pods (LastLogin nil) are Silent when the last line, or without any their start, is older than MaxAge.
// A line from the future counts as just written, and a clock that lags by less than MaxAge does no harm.
func NewLogAge(l LogReader, o LogAgeOptions) func(ctx context.Context, n Node) Result {
	o.MaxAge = cmp.Or(o.MaxAge, 5*time.Minute)
	o.Tolerance = cmp.Or(o.Tolerance, 30*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)

	return func(ctx context.Context, n Node) Result {
		r := Result{Broker: n.Broker, Node: n.Name, UID: n.UID, Kind: LogAge, Started: time.Now()}
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
			r.judgeLog(lines, n, login, o, now)
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

// judgeLog fills in what the last lines of n's log mean, given our latest good login to it.
func (r *Result) judgeLog(lines []LogLine, n Node, login time.Time, o LogAgeOptions, now time.Time) {
	last, what := newest(lines), "last line"
	if last.IsZero() {
		if n.Started.IsZero() || now.Sub(n.Started) <= o.MaxAge {
			r.Reason, r.Detail = NotRun, "the log holds no line with a time yet"
			return
		}
		last, what = n.Started, "no line since the start"
	}
	r.LogAge = max(0, now.Sub(last))
	age := r.LogAge.Round(time.Second)
	silent := r.LogAge > o.MaxAge
	switch {
	case !silent:
		r.Reason, r.Detail = OK, fmt.Sprintf("%s %v ago", what, age)
	case o.LastLogin == nil:
		r.Reason, r.Detail = Silent, fmt.Sprintf("%s %v ago, more than %v", what, age, o.MaxAge)
	case login.After(last.Add(o.Tolerance)):
		r.Reason = LogSilent
		r.Detail = fmt.Sprintf("%s %v ago, but our login %v ago succeeded and should have been logged",
			what, age, max(0, now.Sub(login)).Round(time.Second))
	default:
		r.Reason = OK
		r.Detail = fmt.Sprintf("%s %v ago, and no good login of ours since: proves nothing by itself", what, age)
	}
}

// newest gives the latest time in lines, zero if none has a time.
func newest(lines []LogLine) time.Time {
	var last time.Time
	for _, line := range lines {
		if line.At.After(last) {
			last = line.At
		}
	}
	return last
}
