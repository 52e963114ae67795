package httpapi

import (
	"cmp"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/cjworkbench/unstuck/trigger"
)

// Route is one endpoint, as "/" lists it and docs/api.md describes it.
type Route struct {
	Method string `json:"method"` // "": GET
	Path   string `json:"path"`   // in the notation of http.ServeMux
	Shows  string `json:"shows"`  // what it answers with

	// Exactly one of these:
	Get     Endpoint     `json:"-"`
	Change  Change       `json:"-"`
	Stream  Stream       `json:"-"`
	Watched Watched      `json:"-"`
	Raw     http.Handler `json:"-"`

	Open     bool         `json:"-"` // nobody needs to say who they are
	Status   int          `json:"-"` // of a good answer, if not 200
	Body     reflect.Type `json:"-"` // of a change
	Answer   reflect.Type `json:"-"` // nil: an object
	Dry      reflect.Type `json:"-"` // the answer to a dry run; nil: as any other
	Query    []Param      `json:"-"`
	TakesKey bool         `json:"-"` // of idempotency: others take one too, and need none
}

// Triggered is the route of a trigger.
func Triggered(t trigger.Trigger, c Change, answer reflect.Type) Route {
	return Route{
		Method: t.Method, Path: t.Path, Shows: t.Does, Change: c, Status: t.Status, Body: t.Body, Answer: answer,
		TakesKey: t.TakesKey,
	}
}

// handler gives what answers a route.
func (g *Gate) handler(route Route) http.Handler {
	switch {
	case route.Change != nil:
		return g.changing(route)
	case route.Stream != nil:
		return g.signedIn(route, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := route.Stream(w, r); err != nil {
				g.Fail(w, r, err)
			}
		}))
	case route.Watched != nil:
		return g.watching(route)
	case route.Get != nil:
		return g.signedIn(route, g.get(route.Get))
	case route.Raw != nil:
		return route.Raw
	}
	return g.get(func(*http.Request) (any, error) { // there are no metrics to show
		return nil, NewProblem(http.StatusNotFound, "%s is not served here", route.Path)
	})
}

// signedIn lets in who has a token, or everybody where nobody is asked.
func (g *Gate) signedIn(route Route, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var err error
		if !route.Open {
			r, err = g.Authenticate(r)
		}
		if err == nil {
			err = route.check(r)
		}
		if err != nil {
			g.Fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Index is the answer to "/".
type Index struct {
	Endpoints []Route `json:"endpoints"`
}

// allowed lists what a path answers: HEAD with GET, and OPTIONS always.
func allowed(methods []string) string {
	all := append(slices.Clone(methods), http.MethodOptions)
	if slices.Contains(methods, http.MethodGet) {
		all = append(all, http.MethodHead)
	}
	order := []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete, http.MethodOptions}
	slices.SortFunc(all, func(a, b string) int { return cmp.Compare(slices.Index(order, a), slices.Index(order, b)) })
	return strings.Join(all, ", ")
}
