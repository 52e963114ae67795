package ui

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
	"github.com/cjworkbench/unstuck/trigger"
)

func TestAuditMasksATokenThatIsPastedIntoAForm(t *testing.T) {
	s := newSite()
	const token = "ci.Lf3jjTKFrI2lAVpOMre5pw-h0LIk7LiQdL_Q8E9q0LK"
	ada := s.signedIn(t, "ada", "localhost")
	form := url.Values{"step": {"do"}, "typed": {token}, "reason": {token}, "commit": {apitest.NewCommit}, "secret": {token}}
	for path := range triggerPaths() {
		s.fill(ada, "localhost", path, form)
	}
	s.fill(ada, "localhost", "/status/environments/"+token+"/deploy", form)
	if all := fmt.Sprint(s.audit.All); strings.Contains(all, token[3:20]) || strings.Count(all, "[masked]") < len(trigger.All()) {
		t.Errorf("%d [masked] in %s", strings.Count(all, "[masked]"), all)
	}
}

func TestAuditHasWhatAFormRefuses(t *testing.T) {
	s := newSite()
	ada, bob := s.signedIn(t, "ada", "localhost"), s.signedIn(t, "bob", "localhost")
	const deploy = "/status/environments/production/deploy"
	for _, c := range []struct {
		cookie []*http.Cookie
		form   url.Values
		want   httpapi.AuditEvent
	}{
		{bob, url.Values{"commit": {apitest.NewCommit}, "reason": {"at night"}}, httpapi.AuditEvent{
			By: "bob", Action: "Deploy to production", Reason: "at night", Refused: "bob may not deploy environment production: the token gives no right to that",
		}},
		{ada, url.Values{"commit": {apitest.NewCommit}, "reason": {"nightly"}, "step": {"do"}, "typed": {"staging"}}, httpapi.AuditEvent{
			By: "ada", Action: "Deploy to production", Reason: "nightly", Refused: "type production to confirm",
		}},
	} {
		s.fill(c.cookie, "localhost", deploy, c.form)
		got := s.audit.Last()
		if got.Status < 400 || !strings.HasPrefix(got.Refused, c.want.Refused) || got.By != c.want.By || got.Action != c.want.Action || got.Reason != c.want.Reason {
			t.Errorf("the audit has %+v, want %+v", got, c.want)
		}
	}
}
