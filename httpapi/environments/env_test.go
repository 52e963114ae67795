package environments

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

func TestEnvTellsTheAuditWhoSeesVariables(t *testing.T) {
	s := newSite()
	for _, c := range []struct {
		who, path string
		want      httpapi.AuditEvent
	}{
		{"ada", "/env", httpapi.AuditEvent{By: "ada", Authority: "tokens", Action: "see the variables of service frontend of environment production", Result: "frontend-7f-abcde", Status: 200}},
		{"ada", "/pods/frontend-7f-abcde/env", httpapi.AuditEvent{
			By: "ada", Authority: "tokens", Action: "see the variables of pod frontend-7f-abcde of service frontend of environment production", Result: "frontend-7f-abcde", Status: 200,
		}},
		{"bob", "/env", httpapi.AuditEvent{By: "bob", Authority: "tokens", Action: "see the variables of service frontend of environment production", Status: 403}},
		{"", "/env", httpapi.AuditEvent{Status: 401}},
		{"ada", "/pods/other/env", httpapi.AuditEvent{By: "ada", Authority: "tokens", Action: "see the variables of pod other of service frontend of environment production", Status: 404}},
		{"ada", "/pods/%0Aattempt/env", httpapi.AuditEvent{By: "ada", Authority: "tokens", Action: "see the variables of service frontend of environment production", Status: 404}},
	} {
		before := len(s.audit.All)
		w := s.ask(apitest.Request(c.who, "GET", frontend+c.path, "", "X-Request-Id", "mine"))
		got := s.audit.Last()
		if w.Code != c.want.Status || len(s.audit.All) != before+1 || got.RequestID != "mine" || (got.Refused == "") != (w.Code == 200) {
			t.Errorf("%s, %q: %d %s, audit %+v", c.path, c.who, w.Code, w.Body, got)
		}
		got = httpapi.AuditEvent{By: got.By, Authority: got.Authority, Action: got.Action, Result: got.Result, Status: got.Status}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s, %q: (-want +got)\n%s", c.path, c.who, diff)
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s", w.Body)
		}
	}
}
