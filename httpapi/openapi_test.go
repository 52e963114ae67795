package httpapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/trigger"
)

const openAPIDoc = "../docs/openapi.json"

// describe gives the description that the API serves, to somebody who does not say who they are.
func describe(t testing.TB, s *site) httpapi.Description {
	t.Helper()
	w := s.ask(apitest.Request("", "GET", "/api/v1/openapi.json", ""))
	var d httpapi.Description
	if err := json.Unmarshal(w.Body.Bytes(), &d); w.Code != 200 || err != nil {
		t.Fatalf("%d %v", w.Code, err)
	}
	return d
}

func TestOpenAPIIsTheDescriptionThatIsKept(t *testing.T) {
	w := newSite().ask(apitest.Request("", "GET", "/api/v1/openapi.json?pretty", ""))
	if *update {
		if err := os.WriteFile(openAPIDoc, w.Body.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(openAPIDoc)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept, w.Body.Bytes()) {
		t.Error("docs/openapi.json is not what is served (go test ./httpapi -update writes it)")
	}
}

// methods are those that a route could have.
var methods = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}

func TestOpenAPIHasExactlyWhatIsServed(t *testing.T) {
	s := newSite()
	d := describe(t, s)
	index := apitest.Decode[httpapi.Index](t, s.ask(apitest.Request("", "GET", "/", "")).Body.Bytes())
	if len(d.Paths) < 20 {
		t.Errorf("only %d paths are described", len(d.Paths))
	}
	for _, route := range index.Endpoints {
		if d.Paths[route.Path][strings.ToLower(route.Method)] == nil {
			t.Errorf("listed, but not described: %s %s", route.Method, route.Path)
		}
	}
	ids := map[string]bool{}
	for path, operations := range d.Paths {
		for _, method := range methods {
			op := operations[strings.ToLower(method)]
			w := s.ask(apitest.Request("ada", method, filled(path), "")) // without a body most are refused, but not as unheard of
			if served := w.Code != 405; served != (op != nil) {
				t.Errorf("%s %s: described %t, answered with %d %s", method, path, op != nil, w.Code, w.Body)
			}
			if op == nil {
				continue
			}
			if ids[op.ID] || op.Summary == "" {
				t.Errorf("%s %s: ID %q, summary %q", method, path, op.ID, op.Summary)
			}
			ids[op.ID] = true
			if w.Code < 300 && op.Responses[fmt.Sprint(w.Code)] == nil {
				t.Errorf("%s %s: answered with %d, which is not described", method, path, w.Code)
			}
			anonymous := s.ask(apitest.Request("", method, filled(path), ""))
			if open := op.Security != nil; open == (anonymous.Code == 401) {
				t.Errorf("%s %s: described as open %t, without a token it answers %d", method, path, open, anonymous.Code)
			}
		}
	}
}

func TestOpenAPIReferencesLeadSomewhere(t *testing.T) {
	s := newSite()
	d := describe(t, s)
	text := s.ask(apitest.Request("", "GET", "/api/v1/openapi.json", "")).Body.String()
	for _, part := range strings.Split(text, `"$ref":"#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(part, `"`)
		if d.Components.Schemas[name] == nil {
			t.Errorf("there is no schema %s", name)
		}
	}
	body := d.Components.Schemas["DeployBody"]
	if body == nil || body.AdditionalProperties != false || !slices.Equal(body.Required, []string{"commit", "reason"}) || body.Properties["commit"].Pattern == "" {
		t.Errorf("DeployBody: %+v", body)
	}
}

func TestOpenAPIDescribesAllOfEveryGoodAnswer(t *testing.T) {
	s := newSite()
	d := describe(t, s)
	s.post("/api/v1/environments/staging/deploys", apitest.DeployBody(""))
	for path, operations := range d.Paths {
		if operations["get"] == nil {
			continue
		}
		answer, ok := operations["get"].Responses["200"].Content["application/json"]
		if !ok {
			continue
		}
		w := s.ask(apitest.Request("ada", "GET", filled(path), ""))
		var v any
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %v", path, w.Code, err)
		}
		for _, wrong := range compare(d, answer.Schema, v, "") {
			t.Errorf("GET %s: %s", path, wrong)
		}
	}
}

