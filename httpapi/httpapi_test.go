package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/store"
)

func TestAPIAnswersHaveTheHeadersThatKeepBrowsersOut(t *testing.T) {
	for path, want := range map[string]int{
		"/": 200, "/api/v1/targets": 200, "/api/v1/targets/nobody": 404, "/api/v1/incidents": 200, "/elsewhere": 404, "/api/v1/targets/": 404,
	} {
		w := ask(fixture().api().Handler(nil), "GET", path)
		if w.Code != want {
			t.Errorf("GET %s: status %d, want %d: %s", path, w.Code, want, w.Body)
		}
		for header, value := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		} {
			if got := w.Header().Get(header); got != value {
				t.Errorf("GET %s: %s is %q, want %q", path, header, got, value)
			}
		}
		wantType := "application/json"
		if want != 200 {
			wantType = "application/problem+json"
		}
		if got := w.Header().Get("Content-Type"); got != wantType {
			t.Errorf("GET %s: Content-Type %q, want %q", path, got, wantType)
		}
		if body := w.Body.String(); strings.Count(body, "\n") != 1 || !strings.HasSuffix(body, "\n") {
			t.Errorf("GET %s: want one line of JSON, got %q", path, body)
		}
	}
}

func TestAPIIndentsThePrettyAnswer(t *testing.T) {
	compact, pretty := ask(fixture().api().Handler(nil), "GET", "/api/v1/incidents").Body, ask(fixture().api().Handler(nil), "GET", "/api/v1/incidents?pretty").Body
	var again bytes.Buffer
	if err := json.Compact(&again, pretty.Bytes()); err != nil {
		t.Fatal(err)
	}
	if again.String() != strings.TrimSpace(compact.String()) || !strings.Contains(pretty.String(), "\n  ") {
		t.Errorf("want the same answer, indented, got %s", pretty)
	}
}

func TestAPIAnswersOnlyGetHeadAndOptions(t *testing.T) {
	api, ops := fixture().api().Handler(nil), fixture().ops()
	for path, h := range map[string]http.Handler{"/": api, "/api/v1/targets": api, "/api/v1/incidents/x": api, "/metrics": ops, "/healthz": ops} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "TRACE", "INVENTED"} {
			w := ask(h, method, path)
			if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD, OPTIONS" {
				t.Errorf("%s %s: %d, Allow %q", method, path, w.Code, w.Header().Get("Allow"))
			}
			if p := apitest.Decode[httpapi.Problem](t, w.Body.Bytes()); p.Status != 405 || p.Title != "Method Not Allowed" {
				t.Errorf("%s %s: problem %+v", method, path, p)
			}
		}
		if w := ask(h, "OPTIONS", path); w.Code != 204 || w.Header().Get("Allow") != "GET, HEAD, OPTIONS" || w.Body.Len() != 0 {
			t.Errorf("OPTIONS %s: %d, Allow %q, body %q", path, w.Code, w.Header().Get("Allow"), w.Body)
		}
	}
	get, head := ask(api, "GET", "/api/v1/targets"), ask(api, "HEAD", "/api/v1/targets")
	if head.Code != 200 || head.Body.Len() != 0 || head.Header().Get("Content-Length") != get.Header().Get("Content-Length") {
		t.Errorf("HEAD: %d, %d bytes, Content-Length %q against %q of GET", head.Code, head.Body.Len(),
			head.Header().Get("Content-Length"), get.Header().Get("Content-Length"))
	}
}

func TestUnknownNamesGetTheKnownOnes(t *testing.T) {
	for path, want := range map[string][]string{
		"/api/v1/targets/order":             {"orders"},
		"/api/v1/targets/order/nodes/mq-0":  {"orders"},
		"/api/v1/targets/orders/nodes/mq-9": {"mq-0", "mq-1", "mq-2"},
		"/api/v1/incidents/none":            {apitest.OneIncident().ID},
		"/api/v2/brokers":                   {"/", "/api/v1/incidents", "/api/v1/incidents/{id}", "/api/v1/openapi.json", "/api/v1/targets", "/api/v1/targets/{target}", "/api/v1/targets/{target}/nodes/{node}"},
	} {
		w := ask(fixture().api().Handler(nil), "GET", path)
		p := apitest.Decode[httpapi.Problem](t, w.Body.Bytes())
		if w.Code != 404 || p.Status != 404 || p.Title != "Not Found" || strings.Join(p.Known, " ") != strings.Join(want, " ") {
			t.Errorf("GET %s: %d %+v, want the known %q", path, w.Code, p, want)
		}
		if !strings.Contains(p.Detail, want[0]) {
			t.Errorf("GET %s: detail %q does not say what would be right", path, p.Detail)
		}
		if several := strings.Contains(p.Detail, "known are"); several != (len(want) > 1) {
			t.Errorf("GET %s: detail %q of %d known", path, p.Detail, len(want))
		}
	}
}

