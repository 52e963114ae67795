package app

import (
	"net/http"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/release/plan"
)

const (
	deploys  = "/api/v1/environments/production/deploys"
	restarts = "/api/v1/environments/production/services/web/restarts"
)

func deployOf(commit string) string { return `{"commit": "` + commit + `", "reason": "a test"}` }

func TestAppDoesWhatATokenMayAskForAndNothingElse(t *testing.T) {
	s := newSite(t)
	d := s.serve()
	ci := s.tokens["ci"]
	for _, c := range []struct {
		method, path, token, body string
		want                      int
		words                     string
	}{
		{http.MethodGet, "/api/v1/environments", "", "", 401, "say who you are"},
		{http.MethodGet, "/api/v1/environments", ci, "", 200, `"commit":"` + running},
		{http.MethodPost, deploys, "", deployOf(published), 401, "say who you are"},
		{http.MethodPost, deploys, "ci.nonsense", deployOf(published), 401, "unknown or has expired"},
		{http.MethodPost, restarts, ci, `{"reason": "a test"}`, 403, "ci may not restart service web of environment production: the file of tokens gives it no such right"},
		{http.MethodPost, deploys, ci, deployOf("main"), 400, "40 hexadecimal digits, in lower case"},
		{http.MethodPost, deploys, ci, `{"commit": "` + published + `", "reason": "a test", "dry_run": true}`, 200, `"roll web"`},
		{http.MethodPost, deploys, ci, `{"commit": "` + unpublished + `", "reason": "a test", "dry_run": true}`, 200, `"warning":"not published: `},
	} {
		if status, text := d.ask(c.method, c.path, c.token, c.body); status != c.want || !strings.Contains(text, c.words) {
			t.Errorf("%s %s: %d %s, want %d with %q", c.method, c.path, status, text, c.want, c.words)
		}
	}
	if image := s.image(); !strings.HasSuffix(image, running) {
		t.Fatalf("it runs %s", image)
	}
	o := d.follow(d.begin(deploys, ci, deployOf(unpublished)).ID, ci, over)
	if o.Phase != plan.Failed || !strings.Contains(o.Outcome, "not published: ") {
		t.Errorf("the deploy of what is not published: %s: %s", o.Phase, o.Outcome)
	}
	o = d.follow(d.begin(deploys, ci, deployOf(published)).ID, ci, over)
	if image := s.image(); o.Phase != plan.Succeeded || !strings.HasSuffix(image, published) || o.Request.By != "ci" {
		t.Errorf("the deploy by %s: %s: %s; it runs %s", o.Request.By, o.Phase, o.Outcome, image)
	}
	// Each request is one line, whether it came to a plan, an operation, or nothing.
	if n := d.audited(); n != 8 {
		t.Errorf("8 requests are %d lines in the audit", n)
	}
	if text := d.log.String(); strings.Contains(text, ci) || strings.Contains(text, "hunter2") {
		t.Error("a token or a password is in the log")
	}
	metrics, err := http.NewRequestWithContext(d.ctx, http.MethodGet, "http://"+d.address("metrics")+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	_, text := do(t, metrics)
	for _, want := range []string{`result="failed"} 1`, `result="succeeded"} 1`, `result="cancelled"} 0`} {
		if !strings.Contains(text, `unstuck_operations_total{environment="production",kind="deploy",`+want) {
			t.Errorf("the metrics do not have %s", want)
		}
	}
}

func TestAppRefusesAtOnceATokenThatIsTakenOutOfTheFile(t *testing.T) {
	s := newSite(t)
	d := s.serve()
	ci := s.tokens["ci"]
	if status, text := d.ask(http.MethodGet, "/api/v1/operations", ci, ""); status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	s.writeTokens("oncall")
	if status, text := d.ask(http.MethodPost, deploys, ci, deployOf(published)); status != 401 {
		t.Errorf("the token that was taken out: %d %s", status, text)
	}
	if status, text := d.ask(http.MethodGet, "/api/v1/operations", s.tokens["oncall"], ""); status != 200 {
		t.Errorf("the new one: %d %s", status, text)
	}
	s.write("tokens.yaml", "tokens: [{")
	if status, text := d.ask(http.MethodGet, "/api/v1/operations", s.tokens["oncall"], ""); status != 503 {
		t.Errorf("while the file is at fault: %d %s", status, text)
	}
}

func TestAppEndsAndLeavesAnOperationUnderWayToASuccessor(t *testing.T) {
	s := newSite(t)
	s.rolls = false
	d := s.serve()
	oncall := s.tokens["oncall"]
	o := d.begin(restarts, oncall, `{"reason": "a test"}`)
	d.follow(o.ID, oncall, func(o plan.Operation) bool { return strings.Contains(o.Steps[0].Detail, "waiting for the change") })
	if err := d.stop(); err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
	if text := d.log.String(); !strings.Contains(text, "an operation is left for a successor") {
		t.Errorf("it says nothing of the operation:\n%s", text)
	}
	if holder := s.lockHolder(); !strings.HasSuffix(holder, "/"+o.ID) {
		t.Errorf("the lock is held by %q", holder)
	}
	// Who comes next sees it, and lets nothing else begin.
	next := s.serve()
	if status, text := next.ask(http.MethodPost, restarts, oncall, `{"reason": "another"}`); status != 409 || !strings.Contains(text, o.ID) {
		t.Errorf("%d %s", status, text)
	}
}

func TestAppLetsEverybodyReadAndNobodyChangeWhereNobodyIsKnown(t *testing.T) {
	s := newSite(t)
	s.api = ""
	d := s.serve()
	if status, text := d.ask(http.MethodGet, "/api/v1/targets/rabbit", "", ""); status != 200 {
		t.Errorf("a broker: %d %s", status, text)
	}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		for _, path := range []string{deploys, restarts, "/api/v1/pauses", "/api/v1/targets/rabbit/nodes/a/probes", "/api/v1/operations"} {
			if status, _ := d.ask(method, path, s.tokens["oncall"], "{}"); status != 404 {
				t.Errorf("%s %s answers %d", method, path, status)
			}
		}
	}
	if text := d.log.String(); !strings.Contains(text, "level=WARN msg=\"the API knows no callers") {
		t.Errorf("the log does not say so:\n%s", text)
	}
}

