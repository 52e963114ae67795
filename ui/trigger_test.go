package ui

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/trigger"
)

// fill sends a form as a browser does that has come to host, with the cookies that it has from there.
func (s *site) fill(cookies []*http.Cookie, host, path string, form url.Values, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", path, strings.NewReader(form.Encode()))
	r.Host = host
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, c := range cookies {
		r.AddCookie(c)
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return s.ask(r)
}

// signedIn gives the cookies of somebody who has signed in.
func (s *site) signedIn(t *testing.T, who, host string) []*http.Cookie {
	t.Helper()
	w := s.fill(nil, host, "/status/sign-in", url.Values{"token": {"token-of-" + who}})
	if w.Code != 303 || len(w.Result().Cookies()) != 1 {
		t.Fatalf("%s signs in: %d %s", who, w.Code, w.Body)
	}
	return w.Result().Cookies()
}

func TestPagesSignInMakesACookieThatNoScriptReads(t *testing.T) {
	s := newSite()
	for host, want := range map[string]string{
		"unstuck.example": "__Secure-unstuck=%s; Path=/status; Max-Age=28800; HttpOnly; Secure; SameSite=Strict",
		"10.0.0.7:8080":   "__Secure-unstuck=%s; Path=/status; Max-Age=28800; HttpOnly; Secure; SameSite=Strict",
		"127.0.0.1:8080":  "unstuck=%s; Path=/status; Max-Age=28800; HttpOnly; SameSite=Strict",
		"localhost:8080":  "unstuck=%s; Path=/status; Max-Age=28800; HttpOnly; SameSite=Strict",
		"[::1]:8080":      "unstuck=%s; Path=/status; Max-Age=28800; HttpOnly; SameSite=Strict",
	} {
		w := s.fill(nil, host, "/status/sign-in", url.Values{"token": {" token-of-ada "}, "next": {"/status/incidents"}})
		got := regexp.MustCompile(`=[A-Za-z0-9_-]{10,};`).ReplaceAllString(w.Header().Get("Set-Cookie"), "=%s;")
		if w.Code != 303 || got != want || w.Header().Get("Location") != "/status/signed-in?next=%2Fstatus%2Fincidents" {
			t.Errorf("%s: %d to %q with %q, want %q", host, w.Code, w.Header().Get("Location"), got, want)
		}
		r := apitest.Request("", "GET", "/status/incidents", "")
		r.Host = host
		r.AddCookie(w.Result().Cookies()[0])
		if w := s.ask(r); w.Code != 200 || !strings.Contains(w.Body.String(), "Signed in as <strong>ada</strong>") {
			t.Errorf("%s: with the cookie: %d %s", host, w.Code, words(w.Body.String()))
		}
		r.URL.Path = "/api/v1/targets"
		if w := s.ask(r); w.Code != 401 {
			t.Errorf("%s: the cookie signs in to the API: %d", host, w.Code)
		}
	}
	if a := s.audit.All[0]; a.Action != "sign in" || a.By != "ada" || a.Status != 303 {
		t.Errorf("the audit has %+v", a)
	}
}

func TestToSignInAsksWhoeverIsNotSignedInAndLeadsBack(t *testing.T) {
	s := newSite()
	if w := s.page("", "/status/targets/orders"); w.Code != 303 || w.Header().Get("Location") != "/status/sign-in?next=%2Fstatus%2Ftargets%2Forders" {
		t.Errorf("%d to %q", w.Code, w.Header().Get("Location"))
	}
	if w := s.page("", "/status/sign-in?next=/status/targets/orders"); w.Code != 200 || !strings.Contains(w.Body.String(), `value="/status/targets/orders"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	cookies := s.signedIn(t, "ada", "localhost")
	for next, want := range map[string]string{
		"/status/incidents": "/status/incidents", "https://evil.example/status/": "/status/", "//evil.example/status/": "/status/", "/api/v1/targets": "/status/",
		`/\evil.example/status/`: "/status/", "javascript:alert(1)": "/status/", "": "/status/",
	} {
		r := apitest.Request("", "GET", "/status/signed-in?next="+url.QueryEscape(next), "")
		r.Host = "localhost"
		r.AddCookie(cookies[0])
		if got := s.ask(r).Header().Get("Location"); got != want {
			t.Errorf("%q leads to %q, want %q", next, got, want)
		}
	}
	if w := s.page("", "/status/signed-in?next=/status/incidents"); w.Header().Get("Location") != "/status/sign-in?kept&next=%2Fstatus%2Fincidents" {
		t.Errorf("without a cookie to %q", w.Header().Get("Location"))
	}
	if w := s.page("", "/status/sign-in?kept"); !strings.Contains(w.Body.String(), "the browser did not keep the sign-in") {
		t.Errorf("%s", words(w.Body.String()))
	}
}

func TestPagesSignInRefusesWhatIsNotGoodAndTellsTheAudit(t *testing.T) {
	s := newSite()
	for name, c := range map[string]struct {
		token, site string
		want        int
	}{
		"unknown": {"token-of-eve", "same-origin", 401}, "empty": {" ", "same-origin", 400}, "too long": {strings.Repeat("x", maxSignedWith+1), "same-origin", 400},
		"nobody can tell": {"token-of-flaky", "same-origin", 503}, "from another origin": {"token-of-ada", "cross-site", 403},
	} {
		w := s.fill(nil, "localhost", "/status/sign-in", url.Values{"token": {c.token}}, "Sec-Fetch-Site", c.site)
		if w.Code != c.want || w.Header().Get("Set-Cookie") != "" || strings.Contains(w.Body.String(), "token-of") {
			t.Errorf("%s: %d, cookie %q: %s", name, w.Code, w.Header().Get("Set-Cookie"), words(w.Body.String()))
		}
		if a := s.audit.Last(); a.Action != "sign in" || a.Status != c.want || a.By != "" {
			t.Errorf("%s: the audit has %+v", name, a)
		}
	}
}

func TestPagesSignOutTakesTheCookieBack(t *testing.T) {
	s := newSite()
	w := s.fill(s.signedIn(t, "ada", "localhost"), "localhost", "/status/sign-out", nil)
	if w.Code != 303 || !strings.HasPrefix(w.Header().Get("Set-Cookie"), "unstuck=; Path=/status; Max-Age=0;") {
		t.Errorf("%d %q", w.Code, w.Header().Get("Set-Cookie"))
	}
	if w := s.fill(nil, "localhost", "/status/sign-out", nil, "Sec-Fetch-Site", "cross-site"); w.Code != 403 {
		t.Errorf("another site signs us out: %d", w.Code)
	}
}

func TestPagesTokenOfTakesNoneOfTwoCookies(t *testing.T) {
	s := newSite()
	r := apitest.Request("", "GET", "/status/", "")
	r.Host = "localhost"
	for _, who := range []string{"ada", "bob"} {
		r.AddCookie(s.signedIn(t, who, "localhost")[0])
	}
	if w := s.ask(r); w.Code != 303 {
		t.Errorf("%d: whose page is that? %s", w.Code, words(w.Body.String()))
	}
}

var keyOf = regexp.MustCompile(`name="key" value="([^"]+)"`)

func TestTriggerOfADeployIsPlannedConfirmedAndDoneOnce(t *testing.T) {
	s := newSite()
	ada := s.signedIn(t, "ada", "localhost")
	const path = "/status/environments/production/deploy"
	form := url.Values{"step": {"plan"}, "commit": {apitest.NewCommit}, "reason": {"nightly"}, "on_failure": {"rollback"}}
	w := s.fill(ada, "localhost", path, form)
	page := w.Body.String()
	if w.Code != 200 || !strings.Contains(page, "roll frontend-deployment, pod by pod") || !strings.Contains(page, "Type <strong>production</strong> to confirm") {
		t.Fatalf("the plan: %d %s", w.Code, words(page))
	}
	if asked := s.releases.Asked; len(asked) != 1 || !asked[0].DryRun {
		t.Fatalf("asked for %+v", asked)
	}
	form.Set("step", "do")
	form.Set("key", keyOf.FindStringSubmatch(page)[1])
	form.Set("typed", "prod")
	if w := s.fill(ada, "localhost", path, form); w.Code != 400 || !strings.Contains(w.Body.String(), "type production to confirm") || keyOf.FindStringSubmatch(w.Body.String())[1] != form.Get("key") {
		t.Errorf("mistyped: %d %s", w.Code, words(w.Body.String()))
	}
	form.Set("typed", "production")
	w = s.fill(ada, "localhost", path, form)
	if w.Code != 303 || w.Header().Get("Location") != "/status/operations/deploy-20261123t120000-a7k2m9xq" {
		t.Fatalf("%d to %q: %s", w.Code, w.Header().Get("Location"), words(w.Body.String()))
	}
	last := s.releases.Asked[len(s.releases.Asked)-1]
	want := plan.Request{Kind: plan.Deploy, Environment: "production", Commit: apitest.NewCommit, Reason: "nightly", OnFailure: plan.Rollback, By: "ada", From: "192.0.2.1", IdempotencyKey: form.Get("key")}
	if last != want {
		t.Errorf("asked for %+v, want %+v", last, want)
	}
	if a := s.audit.Last(); a.By != "ada" || a.Path != "/api/v1/environments/production/deploys" || a.Reason != "nightly" || a.Status != 202 || a.Result == "" {
		t.Errorf("the audit has %+v", a)
	}
	if w := s.ask(s.get(ada, w.Header().Get("Location"))); w.Code != 200 || !strings.Contains(w.Body.String(), "deploy 9b8a7c6 to production: about to begin.") {
		t.Errorf("%d %s", w.Code, words(w.Body.String()))
	}
}

var hiddenInput = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)

