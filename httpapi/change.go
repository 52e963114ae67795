package httpapi

import (
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"regexp"
	"time"
)

// Change answers one request that changes something. It notes in the audit event what is known of it.
type Change func(w http.ResponseWriter, r *http.Request, a *AuditEvent) (Reply, error)

// Reply is a good answer to a change.
type Reply struct {
	Status   int
	Location string // of what came of it; "": nowhere
	Value    any
}

// changeTimeout bounds a change. Releases plan and take locks for up to a minute.
const changeTimeout = 70 * time.Second

// changing answers a route that changes something.
func (g *Gate) changing(route Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := g.perform(w, r, route)
		if err != nil {
			g.Fail(w, r, err)
			return
		}
		if answer.Location != "" {
			w.Header().Set("Location", answer.Location)
		}
		g.Write(w, r, answer.Status, "application/json", answer.Value)
	})
}

// perform does what a route that changes something does: it finds out whether a browser was lured here and who calls,
// and tells the audit whatever comes of it. The error is a Problem.
func (g *Gate) perform(w http.ResponseWriter, r *http.Request, route Route) (Reply, error) {
	a := AuditEventOf(r)
	// What is begun is brought to its end, and into the audit, even if the client does not wait for it.
	ctx, stop := context.WithTimeout(context.WithoutCancel(r.Context()), changeTimeout)
	defer stop()
	r = r.WithContext(ctx)
	// a test's writer has none
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(changeTimeout + writeTimeout))
	defer func() {
		if a.Status == 0 { // it panicked
			a.Status, a.Refused = http.StatusInternalServerError, "an error of ours"
		}
		g.Record(ctx, r, a)
	}()
	answer, err := g.try(w, r, route, http.NewCrossOriginProtection(), &a)
	if err != nil {
		p := g.ProblemOf(r, err)
		a.Status, a.Refused = p.Status, p.Detail
		return Reply{}, p
	}
	a.Status = answer.Status
	return answer, nil
}

// AuditEventOf is what is known of a request before anything has come of it.
func AuditEventOf(r *http.Request) AuditEvent {
	return AuditEvent{
		At: time.Now(), RequestID: RequestIDOf(r.Context()), From: fromOf(r), Client: Short(r.UserAgent()),
		Method: r.Method, Path: Short(r.URL.Path),
		Environment: Short(r.PathValue("env")), Target: Short(r.PathValue("target")),
	}
}

func (g *Gate) try(w http.ResponseWriter, r *http.Request, route Route, origins *http.CrossOriginProtection,
	a *AuditEvent,
) (Reply, error) {
	if err := origins.Check(r); err != nil {
		return Reply{}, NewProblem(http.StatusForbidden, "a page of another origin may not change anything here")
	}
	r, err := g.Authenticate(r)
	if r != nil {
		who, _ := CallerOf(r.Context())
		a.By, a.Authority = who.Name, who.Authority
	}
	if err != nil {
		return Reply{}, err
	}
	if err := route.check(r); err != nil {
		return Reply{}, err
	}
	if key := r.Header.Values("Idempotency-Key"); len(key) > 1 || (len(key) == 1 && !idempotencyKey.MatchString(key[0])) {
		return Reply{}, NewProblem(http.StatusBadRequest, "the Idempotency-Key is not 1 to 200 printable ASCII characters")
	}
	return route.Change(w, r, a)
}

var (
	idempotencyKey = regexp.MustCompile(`^[\x21-\x7e][\x20-\x7e]{0,199}$`)
	goodRequestID  = regexp.MustCompile(`^[A-Za-z0-9._:/+=@-]{1,128}$`)
)

type requestKey struct{}

// requestID takes the request's ID from the client, if it is one that can stand in a log, or makes one.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); goodRequestID.MatchString(id) && !hasToken(id) {
		return id
	}
	return rand.Text()
}

// RequestIDOf gives the ID of a request that is being answered.
func RequestIDOf(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// fromOf gives the address that a request came from; see Proxies for those that come by one.
func fromOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return Short(r.RemoteAddr)
	}
	return host
}
