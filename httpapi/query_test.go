package httpapi

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

func TestQueryOfEveryRouteTakesWhatIsKnownOnceAndNothingElse(t *testing.T) {
	s := newSite()
	s.releases.Put(apitest.Running())
	routes := New(s.Options).routes
	for _, route := range append(routes, Route{Method: "GET", Path: "/"}) {
		path := filled(route.Path)
		ask := func(query string) *httptest.ResponseRecorder {
			r := apitest.Request("ada", route.Method, path+query, `{"reason":"x"}`)
			if route.body == nil {
				r = apitest.Request("ada", route.Method, path+query, "")
			}
			if strings.HasSuffix(path, "/events") {
				r = r.WithContext(apitest.Cancelled(t))
			}
			return s.ask(r)
		}
		for query, word := range map[string]string{
			"?environments=staging": `"environments"`, "?PRETTY": `"PRETTY"`, "?pretty&pretty": "twice", "?a=%zz": "cannot be read", "?a;b": "cannot be read",
		} {
			w := ask(query)
			if p := decode[Problem](t, w.Body.Bytes()); w.Code != 400 || !strings.Contains(p.Detail, word) {
				t.Errorf("%s %s: %d %s, want 400 with %s", route.Method, path+query, w.Code, w.Body, word)
			}
		}
		for _, p := range route.query {
			if w := ask("?" + p.name + "=1&" + p.name + "=2"); w.Code != 400 || !strings.Contains(w.Body.String(), "twice") {
				t.Errorf("%s %s: %s twice: %d %s", route.Method, path, p.name, w.Code, w.Body)
			}
		}
	}
	if audited := s.audit.Last(); audited.Status != 400 {
		t.Errorf("the audit has %+v", audited)
	}
}

func TestQueryIsNotLookedAtForWhoHasNoToken(t *testing.T) {
	for _, route := range New(newSite().Options).routes {
		if w := newSite().ask(apitest.Request("", route.Method, filled(route.Path)+"?x=1", "")); w.Code != 401 && !route.open {
			t.Errorf("%s %s: %d, want 401", route.Method, route.Path, w.Code)
		}
	}
}

// A body that nobody would read is refused, whether its length is known or not.
func TestRouteCheckRefusesABodyThatIsNotRead(t *testing.T) {
	for _, route := range New(newSite().Options).routes {
		if route.body != nil {
			continue
		}
		for name, body := range map[string]io.Reader{
			"known": strings.NewReader(`{"reason":"x"}`), "unknown": io.MultiReader(strings.NewReader("x")),
		} {
			r := apitest.Request("ada", route.Method, filled(route.Path), "")
			made := httptest.NewRequest(route.Method, "/", body)
			r.Body, r.ContentLength = made.Body, made.ContentLength
			w := newSite().ask(r)
			if p := decode[Problem](t, w.Body.Bytes()); w.Code != 400 || !strings.Contains(p.Detail, "takes no body") {
				t.Errorf("%s %s with a body of %s length: %d %s", route.Method, route.Path, name, w.Code, w.Body)
			}
		}
		if strings.HasSuffix(route.Path, "/events") {
			continue
		}
		r := apitest.Request("ada", route.Method, filled(route.Path), "")
		r.Body, r.ContentLength = io.NopCloser(io.MultiReader()), -1 // as of some proxies
		if w := newSite().ask(r); w.Code != 200 {
			t.Errorf("%s %s with an empty body: %d %s", route.Method, route.Path, w.Code, w.Body)
		}
	}
}

func TestChangeTakesAKeyWhateverItDoes(t *testing.T) {
	for _, route := range New(newSite().Options).routes {
		if route.change == nil {
			continue
		}
		for key, refused := range map[string]bool{"build-1234": false, "": true, strings.Repeat("k", 201): true, "a\tb": true} {
			w := newSite().ask(apitest.Request("ada", route.Method, filled(route.Path), `{}`, "Idempotency-Key", key))
			if got := w.Code == http.StatusBadRequest && strings.Contains(w.Body.String(), "Idempotency-Key"); got != refused {
				t.Errorf("%s %s with the key %q: %d %s", route.Method, route.Path, key, w.Code, w.Body)
			}
		}
	}
}

func TestPausesEndWithAReasonOnly(t *testing.T) {
	for _, path := range []string{"/api/v1/pauses", "/api/v1/targets/orders/pauses"} {
		for _, c := range []struct {
			query, body string
			status      int
			reason      string // in the audit
			detail      string
		}{
			{"", `{"reason":"done"}`, 200, "done", ""},
			{"?reason=it+is+done", "", 200, "it is done", ""},
			{"?reason=it+is+done&pretty", "{}", 200, "it is done", ""},
			{"", "", 400, "", "reason"},
			{"", "{}", 400, "", "reason"},
			{"?reason=", "", 400, "", "reason"},
			{"?reason=+", "", 400, " ", "reason"},
			{"?reason=" + strings.Repeat("x", MaxReason+1), "", 400, strings.Repeat("x", MaxReason) + "...", "reason"},
			{"?reason=a", `{"reason":"b"}`, 400, "", "twice"},
			{"?reason=a&reason=b", "", 400, "", "twice"},
			{"?why=a", `{"reason":"b"}`, 400, "", `\"why\"`},
			{"", `{"reason":"sdf","x":1`, 400, "", `no field \"x\"`},
			{"", `{"reason":"sdf"`, 400, "", "ends too early"},
			{"", `{"reason":7}`, 400, "", "want a string"},
		} {
			s := newSite()
			before := len(s.keeper.Kept)
			w := s.ask(apitest.Request("ada", "DELETE", path+c.query, c.body))
			if a := s.audit.Last(); w.Code != c.status || !strings.Contains(w.Body.String(), c.detail) || a.Reason != c.reason || a.Status != c.status {
				t.Errorf("DELETE %s%s %s: %d %s, audit %+v", path, c.query, c.body, w.Code, w.Body, a)
			}
			if c.status != 200 && len(s.keeper.Kept) != before {
				t.Errorf("DELETE %s%s %s: a pause was ended", path, c.query, c.body)
			}
		}
	}
}
