package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
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
	var releases *releaseAPI
	if a.releases != nil {
		releases = a.releases.behind(&g)
	}
	return newAPI(&g, newBrokerAPI(&g, a.brokers.Brokers), releases)
}

// Serves says whether there is an endpoint, which is named by its method and path: "GET /api/v1/targets/{target}".
func (a *API) Serves(name string) bool {
	_, known := a.byName[name]
	return known
}

// TakesKey says whether the change of that name takes an Idempotency-Key.
func (a *API) TakesKey(name string) bool { return a.byName[name].takesKey }

// Get gives what a GET of that path answers with, if the request's caller may see it. The parts of the path are those
// of the request.
func (a *API) Get(r *http.Request, path string) (any, error) {
	get := a.byName[http.MethodGet+" "+path].get
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
	return done.location, done.value, err
}

// LastLines gives what reads the last lines of the service's log that the query asks for, and says whether it asks to
// go on. The error is that the caller may not read them.
func (a *API) LastLines(r *http.Request) (read func() (all release.ServiceLog, follows bool, err error), err error) {
	env, err := a.releases.serviceTo(auth.Logs, r, &AuditEvent{}, "")
	if err != nil {
		return nil, err
	}
	return func() (all release.ServiceLog, follows bool, err error) {
		if err := checkQuery(r, logParams, false); err != nil {
			return all, false, err
		}
		q, follows, err := logQueryOf(r, time.Now())
		if err != nil {
			return all, false, err
		}
		done, err := a.releases.openLog(r)
		if err != nil {
			return all, false, err
		}
		defer done()
		all, err = a.releases.readLog(r, env, q)
		return all, follows, err
	}, nil
}

// Environments are those of which releases are served; none: nothing is known of environments.
func (a *API) Environments() []plan.Environment {
	if a.releases == nil {
		return nil
	}
	return a.releases.Environments
}

// Allows refuses what the caller may not do to what the request's path names, or what is not there. For an operation
// that is whatever the operation does.
func (a *API) Allows(r *http.Request, action auth.Action) error {
	switch {
	case a.releases != nil && r.PathValue("id") != "":
		op, err := a.releases.load(r)
		if err != nil {
			return err
		}
		return a.May(r.Context(), actionOf(op))
	case a.releases != nil && r.PathValue("env") != "":
		env, err := a.releases.findEnvironment(r)
		if err != nil {
			return err
		}
		action.Environment = env.Name
		return a.releases.mayThere(r.Context(), env, action)
	case r.PathValue("node") != "":
		_, err := a.brokers.findNode(r, action.Verb, &AuditEvent{})
		return err
	case r.PathValue("target") != "":
		s, err := a.brokers.find(r)
		if err != nil {
			return err
		}
		action.Target = s.Target
	}
	return a.May(r.Context(), action)
}

// MaySeeSomething refuses who may read nothing that there is.
func (a *API) MaySeeSomething(ctx context.Context) error {
	var actions []auth.Action
	for _, s := range a.brokers.snapshots() {
		actions = append(actions, auth.Action{Target: s.Target})
	}
	for _, env := range a.Environments() {
		actions = append(actions, auth.Action{Environment: env.Name})
	}
	for _, action := range actions {
		if ok, err := a.Sees(ctx, action); err != nil || ok {
			return err
		}
	}
	who, _ := CallerOf(ctx)
	return NewProblem(http.StatusForbidden, "%s may read nothing here", who.Name)
}

// Asks says whether callers are asked who they are.
func (g *Gate) Asks() bool { return g.identity != nil }
