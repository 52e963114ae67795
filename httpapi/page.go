package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/cjworkbench/unstuck/auth"
)

// PageRoot is where the status page is: what the API knows, and can do, for people.
const PageRoot = "/status"

// pageOrAPI gives the page what is under PageRoot, and a browser that asks for the root; the rest is the API's.
func pageOrAPI(page, api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		browser := r.URL.Path == "/" && reads && strings.Contains(r.Header.Get("Accept"), "text/html")
		if browser || r.URL.Path == PageRoot || strings.HasPrefix(r.URL.Path, PageRoot+"/") {
			page.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	})
}

// WithAccess gives the same API, with the same limits and the same audit, that asks another what callers may do: what
// wrap makes of the one that it has, if it has one.
func (a *API) WithAccess(wrap func(auth.Access) auth.Access) *API {
	g := *a.Gate
	if g.access != nil {
		g.access = wrap(g.access)
	}
	return newAPI(&g, a.makers)
}

// Serves says whether there is an endpoint, which is named by its method and path: "GET /api/v1/targets/{target}".
func (a *API) Serves(name string) bool {
	_, known := a.byName[name]
	return known
}

// TakesKey says whether the change of that name takes an Idempotency-Key.
func (a *API) TakesKey(name string) bool { return a.byName[name].TakesKey }

// Get gives what a GET of that path answers with, if the request's caller may see it. The parts of the path are those
// of the request.
func (a *API) Get(r *http.Request, path string) (any, error) {
	get := a.byName[http.MethodGet+" "+path].Get
	if get == nil {
		return nil, fmt.Errorf("nothing is served at %s", path)
	}
	return get(r)
}

// GetWatched is Get for what the audit is told of. It finds out who calls, and gives the request with that.
func (a *API) GetWatched(r *http.Request, path string) (signed *http.Request, answer any, err error) {
	return a.watch(r, a.byName[http.MethodGet+" "+path])
}

// Change asks for the change of that name, and has the request answered like any other: the same checks, the same
// rights, the same audit. It gives the answer, and where what came of it is. The error is a Problem.
func (a *API) Change(w http.ResponseWriter, r *http.Request, name string) (location string, answer any, err error) {
	done, err := a.perform(w, r, a.byName[name])
	return done.Location, done.Value, err
}

// Allows refuses what the caller may not do to what the request's path names, or what is not there. For an operation
// that is whatever the operation does.
func (a *API) Allows(r *http.Request, action auth.Action) error {
	for _, half := range a.halves {
		if ours, err := half.Allows(r, action); ours {
			return err
		}
	}
	return a.May(r.Context(), action)
}

// MaySeeSomething refuses who may read nothing that there is.
func (a *API) MaySeeSomething(ctx context.Context) error {
	for _, half := range a.halves {
		for _, action := range half.Readable() {
			if ok, err := a.Sees(ctx, action); err != nil || ok {
				return err
			}
		}
	}
	who, _ := CallerOf(ctx)
	return NewProblem(http.StatusForbidden, "%s may read nothing here", who.Name)
}

// Asks says whether callers are asked who they are.
func (g *Gate) Asks() bool { return g.identity != nil }