func TestAppAsksTheClusterWhoCallsAndWhatTheyMayDo(t *testing.T) {
	s := newSite(t)
	s.api += ", kubernetes_auth: true"
	s.users = map[string]string{"token-of-ada": "ada", "token-of-eve": "eve"}
	s.granted = map[string][]string{
		"ada": {"list deployments prod", "get pods/log prod", "patch deployments prod web-deployment"},
		"eve": {"list deployments prod", "get pods/log prod"},
	}
	d := s.serve()
	for _, c := range []struct {
		token, body string
		want        int
		words       string
	}{
		{"token-of-nobody", deployOf(published), 401, "unknown"},
		{"token-of-eve", deployOf(published), 403, "eve may not deploy environment production: needs the right to patch deployments.apps web-deployment in namespace prod"},
		{"token-of-ada", `{"commit": "` + published + `", "reason": "a test", "dry_run": true}`, 200, "roll web"},
		{s.tokens["ci"], `{"commit": "` + published + `", "reason": "a test", "dry_run": true}`, 200, "roll web"},
	} {
		if status, text := d.ask(http.MethodPost, deploys, c.token, c.body); status != c.want || !strings.Contains(text, c.words) {
			t.Errorf("%s: %d %s, want %d with %q", c.token, status, text, c.want, c.words)
		}
	}
}

// An environment in another cluster is changed, locked and asked about there; what is kept of it is kept at home.
func TestAppServesAnEnvironmentInAnotherClusterThere(t *testing.T) {
	s := newSite(t)
	registry := strings.TrimSuffix(s.image(), "/web:"+running)
	other := startAPIServer(t, webDeployment(registry+"/web:"+running), dockerSecret(registry, "puller", "hunter2"))
	other.kubeconfig(s.dir, "elsewhere")
	s.cluster = "    cluster: {kubeconfig: elsewhere, context: test}\n"
	s.api = "kubernetes_auth: true"
	s.users = map[string]string{"token-of-ada": "ada", "token-of-eve": "eve"}
	rights := []string{"list deployments prod", "get pods/log prod", "patch deployments prod web-deployment"}
	other.granted = map[string][]string{"ada": rights}
	s.granted = map[string][]string{"eve": rights}
	d := s.serve()
	if status, text := d.ask(http.MethodPost, deploys, "token-of-eve", deployOf(published)); status != 403 {
		t.Errorf("who may do so in our own cluster alone: %d %s", status, text)
	}
	o := d.follow(d.begin(deploys, "token-of-ada", deployOf(published)).ID, "token-of-ada", over)
	here, there := s.image(), other.image()
	if o.Phase != plan.Succeeded || !strings.HasSuffix(there, published) || !strings.HasSuffix(here, running) {
		t.Errorf("%s: %s; here runs %s, there %s", o.Phase, o.Outcome, here, there)
	}
	_ = other.lockHolder() // or the lock was never taken there
	s.keeps(o.ID)
	if len(s.asked) > 0 {
		t.Errorf("our own cluster was asked what %v may do in the other", s.asked)
	}
}

func TestAppLetsPeoplePauseProbeDeleteAndReadLogsAndVariables(t *testing.T) {
	s := newSite(t)
	d := s.serve()
	d.await("is_leader=true")
	d.await(`msg="probe done"`) // then the node is known
	const node = "/api/v1/targets/rabbit/nodes/a"
	const service = "/api/v1/environments/production/services/web"
	for _, c := range []struct {
		method, path, body string
		want               int
		words              string
	}{
		{http.MethodPost, "/api/v1/targets/rabbit/pauses", `{"reason": "a test", "for": "1h"}`, 201, `"by":"oncall"`},
		{http.MethodGet, "/api/v1/pauses", "", 200, `"target":"rabbit","reason":"a test"`},
		{http.MethodPost, node + "/probes", "{}", 202, `"node":"a"`},
		{http.MethodPost, node + "/deletions", `{"reason": "a test"}`, 409, `"closed":[`}, // nothing here could delete it
		{http.MethodDelete, "/api/v1/targets/rabbit/pauses", "", 400, "a reason is required"},
		{http.MethodDelete, "/api/v1/targets/rabbit/pauses?reason=over", "", 200, `{"pauses":[]}`},
		{http.MethodGet, service + "/logs", "", 200, `"lines":[]`},
		{http.MethodGet, service + "/env", "", 404, "web"}, // there is no pod
	} {
		if status, text := d.ask(c.method, c.path, s.tokens["oncall"], c.body); status != c.want || !strings.Contains(text, c.words) {
			t.Errorf("%s %s: %d %s, want %d with %q", c.method, c.path, status, text, c.want, c.words)
		}
	}
	if status, text := d.ask(http.MethodPost, node+"/deletions", s.tokens["ci"], `{"reason": "a test"}`); status != 403 {
		t.Errorf("a deletion by ci: %d %s", status, text)
	}
}
