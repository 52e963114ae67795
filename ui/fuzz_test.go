package ui

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/trigger"
)

// formPages are the pages that take a form, and those that lead on.
func formPages() []string {
	pages := []string{"/sign-in", "/signed-in", "/sign-out"}
	for _, d := range trigger.All() {
		pages = append(pages, d.Page)
	}
	return pages
}

// wrongTurns are where nobody is to be led to.
var wrongTurns = []string{
	"/status/incidents", "https://evil.example/status/", "//evil.example/status/", `/\evil.example/status/`, `/status/\..\..\api`, "/status/../api/v1/targets", "/status/%2e%2e/%2E%2e//evil.example",
	"/status/..//evil.example/", "/status//evil.example", "javascript:alert(1)//status/", "/status/x\r\nX-Evil: 1", "status/", "/status/%", "/status/?next=//evil.example",
}

// maker makes forms out of arbitrary bytes.
type maker struct {
	apitest.Draw

	made string // the page of the last one
}

// form makes what a browser sends to a page that takes forms: mostly a good form, or one that is nearly so, or rubbish.
func (m *maker) form() *http.Request {
	pages := formPages()
	page := pages[m.Pick(len(pages))]
	m.made = page
	names := map[string]string{"env": "production", "service": "frontend", "task": "import-plans", "target": "orders", "node": "mq-1", "id": apitest.Running().ID, "pause": apitest.MovingDisks().ID}
	typed := "x"
	for _, d := range trigger.All() {
		if d.Page == page && d.Typed != "" {
			typed = names[d.Typed]
		}
	}
	address := pageRoot + trigger.FillIn(page, func(name string) string {
		return url.PathEscape(m.Text(names[name], "nowhere", "..", "a/b", "\x00", strings.Repeat("a", 5000)))
	})
	fields := []struct {
		name string
		good []string
	}{
		{"token", []string{"token-of-ada", "token-of-bob", "token-of-eve", strings.Repeat("x", 5000), " "}},
		{"next", wrongTurns},
		{"step", []string{"do", "plan", "leap"}},
		{"typed", []string{typed, "x"}},
		{"key", []string{"k", "\n", strings.Repeat("k", 300)}},
		{"reason", []string{"because", "", strings.Repeat("é", 300)}},
		{"commit", []string{apitest.NewCommit, "abc"}},
		{"for", []string{"1h", "-1h", "x"}},
		{"secret", []string{"db", "../x", ""}},
		{"confirm", []string{"yes", ""}},
		{"uid", []string{"uid-of-mq-1", "x"}},
		{"override", []string{"paused", "peers", "x"}},
		{"accept_migration_risk", []string{"yes", ""}},
		{"on_failure", []string{"leave", "x"}},
	}
	form := url.Values{}
	for _, f := range fields {
		for range 1 + m.Pick(32)/31 - m.Pick(16)/15 { // mostly once, at times twice or not at all
			form.Add(f.name, m.Text(f.good...))
		}
	}
	body, kind := m.encoded(form)
	r := httptest.NewRequest([]string{"POST", "POST", "POST", "GET"}[m.Pick(4)], "/", bytes.NewReader(body))
	if u, err := url.Parse("http://localhost" + address); err == nil {
		u.RawQuery = url.Values{"next": {wrongTurns[m.Pick(len(wrongTurns))]}}.Encode()
		r.URL, r.Host = u, "localhost"
	}
	r.Header.Set("Content-Type", kind)
	r.Header.Set("Sec-Fetch-Site", m.Text("same-origin", "cross-site", "none", "x"))
	r.AddCookie(cookie(r, m.Text("token-of-ada", "token-of-ada", "token-of-bob", "token-of-eve"), signInLife))
	return r
}

