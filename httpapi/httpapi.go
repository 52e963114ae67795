// Package httpapi is the HTTP API and the operators' endpoints (metrics and health), which have a listener of their
// own. GET never changes anything. What changes something is served only where it is known who calls and what they may
// do.
// docs/api.md describes each endpoint, and api/v1/openapi.json too.
package httpapi

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sync/singleflight"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/trigger"
)

// Options is what the server needs beside the halves that it serves. Every function must be safe to call at any time.
// Without Identity and Access nothing is served that changes anything, nor anything of environments.
type Options struct {
	// Identity says who calls. Then every endpoint but those of health, metrics and the description asks for a token;
	// if it is nil, everybody may read.
	Identity auth.Identity
	Access   auth.Access
	Audit    Audit        // nil: the log
	Rate     Rate         // of one caller; zero: 10 a second, 40 at once
	Proxies  Proxies      // that say from where a request comes; none: it comes from the other end of its connection
	Log      *slog.Logger // nil: there is none
}

// Half is one half of what is served: that of package brokers, or that of package environments. They know nothing of
// each other.
type Half interface {
	// Routes are its endpoints.
	Routes() []Route
	// Enums are the types of text with a closed list that its bodies and answers have, for the description.
	Enums() map[reflect.Type][]string
	// Allows refuses what the caller may not do to what the request's path names, or what is not there. Where the path
	// names nothing of this half, ours is false.
	Allows(r *http.Request, action auth.Action) (ours bool, err error)
	// Readable are the things that somebody may be able to read.
	Readable() []auth.Action
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
	lookups                          *Slots              // of the tokens of strangers, by address
	questions                        *Slots              // about what callers may do, by caller
	admitting                        *singleflight.Group // those that are under way, by address and token
	callers, badTokens, badAddresses *limiter
	auditLimit                       *auditLimiter
	operationStreams, pageStreams    *streams
}

func newGate(o Options) *Gate {
	log := cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	g := &Gate{
		adapter: adapter{log}, identity: o.Identity, access: o.Access, audit: o.Audit, proxies: o.Proxies,
		known: newKnownTokens(), lookups: NewSlots(maxLookups, maxLookupsEach), admitting: new(singleflight.Group),
		questions: NewSlots(maxQuestions, maxQuestionsEach),
		callers:   newLimiter(o.Rate, defaultRate),
		badTokens: newLimiter(badToken, badToken), badAddresses: newLimiter(badAddress, badAddress),
		auditLimit: newAuditLimiter(), operationStreams: newStreams(), pageStreams: newStreams(),
	}
	if g.audit == nil {
		g.audit = LogAudit{log}
	}
	return g
}

// API is the whole API: its halves behind one gate.
type API struct {
	*Gate

	makers []func(*Gate) Half
	halves []Half // what the makers have made, behind this gate
	routes []Route
	byName map[string]Route // the same, by method and path
}

// New makes the API of what brokers.Half and environments.Half give.
func New(o Options, halves ...func(*Gate) Half) *API { return newAPI(newGate(o), halves) }

func newAPI(g *Gate, makers []func(*Gate) Half) *API {
	a := &API{Gate: g, makers: makers, byName: make(map[string]Route)}
	for _, made := range makers {
		a.halves = append(a.halves, made(g))
	}
	a.routes = a.makeRoutes()
	for _, r := range a.routes {
		a.byName[r.Method+" "+r.Path] = r
	}
	return a
}

// HalfOf gives the half of that type; false: it is not served.
func HalfOf[H Half](a *API) (half H, ok bool) {
	for _, one := range a.halves {
		if half, ok = one.(H); ok {
			return half, true
		}
	}
	return half, false
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

func (a *API) makeRoutes() (routes []Route) {
	closed := make(enums)
	maps.Copy(closed, ownEnums)
	for _, half := range a.halves {
		routes = append(routes, half.Routes()...)
		maps.Copy(closed, half.Enums())
	}
	routes = append(routes, Route{Path: "/api/v1/openapi.json", Shows: "this API, described by OpenAPI 3.1", Open: true})
	for i := range routes {
		routes[i].Method = cmp.Or(routes[i].Method, http.MethodGet)
	}
	described := openAPI(routes, closed)
	routes[len(routes)-1].Get = func(*http.Request) (any, error) { return described, nil }
	return routes
}

// mux serves routes, a list of them at "/", and a Problem for all the rest.
func (g *Gate) mux(routes []Route) http.Handler {
	m := http.NewServeMux()
	index := Route{Method: http.MethodGet, Path: "/{$}", Open: true, Get: func(*http.Request) (any, error) {
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
	p := Unknown("path", path, known)
	if g.CallersMissing() && forCallers.MatchString(path) {
		p.Detail = fmt.Sprintf("there is no path %q here: this Unstuck knows no callers, so that it changes nothing and "+
			"shows nothing of "+
			"environments; for these it wants api.tokens_file or api.kubernetes_auth in its configuration", Short(path))
	}
	return p
}

// CallersMissing says that nobody is known who could ask for a change.
func (g *Gate) CallersMissing() bool { return g.identity == nil || g.access == nil }
