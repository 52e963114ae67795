package httpapi

import (
	"net/http"
	"time"
)

// Health is the answer to /healthz.
type Health struct {
	Status string `json:"status"` // "ok"
}

// Readiness is the answer to /readyz while everything is healthy.
type Readiness struct {
	Status  string          `json:"status"`  // "ready"
	Targets []LastReconcile `json:"targets"` // by name
}

// LastReconcile says when a broker's loop last reconciled.
type LastReconcile struct {
	Target     string    `json:"target"`
	At         time.Time `json:"at"`
	AgeSeconds float64   `json:"age_seconds"`
}

// opsRoutes are the endpoints of whoever runs the daemon.
func (api *brokerAPI) opsRoutes(metrics http.Handler) []Route {
	return []Route{
		{Method: http.MethodGet, Path: "/metrics", Shows: "Prometheus metrics", raw: metrics, open: true},
		{Method: http.MethodGet, Path: "/healthz", Shows: "200 while the process serves", get: healthz, open: true},
		{
			Method: http.MethodGet, Path: "/readyz",
			Shows: "200 if each broker's loop has reconciled lately, 503 with the late ones if not", get: api.readyz, open: true,
		},
	}
}

func healthz(*http.Request) (any, error) { return Health{Status: "ok"}, nil }

// readyz answers 503 if any loop has not reconciled within the bound: a daemon that does not look must not seem
// healthy.
func (api *brokerAPI) readyz(*http.Request) (any, error) {
	now := time.Now()
	ready := Readiness{Status: "ready", Targets: []LastReconcile{}}
	var late []string
	for _, s := range api.snapshots() {
		if api.stale(s, now) {
			late = append(late, s.Target)
		}
		ready.Targets = append(ready.Targets, LastReconcile{s.Target, s.At, now.Sub(s.At).Seconds()})
	}
	switch {
	case len(late) > 0:
		p := NewProblem(http.StatusServiceUnavailable, "loops that have not reconciled within %s: %d of %d", api.StaleAfter,
			len(late), len(ready.Targets))
		p.Late = late[:min(len(late), maxKnown)]
		return nil, p
	case len(ready.Targets) == 0:
		return nil, NewProblem(http.StatusServiceUnavailable, "no broker is watched")
	}
	return ready, nil
}
