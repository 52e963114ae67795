package environments

import (
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

// site is this half of the API, alone, over the fakes of apitest.
type site struct {
	httpapi.Options
	options  Options
	releases *apitest.Releases
	audit    *apitest.AuditLog[httpapi.AuditEvent]
	handler  http.Handler
}

func newSite() *site {
	r := apitest.NewReleases()
	s := &site{releases: r, audit: &apitest.AuditLog[httpapi.AuditEvent]{}}
	s.options = Options{
		Environments: apitest.Environments(), Operations: r, Records: r, States: r, Logs: r, Pods: r, Feed: NewFeed(),
	}
	s.Identity, s.Access, s.Audit = apitest.Callers(), apitest.Callers(), s.audit
	s.Rate, s.Log = httpapi.Rate{PerSecond: 1e6, Burst: 1e6}, slog.New(slog.DiscardHandler)
	s.build()
	return s
}

func (s *site) build() { s.handler = httpapi.New(s.Options, Half(s.options)).Handler(nil) }

func (s *site) ask(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

// post is a request of ada's.
func (s *site) post(path, body string, headers ...string) *httptest.ResponseRecorder {
	return s.ask(apitest.Request("ada", "POST", path, body, headers...))
}
