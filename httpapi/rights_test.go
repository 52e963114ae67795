package httpapi

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// callers makes the site know these, and no others.
func (s *site) callers(tokens apitest.Tokens) {
	all := auth.Authorities{{Name: "tokens", Identity: tokens, Access: tokens}}
	s.Identity, s.Access = all, all
	s.build()
}

func TestPausesAreSeenByWhoMayReadWhatTheyAreAbout(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		s := newSite()
		orders := apitest.Decided()
		mail := orders
		mail.Target = "mail"
		s.Brokers.Snapshots = func() []remediate.Snapshot { return []remediate.Snapshot{orders, mail} }
		for target, reason := range map[string]string{"": "all", "mail": "mail", "not-watched": "stray"} {
			s.keeper.Kept = append(s.keeper.Kept, decide.Pause{Target: target, Reason: reason, By: "ada", Until: apitest.Noon.Add(2 * time.Hour)})
		}
		s.callers(apitest.Tokens{
			"ada": {{Verbs: auth.Verbs(), Environments: "*", Brokers: "*"}}, "bob": nil,
			"dev":    {{Verbs: []auth.Verb{auth.Deploy}, Environments: "*"}},
			"reader": {{Verbs: []auth.Verb{auth.Read}, Brokers: "mail"}},
			"pauser": {{Verbs: []auth.Verb{auth.Pause}, Brokers: "orders"}},
		})
		ask := func(who, method, path, body string) string {
			w := s.ask(apitest.Request(who, method, path, body))
			list := decode[PauseList](t, w.Body.Bytes())
			if stray := slices.ContainsFunc(list.Pauses, func(p decide.Pause) bool { return p.Target == "not-watched" }); w.Code/100 != 2 || stray != (len(list.Unknown) > 0) {
				t.Errorf("%s: %d %s", who, w.Code, w.Body)
			}
			var reasons []string
			for _, p := range list.Pauses {
				reasons = append(reasons, p.Reason)
			}
			slices.Sort(reasons)
			return strings.Join(reasons, ", ")
		}
		for who, want := range map[string]string{"ada": "all, mail, moving disks, stray", "bob": "", "dev": "", "reader": "all, mail", "pauser": "all, moving disks"} {
			if got := ask(who, "GET", "/api/v1/pauses", ""); got != want {
				t.Errorf("%s sees %q, want %q", who, got, want)
			}
		}
		if got := ask("pauser", "POST", "/api/v1/targets/orders/pauses", `{"for":"1h","reason":"mine"}`); got != "all, mine, moving disks" {
			t.Errorf("the answer to who pauses has %q", got)
		}
		if got := ask("pauser", "DELETE", "/api/v1/targets/orders/pauses?reason=x", ""); got != "all" {
			t.Errorf("the answer to who ends pauses has %q", got)
		}
	})
}

// What services and jobs have logged is for those with the right to logs, by whichever path it comes.
func TestReleaseAPIShowsKeptLogsToWhoMayReadLogsOnly(t *testing.T) {
	const inLog, inDiagnosis = "line of a job", "no module named render"
	running := apitest.Running()
	running.Environment, running.Request.Environment = "production", "production"
	running.Steps[0].Log = []string{inLog, inLog}
	running.Rollback = []plan.StepRun{{Step: plan.Step{ID: "roll back"}, Diagnosis: &plan.Diagnosis{Log: []string{inDiagnosis}}}}
	for who, may := range map[string]bool{"deployer": false, "reader": false, "other": false, "logs": true, "ada": true} {
		s := newSite()
		s.callers(apitest.Tokens{
			"ada":      {{Verbs: auth.Verbs(), Environments: "*", Brokers: "*"}},
			"deployer": {{Verbs: []auth.Verb{auth.Deploy, auth.Restart, auth.Env}, Environments: "production"}},
			"reader":   {{Verbs: []auth.Verb{auth.Read}, Environments: "*"}},
			"other":    {{Verbs: []auth.Verb{auth.Logs}, Environments: "staging"}, {Verbs: []auth.Verb{auth.Deploy}, Environments: "production"}},
			"logs":     {{Verbs: []auth.Verb{auth.Logs}, Environments: "production"}},
		})
		s.releases.Put(running)
		before, _ := json.Marshal(running)
		for _, c := range []struct{ method, path, body string }{
			{"GET", operationPath + apitest.Finished().ID, ""},
			{"GET", operationPath + running.ID, ""},
			{"GET", operationPath + apitest.Finished().ID + "/events", ""},
			{"GET", operationPath + running.ID + "/events", ""},
			{"GET", "/api/v1/operations", ""},
			{"POST", operationPath + running.ID + "/cancel", `{"reason":"x"}`},
		} {
			r := apitest.Request(who, c.method, c.path, c.body)
			if strings.HasSuffix(c.path, "/events") {
				r = r.WithContext(apitest.Cancelled(t))
			}
			w := s.ask(r)
			text := w.Body.String()
			if w.Code == 403 && c.method == "POST" { // reading is no right to cancel
				continue
			}
			has := strings.Contains(text, inLog) || strings.Contains(text, inDiagnosis)
			if wants := may && c.path != "/api/v1/operations"; w.Code/100 != 2 || has != wants {
				t.Errorf("%s: %s %s: %d, has lines %t, want %t: %s", who, c.method, c.path, w.Code, has, wants, text)
			}
			if told := strings.Contains(text, "the right to logs"); told == may && c.path != "/api/v1/operations" {
				t.Errorf("%s: %s %s: it is not said why the lines are missing: %s", who, c.method, c.path, text)
			}
		}
		if after, _ := json.Marshal(running); string(after) != string(before) {
			t.Errorf("the operation itself has lost its lines: %s", after)
		}
	}
}

func TestBrokerAPIMasksTheLogOfAnIncident(t *testing.T) {
	s := newSite()
	incident := apitest.OneIncident()
	incident.Logs = append(incident.Logs, target.LogLine{At: apitest.Noon, Text: "connect to postgres://me:hunter2@db/x failed"})
	s.Brokers.Incidents = func(context.Context) ([]store.Incident, error) { return []store.Incident{incident}, nil }
	s.build()
	w := s.ask(apitest.Request("ada", "GET", "/api/v1/incidents/"+incident.ID, ""))
	got := decode[store.Incident](t, w.Body.Bytes()).Logs
	if len(got) != 2 || got[0] != incident.Logs[0] || got[1].Text != "connect to [masked] failed" || !strings.Contains(incident.Logs[1].Text, "hunter2") {
		t.Errorf("%d %+v", w.Code, got)
	}
}
