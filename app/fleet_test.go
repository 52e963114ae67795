package app

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/cjworkbench/unstuck/config"
)

// watch has the App watch a broker besides what it watches, whose nodes s supplies.
func (a *App) watch(b config.Broker, s Supplier) { a.start(a.watchedBroker(b, s)) }

// start has the App watch w besides what it watches.
func (a *App) start(w *watched) {
	a.metrics.Watch(w.loop.Target)
	a.fleet.become(append(slices.Clone(a.fleet.all()), w), func(*watched) {})
}

// scraped gives the metrics.
func scraped(t *testing.T, a *App) string {
	t.Helper()
	w := httptest.NewRecorder()
	a.metrics.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	return w.Body.String()
}
