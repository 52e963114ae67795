// Package httpapi is the HTTP API and the operators' endpoints (metrics and health), which have a listener of their
// own. GET never changes anything. What changes something is served only where it is known who calls and what they may
// do.
// docs/api.md describes each endpoint, and api/v1/openapi.json too.
package httpapi

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate"
)

// DefaultStaleAfter is for how long a loop's last reconcile counts, where Options say nothing.
const DefaultStaleAfter = time.Minute

// Options is what the endpoints show, and where they get it. Every function must be safe to call at any time. What is
// nil is not served, and without Identity and Access nothing that changes anything is.
type Options struct {
	Snapshots func() []remediate.Snapshot // one for each broker, also before its first reconcile
	Incidents func(context.Context) ([]remediate.Incident, error)
	Metrics   http.Handler // of /metrics

	// Identity says who calls. Then every endpoint but those of health, metrics and the description asks for a token;
	// if it is nil, everybody may read.
	Identity auth.Identity
	Access   auth.Access

	Environments []plan.Environment
	Operations   Operations
	Records      Records
	States       States
	Feed         *Feed  // of the operations that run in this process; nil: they are looked at again and again
	Pulse        *Pulse // for the page; nil: it draws no logins, and asks again and again whether something has changed
	Logs         ServiceLogs
	Pods         Pods
	Nodes        Nodes
	Pauses       Pauses
	Audit        Audit // nil: the log
	Rate         Rate  // of one caller; zero: 10 a second, 40 at once

	// StaleAfter is the age beyond which a loop's last reconcile is called stale, and the daemon not ready.
	StaleAfter time.Duration
	Log        *slog.Logger

	callers, badTokens, badAddresses *limiter
	streams, logStreams              *streams
	auditLimit                       *auditLimiter
}

func (o Options) withDefaults() Options {
	if o.StaleAfter <= 0 {
		o.StaleAfter = DefaultStaleAfter
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Audit == nil {
		o.Audit = LogAudit{o.Log}
	}
	o.callers = newLimiter(o.Rate, defaultRate)
	o.badTokens, o.badAddresses = newLimiter(badToken, badToken), newLimiter(badAddress, badAddress)
	o.auditLimit = newAuditLimiter()
	o.streams, o.logStreams = newStreams(maxStreams, maxStreamsEach), newStreams(maxLogs, maxLogsEach)
	return o
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
	takesKey bool // of idempotency
}

// NewAPI serves the API, and the status page under /status/.
func NewAPI(o Options) http.Handler {
	o = o.withDefaults()
	a := adapter{o.Log}
	all := pageOrAPI(newPages(o), o.mux(o.apiRoutes()))
	if o.Identity == nil {
		all = ownHost(a, all)
	}
	return a.contained(all)
}

// NewOps serves metrics and health.
func NewOps(o Options) http.Handler {
	o = o.withDefaults()
	return adapter{o.Log}.contained(o.mux(o.opsRoutes()))
}

func (o Options) apiRoutes() []Route {
	routes := []Route{
		{Path: "/api/v1/targets", Shows: "every broker with a line for each of its nodes", get: o.targets, answer: reflect.TypeFor[Targets]()},
		{Path: "/api/v1/targets/{target}", Shows: "one broker: its nodes, its deletions, its pauses", get: o.target, answer: reflect.TypeFor[Target]()},
		{Path: "/api/v1/targets/{target}/nodes/{node}", Shows: "one node, explained: what was seen, each guard, what would happen next and when", get: o.node, answer: reflect.TypeFor[Node]()},
		{Path: "/api/v1/incidents", Shows: "every incident that is kept, newest first", get: o.incidents, answer: reflect.TypeFor[Incidents]()},
		{Path: "/api/v1/incidents/{id}", Shows: "one incident with all its evidence", get: o.oneIncident, answer: reflect.TypeFor[remediate.Incident]()},
	}
	if !o.callersMissing() {
		routes = slices.Concat(routes, o.releaseRoutes(), o.podRoutes(), o.nodeRoutes(), o.pauseRoutes())
	}
	routes = append(routes, Route{Path: "/api/v1/openapi.json", Shows: "this API, described by OpenAPI 3.1", open: true})
	for i := range routes {
		routes[i].Method = cmp.Or(routes[i].Method, http.MethodGet)
	}
	described := openAPI(routes)
	routes[len(routes)-1].get = func(*http.Request) (any, error) { return described, nil }
	return routes
}

func (o Options) opsRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: "/metrics", Shows: "Prometheus metrics", raw: o.Metrics, open: true},
		{Method: http.MethodGet, Path: "/healthz", Shows: "200 while the process serves", get: o.healthz, open: true},
		{Method: http.MethodGet, Path: "/readyz", Shows: "200 if each broker's loop has reconciled lately, 503 with the late ones if not", get: o.readyz, open: true},
	}
}

// mux serves routes, a list of them at "/", and a Problem for all the rest.
func (o Options) mux(routes []Route) http.Handler {
	a := adapter{o.Log}
	m := http.NewServeMux()
	index := Route{Method: http.MethodGet, Path: "/{$}", open: true, get: func(*http.Request) (any, error) { return Index{Endpoints: routes}, nil }}
	methods, paths := map[string][]string{}, []string{"/"}
	for _, route := range append([]Route{index}, routes...) {
		m.Handle(route.Method+" "+route.Path, o.handler(a, route))
		if methods[route.Path] == nil && route.Path != index.Path {
			paths = append(paths, route.Path)
		}
		methods[route.Path] = append(methods[route.Path], route.Method)
	}
	for path, answers := range methods {
		m.HandleFunc(path, a.other(answers))
	}
	m.Handle("/", a.get(func(r *http.Request) (any, error) { return nil, o.noPath(r.URL.Path, slices.Clone(paths)) }))
	return m
}

// forCallers are the paths that are served only where callers are known.
var forCallers = regexp.MustCompile(`^/api/v1/(environments|operations|pauses)(/|$)|^/api/v1/targets/.*/(pauses|deletions|probes)$`)

// noPath is the answer to a path that is not served. Where that is for want of callers, whoever asks is told so: what they
// asked for is documented.
func (o Options) noPath(path string, known []string) *Problem {
	p := unknown("path", path, known)
	if o.callersMissing() && forCallers.MatchString(path) {
		p.Detail = fmt.Sprintf("there is no path %q here: this Unstuck knows no callers, so that it changes nothing and shows nothing of "+
			"environments; for these it wants api.tokens_file or api.kubernetes_auth in its configuration", short(path))
	}
	return p
}

// callersMissing says that nobody is known who could ask for a change.
func (o Options) callersMissing() bool { return o.Identity == nil || o.Access == nil }

// handler gives what answers a route.
func (o Options) handler(a adapter, route Route) http.Handler {
	switch {
	case route.change != nil:
		return o.changing(a, route)
	case route.stream != nil:
		return o.signedIn(a, route, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := route.stream(w, r); err != nil {
				a.fail(w, r, err)
			}
		}))
	case route.watched != nil:
		return o.watching(a, route)
	case route.get != nil:
		return o.signedIn(a, route, a.get(route.get))
	case route.raw != nil:
		return route.raw
	}
	return a.get(func(*http.Request) (any, error) { // there are no metrics to show
		return nil, problem(http.StatusNotFound, "%s is not served here", route.Path)
	})
}

// signedIn lets in who has a token, or everybody where nobody is asked.
func (o Options) signedIn(a adapter, route Route, next http.Handler) http.Handler {
	if route.open {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, err := o.authenticate(r)
		if err != nil {
			a.fail(w, r, err)
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
