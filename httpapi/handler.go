package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

// Endpoint answers one GET. What it returns is written as JSON, and an error as a Problem.
type Endpoint func(*http.Request) (any, error)

// Problem is an error as a client sees it, in the format of RFC 9457 (application/problem+json).
type Problem struct {
	Title  string `json:"title"`  // the words for the status
	Status int    `json:"status"` // of HTTP
	Detail string `json:"detail"` // what was wrong, and what would be right

	Known []string `json:"known,omitempty"` // the names that would have been right, if not too many
	Late  []string `json:"late,omitempty"`  // readyz: the brokers whose loops have not reconciled

	Code    Code                `json:"code,omitempty"`    // why an operation is refused, from a closed list
	Hint    string              `json:"hint,omitempty"`    // what would be right
	Crossed []plan.Crossing     `json:"crossed,omitempty"` // what it would go back across
	Closed  []decide.GuardState `json:"closed,omitempty"`  // the guards that hold a deletion back

	RetryAfter int `json:"retry_after,omitempty"` // after how many seconds it is worth another try
}

func (p *Problem) Error() string { return p.Detail }

// NewProblem makes one of a status, and of what is to be said.
func NewProblem(status int, format string, args ...any) *Problem {
	return &Problem{Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

// MaxKnown bounds how many names a Problem lists: there may be thousands of nodes.
const MaxKnown = 50

// NamedInDetail is how many names the detail of a Problem has at most. Of more it has none: a single one would read as
// if that were meant, and it may be production.
const NamedInDetail = 7

// Refused is the Problem of a change that is not made.
func Refused(status int, code Code, why, want string) *Problem {
	p := NewProblem(status, "%s", why)
	p.Code, p.Hint = code, want
	if want != "" {
		p.Detail += "; " + want
	}
	return p
}

// Unknown is the Problem of a name that is not among the known ones.
func Unknown(what, name string, known []string) *Problem {
	return UnknownAs(http.StatusNotFound, what, name, known)
}

// UnknownAs is the same with another status than 404.
func UnknownAs(status int, what, name string, known []string) *Problem {
	p := NewProblem(status, "there is no %s %q", what, Short(name))
	if len(known) == 0 {
		p.Detail += ": there is none at all yet"
		return p
	}
	slices.Sort(known)
	p.Known = known[:min(len(known), MaxKnown)]
	switch {
	case len(known) == 1:
		p.Detail += fmt.Sprintf(": only %q is known", known[0])
	case len(known) <= NamedInDetail:
		p.Detail += ": known are " + strings.Join(known, ", ")
	default:
		p.Detail += fmt.Sprintf(": %d others are known", len(known))
	}
	return p
}

// Short bounds text that a client sent before it is repeated to that client or to the log.
func Short(text string) string { return Cut(text, 100) }

// Cut makes text valid, takes out what looks like a token, and cuts what is longer than limit bytes.
func Cut(text string, limit int) string {
	text = Masked(text) // before it is cut: half a token does not look like one
	if len(text) <= limit {
		return strings.ToValidUTF8(text, "?")
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return strings.ToValidUTF8(text[:limit], "?") + "..."
}

// adapter turns endpoints into handlers. It is the only place where answers and errors are written.
type adapter struct {
	Log *slog.Logger // for what clients are not told; never nil
}

// get answers GET and HEAD with what e returns.
func (a adapter) get(e Endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := e(r)
		if err != nil {
			a.Fail(w, r, err)
			return
		}
		linkNext(w, r, v)
		a.Write(w, r, http.StatusOK, "application/json", v)
	})
}

// other answers the methods that a path does not have.
func (a adapter) other(methods []string) http.HandlerFunc {
	allowed := allowed(methods)
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allowed)
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		a.Fail(w, r, NewProblem(http.StatusMethodNotAllowed, "%s answers %s", Short(r.URL.Path), allowed))
	}
}

// Fail writes err.
func (a adapter) Fail(w http.ResponseWriter, r *http.Request, err error) {
	p := a.ProblemOf(r, err)
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="unstuck"`)
	}
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	a.Write(w, r, p.Status, "application/problem+json", p)
}

// ProblemOf gives what a client sees of err. A Problem is for the client; anything else is for our log, and the client
// learns only that it happened.
func (a adapter) ProblemOf(r *http.Request, err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		safe := *p // it may repeat what the client sent
		safe.Detail, safe.Hint = Masked(p.Detail), Masked(p.Hint)
		return &safe
	}
	a.LogFailure(r, err)
	return NewProblem(http.StatusInternalServerError, "an error of ours: the log says which")
}

// LogFailure logs what clients are not told of an error.
func (a adapter) LogFailure(r *http.Request, err error) {
	a.Log.Error("request failed", "method", Short(r.Method), "path", Short(r.URL.Path), "request_id",
		RequestIDOf(r.Context()), "error", err)
}

// Write writes v as one line of JSON, or as several if the query has "pretty". Nothing is sent before all is encoded,
// so that a client never gets half an answer with a good status.
func (a adapter) Write(w http.ResponseWriter, r *http.Request, status int, contentType string, v any) {
	body, err := encode(v, r.URL.Query().Has("pretty"))
	if err != nil {
		a.Log.Error("answer not encoded", "path", Short(r.URL.Path), "error", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	if _, err := w.Write(body); err != nil {
		a.Log.Debug("client went away", "path", Short(r.URL.Path), "error", err)
	}
}

func encode(v any, pretty bool) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	if pretty {
		enc.SetIndent("", "  ")
	}
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return buf.Bytes(), nil
}

// OrEmpty makes an empty list be written as [] and not as null.
func OrEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// contained sets the headers that every answer has, contains panics, and writes the access log.
func (a adapter) contained(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		id := requestID(r)
		h.Set("X-Request-Id", id)
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, id))
		seen := &seenWriter{ResponseWriter: w}
		started := time.Now()
		defer func() { a.accessed(r, seen, time.Since(started)) }()
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			err := fmt.Errorf("handler panicked: %v\n%s", cause, debug.Stack())
			if seen.status == 0 {
				a.Fail(seen, r, err)
				return
			}
			a.LogFailure(r, err)
			panic(http.ErrAbortHandler) //nolint:forbidigo // how net/http wants an answer cut off that has begun
		}()
		next.ServeHTTP(seen, r)
	})
}

func (a adapter) accessed(r *http.Request, seen *seenWriter, took time.Duration) {
	if a.Log.Enabled(r.Context(), slog.LevelDebug) {
		a.Log.Debug("request", "method", Short(r.Method), "path", Short(r.URL.Path), "from", r.RemoteAddr,
			"request_id", RequestIDOf(r.Context()), "status", seen.status, "bytes", seen.bytes, "took_seconds", took.Seconds())
	}
}

// seenWriter remembers what was answered.
type seenWriter struct {
	http.ResponseWriter

	status int // 0: nothing yet
	bytes  int64
}

func (w *seenWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *seenWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the real writer.
func (w *seenWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
