package httpapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/httpapi/environments"
	"github.com/cjworkbench/unstuck/release/plan"
)

func TestGateRefusesAChangeBeforeAnythingIsDoneAndAuditsWhy(t *testing.T) {
	for name, c := range map[string]struct {
		r      *http.Request
		status int
		detail string // what the answer says
		by     string // who the audit names
	}{
		"no token":              {apitest.Request("", "POST", apitest.Deploys, apitest.DeployBody("")), 401, "Authorization: Bearer", ""},
		"a token of nobody":     {apitest.Request("eve", "POST", apitest.Deploys, apitest.DeployBody("")), 401, "unknown or has expired", ""},
		"a password":            {apitest.Request("", "POST", apitest.Deploys, apitest.DeployBody(""), "Authorization", "Basic YWRhOmFkYQ=="), 401, "Bearer", ""},
		"an endless token":      {apitest.Request("", "POST", apitest.Deploys, "", "Authorization", "Bearer "+strings.Repeat("a", httpapi.MaxToken+1)), 401, "Bearer", ""},
		"nobody can tell whose": {apitest.Request("flaky", "POST", apitest.Deploys, apitest.DeployBody("")), 503, "nobody can tell now who is calling", ""},
		"a token without rights": {
			apitest.Request("bob", "POST", apitest.Deploys, apitest.DeployBody("")), 403,
			"bob may not deploy environment staging: the token gives no right to that", "bob",
		},
		"another environment": {apitest.Request("ci", "POST", "/api/v1/environments/production/deploys", apitest.DeployBody("")), 403, "ci may not deploy environment production", "ci"},
		"another action":      {apitest.Request("ci", "POST", "/api/v1/environments/staging/promotions", `{"reason":"x"}`), 403, "ci may not promote environment staging", "ci"},
		"a page of another origin": {
			apitest.Request("ada", "POST", apitest.Deploys, apitest.DeployBody(""), "Sec-Fetch-Site", "cross-site"), 403,
			"a page of another origin", "",
		},
		"another origin":              {apitest.Request("ada", "POST", apitest.Deploys, apitest.DeployBody(""), "Origin", "https://evil.example"), 403, "a page of another origin", ""},
		"no such environment":         {apitest.Request("ada", "POST", "/api/v1/environments/stagin/deploys", apitest.DeployBody("")), 404, `known are production, staging`, "ada"},
		"not an environment of ours":  {apitest.Request("ci", "POST", "/api/v1/environments/stagin/deploys", apitest.DeployBody("")), 404, `only "staging" is known`, "ci"},
		"no such service":             {apitest.Request("ada", "POST", "/api/v1/environments/staging/services/front/restarts", `{"reason":"x"}`), 404, `known are cron, frontend`, "ada"},
		"no such task":                {apitest.Request("ada", "POST", "/api/v1/environments/staging/tasks/import/runs", `{"reason":"x"}`), 404, `known are clear-render-cache, `, "ada"},
		"a form":                      {apitest.Request("ada", "POST", apitest.Deploys, "commit=1", "Content-Type", "application/x-www-form-urlencoded"), 415, "send application/json", "ada"},
		"text that a page could send": {apitest.Request("ada", "POST", apitest.Deploys, apitest.DeployBody(""), "Content-Type", "text/plain"), 415, "send application/json", "ada"},
		"no content type":             {apitest.Request("ada", "POST", apitest.Deploys, apitest.DeployBody(""), "Content-Type", ""), 415, "send application/json", "ada"},
		"other characters":            {apitest.Request("ada", "POST", apitest.Deploys, apitest.DeployBody(""), "Content-Type", "application/json; charset=utf-16"), 415, "application/json", "ada"},
		"compressed":                  {apitest.Request("ada", "POST", apitest.Deploys, apitest.DeployBody(""), "Content-Encoding", "gzip"), 415, `"gzip"`, "ada"},
		"too much":                    {apitest.Request("ada", "POST", apitest.Deploys, `{"reason":"`+strings.Repeat("a", httpapi.MaxBody)+`"}`), 413, "65536 bytes", "ada"},
		"no object":                   {apitest.Request("ada", "POST", apitest.Deploys, `["deploy"]`), 400, "not a JSON object", "ada"},
		"null":                        {apitest.Request("ada", "POST", apitest.Deploys, `null`), 400, "not a JSON object", "ada"},
		"half of it":                  {apitest.Request("ada", "POST", apitest.Deploys, `{"reason":"x"`), 400, "ends too early", "ada"},
		"no JSON":                     {apitest.Request("ada", "POST", apitest.Deploys, `{"reason":}`), 400, "no JSON, at byte", "ada"},
		"no UTF-8":                    {apitest.Request("ada", "POST", apitest.Deploys, "{\"reason\":\"\xff\"}"), 400, "not UTF-8", "ada"},
		"two objects":                 {apitest.Request("ada", "POST", apitest.Deploys, apitest.DeployBody("")+`{}`), 400, "goes on after its JSON object", "ada"},
		"an unknown field":            {apitest.Request("ada", "POST", apitest.Deploys, apitest.DeployBody(`,"force":true`)), 400, `no field "force"`, "ada"},
		"a field in other case":       {apitest.Request("ada", "POST", apitest.Deploys, apitest.DeployBody(`,"DRY_RUN":true`)), 400, `no field "DRY_RUN"`, "ada"},
		"a field that comes twice":    {apitest.Request("ada", "POST", apitest.Deploys, apitest.DeployBody(`,"commit":"x"`)), 400, `"commit" comes twice`, "ada"},
		"a field of another type":     {apitest.Request("ada", "POST", apitest.Deploys, apitest.DeployBody(`,"dry_run":"yes"`)), 400, `"dry_run" is a string: want a boolean`, "ada"},
		"a query":                     {apitest.Request("ada", "POST", apitest.Deploys+"?dry_run=true", apitest.DeployBody("")), 400, `asks for "dry_run"`, "ada"},
		"a key with a line end":       {apitest.Request("ada", "POST", apitest.Deploys, apitest.DeployBody(""), "Idempotency-Key", "a\nb"), 400, "Idempotency-Key", "ada"},
		"an endless key":              {apitest.Request("ada", "POST", apitest.Deploys, apitest.DeployBody(""), "Idempotency-Key", strings.Repeat("k", 201)), 400, "Idempotency-Key", "ada"},
		"a parameter of a change":     {apitest.Request("ada", "POST", "/api/v1/pauses?reason=x&for=1h", ""), 400, "the address asks for", "ada"},
		"no reason to pause":          {apitest.Request("ada", "POST", "/api/v1/pauses", `{"for":"1h"}`), 400, "a reason is required", "ada"},
	} {
		s := newSite()
		w := s.ask(c.r)
		p := apitest.Decode[httpapi.Problem](t, w.Body.Bytes())
		if w.Code != c.status || p.Status != c.status || !strings.Contains(p.Detail, c.detail) || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s, want %d and %q", name, w.Code, w.Body, c.status, c.detail)
		}
		if (w.Code == 401) != (w.Header().Get("WWW-Authenticate") != "") {
			t.Errorf("%s: WWW-Authenticate is %q", name, w.Header().Get("WWW-Authenticate"))
		}
		if len(s.releases.Asked)+len(s.keeper.Deleted)+len(s.keeper.Kept) != 1 {
			t.Errorf("%s: something was done", name)
		}
		a := s.audit.Last()
		if len(s.audit.All) != 1 || a.Status != c.status || a.Refused != p.Detail || a.By != c.by || a.From != "192.0.2.1" || a.Method != "POST" || a.RequestID == "" {
			t.Errorf("%s: audit %+v", name, s.audit.All)
		}
	}
}