// hidden gives what a form sends that nobody typed.
func hidden(page string) url.Values {
	form := make(url.Values)
	for _, input := range hiddenInput.FindAllStringSubmatch(page, -1) {
		form.Add(input[1], input[2])
	}
	return form
}

// What is asked for in general is answered with another commit, or another pod, a minute later.
func TestTriggerDoesWhatWasShownAndNotWhatTookItsPlaceSince(t *testing.T) {
	for what, c := range map[string]struct {
		path  string
		typed string
		form  url.Values
		shown string
		sent  func(*site) string
	}{
		"promotion": {"/status/environments/production/promote", "production", url.Values{}, apitest.NewCommit, func(s *site) string { return s.releases.Asked[len(s.releases.Asked)-1].ExpectCommit }},
		"revert": {
			"/status/environments/production/revert", "production",
			url.Values{"accept_migration_risk": {"yes"}},
			apitest.NewCommit,
			func(s *site) string { return s.releases.Asked[len(s.releases.Asked)-1].Commit },
		},
		"deletion": {
			"/status/targets/orders/nodes/mq-1/delete", "mq-1",
			url.Values{"override": {"paused", "observe-only"}},
			"uid-of-mq-1",
			func(s *site) string { return s.keeper.Deleted[len(s.keeper.Deleted)-1].UID },
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := newSite()
			s.keeper.Closed = nil
			ada := s.signedIn(t, "ada", "localhost")
			c.form.Set("step", "plan")
			c.form.Set("reason", "weekly")
			w := s.fill(ada, "localhost", c.path, c.form)
			if w.Code != 200 || !strings.Contains(w.Body.String(), "<code>"+c.shown+"</code>") {
				t.Fatalf("the plan: %d %s", w.Code, words(w.Body.String()))
			}
			form := hidden(w.Body.String())
			form.Set("typed", c.typed)
			if w := s.fill(ada, "localhost", c.path, form); w.Code != 303 || c.sent(s) != c.shown {
				t.Errorf("%d: what is asked for is %q, and what was shown %q", w.Code, c.sent(s), c.shown)
			}
		})
	}
}

