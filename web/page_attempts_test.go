package web

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// attemptsOf gives the words of the page of attempts, as somebody sees it.
func (s *site) attemptsOf(t *testing.T, who string) string {
	t.Helper()
	w := s.page(who, "/status/attempts")
	if w.Code != 200 {
		t.Fatalf("%s: %d %s", who, w.Code, w.Body)
	}
	return words(w.Body.String())
}

func TestThePageShowsWhatWasRefusedBesideWhatWasDone(t *testing.T) {
	s := newSite()
	ada, bob := s.signedIn(t, "ada", "localhost"), s.signedIn(t, "bob", "localhost")
	const deploy = "/status/environments/production/deploy"
	s.fill(nil, "localhost", "/status/sign-in", url.Values{"token": {"token-of-eve"}})
	s.fill(bob, "localhost", deploy, url.Values{"commit": {newCommit}, "reason": {"at night"}})
	s.fill(ada, "localhost", deploy, url.Values{"commit": {newCommit}, "reason": {"nightly"}, "step": {"do"}, "typed": {"staging"}})
	s.fill(ada, "localhost", deploy, url.Values{"commit": {newCommit}, "reason": {"nightly"}, "step": {"do"}, "typed": {"production"}})
	s.ask(request("bob", "GET", frontend+"/env", ""))
	s.post("/api/v1/brokers/orders/pauses", `{"reason":"disks","for":"never"}`)
	page := s.attemptsOf(t, "ada")
	for _, want := range []string{
		"bob from 192.0.2.1 sign in done", "nobody who is known from 192.0.2.1 sign in refused the token is unknown or has expired",
		"bob from 192.0.2.1 Deploy to production: at night refused bob may not deploy environment production: the token gives no right to that",
		"ada from 192.0.2.1 Deploy to production: nightly refused type production to confirm", "deploy 9b8a7c6 to production: nightly planned",
		"deploy 9b8a7c6 to production: nightly done deploy-20261123t120000-a7k2m9xq",
		"see the variables of service frontend of environment production refused bob may not", `pause broker orders: disks refused "never" is no duration`,
	} {
		if !strings.Contains(strings.ReplaceAll(page, "&#34;", `"`), want) {
			t.Errorf("it does not say %q: %s", want, page)
		}
	}
	if first, then := strings.Index(page, "is no duration"), strings.Index(page, "sign in done"); first > then {
		t.Errorf("the newest is not the first: %s", page)
	}
	if w := ask(NewAPI(fixture()), "GET", "/status/attempts"); w.Code != 404 {
		t.Errorf("where nobody is known: %d", w.Code)
	}
}

func TestEachCallerSeesTheAttemptsOnWhatTheyMayRead(t *testing.T) {
	s := newSite()
	people := tokens{
		"ada": {{Verbs(), "*", "*"}}, "stager": {{[]Verb{ToRead}, "staging", ""}}, "rabbit": {{[]Verb{ToPause}, "", "orders"}}, "watcher": {{[]Verb{ToRead}, "", "*"}}, "bob": nil,
	}
	s.Identity, s.Access = people, people
	s.build()
	s.releases.put(finished())
	attempts := map[string]string{ // what each is known by on the page
		"for staging": "staging", "for production": "production", "for orders": "orders", "for every broker": "all", "no such place": "all", "to cancel": "production",
	}
	s.ask(request("bob", "POST", deploys, deployBody("")))
	s.ask(request("bob", "POST", "/api/v1/environments/production/deploys", deployBody("")))
	s.ask(request("bob", "POST", "/api/v1/brokers/orders/pauses", `{}`))
	s.ask(request("bob", "POST", "/api/v1/pauses", `{}`))
	s.ask(request("ada", "POST", "/api/v1/environments/nowhere/deploys", deployBody("")))
	s.ask(request("ada", "POST", "/api/v1/operations/"+finished().ID+"/cancel", `{"reason":"too late"}`))
	s.ask(request("eve", "POST", deploys, deployBody("")))
	said := map[string]string{
		"for staging": "bob may not deploy environment staging", "for production": "bob may not deploy environment production", "for orders": "bob may not pause broker orders",
		"for every broker": "bob may not pause every broker", "no such place": "there is none of that name", "to cancel": "cancel deploy 9b8a7c6 to production: too late",
	}
	for who, sees := range map[string]string{"ada": "staging production orders all", "stager": "staging", "rabbit": "orders", "watcher": "orders all", "bob": ""} {
		page := s.attemptsOf(t, who)
		for what, about := range attempts {
			want := strings.Contains(" "+sees+" ", " "+about+" ")
			if got := strings.Contains(page, said[what]); got != want {
				t.Errorf("%s sees the attempt %s: %t, want %t: %s", who, what, got, want, page)
			}
		}
		if got, want := strings.Contains(page, "nobody who is known from"), strings.Contains(sees, "all"); got != want {
			t.Errorf("%s sees who was not known: %t, want %t: %s", who, got, want, page)
		}
	}
	if page := s.attemptsOf(t, "watcher"); strings.Contains(page, "known are") {
		t.Errorf("whoever may read brokers learns what environments there are: %s", page)
	}
}

