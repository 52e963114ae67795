package httpapi

import (
	"log/slog"
	"net/http"
)

// Health is the answer to /healthz.
type Health struct {
	Status string `json:"status"` // "ok"
}

// NewOps serves what who runs the daemon asks for: health, whether it is ready, which package brokers tells, and
// metrics, which is the handler of these; nil: there are none.
func NewOps(ready Endpoint, metrics http.Handler, log *slog.Logger) http.Handler {
	g := newGate(Options{Log: log})
	return g.contained(g.mux(OpsRoutes(ready, metrics)))
}

// OpsRoutes are the endpoints of NewOps.
func OpsRoutes(ready Endpoint, metrics http.Handler) []Route {
	healthz := func(*http.Request) (any, error) { return Health{Status: "ok"}, nil }
	return []Route{
		{Method: http.MethodGet, Path: "/metrics", Shows: "Prometheus metrics", Raw: metrics, Open: true},
		{Method: http.MethodGet, Path: "/healthz", Shows: "200 while the process serves", Get: healthz, Open: true},
		{
			Method: http.MethodGet, Path: "/readyz",
			Shows: "200 if each broker's loop has reconciled lately, 503 with the late ones if not", Get: ready, Open: true,
		},
	}
}
