package ui

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/httpapi/environments"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/store"
)

// site is the page, and the API below it, over the fakes of apitest.
type site struct {
	httpapi.Options
	Brokers  brokers.Options
	Releases *environments.Options
	pulse    *Pulse
	releases *apitest.Releases
	keeper   *apitest.Keeper
	audit    *apitest.AuditLog[httpapi.AuditEvent]
	handler  http.Handler
}

// open is the site of an API that knows no callers.
func open() *site {
	return &site{
		Brokers: brokers.Options{
			Snapshots: func() []remediate.Snapshot { return []remediate.Snapshot{apitest.Decided()} },
			Incidents: func(context.Context) ([]store.Incident, error) {
				return []store.Incident{apitest.OneIncident()}, nil
			},
		},
		Options: httpapi.Options{Log: slog.New(slog.DiscardHandler)},
	}
}

func newSite() *site {
	r, k := apitest.NewReleases(), apitest.NewKeeper()
	s := open()
	s.releases, s.keeper, s.audit = r, k, &apitest.AuditLog[httpapi.AuditEvent]{}
	s.Brokers.Nodes, s.Brokers.Pauses = k, k
	s.Releases = &environments.Options{
		Environments: apitest.Environments(), Operations: r, Records: r, States: r, Logs: r, Pods: r, Feed: environments.NewFeed(),
	}
	s.Identity, s.Access, s.Audit = apitest.Callers(), apitest.Callers(), s.audit
	s.Rate = httpapi.Rate{PerSecond: 1e6, Burst: 1e6}
	s.build()
	return s
}

func (s *site) build() {
	halves := []func(*httpapi.Gate) httpapi.Half{brokers.Half(s.Brokers)}
	if s.Releases != nil {
		halves = append(halves, environments.Half(*s.Releases))
	}
	api := httpapi.New(s.Options, halves...)
	s.handler = api.Handler(New(api, s.Brokers.Snapshots, s.pulse, s.Log))
}

func (s *site) ask(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

// listening serves a site on loopback, as production does, until the test ends.
func listening(t *testing.T, s *site, by *tls.Config) (address string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- httpapi.Serve(ctx, s.Log, httpapi.Server{Name: "test", Listener: l, Handler: s.handler, TLS: by})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}