func TestAuditNamesWhoWhatAndWhyAndHoldsNoToken(t *testing.T) {
	var log bytes.Buffer
	s := newSite()
	s.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.Audit = nil // the log
	s.build()
	s.post(apitest.Deploys, apitest.DeployBody(""), "X-Request-Id", "mine", "User-Agent", "curl/8.5")
	s.ask(apitest.Request("", "POST", apitest.Deploys, apitest.DeployBody(""), "Authorization", "Bearer hush"))
	s.ask(apitest.Request("flaky", "POST", apitest.Deploys, apitest.DeployBody("")))
	for _, secret := range []string{"token-of", "hush"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has a token: %s", log.String())
		}
	}
	var line struct {
		Msg   string
		Audit httpapi.AuditEvent
	}
	first, _, _ := strings.Cut(log.String(), "\n")
	if err := json.Unmarshal([]byte(first), &line); err != nil {
		t.Fatal(err)
	}
	got := line.Audit
	got.At = apitest.Noon
	want := httpapi.AuditEvent{
		At: apitest.Noon, RequestID: "mine", By: "ada", Authority: "tokens", From: "192.0.2.1", Client: "curl/8.5", Method: "POST", Path: apitest.Deploys,
		Action: "deploy 9b8a7c6 to staging", Reason: "nightly", Result: "deploy-20261123t120000-a7k2m9xq", Status: 202, Environment: "staging",
	}
	if line.Msg != "audit" || !equal(got, want) {
		t.Errorf("%s\ngot  %+v\nwant %+v", first, got, want)
	}
}