func TestUnknownHostileNamesAreRefusedInShortWithoutEcho(t *testing.T) {
	api := fixture().api().Handler(nil)
	for _, path := range []string{
		"/api/v1/targets/..%2F..%2Fetc%2Fpasswd",
		"/api/v1/targets/%2e%2e/nodes/%2e%2e",
		"/api/v1/targets/orders%2Fnodes%2Fmq-0",
		"/api/v1/targets/orders/nodes/mq-0%00",
		"/api/v1/targets/orders/nodes/%ff%fe",
		"/api/v1/incidents/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
		"/api/v1/incidents/" + strings.Repeat("%F0%9F%90%87", 2000),
		"/api/v1/incidents/" + strings.Repeat("a", 15000),
		"/" + strings.Repeat("x/", 5000),
	} {
		w := ask(api, "GET", path)
		if w.Code != 404 || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("GET %.60s: %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
		if w.Body.Len() > 1500 {
			t.Errorf("GET %.60s: %d bytes are too long an answer", path, w.Body.Len())
		}
		if !json.Valid(w.Body.Bytes()) || bytes.ContainsAny(w.Body.Bytes(), "<>\x00") {
			t.Errorf("GET %.60s: answer %q", path, w.Body)
		}
	}
	for _, path := range []string{"/api/v1/../../etc/passwd", "/api/v1/targets//orders", "//evil.example/api"} {
		w := ask(api, "GET", path)
		if to := w.Header().Get("Location"); w.Code/100 != 3 || strings.HasPrefix(to, "//") || !strings.HasPrefix(to, "/") {
			t.Errorf("GET %s: %d to %q, want a clean path on this host", path, w.Code, to)
		}
	}
}

func TestAPIFindsANameWithAnEscapedSlash(t *testing.T) {
	o := fixture()
	o.Brokers.Snapshots = func() []remediate.Snapshot { return []remediate.Snapshot{{Target: "a/b c"}} }
	w := ask(o.api().Handler(nil), "GET", "/api/v1/targets/a%2Fb%20c")
	if b := apitest.Decode[brokers.Target](t, w.Body.Bytes()); w.Code != 200 || b.Target != "a/b c" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestProblemNeverListsThousandsOfNames(t *testing.T) {
	o := fixture()
	o.Brokers.Snapshots = func() []remediate.Snapshot {
		s := remediate.Snapshot{Target: "big"}
		for i := range 10_000 {
			s.Nodes = append(s.Nodes, remediate.NodeSnapshot{Node: apitest.NodeOf("mq-000" + string(rune('a'+i%26)))})
		}
		return []remediate.Snapshot{s}
	}
	p := apitest.Decode[httpapi.Problem](t, ask(o.api().Handler(nil), "GET", "/api/v1/targets/big/nodes/nobody").Body.Bytes())
	if len(p.Known) != httpapi.MaxKnown || !strings.Contains(p.Detail, "10000 others are known") {
		t.Errorf("%d known names, detail %q", len(p.Known), p.Detail)
	}
}

func TestAdapterLogsAnErrorOfOursAndShowsNothingOfIt(t *testing.T) {
	var log bytes.Buffer
	o := fixture()
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	o.Brokers.Incidents = func(context.Context) ([]store.Incident, error) {
		return nil, errors.New("read /var/lib/incidents: disk gone")
	}
	for _, path := range []string{"/api/v1/incidents", "/api/v1/incidents/x"} {
		log.Reset()
		w := ask(o.api().Handler(nil), "GET", path)
		if p := apitest.Decode[httpapi.Problem](t, w.Body.Bytes()); w.Code != 500 || p.Status != 500 || strings.Contains(w.Body.String(), "disk gone") {
			t.Errorf("GET %s: %d %s", path, w.Code, w.Body)
		}
		if !strings.Contains(log.String(), "disk gone") || strings.Count(log.String(), "\n") != 1 {
			t.Errorf("GET %s: want the error logged once, got %s", path, log.String())
		}
	}
}

func TestAdapterContainsAndLogsAPanic(t *testing.T) {
	var log bytes.Buffer
	o := fixture()
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	o.Brokers.Snapshots = func() []remediate.Snapshot { panic("who wrote this") }
	w := ask(o.api().Handler(nil), "GET", "/api/v1/targets")
	if p := apitest.Decode[httpapi.Problem](t, w.Body.Bytes()); w.Code != 500 || p.Status != 500 || strings.Contains(w.Body.String(), "who wrote this") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "who wrote this") || !strings.Contains(log.String(), "httpapi_test.go") {
		t.Errorf("want the panic and its stack in the log, got %s", log.String())
	}
}

func TestAdapterCutsAnAnswerOffThatPanicsInTheMiddle(t *testing.T) {
	broken := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("half"))
		panic("collector broke")
	})
	defer func() {
		if cause := recover(); cause != http.ErrAbortHandler { //nolint:errorlint // a panic's value is compared as it is
			t.Errorf("recovered %v, want http.ErrAbortHandler, on which net/http cuts the connection", cause)
		}
	}()
	ask(httpapi.NewOps(brokers.Ready(fixture().Brokers), broken, nil), "GET", "/metrics")
}

func TestAdapterLogsEachRequestAtDebugOnly(t *testing.T) {
	for _, c := range []struct {
		level slog.Level
		want  bool
	}{{slog.LevelDebug, true}, {slog.LevelInfo, false}} {
		var log bytes.Buffer
		o := fixture()
		o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: c.level}))
		r := httptest.NewRequest("GET", "/api/v1/targets?token=hush", http.NoBody)
		r.Header.Set("X-Request-Id", "mine")
		o.api().Handler(nil).ServeHTTP(httptest.NewRecorder(), r)
		got := strings.Contains(log.String(), `path=/api/v1/targets from=192.0.2.1:1234 request_id=mine status=400`) // a parameter that nobody knows
		if got != c.want || strings.Contains(log.String(), "hush") {
			t.Errorf("at level %s the log is %q", c.level, log.String())
		}
	}
}

func TestNewOpsServesMetricsAsTheyAreHandedIn(t *testing.T) {
	w := ask(fixture().ops(), "GET", "/metrics")
	if w.Code != 200 || !strings.HasPrefix(w.Body.String(), "# TYPE") || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("%d %q %s", w.Code, w.Header(), w.Body)
	}
	if w := ask(httpapi.NewOps(brokers.Ready(fixture().Brokers), nil, nil), "GET", "/metrics"); w.Code != 404 {
		t.Errorf("without metrics: %d, want 404", w.Code)
	}
}
