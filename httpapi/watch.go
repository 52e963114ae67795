package httpapi

import (
	"context"
	"net/http"
)

// Watched answers a GET that the audit is told of. It notes in the audit event what is known of it.
type Watched func(r *http.Request, a *AuditEvent) (any, error)

// watching answers a route of which the audit is told.
func (g *Gate) watching(route Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, seen, err := g.watch(r, route)
		if err != nil {
			g.Fail(w, r, err)
			return
		}
		g.Write(w, r, http.StatusOK, "application/json", seen)
	})
}

// watch finds out who calls, gives what they see and the request with them in its context, and tells the audit whatever
// comes of it. The error is a Problem.
func (g *Gate) watch(r *http.Request, route Route) (signed *http.Request, seen any, err error) {
	a := AuditEventOf(r)
	defer func() {
		if a.Status == 0 { // it panicked
			a.Status, a.Refused = http.StatusInternalServerError, "an error of ours"
		}
		g.Record(context.WithoutCancel(r.Context()), r, a)
	}()
	signed, err = g.Authenticate(r)
	who, _ := CallerOf(signed.Context())
	a.By, a.Authority = who.Name, who.Authority
	if err == nil {
		err = route.check(signed)
	}
	if err == nil {
		seen, err = route.Watched(signed, &a)
	}
	if err != nil {
		p := g.ProblemOf(r, err)
		a.Status, a.Refused = p.Status, p.Detail
		return signed, nil, p
	}
	a.Status = http.StatusOK
	return signed, seen, nil
}