// compare says where v is not as the schema says.
func compare(d httpapi.Description, s *httpapi.Schema, v any, at string) (wrong []string) {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		s = d.Components.Schemas[name]
	}
	kinds := map[string]string{"string": "string", "bool": "boolean", "float64": "number", "[]interface {}": "array", "map[string]interface {}": "object"}
	if kind := kinds[fmt.Sprintf("%T", v)]; kind != s.Type && !(kind == "number" && s.Type == "integer") {
		return []string{fmt.Sprintf("%s is a %T, described as %s", at, v, s.Type)}
	}
	switch v := v.(type) {
	case string:
		if len(s.Enum) > 0 && !slices.Contains(s.Enum, v) {
			wrong = append(wrong, fmt.Sprintf("%s is %q, described as one of %q", at, v, s.Enum))
		}
	case []any:
		for i, one := range v {
			wrong = append(wrong, compare(d, s.Items, one, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case map[string]any:
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				wrong = append(wrong, fmt.Sprintf("%s.%s is missing", at, name))
			}
		}
		for name, one := range v {
			if property := s.Properties[name]; property != nil {
				wrong = append(wrong, compare(d, property, one, at+"."+name)...)
			} else if s.Properties != nil {
				wrong = append(wrong, fmt.Sprintf("%s.%s is not described", at, name))
			}
		}
	}
	return wrong
}

// maker makes requests of a description out of arbitrary bytes, good ones and ones that are nearly good.
type maker struct {
	httpapi.Description
	apitest.Draw

	made string // the method and the path of the last request
}

func (m *maker) value(s *httpapi.Schema) any {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		s = m.Components.Schemas[name]
	}
	if m.Pick(40) == 1 { // of another type
		return []any{nil, 1e300, -1, true, "x", 7}[m.Pick(6)]
	}
	switch s.Type {
	case "boolean":
		return m.Pick(2) == 1
	case "integer", "number":
		return m.Pick(256) - 100
	case "array":
		list := []any{}
		for range m.Pick(6) {
			if one := m.value(s.Items); !slices.Contains(list, one) || m.Pick(8) == 1 {
				list = append(list, one)
			}
		}
		return list
	case "object":
		object := map[string]any{}
		names := []string{}
		for name := range s.Properties {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if slices.Contains(s.Required, name) != (m.Pick(12) == 1) {
				object[name] = m.value(s.Properties[name])
			}
		}
		if m.Pick(12) == 1 {
			object[m.Text("extra")] = 1
		}
		return object
	}
	if len(s.Enum) > 0 {
		return m.Text(s.Enum...)
	}
	good := "x"
	switch {
	case strings.Contains(s.Pattern, "{40}"):
		good = apitest.NewCommit
	case strings.Contains(s.Pattern, "h|m|s"):
		good = "1h"
	case s.Format == "date-time":
		good = time.Now().Add(time.Hour).Format(time.RFC3339)
	case s.Format == "uri":
		good = "https://bugs.example/1"
	}
	return m.Text(good, "x", apitest.NewCommit, "1h", "2030-01-01T00:00:00Z", "https://bugs.example/1", "uid-of-mq-1", strings.Repeat("é", 300))
}

func (m *maker) request() *http.Request {
	paths := []string{}
	for path := range m.Paths {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	path := paths[m.Pick(len(paths))]
	method := methods[m.Pick(len(methods))]
	var known []string
	for _, one := range methods {
		if m.Paths[path][strings.ToLower(one)] != nil {
			known = append(known, one)
		}
	}
	if m.Pick(16) > 0 { // mostly one that there is
		method = known[m.Pick(len(known))]
	}
	op := m.Paths[path][strings.ToLower(method)]
	m.made = method + " " + path
	names := map[string][]string{
		"target": {"orders", "nobody"}, "node": {"mq-1", "mq-9"}, "env": {"staging", "production", "nowhere"}, "service": {"frontend", "x"}, "pod": {"frontend-7f-abcde", "x"}, "secret": {"db"},
		"task": {"import-plans", "clear-render-cache"}, "pause": {apitest.MovingDisks().ID, "x"}, "id": {apitest.Finished().ID, "deploy-20261123t120000-a7k2m9xq", apitest.OneIncident().ID},
	}
	address := httpapi.Wildcard.ReplaceAllStringFunc(path, func(w string) string {
		return url.PathEscape(m.Text(append(names[w[1:len(w)-1]], "..", "a/b", "\x00", strings.Repeat("a", 5000))...))
	})
	var body io.Reader = http.NoBody
	header := http.Header{}
	if op != nil {
		query := url.Values{}
		for _, p := range op.Parameters {
			if value := fmt.Sprint(m.value(p.Schema)); p.In == "query" && m.Pick(2) == 1 {
				query.Set(p.Name, value)
			} else if p.In == "header" && m.Pick(2) == 1 {
				header.Set(p.Name, value)
			}
		}
		if len(query) > 0 {
			address += "?" + query.Encode()
		}
		if op.Body != nil {
			data, _ := json.Marshal(m.value(op.Body.Content["application/json"].Schema))
			if m.Pick(10) == 1 {
				data = append(data[:m.Pick(len(data)+1)], m.Data...)
			}
			body = bytes.NewReader(data)
		}
	}
	r := httptest.NewRequest(method, "/", body)
	if u, err := url.Parse("http://unstuck" + address); err == nil {
		r.URL = u
	}
	header.Set("Content-Type", m.Text("application/json", "text/plain"))
	header.Set("Authorization", "Bearer "+m.Text("token-of-ada", "token-of-ci", "token-of-bob"))
	header.Set("X-Request-Id", m.Text("mine", ""))
	header.Set("Last-Event-ID", m.Text("3-aa", ""))
	r.Header = header
	return r
}

// throw sends a request that is made of the description at the site.
func throw(t *testing.T, s *site, m *maker) (status int) {
	t.Helper()
	r, w := m.request(), httptest.NewRecorder()
	if strings.HasSuffix(r.URL.Path, "/events") { // which last as long as what they are about
		r = r.WithContext(apitest.Cancelled(t))
	}
	s.handler.ServeHTTP(w, r)
	checkAnswer(t, r, w)
	return w.Code
}

func openSite() *site {
	s := newSite()
	s.Log = slog.New(slog.DiscardHandler)
	s.keeper.Closed = nil
	s.build()
	return s
}

func FuzzAPI(f *testing.F) {
	d := describe(f, newSite())
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		f.Add(apitest.Arbitrary(random))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, m := openSite(), &maker{Description: d, Draw: apitest.Draw{Data: data}}
		for range 3 { // one may be about what the one before has made
			throw(t, s, m)
		}
	})
}

