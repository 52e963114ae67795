package brokers

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/store"
)

// site is this half of the API, alone, over the fakes of apitest: a broker of three nodes, one of which is stuck,
// confirmed, and held back by two guards, of which one opens by itself. What is said of it is what Decide says.
type site struct {
	httpapi.Options
	options Options
	keeper  *apitest.Keeper
	audit   *apitest.AuditLog[httpapi.AuditEvent]
	handler http.Handler
}

// openSite knows no callers.
func openSite() *site {
	s := &site{options: Options{
		Snapshots: func() []remediate.Snapshot { return []remediate.Snapshot{apitest.Decided()} },
		Incidents: func(context.Context) ([]store.Incident, error) {
			return []store.Incident{apitest.OneIncident()}, nil
		},
	}}
	s.Log = slog.New(slog.DiscardHandler)
	s.build()
	return s
}

func newSite() *site {
	s := openSite()
	s.keeper, s.audit = apitest.NewKeeper(), &apitest.AuditLog[httpapi.AuditEvent]{}
	s.options.Nodes, s.options.Pauses = s.keeper, s.keeper
	s.Identity, s.Access, s.Audit = apitest.Callers(), apitest.Callers(), s.audit
	s.Rate = httpapi.Rate{PerSecond: 1e6, Burst: 1e6}
	s.build()
	return s
}

func (s *site) build() { s.handler = httpapi.New(s.Options, Half(s.options)).Handler(nil) }

func (s *site) ask(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

// get is a request of ada's.
func (s *site) get(path string) *httptest.ResponseRecorder {
	return s.ask(apitest.Request("ada", "GET", path, ""))
}

// post is a request of ada's.
func (s *site) post(path, body string, headers ...string) *httptest.ResponseRecorder {
	return s.ask(apitest.Request("ada", "POST", path, body, headers...))
}