func TestATokenThatIsPastedIntoAnyFieldIsMaskedInTheAuditAndOnThePage(t *testing.T) {
	s := newSite()
	const own = "ci.Lf3jjTKFrI2lAVpOMre5pw-h0LIk7LiQdL_Q8E9q0LK"
	const kubernetes = "eyJhbGciOiJSUzI1NiIsImtpZCI6IkFCQyJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6eCJ9.c2lnbmF0dXJl-Aa0_"
	ada := s.signedIn(t, "ada", "localhost")
	for _, token := range []string{own, kubernetes} {
		for path, body := range map[string]string{
			"/api/v1/environments/" + token + "/deploys":                  deployBody(""),
			"/api/v1/environments/staging/tasks/" + token + "/runs":       `{"reason":"x"}`,
			"/api/v1/environments/staging/secrets/" + token + "/restarts": `{"reason":"x"}`,
			"/api/v1/operations/" + token + "/cancel":                     `{"reason":"x"}`,
			"/api/v1/brokers/" + token + "/pauses":                        `{"reason":"x"}`,
			"/api/v1/brokers/orders/nodes/" + token + "/probes":           ``,
			"/api/v1/brokers/orders/nodes/mq-1/deletions":                 `{"reason":"with ` + token + `","override":["` + token + `"]}`,
			"/api/v1/brokers/orders/pauses":                               `{"reason":"x","for":"` + token + `"}`,
			deploys:                                                       `{"commit":"` + token + `","reason":"x"}`,
		} {
			s.post(path, body, "User-Agent", token)
			if a := s.attempts.last(); strings.Contains(fmt.Sprint(a), token[3:20]) || !strings.Contains(fmt.Sprint(a), "[masked]") || a.By != "ada" {
				t.Errorf("%s: the audit has %+v", path, a)
			}
		}
		form := url.Values{"step": {"do"}, "typed": {token}, "reason": {token}, "commit": {newCommit}, "secret": {token}}
		for path := range deedPaths() {
			s.fill(ada, "localhost", path, form)
		}
		s.fill(ada, "localhost", "/status/environments/"+token+"/deploy", form)
	}
	w := s.page("ada", "/status/attempts")
	if page := w.Body.String(); strings.Contains(page, own[3:20]) || strings.Contains(page, kubernetes[3:20]) || strings.Count(page, "[masked]") < 20 {
		t.Errorf("%d [masked] in %s", strings.Count(page, "[masked]"), words(page))
	}
	for _, text := range []string{newCommit, "uid 0f2c9f53-6b1f-4c55-9d8e-0a1b2c3d4e5f", "deploy-20261123t120000-a7k2m9xq", strings.Repeat("frontend-", 9), "a Sentence of Many Words, none of which is long"} {
		if got := masked(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestTheAttemptsThatAreKeptAreBoundedAndNobodyPushesOutThoseOfThePeopleWhoAreKnown(t *testing.T) {
	k := newRecent()
	k.keep(Attempt{By: "ada", Refused: "the first"})
	k.keep(Attempt{By: "ada", Act: "done"})
	long := strings.Repeat("é", 10_000)
	for range 3 * keptAttempts {
		k.keep(Attempt{Act: long, Refused: long, Reason: long, Override: strings.Split(long, "")})
	}
	all := k.all()
	size := 0
	for _, a := range all {
		size += len(fmt.Sprint(a))
	}
	if len(all) != keptAttempts+2 || size > keptAttempts*2200 {
		t.Errorf("%d are kept, with %d bytes", len(all), size)
	}
	for range keptAttempts {
		k.keep(Attempt{By: "bob", Refused: "no right"})
	}
	if kept := fmt.Sprint(k.all()); strings.Contains(kept, "the first") || !strings.Contains(kept, "done") || len(k.all()) != 2*keptAttempts+1 {
		t.Errorf("kept: %s", kept)
	}
}
