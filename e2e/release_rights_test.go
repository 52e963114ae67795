package e2e

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/release/plan"
)

// accounts are service accounts: one may restart the frontend, one may do all that a deploy takes, one nothing.
const accounts = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: restarter, namespace: granted}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: deployer, namespace: granted}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: nobody, namespace: granted}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: restarter, namespace: granted}
rules: [{apiGroups: [apps], resources: [deployments], resourceNames: [frontend-deployment], verbs: [patch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: deployer, namespace: granted}
rules:
- {apiGroups: [apps], resources: [deployments], verbs: [list, patch]}
- {apiGroups: [""], resources: [pods/log], verbs: [get]}
- {apiGroups: [batch], resources: [cronjobs], verbs: [get]}
- {apiGroups: [""], resources: [podtemplates], verbs: [get]}
- {apiGroups: [batch], resources: [jobs], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: restarter, namespace: granted}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: restarter}
subjects: [{kind: ServiceAccount, name: restarter, namespace: granted}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: deployer, namespace: granted}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: deployer}
subjects: [{kind: ServiceAccount, name: deployer, namespace: granted}]
`

// Who calls may do what their token, or their account in the cluster, may do, and nothing else.
//
//promise:33
func TestReleaseRightsAreThoseOfTokenOrAccountAndNothingElse(t *testing.T) {
	t.Parallel()
	s := sharedStage(t, "granted")
	s.ready()
	if err := shared.Apply(within(t, 10*time.Second), accounts); err != nil {
		t.Fatal(err)
	}
	tokens := map[string]string{"nobody at all": "", "a stranger": "ci.c2VjcmV0", "former": s.tokens["former"], "ci": s.tokens["ci"]}
	for _, name := range []string{"restarter", "deployer", "nobody"} {
		tokens[name] = accountToken(t, "granted", name)
	}
	tokens["elsewhere"] = accountToken(t, "granted", "deployer", "https://elsewhere.example")

	const granted, other = "/api/v1/environments/granted", "/api/v1/environments/staging"
	requests := map[string]struct {
		path string
		body body
	}{
		"deploy":          {granted + "/deploys", body{"commit": commitTwo}},
		"revert":          {granted + "/reverts", body{"commit": commitOne}},
		"restart":         {granted + "/services/frontend/restarts", body{}},
		"restart cron":    {granted + "/services/cron/restarts", body{}},
		"restart readers": {granted + "/secrets/database/restarts", body{}},
		"task":            {granted + "/tasks/import-plans/runs", body{}},
		"job":             {granted + "/tasks/clear-render-cache/runs", body{"confirm": true}},
		"deploy there":    {other + "/deploys", body{"commit": commitTwo}},
		"promote":         {"/api/v1/environments/production/promotions", body{}},
		"delete":          {"/api/v1/targets/elsewhere/nodes/nobody/deletions", body{}},
		"pause":           {"/api/v1/pauses", body{"for": "1m"}},
	}
	for _, who := range []struct {
		name   string
		status int               // of what they may not
		may    []string          // of the requests
		words  map[string]string // that say what is missing
	}{
		{"nobody at all", http.StatusUnauthorized, nil, map[string]string{"deploy": "Authorization: Bearer"}},
		{"a stranger", http.StatusUnauthorized, nil, nil},
		{"former", http.StatusUnauthorized, nil, map[string]string{"deploy": "expired"}},
		{"elsewhere", http.StatusUnauthorized, nil, nil},
		{"ci", http.StatusForbidden, []string{"deploy"}, nil},
		{"restarter", http.StatusForbidden, []string{"restart"}, map[string]string{
			"restart cron": "patch deployments.apps cron-deployment in namespace granted",
			"task":         "create pods/exec in namespace granted",
			"deploy":       "patch deployments.apps cron-deployment in namespace granted",
		}},
		{"deployer", http.StatusForbidden, []string{"deploy", "revert", "restart", "restart cron", "restart readers"}, map[string]string{
			"deploy there": "in namespace staging", "job": "",
		}},
		{"nobody", http.StatusForbidden, nil, nil},
	} {
		t.Run(who.name, func(t *testing.T) {
			c := caller{installation: s.installation, t: t, token: tokens[who.name]}
			for name, request := range requests {
				if _, optional := who.words[name]; optional && who.words[name] == "" {
					continue
				}
				request.body["reason"] = "a look"
				if !strings.HasSuffix(request.path, "/pauses") {
					request.body["dry_run"] = true
				}
				p := c.ask(http.MethodPost, request.path, request.body, nil)
				may := false
				for _, m := range who.may {
					may = may || m == name
				}
				switch {
				case may && p != nil && p.Code != plan.Migrated && p.Code != plan.NotFound:
					t.Errorf("%s: %d %s", name, p.Status, p.Detail)
				case !may && (p == nil || p.Status != who.status):
					t.Errorf("%s: %+v, want %d", name, p, who.status)
				case p != nil && !strings.Contains(p.Detail, who.words[name]):
					t.Errorf("%s: %q does not say %q", name, p.Detail, who.words[name])
				}
			}
		})
	}
	t.Run("reading follows what one may do", func(t *testing.T) {
		for who, want := range map[string]map[string]int{
			"ci":        {granted: 200, other: 403, "/api/v1/pauses": 200},
			"deployer":  {granted: 200, other: 403},
			"restarter": {granted: 403, other: 403},
			"former":    {granted: 401, other: 401},
		} {
			for path, status := range want {
				c := caller{installation: s.installation, t: t, token: tokens[who]}
				response := c.send(within(t, 20*time.Second), http.MethodGet, path, nil)
				_ = response.Body.Close()
				if response.StatusCode != status {
					t.Errorf("%s gets %s: %s, want %d", who, path, response.Status, status)
				}
			}
		}
	})
	t.Run("a token of an account that is deleted", func(t *testing.T) {
		if err := shared.Kubernetes.CoreV1().ServiceAccounts("granted").Delete(within(t, 10*time.Second), "deployer", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c := caller{installation: s.installation, t: t, token: tokens["deployer"]}
		ctx := within(t, time.Minute) // what was good counts as good for ten seconds
		err := until(ctx, func() (bool, error) {
			if p := c.ask(http.MethodGet, granted, nil, nil); p != nil && p.Status == http.StatusUnauthorized {
				return true, nil
			}
			pause(ctx, 500*time.Millisecond)
			return false, errors.New("it is still taken for somebody's")
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func accountToken(t *testing.T, namespace, account string, audiences ...string) string {
	t.Helper()
	token, err := shared.AccountToken(within(t, 10*time.Second), namespace, account, audiences...)
	if err != nil {
		t.Fatal(err)
	}
	return token
}
