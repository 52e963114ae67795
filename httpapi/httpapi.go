// Package httpapi is the HTTP API and the operators' endpoints (metrics and health), which have a listener of their
// own. GET never changes anything. What changes something is served only where it is known who calls and what they may
// do.
// docs/api.md describes each endpoint, and api/v1/openapi.json too.
package httpapi

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sync/singleflight"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/trigger"
)

// Options is what the server needs, and the values of the two halves that it serves. Every function must be safe to
// call at any time. Without Identity and Access nothing is served that changes anything, nor anything of environments.
type Options struct {
	Brokers  Brokers
	Releases *Releases // nil: nothing is known of environments

	// Identity says who calls. Then every endpoint but those of health, metrics and the description asks for a token;
	// if it is nil, everybody may read.
	Identity auth.Identity
	Access   auth.Access
	Audit    Audit        // nil: the log
	Rate     Rate         // of one caller; zero: 10 a second, 40 at once
	Proxies  Proxies      // that say from where a request comes; none: it comes from the other end of its connection
	Log      *slog.Logger // nil: there is none
}

// Gate is what each request passes: it finds out who calls, what they may do and whether they ask too often, and tells
// the audit.
type Gate struct {
	adapter

	identity auth.Identity
	access   auth.Access
	audit    Audit
	proxies  Proxies

	known                            *knownTokens
	lookups                          *slots              // of the tokens of strangers, by address
	questions                        *slots              // about what callers may do, by caller
	admitting                        *singleflight.Group // those that are under way, by address and token
	callers, badTokens, badAddresses *limiter
	auditLimit                       *auditLimiter
	operationStreams, pageStreams    *streams
}

func newGate(o Options) *Gate {
	log := cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	g := &Gate{
		adapter: adapter{log}, identity: o.Identity, access: o.Access, audit: o.Audit, proxies: o.Proxies,
		known: newKnownTokens(), lookups: newSlots(maxLookups, maxLookupsEach), admitting: new(singleflight.Group),
		questions: newSlots(maxQuestions, maxQuestionsEach),
		callers:   newLimiter(o.Rate, defaultRate),
		badTokens: newLimiter(badToken, badToken), badAddresses: newLimiter(badAddress, badAddress),
		auditLimit: newAuditLimiter(), operationStreams: newStreams(), pageStreams: newStreams(),
	}
	if g.audit == nil {
		g.audit = LogAudit{log}
	}
	return g
}

// Route is one endpoint, as "/" lists it and docs/api.md describes it.
type Route struct {
	Method string `json:"method"`
	Path   string `json:"path"`  // in the notation of http.ServeMux
	Shows  string `json:"shows"` // what it answers with

	// Exactly one of these:
	get     endpoint
	change  change
	stream  stream
	watched watched
	raw     http.Handler

	open     bool         // nobody needs to say who they are
	status   int          // of a good answer, if not 200
	body     reflect.Type // of a change
	answer   reflect.Type // nil: an object
	query    []param
	takesKey bool // of idempotency: others take one too, and need none
}

// triggered is the route of a trigger.
func triggered(t trigger.Trigger, c change, answer reflect.Type) Route {
	return Route{
		Method: t.Method, Path: t.Path, Shows: t.Does, change: c, status: t.Status, body: t.Body, answer: answer,
		takesKey: t.TakesKey,
	}
}

// API is the whole API: the two halves behind one gate.
type API struct {
	*Gate

	brokers  *brokerAPI
	releases *releaseAPI // nil: there is none, or nobody is known who could use it
	routes   []Route
	byName   map[string]Route // the same, by method and path
}

// New makes the API.
func New(o Options) *API {
	g := newGate(o)
	var releases *releaseAPI
	if o.Releases != nil && !g.callersMissing() {
		releases = newReleaseAPI(g, *o.Releases)
	}
	return newAPI(g, newBrokerAPI(g, o.Brokers), releases)
}

func newAPI(g *Gate, brokers *brokerAPI, releases *releaseAPI) *API {
	a := &API{Gate: g, brokers: brokers, releases: releases, byName: make(map[string]Route)}
	a.routes = a.makeRoutes()
	for _, r := range a.routes {
		a.byName[r.Method+" "+r.Path] = r
	}
	return a
}

