package httpapi_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

func TestQueryOfEveryRouteTakesWhatIsKnownOnceAndNothingElse(t *testing.T) {
	s := newSite()
	s.releases.Put(apitest.Running())
	routes := s.api().Routes()
	for _, route := range append(routes, httpapi.Route{Method: "GET", Path: "/"}) {
		path := filled(route.Path)
		ask := func(query string) *httptest.ResponseRecorder {
			r := apitest.Request("ada", route.Method, path+query, `{"reason":"x"}`)
			if route.Body == nil {
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
			if p := apitest.Decode[httpapi.Problem](t, w.Body.Bytes()); w.Code != 400 || !strings.Contains(p.Detail, word) {
				t.Errorf("%s %s: %d %s, want 400 with %s", route.Method, path+query, w.Code, w.Body, word)
			}
		}
		for _, p := range route.Query {
			if w := ask("?" + p.Name + "=1&" + p.Name + "=2"); w.Code != 400 || !strings.Contains(w.Body.String(), "twice") {
				t.Errorf("%s %s: %s twice: %d %s", route.Method, path, p.Name, w.Code, w.Body)
			}
		}
	}
	if audited := s.audit.Last(); audited.Status != 400 {
		t.Errorf("the audit has %+v", audited)
	}
}

func TestQueryIsNotLookedAtForWhoHasNoToken(t *testing.T) {
	for _, route := range newSite().api().Routes() {
		if w := newSite().ask(apitest.Request("", route.Method, filled(route.Path)+"?x=1", "")); w.Code != 401 && !route.Open {
			t.Errorf("%s %s: %d, want 401", route.Method, route.Path, w.Code)
		}
	}
}

// A body that nobody would read is refused, whether its length is known or not.
func TestRouteCheckRefusesABodyThatIsNotRead(t *testing.T) {
	for _, route := range newSite().api().Routes() {
		if route.Body != nil {
			continue
		}
		for name, body := range map[string]io.Reader{
			"known": strings.NewReader(`{"reason":"x"}`), "unknown": io.MultiReader(strings.NewReader("x")),
		} {
			r := apitest.Request("ada", route.Method, filled(route.Path), "")
			made := httptest.NewRequest(route.Method, "/", body)
			r.Body, r.ContentLength = made.Body, made.ContentLength
			w := newSite().ask(r)
			if p := apitest.Decode[httpapi.Problem](t, w.Body.Bytes()); w.Code != 400 || !strings.Contains(p.Detail, "takes no body") {
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
	for _, route := range newSite().api().Routes() {
		if route.Change == nil {
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