func equal(a, b any) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

func TestRequestIDIsTakenIfItIsOneAndMadeIfNot(t *testing.T) {
	s := newSite()
	for sent, taken := range map[string]bool{
		"4bf92f35-77b3": true, "a/b:c.d_e=f+g@h": true, "": false, "two words": false, "x\ny": false, strings.Repeat("a", 129): false, "{}": false,
	} {
		got := s.ask(apitest.Request("ada", "GET", "/api/v1/targets", "", "X-Request-Id", sent)).Header().Get("X-Request-Id")
		if (got == sent) != taken || !httpapi.GoodRequestID.MatchString(got) {
			t.Errorf("sent %q, got %q", sent, got)
		}
	}
}

func TestGateMakesACallerWhoAsksTooOftenWait(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		s := newSite()
		s.Rate = httpapi.Rate{PerSecond: 0.5, Burst: 3}
		s.build()
		for range 3 {
			if w := s.post(apitest.Deploys, apitest.DeployBody("")); w.Code != 202 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
		w := s.post(apitest.Deploys, apitest.DeployBody(""))
		if p := apitest.Decode[httpapi.Problem](t, w.Body.Bytes()); w.Code != 429 || w.Header().Get("Retry-After") != "2" || p.RetryAfter != 2 {
			t.Errorf("%d %s, want 429", w.Code, w.Body)
		}
		if a := s.audit.Last(); a.By != "ada" || a.Status != 429 {
			t.Errorf("audit %+v", a)
		}
		if w := s.ask(apitest.Request("ci", "POST", apitest.Deploys, apitest.DeployBody(""))); w.Code != 202 {
			t.Errorf("another caller: %d %s", w.Code, w.Body)
		}
	})
}

func TestGateLimitsFailedSignInsBeforeAnybodyIsAsked(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		s := newSite()
		get := func(who, from string) int {
			r := apitest.Request(who, "GET", "/api/v1/targets", "")
			r.RemoteAddr = from
			return s.ask(r).Code
		}
		for range httpapi.BadToken.Burst {
			if code := get("eve", "10.0.0.1:1"); code != 401 {
				t.Fatalf("a bad token: %d", code)
			}
		}
		for _, c := range []struct {
			who, from string
			want      int
		}{
			{"eve", "10.0.0.1:2", 429},
			{"eve", "10.0.0.2:1", 401},
			{"ada", "10.0.0.1:3", 200}, // who is behind the same proxy
			{"", "10.0.0.1:4", 401},    // nobody needs to be asked about nothing
		} {
			if code := get(c.who, c.from); code != c.want {
				t.Errorf("%q from %s: %d, want %d", c.who, c.from, code, c.want)
			}
		}
		for i := range httpapi.BadAddress.Burst {
			get(fmt.Sprint("guess", i), "10.0.0.1:1")
		}
		if code := get("another", "10.0.0.1:1"); code != 429 {
			t.Errorf("after %d guesses: %d, want 429", httpapi.BadAddress.Burst, code)
		}
	})
}