func TestOpenAPIRequestsReachEveryEndpointAndGetNo5xx(t *testing.T) {
	d := describe(t, newSite())
	random := rand.New(rand.NewPCG(3, 4))
	good, bad, untold := map[string]int{}, map[string]int{}, map[string]bool{}
	for range 20 {
		s := openSite()
		for range 450 {
			m := &maker{Description: d, Draw: apitest.Draw{Data: apitest.Arbitrary(random)}}
			code := throw(t, s, m)
			if code < 300 {
				good[m.made]++
				continue
			}
			bad[m.made]++
			method, path, _ := strings.Cut(m.made, " ")
			if o := d.Paths[path][strings.ToLower(method)]; code >= 400 && o != nil && o.Responses[strconv.Itoa(code)] == nil {
				untold[fmt.Sprintf("%s: %d", m.made, code)] = true
			}
		}
	}
	for refused := range untold {
		t.Errorf("%s: a refusal that the description does not have", refused)
	}
	for path, operations := range d.Paths {
		for method := range operations {
			name := strings.ToUpper(method) + " " + path
			if good[name] == 0 || (bad[name] == 0 && operations[method].Security == nil) {
				t.Errorf("%s: %d good requests and %d bad ones, want some of each", name, good[name], bad[name])
			}
		}
	}
}

func checkAnswer(t *testing.T, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	kind := w.Header().Get("Content-Type")
	switch {
	case w.Code >= 500:
		t.Errorf("%s %s: %d %s", r.Method, r.URL, w.Code, w.Body)
	case w.Code >= 400 && kind != "application/problem+json":
		t.Errorf("%s %s: %d with content type %q", r.Method, r.URL, w.Code, kind)
	case strings.HasSuffix(kind, "json") && !json.Valid(w.Body.Bytes()):
		t.Errorf("%s %s: %d and no JSON: %q", r.Method, r.URL, w.Code, w.Body)
	case w.Header().Get("X-Request-Id") == "" && w.Code != http.StatusMovedPermanently && w.Code != http.StatusTemporaryRedirect:
		t.Errorf("%s %s: %d without a request ID", r.Method, r.URL, w.Code)
	case bytes.Contains(w.Body.Bytes(), []byte("token-of-")):
		t.Errorf("%s %s: the answer has a token: %s", r.Method, r.URL, w.Body)
	}
}

func TestTriggeredRoutesAreThoseOfTheTable(t *testing.T) {
	served := make(map[string]bool)
	for path, operations := range describe(t, newSite()).Paths {
		for method := range operations {
			if method != "get" {
				served[strings.ToUpper(method)+" "+path] = true
			}
		}
	}
	for _, d := range trigger.All() {
		if !served[d.Route()] {
			t.Errorf("%s is in the table of triggers and has no handler", d.Route())
		}
		delete(served, d.Route())
	}
	for route := range served {
		t.Errorf("%s changes something and is not in the table of triggers", route)
	}
}
