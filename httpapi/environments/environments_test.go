package environments

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

func TestAPIAsksOnEachPathForItsKindOfOperation(t *testing.T) {
	const env = "/api/v1/environments/production"
	for path, c := range map[string]struct {
		body string
		want plan.Request
	}{
		env + "/deploys": {
			`{"commit":"` + apitest.NewCommit + `","reason":"nightly","bug_report":"https://bugs/1","on_failure":"rollback"}`,
			plan.Request{Kind: plan.Deploy, Commit: apitest.NewCommit, Reason: "nightly", BugReport: "https://bugs/1", OnFailure: plan.Rollback},
		},
		env + "/promotions": {`{"reason":"weekly","on_failure":"leave","accept_migration_risk":true,"expect_commit":"` + apitest.NewCommit + `"}`, plan.Request{Kind: plan.Promotion, ExpectCommit: apitest.NewCommit, AcceptMigrationRisk: true, Reason: "weekly", OnFailure: plan.Leave}},
		env + "/reverts": {
			`{"commit":"` + apitest.OldCommit + `","accept_migration_risk":true,"reason":"disaster"}`,
			plan.Request{Kind: plan.Revert, Commit: apitest.OldCommit, AcceptMigrationRisk: true, Reason: "disaster"},
		},
		env + "/services/cron/restarts": {`{"reason":"leaks"}`, plan.Request{Kind: plan.Restart, Service: "cron", Reason: "leaks"}},
		env + "/secrets/db/restarts":    {`{"reason":"new password"}`, plan.Request{Kind: plan.Restart, Secret: "db", Reason: "new password"}},
		env + "/tasks/clear-render-cache/runs": {
			`{"reason":"stale","confirm":true}`, plan.Request{Kind: plan.RunTask, Task: "clear-render-cache", Confirm: true, Reason: "stale"},
		},
	} {
		for _, dry := range []bool{false, true} {
			s := newSite()
			c.want.Environment, c.want.By, c.want.From, c.want.IdempotencyKey, c.want.DryRun = "production", "ada", "192.0.2.1", "build 7", dry
			body := c.body
			if dry {
				body = strings.TrimSuffix(body, "}") + `,"dry_run":true}`
			}
			w := s.post(path, body, "Idempotency-Key", "build 7")
			if len(s.releases.Asked) != 1 {
				t.Fatalf("%s: %d %s", path, w.Code, w.Body)
			}
			if diff := cmp.Diff(c.want, s.releases.Asked[0]); diff != "" {
				t.Errorf("%s: -want +got\n%s", path, diff)
			}
			if dry {
				if p := apitest.Decode[plan.Plan](t, w.Body.Bytes()); w.Code != 200 || w.Header().Get("Location") != "" || len(p.Steps) == 0 {
					t.Errorf("%s: a dry run: %d %s", path, w.Code, w.Body)
				}
				continue
			}
			op := apitest.Decode[plan.Operation](t, w.Body.Bytes())
			if w.Code != 202 || w.Header().Get("Location") != "/api/v1/operations/"+op.ID {
				t.Errorf("%s: %d, Location %q: %s", path, w.Code, w.Header().Get("Location"), w.Body)
			}
			if got := s.ask(apitest.Request("ada", "GET", w.Header().Get("Location"), "")); got.Code != 200 || got.Body.String() != w.Body.String() {
				t.Errorf("%s: at its Location: %d %s", path, got.Code, got.Body)
			}
		}
	}
}

func TestAPIRefusalHasItsStatusAndSaysWhatWouldBeRight(t *testing.T) {
	want := map[plan.Code]int{
		plan.Invalid: 400, plan.NotFound: 404, plan.NotReady: 409, plan.Changed: 409, plan.Migrated: 409, plan.Unconfirmed: 409,
		plan.Busy: 409, plan.KeyReused: 422, plan.NotRunning: 409, plan.Unavailable: 503, "unheard of": 409,
	}
	for code := range statusOf {
		if want[code] == 0 {
			t.Errorf("code %s is not tested", code)
		}
	}
	for code, status := range want {
		s := newSite()
		s.releases.Err = &plan.Refusal{Code: code, Why: "it is so", Hint: "do that", Crossed: []plan.Crossing{{Operation: "deploy-1"}}}
		w := s.post(apitest.Deploys, apitest.DeployBody(""))
		p := apitest.Decode[httpapi.Problem](t, w.Body.Bytes())
		if w.Code != status || p.Code != code || p.Detail != "it is so; do that" || p.Hint != "do that" || len(p.Crossed) != 1 {
			t.Errorf("%s: %d %s", code, w.Code, w.Body)
		}
		if (code == plan.Busy) != (w.Header().Get("Retry-After") == "15") {
			t.Errorf("%s: Retry-After %q", code, w.Header().Get("Retry-After"))
		}
	}
}

func TestAPICancelIsForWhoMayDoSuchAThing(t *testing.T) {
	s := newSite()
	id := apitest.Decode[plan.Operation](t, s.post(apitest.Deploys, apitest.DeployBody("")).Body.Bytes()).ID
	for _, c := range []struct {
		who, id, body string
		status        int
	}{
		{"bob", id, `{"reason":"x"}`, 404}, // to him, there is no such operation
		{"ci", apitest.Finished().ID, `{"reason":"x"}`, 404},
		{"ada", "no-such-id", `{"reason":"x"}`, 404},
		{"ada", "%2e%2e%2Fsecrets", `{"reason":"x"}`, 404},
		{"ada", apitest.Finished().ID, `{"reason":"x"}`, 409}, // it is over
		{"ci", id, `{}`, 400},
		{"ci", id, `{"reason":"wrong commit"}`, 202},
	} {
		w := s.ask(apitest.Request(c.who, "POST", "/api/v1/operations/"+c.id+"/cancel", c.body))
		if w.Code != c.status {
			t.Errorf("%s cancels %s: %d %s, want %d", c.who, c.id, w.Code, w.Body, c.status)
		}
	}
	if c := s.releases.Kept[id].Cancel; c == nil || c.By != "ci" || c.Reason != "wrong commit" {
		t.Errorf("cancelled: %+v", c)
	}
}