// Handler serves the API and, under PageRoot, the status page; nil: there is none.
func (a *API) Handler(page http.Handler) http.Handler {
	all := a.mux(a.routes)
	if page != nil {
		all = pageOrAPI(page, all)
	}
	if a.identity == nil {
		all = ownHost(a.adapter, all)
	}
	return a.proxies.behind(a.contained(all))
}

// NewOps serves health and metrics, which is the handler of these; nil: there are none.
func NewOps(b Brokers, metrics http.Handler, log *slog.Logger) http.Handler {
	g := newGate(Options{Log: log})
	return g.contained(g.mux(newBrokerAPI(g, b).opsRoutes(metrics)))
}

func (a *API) makeRoutes() []Route {
	routes := a.brokers.readRoutes()
	if a.releases != nil {
		routes = slices.Concat(routes, a.releases.routes())
	}
	if !a.callersMissing() {
		routes = slices.Concat(routes, a.brokers.nodeRoutes(), a.brokers.pauseRoutes())
	}
	routes = append(routes, Route{Path: "/api/v1/openapi.json", Shows: "this API, described by OpenAPI 3.1", open: true})
	for i := range routes {
		routes[i].Method = cmp.Or(routes[i].Method, http.MethodGet)
	}
	described := openAPI(routes)
	routes[len(routes)-1].get = func(*http.Request) (any, error) { return described, nil }
	return routes
}

// mux serves routes, a list of them at "/", and a Problem for all the rest.
func (g *Gate) mux(routes []Route) http.Handler {
	m := http.NewServeMux()
	index := Route{Method: http.MethodGet, Path: "/{$}", open: true, get: func(*http.Request) (any, error) {
		return Index{Endpoints: routes}, nil
	}}
	methods, paths := map[string][]string{}, []string{"/"}
	for _, route := range append([]Route{index}, routes...) {
		m.Handle(route.Method+" "+route.Path, g.handler(route))
		if methods[route.Path] == nil && route.Path != index.Path {
			paths = append(paths, route.Path)
		}
		methods[route.Path] = append(methods[route.Path], route.Method)
	}
	for path, answers := range methods {
		m.HandleFunc(path, g.other(answers))
	}
	m.Handle("/", g.get(func(r *http.Request) (any, error) { return nil, g.noPath(r.URL.Path, slices.Clone(paths)) }))
	return m
}

// forCallers are the paths that are served only where callers are known: all of environments, and every trigger.
var forCallers = func() *regexp.Regexp {
	paths := []string{`/api/v1/(environments|operations|pauses)(/.*)?`}
	for _, t := range trigger.All() {
		paths = append(paths, trigger.FillIn(t.Path, func(string) string { return `[^/]+` }))
	}
	return regexp.MustCompile("^(" + strings.Join(paths, "|") + ")$")
}()

// noPath is the answer to a path that is not served. Where that is for want of callers, they are told so: what they
// asked for is documented.
func (g *Gate) noPath(path string, known []string) *Problem {
	p := unknown("path", path, known)
	if g.callersMissing() && forCallers.MatchString(path) {
		p.Detail = fmt.Sprintf("there is no path %q here: this Unstuck knows no callers, so that it changes nothing and "+
			"shows nothing of "+
			"environments; for these it wants api.tokens_file or api.kubernetes_auth in its configuration", Short(path))
	}
	return p
}

// callersMissing says that nobody is known who could ask for a change.
func (g *Gate) callersMissing() bool { return g.identity == nil || g.access == nil }

// handler gives what answers a route.
func (g *Gate) handler(route Route) http.Handler {
	switch {
	case route.change != nil:
		return g.changing(route)
	case route.stream != nil:
		return g.signedIn(route, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := route.stream(w, r); err != nil {
				g.Fail(w, r, err)
			}
		}))
	case route.watched != nil:
		return g.watching(route)
	case route.get != nil:
		return g.signedIn(route, g.get(route.get))
	case route.raw != nil:
		return route.raw
	}
	return g.get(func(*http.Request) (any, error) { // there are no metrics to show
		return nil, NewProblem(http.StatusNotFound, "%s is not served here", route.Path)
	})
}

// signedIn lets in who has a token, or everybody where nobody is asked.
func (g *Gate) signedIn(route Route, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var err error
		if !route.open {
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
