package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/store"
)

// fixture is a broker of three nodes, one of which is stuck, confirmed, and held back by two guards, of which one opens
// by itself. What is said of it is what Decide says.
func fixture() Options {
	return Options{
		Brokers: Brokers{
			Snapshots: func() []remediate.Snapshot { return []remediate.Snapshot{apitest.Decided()} },
			Incidents: func(context.Context) ([]store.Incident, error) {
				return []store.Incident{apitest.OneIncident()}, nil
			},
		},
		Log: slog.New(slog.DiscardHandler),
	}
}

// metrics are those that are handed in.
var metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write([]byte("# TYPE unstuck_build_info gauge\n"))
})

// site is the whole API over the fakes of apitest.
type site struct {
	Options
	releases *apitest.Releases
	keeper   *apitest.Keeper
	audit    *apitest.AuditLog[AuditEvent]
	handler  http.Handler
}

func newSite() *site {
	r, k := apitest.NewReleases(), apitest.NewKeeper()
	s := &site{Options: fixture(), releases: r, keeper: k, audit: &apitest.AuditLog[AuditEvent]{}}
	s.Identity, s.Access, s.Audit = apitest.Callers(), apitest.Callers(), s.audit
	s.Brokers.Nodes, s.Brokers.Pauses = k, k
	s.Releases = &Releases{
		Environments: apitest.Environments(), Operations: r, Records: r, States: r, Logs: r, Pods: r, Feed: NewFeed(),
	}
	s.Rate = Rate{PerSecond: 1e6, Burst: 1e6}
	s.build()
	return s
}

func (s *site) build() { s.handler = New(s.Options).Handler(nil) }

func (s *site) ask(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

// post is a request of ada's.
func (s *site) post(path, body string, headers ...string) *httptest.ResponseRecorder {
	return s.ask(apitest.Request("ada", "POST", path, body, headers...))
}

// ops are the endpoints of whoever runs the daemon.
func ops(o Options) http.Handler { return NewOps(o.Brokers, metrics, o.Log) }

// ask sends a request to h and gives what came back. The path is taken as it is, however odd.
func ask(h http.Handler, method, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, http.NoBody)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
