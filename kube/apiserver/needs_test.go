package apiserver_test

import (
	"encoding/json"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/kube/apiserver"
)

// The answers are the API server's, word for word.
func TestExplainTellsAMissingPermissionFromAnotherRefusal(t *testing.T) {
	const forbidden = `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","reason":"Forbidden","code":403,`
	for name, tc := range map[string]struct {
		verb, path, answer string
		want               *auth.ResourceAttributes // nil: it is no missing permission
	}{
		"of one pod": {
			"delete", "pods",
			`"message":"pods \"rabbit-1\" is forbidden: User \"system:serviceaccount:unstuck:unstuck\" cannot delete resource \"pods\" in API group \"\" in the namespace \"production\"","details":{"name":"rabbit-1","kind":"pods"}}`,
			&auth.ResourceAttributes{Verb: "delete", Resource: "pods", Namespace: "production"},
		},
		"of a subresource": {
			"create", "pods/exec",
			`"message":"pods \"rabbit-1\" is forbidden: User \"system:serviceaccount:unstuck:unstuck\" cannot create resource \"pods/exec\" in API group \"\" in the namespace \"production\"","details":{"name":"rabbit-1","kind":"pods"}}`,
			&auth.ResourceAttributes{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: "production"},
		},
		"of a list in an API group, with what the authorizer says besides": {
			"list", "statefulsets",
			`"message":"statefulsets.apps is forbidden: User \"unstuck\" cannot list resource \"statefulsets\" in API group \"apps\" in the namespace \"production\": RBAC: role.rbac.authorization.k8s.io \"unstuck\" not found","details":{"group":"apps","kind":"statefulsets"}}`,
			&auth.ResourceAttributes{Verb: "list", Group: "apps", Resource: "statefulsets", Namespace: "production"},
		},
		"another right than was used": {
			"delete", "pods",
			`"message":"pods \"rabbit-1\" is forbidden: User \"unstuck\" cannot patch resource \"pods\" in API group \"\" in the namespace \"production\"","details":{"name":"rabbit-1","kind":"pods"}}`,
			nil,
		},
		"the right to a subresource of what was used": {
			"create", "pods",
			`"message":"pods \"rabbit-1\" is forbidden: User \"unstuck\" cannot create resource \"pods/exec\" in API group \"\" in the namespace \"production\"","details":{"name":"rabbit-1","kind":"pods"}}`,
			nil,
		},
		"a quota": {
			"create", "pods",
			`"message":"pods \"rabbit-1\" is forbidden: exceeded quota: few, requested: pods=1, used: pods=3, limited: pods=3","details":{"name":"rabbit-1","kind":"pods"}}`,
			nil,
		},
		"a webhook": {
			"delete", "pods",
			`"message":"admission webhook \"freeze.example.com\" denied the request: a freeze is on"}`,
			nil,
		},
		"a webhook that passes on the API server's own words": {
			"delete", "pods",
			`"message":"admission webhook \"freeze.example.com\" denied the request: pods \"rabbit-1\" is forbidden: User \"ada\" cannot delete resource \"pods\" in API group \"\" in the namespace \"production\"","details":{"name":"rabbit-1","kind":"pods"}}`,
			nil,
		},
		"the same words, and nothing says what they are about": {
			"delete", "pods",
			`"message":"pods \"rabbit-1\" is forbidden: User \"unstuck\" cannot delete resource \"pods\" in API group \"\" in the namespace \"production\""}`,
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var status metav1.Status
			if err := json.Unmarshal([]byte(forbidden+tc.answer), &status); err != nil {
				t.Fatal(err)
			}
			err := fmt.Errorf("tried: %w", &apierrors.StatusError{ErrStatus: status})
			got := apiserver.Explain(err, tc.verb, tc.path, "production")
			switch {
			case tc.want != nil && got != error(apiserver.NotAllowedError{ResourceAttributes: *tc.want}): //nolint:errorlint // it must be that one, not wrap it
				t.Errorf("%v, want %v", got, tc.want)
			case tc.want == nil && got != err: //nolint:errorlint // it must be that one, not wrap it
				t.Errorf("%v, want %v", got, err)
			}
		})
	}
	if err := apiserver.Explain(nil, "delete", "pods", "production"); err != nil {
		t.Errorf("of nothing: %v", err)
	}
}
