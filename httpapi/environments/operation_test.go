package environments

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

func TestAPIPassesTheSameKeySentAtOnceOnEachTime(t *testing.T) {
	s := newSite()
	server := httptest.NewServer(s.handler)
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	errs := make(chan error)
	const many = 20
	for range many {
		go func() { errs <- postOnce(t.Context(), client, server.URL+apitest.Deploys) }()
	}
	for range many {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for _, r := range s.releases.Asked {
		if r.IdempotencyKey != "k" || r.By != "ada" || r.From != "127.0.0.1" {
			t.Errorf("%+v", r)
		}
	}
	if len(s.releases.Asked) != many || len(s.audit.All) != many {
		t.Errorf("%d requests, %d in the audit", len(s.releases.Asked), len(s.audit.All))
	}
}

func postOnce(ctx context.Context, client *http.Client, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(apitest.DeployBody("")))
	if err != nil {
		return err
	}
	for name, value := range map[string]string{"Authorization": "Bearer token-of-ada", "Content-Type": "application/json", "Idempotency-Key": "k", "X-Forwarded-For": "10.9.9.9"} {
		r.Header.Set(name, value)
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return errors.New(resp.Status)
	}
	return nil
}

// callers makes the site know these, and no others.
func (s *site) callers(tokens apitest.Tokens) {
	all := auth.Authorities{{Name: "tokens", Identity: tokens, Access: tokens}}
	s.Identity, s.Access = all, all
	s.build()
}

// What services and jobs have logged is for those with the right to logs, by whichever path it comes.
func TestAPIShowsKeptLogsToWhoMayReadLogsOnly(t *testing.T) {
	const inLog, inDiagnosis = "line of a job", "no module named render"
	running := apitest.Running()
	running.Environment, running.Request.Environment = "production", "production"
	running.Steps[0].Log = []string{inLog, inLog}
	running.Rollback = []plan.StepRun{{Step: plan.Step{ID: "roll back"}, Diagnosis: &workload.Diagnosis{Log: []string{inDiagnosis}}}}
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
