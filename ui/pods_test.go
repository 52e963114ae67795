package ui

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/release"
)

const (
	frontendPage  = "/status/environments/production/services/frontend"
	logsPage      = frontendPage + "/logs"
	variablesPage = frontendPage + "/env"
)

func TestPagesLogsPageShowsTheLastLinesThatWereAskedFor(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		for query, want := range map[string]release.LogQuery{
			"":                                   {Lines: 100},
			"?lines=&since=&container=":          {Lines: 100}, // as the form sends what was left empty
			"?lines=7&container=app&follow=true": {Lines: 7, Container: "app"},
			"?lines=&since=10m&previous=true":    {Lines: 100, After: apitest.Noon.Add(-10 * time.Minute), Previous: true},
		} {
			s := newSite()
			w := s.page("ada", logsPage+query)
			want.Service = "frontend"
			if diff := cmp.Diff([]release.LogQuery{want}, s.releases.Queries); w.Code != 200 || diff != "" {
				t.Errorf("%s: %d %s\n%s", query, w.Code, w.Body, diff)
			}
			page := words(w.Body.String())
			first, second := strings.Index(page, "11:59:57 UTC frontend-7f-abcde GET /healthz 200"), strings.Index(page, "no module named render")
			if first < 0 || second < first || !strings.Contains(page, "is waiting to start: ContainerCreating") {
				t.Errorf("%s: the lines at %d and %d: %s", query, first, second, page)
			}
			if follows := strings.Contains(w.Body.String(), `data-topic="environment/production"`); follows != strings.Contains(query, "follow") {
				t.Errorf("%s: it shows itself anew: %t", query, follows)
			}
		}
	})
}

func TestPagesLogsPageRefusesABadQuestionOnItsForm(t *testing.T) {
	s := newSite()
	for query, want := range map[string]string{
		"?lines=many": "want one from 1 to 1000", "?since=tomorrow": "want a duration such as 10m", "?follow=true&previous=true": "it cannot be followed", "?container=sidecar": "no pod has a container sidecar",
	} {
		w := s.page("ada", logsPage+query)
		value := strings.SplitN(query, "=", 2)[1]
		if w.Code < 400 || !strings.Contains(w.Body.String(), want) || !strings.Contains(w.Body.String(), `<form method="get"`) || !strings.Contains(w.Body.String(), `value="`+strings.TrimSuffix(value, "&previous=true")+`"`) {
			t.Errorf("%s: %d, want %q in %s", query, w.Code, want, w.Body)
		}
	}
	s.releases.PodErr = errors.New("dial 10.0.0.1: refused")
	for path, status := range map[string]int{logsPage: 503, variablesPage: 503} {
		if w := s.page("ada", path); w.Code != status || strings.Contains(w.Body.String(), "10.0.0") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	for range 10 {
		if w := s.page("ada", logsPage); w.Code == 429 {
			t.Error("a log that was read still counts")
		}
	}
}

func TestPagesVariablesPageHidesSecretsAndTellsTheAudit(t *testing.T) {
	s := newSite()
	for path, action := range map[string]string{
		variablesPage: "see the variables of service frontend of environment production", frontendPage + "/pods/frontend-7f-abcde/env": "see the variables of pod frontend-7f-abcde of service frontend of environment production",
	} {
		w := s.page("ada", path)
		page := words(w.Body.String())
		for _, want := range []string{"DEBUG 0", "SENTRY_DSN not shown: its name is like that of a secret", "DB_PASSWORD from secret database, key password", "All of config_map settings", "POD_IP from field"} {
			if !strings.Contains(page, want) {
				t.Errorf("%s does not say %q: %s", path, want, page)
			}
		}
		if strings.Contains(w.Body.String(), `data-topic="e`) {
			t.Errorf("%s shows itself anew, and tells the audit each time", path)
		}
		if a := s.audit.Last(); len(s.audit.All) == 0 || a.By != "ada" || a.Action != action || a.Status != 200 || a.Result != "frontend-7f-abcde" {
			t.Errorf("%s: the audit has %+v", path, a)
		}
	}
	if w := s.page("ada", frontendPage+"/pods/other/env"); w.Code != 404 || !strings.Contains(w.Body.String(), "has no pod other") || s.audit.Last().Status != 404 {
		t.Errorf("%d %s, audit %+v", w.Code, words(w.Body.String()), s.audit.Last())
	}
}

func TestPodsLogsAndVariablesNeedTheRightsThatTheyNeedInTheAPI(t *testing.T) {
	s := newSite()
	only := func(v auth.Verb) []apitest.Right {
		return []apitest.Right{{Verbs: []auth.Verb{v}, Environments: "production"}}
	}
	people := apitest.Tokens{"reads": only(auth.Read), "logs": only(auth.Logs), "env": only(auth.Env), "nothing": nil}
	s.Identity, s.Access = people, people
	s.build()
	for path, allowed := range map[string]string{logsPage: "logs", variablesPage: "env", frontendPage + "/pods/frontend-7f-abcde/env": "env"} {
		for who := range people {
			want := map[bool]int{true: 200, false: 403}[who == allowed]
			if w := s.page(who, path); w.Code != want || (want == 403) == strings.Contains(w.Body.String(), "frontend-7f-abcde</code>") && allowed == "env" {
				t.Errorf("%s, %s: %d %s, want %d", path, who, w.Code, words(w.Body.String()), want)
			}
		}
		if w := s.page("", path); w.Code != 303 || w.Header().Get("Location") != "/status/sign-in?next=%2F"+strings.ReplaceAll(path[1:], "/", "%2F") {
			t.Errorf("%s, nobody: %d to %s", path, w.Code, w.Header().Get("Location"))
		}
		if w := s.page("nothing", strings.Replace(path, "frontend/", "secret-service/", 1)); w.Code != 403 || strings.Contains(w.Body.String(), "cron") {
			t.Errorf("%s, who may see nothing: %d %s", path, w.Code, words(w.Body.String()))
		}
	}
	if page := s.page("reads", "/status/environments/production").Body.String(); !strings.Contains(page, `href="`+logsPage+`"`) || !strings.Contains(page, `href="`+variablesPage+`"`) {
		t.Errorf("the environment does not lead there: %s", page)
	}
	s.Releases = nil
	s.build()
	for _, path := range []string{logsPage, variablesPage, "/status/environments/production", "/status/operations"} {
		if w := s.page("logs", path); w.Code != 404 {
			t.Errorf("where there are no environments, %s: %d", path, w.Code)
		}
	}
	if w := s.page("logs", "/status/"); w.Code != 200 || strings.Contains(w.Body.String(), "environments") || strings.Contains(w.Body.String(), "/operations") {
		t.Errorf("where there are no environments: %d %s", w.Code, w.Body)
	}
}
