package brokers

import (
	"net/http"
	"time"

	"github.com/cjworkbench/unstuck/httpapi"
)

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

// Ready answers 503 if any loop has not reconciled within the bound, or nothing is watched: a daemon that does not look
// must not seem healthy. Where brokers are looked for there may be none, once everything has been listed.
func Ready(o Options) httpapi.Endpoint {
	return func(*http.Request) (any, error) {
		now := time.Now()
		ready := Readiness{Status: "ready", Targets: []LastReconcile{}}
		var late []string
		for _, s := range o.snapshots() {
			if o.stale(s, now) {
				late = append(late, s.Target)
			}
			ready.Targets = append(ready.Targets, LastReconcile{s.Target, s.At, now.Sub(s.At).Seconds()})
		}
		switch {
		case len(late) > 0:
			p := httpapi.NewProblem(http.StatusServiceUnavailable, "loops that have not reconciled within %s: %d of %d",
				o.staleAfter(), len(late), len(ready.Targets))
			p.Late = late[:min(len(late), httpapi.MaxKnown)]
			return nil, p
		case len(ready.Targets) == 0 && o.Discovery == nil:
			return nil, httpapi.NewProblem(http.StatusServiceUnavailable, "no broker is watched")
		case len(ready.Targets) == 0 && !o.Discovery().Complete:
			return nil, httpapi.NewProblem(http.StatusServiceUnavailable, "no broker is watched, and there may be some: "+
				"not everything that they are found by has been listed")
		}
		return ready, nil
	}
}