// encoded gives a form as browsers send it, or as none does.
func (m *maker) encoded(form url.Values) (body []byte, kind string) {
	switch m.Pick(12) {
	case 0:
		var b bytes.Buffer
		parts := multipart.NewWriter(&b)
		for name, values := range form {
			_ = parts.WriteField(name, values[0]) // into memory
		}
		_ = parts.Close()
		return b.Bytes()[:b.Len()-m.Pick(40)], parts.FormDataContentType()
	case 1:
		return m.Data, m.Text("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "multipart/form-data", "application/json", ";;")
	case 2:
		return []byte(form.Encode() + "&a=%zz;b&=&&%00=%ff"), "application/x-www-form-urlencoded"
	}
	return []byte(form.Encode()), "application/x-www-form-urlencoded"
}

// throwForm sends a form at the site.
func throwForm(t *testing.T, s *site, m *maker) *httptest.ResponseRecorder {
	t.Helper()
	r, w := m.form(), httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	if w.Code >= 500 {
		t.Errorf("%s %s: %d %s", r.Method, r.URL, w.Code, words(w.Body.String()))
	}
	if to := w.Header().Get("Location"); w.Code/100 == 3 && !ofThePage(r.URL, to) {
		t.Errorf("%s %s leads to %q", r.Method, r.URL, to)
	}
	return w
}

// ofThePage says whether a browser that is led to an address arrives at a page of ours.
func ofThePage(from *url.URL, to string) bool {
	u, err := from.Parse(strings.ReplaceAll(strings.ReplaceAll(to, "%2e", "."), "%2E", ".")) // which browsers take for dots
	return err == nil && u.Host == from.Host && u.Scheme == from.Scheme && (u.Path == pageRoot || strings.HasPrefix(u.Path, pageRoot+"/")) && !strings.Contains(to, `\`)
}

// formSite has an operation that can be cancelled, too.
func formSite() *site {
	s := newSite()
	s.keeper.Kept[0].Until = time.Now().Add(time.Hour)
	s.keeper.Closed = nil
	s.releases.Put(apitest.Running())
	return s
}

func FuzzPagesForms(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		f.Add(append(apitest.Arbitrary(random), apitest.Arbitrary(random)...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, m := formSite(), &maker{Draw: apitest.Draw{Data: data}}
		for range 3 { // one may be about what the one before has made
			throwForm(t, s, m)
			m.Pick(256)
		}
	})
}

func TestPagesThatTakeFormsAreAllReachedAndLeadNowhereElse(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	good, bad := map[string]int{}, map[string]int{}
	for range 60 {
		s := formSite()
		for range 100 {
			m := &maker{Draw: apitest.Draw{Data: append(apitest.Arbitrary(random), apitest.Arbitrary(random)...)}}
			if w := throwForm(t, s, m); w.Code < 400 {
				good[m.made+" "+fmt.Sprint(w.Code)]++
			} else {
				bad[m.made]++
			}
		}
	}
	for _, page := range formPages() {
		if good[page+" 303"] == 0 || (bad[page] == 0 && page != "/signed-in") {
			t.Errorf("%s: %d forms were good, and %d bad, want some of each", page, good[page+" 303"], bad[page])
		}
	}
}

func TestNextPageLeadsNowhereOutOfThePage(t *testing.T) {
	s := newSite()
	ada := s.signedIn(t, "ada", "localhost")
	for _, next := range slices.Concat(wrongTurns, []string{"/status/..", "/status/./../api/v1", "/status/incidents/%2e%2e/%2e%2e/api", "/status/a/../../api"}) {
		r := s.get(ada, "/status/signed-in?next="+url.QueryEscape(next))
		if to := s.ask(r).Header().Get("Location"); !ofThePage(r.URL, to) || strings.HasPrefix(to, "/status/..") {
			t.Errorf("%q leads to %q", next, to)
		}
	}
	for next, want := range map[string]string{"/status/targets/a%2Fb": "/status/targets/a%2Fb", "/status/incidents/": "/status/incidents/", "/status/": "/status/"} {
		if got := nextPage(next); got != want {
			t.Errorf("%q leads to %q, want %q", next, got, want)
		}
	}
}
