// Package web is the HTTP API and the operators' endpoints (metrics and health), which have a listener of their own.
// It only reads: no request changes anything. docs/api.md describes each endpoint.
package web

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/cjworkbench/unstuck/remediate"
)

// DefaultStaleAfter is for how long a loop's last turn counts, where Options say nothing.
const DefaultStaleAfter = time.Minute

// Options is what the endpoints show, and where they get it. Every function must be safe to call at any time.
type Options struct {
	Snapshots func() []remediate.Snapshot // one for each broker, also before its first turn
	Cases     func(context.Context) ([]remediate.Case, error)
	Metrics   http.Handler // of /metrics

	// StaleAfter is the age beyond which a loop's last turn is called stale, and the daemon not ready.
	StaleAfter time.Duration
	Log        *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.StaleAfter <= 0 {
		o.StaleAfter = DefaultStaleAfter
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Route is one endpoint, as "/" lists it and docs/api.md describes it.
type Route struct {
	Path  string `json:"path"`  // in the notation of http.ServeMux
	Shows string `json:"shows"` // what it answers with

	get endpoint     // either this
	raw http.Handler // or this
}

// NewAPI serves the API.
func NewAPI(o Options) http.Handler { return mux(o.withDefaults(), o.withDefaults().apiRoutes()) }

// NewOps serves metrics and health.
func NewOps(o Options) http.Handler { return mux(o.withDefaults(), o.withDefaults().opsRoutes()) }

func (o Options) apiRoutes() []Route {
	return []Route{
		{Path: "/api/v1/brokers", Shows: "every broker with a line for each of its nodes", get: o.brokers},
		{Path: "/api/v1/brokers/{broker}", Shows: "one broker: its nodes, its deletions, its pauses", get: o.broker},
		{Path: "/api/v1/brokers/{broker}/nodes/{node}", Shows: "one node, explained: what was seen, each guard, what would happen next and when", get: o.node},
		{Path: "/api/v1/cases", Shows: "every case that is kept, newest first", get: o.cases},
		{Path: "/api/v1/cases/{id}", Shows: "one case with all its evidence", get: o.oneCase},
	}
}

func (o Options) opsRoutes() []Route {
	return []Route{
		{Path: "/metrics", Shows: "Prometheus metrics", raw: o.Metrics},
		{Path: "/healthz", Shows: "200 while the process serves", get: o.healthz},
		{Path: "/readyz", Shows: "200 if each broker's loop has turned lately, 503 with the late ones if not", get: o.readyz},
	}
}

// mux serves routes, a list of them at "/", and a Problem for all the rest.
func mux(o Options, routes []Route) http.Handler {
	a := adapter{o.Log}
	m := http.NewServeMux()
	paths := []string{"/"}
	for _, route := range routes {
		paths = append(paths, route.Path)
		h := route.raw
		if route.get != nil {
			h = a.get(route.get)
		}
		if h == nil { // there are no metrics to show
			h = a.get(func(*http.Request) (any, error) {
				return nil, problem(http.StatusNotFound, "%s is not served here", route.Path)
			})
		}
		m.Handle("GET "+route.Path, h)
		m.HandleFunc(route.Path, a.other)
	}
	m.Handle("GET /{$}", a.get(func(*http.Request) (any, error) { return Index{Endpoints: routes}, nil }))
	m.HandleFunc("/{$}", a.other)
	m.Handle("/", a.get(func(r *http.Request) (any, error) { return nil, unknown("path", r.URL.Path, paths) }))
	return a.contained(m)
}

// Index is the answer to "/".
type Index struct {
	Endpoints []Route `json:"endpoints"`
}