func TestTriggerPlansAPromotionAnewWhoseSourceHasMovedOn(t *testing.T) {
	s := newSite()
	ada := s.signedIn(t, "ada", "localhost")
	s.releases.Err = &plan.Refusal{Code: plan.Changed, Why: "staging runs another by now", Hint: "look at the plan again"}
	w := s.fill(ada, "localhost", "/status/environments/production/promote", url.Values{"step": {"do"}, "typed": {"production"}, "reason": {"weekly"}, "expect_commit": {apitest.OldCommit}})
	if w.Code != 409 || !strings.Contains(w.Body.String(), "staging runs another by now") || hidden(w.Body.String()).Has("expect_commit") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestTriggerPlanSaysThatADeployGoesBackAcrossAMigration(t *testing.T) {
	s := newSite()
	w := s.fill(s.signedIn(t, "ada", "localhost"), "localhost", "/status/environments/production/deploy", url.Values{"step": {"plan"}, "commit": {apitest.OldCommit}, "reason": {"back"}})
	if w.Code != 200 || !strings.Contains(w.Body.String(), "crosses a migration, which is not undone.") {
		t.Errorf("%d %s", w.Code, words(w.Body.String()))
	}
}

// get is a browser's request, that has come to localhost.
func (s *site) get(cookies []*http.Cookie, path string) *http.Request {
	r := apitest.Request("", "GET", path, "")
	r.Host = "localhost"
	for _, c := range cookies {
		r.AddCookie(c)
	}
	return r
}

// triggerPaths are the pages of all triggers, with places that there are.
func triggerPaths() map[string]trigger.Trigger {
	all := make(map[string]trigger.Trigger)
	for _, d := range trigger.All() {
		all[pageRoot+strings.NewReplacer("{env}", "production", "{service}", "frontend", "{task}", "import-plans", "{id}", apitest.Finished().ID, "{target}", "orders", "{node}", "mq-1", "{pause}", apitest.MovingDisks().ID).Replace(d.Page)] = d
	}
	return all
}

// matches says whether a request's path is one of the route's.
func matches(route, path string) bool {
	return regexp.MustCompile("^" + trigger.FillIn(route, func(string) string { return "[^/]+" }) + "$").MatchString(path)
}

//promise:33
//promise:34
func TestTriggerIsPulledByItsRouteOfTheAPIForThoseWhoMayOnly(t *testing.T) {
	for path, d := range triggerPaths() {
		s := newSite()
		s.keeper.Closed, s.keeper.Kept[0].Until = nil, time.Now().Add(time.Hour)
		s.releases.Put(apitest.Running())
		path = strings.Replace(path, apitest.Finished().ID, apitest.Running().ID, 1)
		form := url.Values{"step": {"do"}, "reason": {"because"}, "for": {"1h"}, "commit": {apitest.NewCommit}, "secret": {"db"}, "accept_migration_risk": {"yes"}, "override": {"paused", "observe-only"}}
		word := regexp.MustCompile(`[a-z0-9-]+`).FindAllString(path, -1)
		if i := slices.Index(word, map[string]string{"env": "environments", "service": "services", "task": "tasks", "node": "nodes"}[d.Typed]); i >= 0 {
			form.Set("typed", word[i+1])
		}
		for who, want := range map[string]int{"ada": 303, "bob": 403} {
			cookies := s.signedIn(t, who, "localhost")
			if who == "bob" && regexp.MustCompile(`\{(id|pause)\}`).MatchString(d.Page) {
				want = 404 // of which bob is not even told that there are some
			}
			if w := s.ask(s.get(cookies, path)); (w.Code == 200) != (want == 303) {
				t.Errorf("%s sees the form at %s: %d %s", who, path, w.Code, words(w.Body.String()))
			}
			w := s.fill(cookies, "localhost", path, form)
			if w.Code != want {
				t.Errorf("%s at %s: %d %s", who, path, w.Code, words(w.Body.String()))
			}
			if who == "ada" {
				if a := s.audit.Last(); a.Method != d.Method || !matches(d.Path, a.Path) || a.Status/100 != 2 || a.By != "ada" {
					t.Errorf("%s: the audit has %+v", path, a)
				}
			}
		}
		if w := s.fill(s.signedIn(t, "ada", "localhost"), "localhost", path, form, "Sec-Fetch-Site", "cross-site"); w.Code != 403 {
			t.Errorf("a form of another site at %s: %d", path, w.Code)
		}
	}
}

func TestTriggerHasAFormForEveryChangeOfTheAPI(t *testing.T) {
	served := make(map[string]bool)
	for _, d := range trigger.All() {
		served[d.Route()] = true
	}
	var index httpapi.Index
	if err := json.Unmarshal(newSite().ask(apitest.Request("", "GET", "/", "")).Body.Bytes(), &index); err != nil || len(index.Endpoints) == 0 {
		t.Fatal(err)
	}
	for _, r := range index.Endpoints {
		if route := r.Method + " " + r.Path; r.Method != http.MethodGet && !served[route] {
			t.Errorf("the page cannot do %s", route)
		}
	}
}

func TestTriggerSaysARefusalOnTheFormWithWhatWasTyped(t *testing.T) {
	s := newSite()
	ada := s.signedIn(t, "ada", "localhost")
	for path, c := range map[string]struct {
		form url.Values
		want []string
	}{
		"/status/environments/production/deploy":                       {url.Values{"commit": {"abc"}, "reason": {"x"}}, []string{"&#34;abc&#34; is no whole commit", `value="abc"`}},
		"/status/environments/production/revert":                       {url.Values{"reason": {"x"}}, []string{"going back crosses a migration", "deploy-1"}},
		"/status/environments/production/restart-secret":               {url.Values{"reason": {"x"}}, []string{"name of the secret is missing"}},
		"/status/environments/production/tasks/clear-render-cache/run": {url.Values{"reason": {"x"}}, []string{"Users will notice a slowdown"}},
		"/status/targets/orders/nodes/mq-1/delete":                     {url.Values{"reason": {"x"}, "override": {"paused"}}, []string{"held back by", "observe-only", `value="paused" checked`}},
		"/status/targets/orders/pause":                                 {url.Values{"reason": {"x"}, "for": {"forever"}}, []string{"is no duration"}},
	} {
		w := s.fill(ada, "localhost", path, c.form)
		for _, want := range c.want {
			if w.Code < 400 || !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s: %d, want %q in %s", path, w.Code, want, w.Body)
			}
		}
	}
}