func TestChangeIsNeverMadeByGet(t *testing.T) {
	s := newSite()
	s.Brokers.Incidents = fixture().Brokers.Incidents
	for _, route := range s.api().Routes() {
		if route.Method == "GET" && route.Change != nil {
			t.Errorf("GET %s changes something", route.Path)
		}
		if route.Method != "GET" {
			w := s.ask(apitest.Request("ada", "GET", filled(route.Path), ""))
			if w.Code == 200 && !strings.Contains(route.Path, "pauses") {
				t.Errorf("GET %s: %d, want 405", route.Path, w.Code)
			}
			if w.Code == 405 && !strings.Contains(w.Header().Get("Allow"), route.Method) {
				t.Errorf("GET %s: Allow %q", route.Path, w.Header().Get("Allow"))
			}
		}
	}
	if len(s.releases.Asked)+len(s.keeper.Deleted)+len(s.keeper.Probed) > 0 || len(s.keeper.Kept) != 1 {
		t.Error("a GET has changed something")
	}
}

// filled puts names that exist into a route's path.
func filled(path string) string {
	names := map[string]string{
		"target": "orders", "node": "mq-1", "env": "staging", "service": "frontend", "pod": "frontend-7f-abcde", "secret": "db", "pause": apitest.MovingDisks().ID, "task": "import-plans",
	}
	if strings.HasPrefix(path, "/api/v1/incidents") {
		names["id"] = apitest.OneIncident().ID
	} else {
		names["id"] = apitest.Finished().ID
	}
	return regexp.MustCompile(`\{(\w+)\}`).ReplaceAllStringFunc(path, func(m string) string { return names[m[1:len(m)-1]] })
}

func TestChangeIsNotServedWhereNobodyKnowsWhoCalls(t *testing.T) {
	for name, change := range map[string]func(*site){
		"no identity":     func(s *site) { s.Identity = nil },
		"no access":       func(s *site) { s.Access = nil },
		"no environments": func(s *site) { s.Releases, s.Brokers.Nodes, s.Brokers.Pauses = nil, nil, nil },
	} {
		s := newSite()
		change(s)
		s.build()
		for _, route := range newSite().api().Routes() {
			if route.Change == nil {
				continue
			}
			w := s.ask(apitest.Request("ada", route.Method, filled(route.Path), `{}`))
			if w.Code != 404 && w.Code != 405 {
				t.Errorf("%s: %s %s: %d %s", name, route.Method, route.Path, w.Code, w.Body)
			}
			if nobody := s.Identity == nil || s.Access == nil; strings.Contains(w.Body.String(), "knows no callers") != nobody {
				t.Errorf("%s: %s %s does not say why it is not served: %s", name, route.Method, route.Path, w.Body)
			}
		}
	}
}

func TestAuditHasAPanicInAChange(t *testing.T) {
	s := newSite()
	s.Releases.Operations = struct {
		environments.Operations
	}{}
	s.build()
	if w := s.post(apitest.Deploys, apitest.DeployBody("")); w.Code != 500 || strings.Contains(w.Body.String(), "nil pointer") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if a := s.audit.Last(); a.Status != 500 || a.By != "ada" {
		t.Errorf("audit %+v", a)
	}
}

func TestChangeThatCannotBeReachedIsNotCalledRefused(t *testing.T) {
	s := newSite()
	s.releases.Err, s.keeper.Err = errors.New("dial 10.0.0.1: refused"), errors.New("dial 10.0.0.1: refused")
	for path, body := range map[string]string{
		apitest.Deploys: apitest.DeployBody(""), "/api/v1/pauses": `{"reason":"x","for":"1h"}`,
		"/api/v1/targets/orders/nodes/mq-1/deletions": `{"reason":"x"}`, "/api/v1/targets/orders/nodes/mq-1/probes": "",
	} {
		w := s.post(path, body)
		p := apitest.Decode[httpapi.Problem](t, w.Body.Bytes())
		if w.Code != 503 || p.Code != plan.Unavailable || strings.Contains(w.Body.String(), "10.0.0.1") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}