func TestOperationsAreListedNewestFirstAsFarAsTheCallerMayRead(t *testing.T) {
	apitest.AtNoon(t, func(t *testing.T) {
		s := newSite()
		s.post(apitest.Deploys, apitest.DeployBody(""))
		for _, c := range []struct{ who, query, want string }{
			{"ada", "", "deploy-20261123t120000-a7k2m9xq deploy-20261123t114000-k3x9q2ab"},
			{"ada", "?limit=1", "deploy-20261123t120000-a7k2m9xq"},
			{"ada", "?environment=production", "deploy-20261123t114000-k3x9q2ab"},
			{"ci", "", "deploy-20261123t120000-a7k2m9xq"},
			{"bob", "", ""},
		} {
			var ids []string
			for _, op := range apitest.Decode[OperationLines](t, s.ask(apitest.Request(c.who, "GET", "/api/v1/operations"+c.query, "")).Body.Bytes()).Operations {
				ids = append(ids, op.ID)
			}
			if got := strings.Join(ids, " "); got != c.want {
				t.Errorf("%s lists %q, want %q", c.who, got, c.want)
			}
		}
		for query, status := range map[string]int{"limit=0": 400, "limit=many": 400, "limit=501": 400, "environment=nowhere": 404} {
			if w := s.ask(apitest.Request("ada", "GET", "/api/v1/operations?"+query, "")); w.Code != status {
				t.Errorf("%s: %d %s, want %d", query, w.Code, w.Body, status)
			}
		}
		if w := s.ask(apitest.Request("ci", "GET", "/api/v1/operations?environment=production", "")); w.Code != 404 || !strings.Contains(w.Body.String(), `only \"staging\"`) {
			t.Errorf("ci lists production: %d %s", w.Code, w.Body)
		}
	})
}

func TestEnvironmentsShowTheCommitThatEachServiceRuns(t *testing.T) {
	s := newSite()
	s.post(apitest.Deploys, apitest.DeployBody(""))
	all := apitest.Decode[Environments](t, s.ask(apitest.Request("ada", "GET", "/api/v1/environments", "")).Body.Bytes()).Environments
	if len(all) != 2 || all[0].Commit != apitest.NewCommit || all[0].Operation == "" || all[1].Commit != apitest.OldCommit || all[1].Operation != "" || all[1].PromoteFrom != "staging" {
		t.Errorf("environments %+v", all)
	}
	want := Service{Service: "cron", Ref: workload.Ref{Deployment: "cron-deployment"}, Commit: apitest.NewCommit, RolledOut: true, Rollout: "2 of 2 pods available", Pods: 2, Wanted: 2}
	if diff := cmp.Diff(want, all[0].Services[1]); diff != "" {
		t.Error(diff)
	}
	if mine := apitest.Decode[Environments](t, s.ask(apitest.Request("ci", "GET", "/api/v1/environments", "")).Body.Bytes()).Environments; len(mine) != 1 {
		t.Errorf("ci sees %+v", mine)
	}
	if w := s.ask(apitest.Request("ci", "GET", "/api/v1/environments/production", "")); w.Code != 403 {
		t.Errorf("ci looks at production: %d %s", w.Code, w.Body)
	}
}

func TestEnvironmentsThatCannotBeSeenAreShownAsThat(t *testing.T) {
	s := newSite()
	s.releases.StateErr = errors.New("dial 10.0.0.1: refused")
	w := s.ask(apitest.Request("ada", "GET", "/api/v1/environments/staging", ""))
	e := apitest.Decode[Environment](t, w.Body.Bytes())
	if w.Code != 200 || e.Error == "" || e.Commit != "" || len(e.Services) != 2 || e.Services[0].Why != "cannot tell" || strings.Contains(w.Body.String(), "10.0.0.1") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestAPIPromoteNeedsTheRightToReadItsSource(t *testing.T) {
	s := newSite()
	s.Access = apitest.Tokens{"ada": {{Verbs: []auth.Verb{auth.Promote}, Environments: "production"}}}
	s.build()
	if w := s.post("/api/v1/environments/production/promotions", `{"reason":"x"}`); w.Code != 403 || !strings.Contains(w.Body.String(), "read environment staging") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// impatient is a runner that finds its caller gone.
type impatient struct {
	Operations
	gone error
}

func (i *impatient) Submit(ctx context.Context, _ plan.Request) (plan.Operation, error) {
	i.gone = ctx.Err()
	return plan.Operation{ID: "deploy-1"}, nil
}

func TestAPIEndsARequestThoughTheClientHasGone(t *testing.T) {
	s := newSite()
	runner := &impatient{}
	s.options.Operations = runner
	s.build()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if w := s.ask(apitest.Request("ada", "POST", apitest.Deploys, apitest.DeployBody("")).WithContext(ctx)); w.Code != http.StatusAccepted || runner.gone != nil {
		t.Errorf("%d, context %v", w.Code, runner.gone)
	}
}