func TestTriggerDeletesThePodThatWasLookedAt(t *testing.T) {
	s := newSite()
	ada := s.signedIn(t, "ada", "localhost")
	const path = "/status/targets/orders/nodes/mq-1/delete"
	if page := s.ask(s.get(ada, path)).Body.String(); !strings.Contains(page, `name="uid" value="uid-of-mq-1"`) || strings.Contains(page, "override-in-flight") || !strings.Contains(page, "override-peers") {
		t.Errorf("the form: %s", page)
	}
	form := url.Values{"step": {"do"}, "typed": {"mq-1"}, "uid": {"an-older-one"}, "reason": {"x"}}
	if w := s.fill(ada, "localhost", path, form); w.Code != 409 || !strings.Contains(w.Body.String(), "mq-1 has been replaced") || len(s.keeper.Deleted) != 0 {
		t.Errorf("%d %s", w.Code, words(w.Body.String()))
	}
	form.Set("uid", "uid-of-mq-1")
	form["override"] = []string{string(decide.GuardPaused), string(decide.GuardObserveOnly)}
	if w := s.fill(ada, "localhost", path, form); w.Code != 303 || w.Header().Get("Location") != "/status/incidents/20261123t115958z-mq-1-cljy" {
		t.Errorf("%d to %q", w.Code, w.Header().Get("Location"))
	}
	if len(s.keeper.Deleted) != 1 || s.keeper.Deleted[0].UID != "uid-of-mq-1" || len(s.keeper.Deleted[0].Override) != 2 {
		t.Errorf("deleted %+v", s.keeper.Deleted)
	}
}

func TestPagesButtonsAreThoseThatACallerMayPressAndSayWhyNot(t *testing.T) {
	s := newSite()
	page := s.page("ci", "/status/environments/staging").Body.String()
	if !strings.Contains(page, `href="/status/environments/staging/deploy"`) || strings.Contains(page, `href="/status/environments/staging/revert"`) {
		t.Errorf("ci may deploy to staging and no more: %s", words(page))
	}
	if !strings.Contains(words(page), "Revert: ci may not revert environment staging") {
		t.Errorf("ci is not told why: %s", words(page))
	}
	if strings.Contains(page, "/promote") {
		t.Errorf("staging is promoted from nowhere: %s", page)
	}
	again := s.page("ci", "/status/environments/staging", "Unstuck-Refresh", "1").Body.String()
	if strings.Contains(again, "/deploy\"") || !strings.Contains(again, "data-keep") {
		t.Errorf("what stays is asked for again: %s", again)
	}
	none := open()
	none.build()
	if page := none.page("", "/status/targets/orders").Body.String(); strings.Contains(page, "button") || !strings.Contains(page, "mq-1") {
		t.Errorf("where nobody is known nothing can be done: %s", words(page))
	}
}
