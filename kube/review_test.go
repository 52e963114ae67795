package kube

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/kube/kubetest"
)

func TestReviewsAuthenticateAsksAgainSoonAboutAGoodToken(t *testing.T) {
	c := kubetest.NewCluster(t)
	asked := 0
	var fault error
	c.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		asked++
		r := a.(clienttesting.CreateAction).GetObject().DeepCopyObject().(*authenticationv1.TokenReview) //nolint:forcetypeassert // a create
		r.Status.Authenticated = r.Spec.Token == "hunter2"
		r.Status.User = authenticationv1.UserInfo{
			Username: "ada", Groups: []string{"ops"}, UID: "u1", Extra: map[string]authenticationv1.ExtraValue{"scopes.authorization.openshift.io": {"user:info"}},
		}
		return true, r, fault
	})
	r := clientOf(c).Reviews()
	ask := func(token string, want bool) {
		t.Helper()
		who, ok, err := r.Authenticate(t.Context(), token)
		ada := auth.Caller{Name: "ada", Groups: []string{"ops"}, UID: "u1", Extra: map[string][]string{"scopes.authorization.openshift.io": {"user:info"}}}
		if ok != want || err != nil || ok && !cmp.Equal(who, ada) || !ok && who.Name != "" {
			t.Errorf("%s: %+v %t, %v", token, who, ok, err)
		}
	}
	ask("hunter2", true)
	ask("hunter2", true)
	ask("wrong", false)
	ask("wrong", false)
	ask("", false)
	ask(strings.Repeat("x", longToken+1), false)
	if asked != 3 {
		t.Errorf("asked %d times", asked)
	}
	for key, who := range r.callers {
		who.until = time.Now()
		r.callers[key] = who
	}
	ask("hunter2", true)
	if asked != 4 {
		t.Errorf("asked %d times about a token that is not known any more", asked)
	}
	for i := range 3 * callersKept {
		r.keep([32]byte{byte(i), byte(i >> 8)}, caller{until: time.Now().Add(time.Hour)}, time.Now())
	}
	if len(r.callers) > callersKept {
		t.Errorf("%d are kept", len(r.callers))
	}
	fault = errors.New("token hunter2 is odd")
	r.callers = map[[32]byte]caller{}
	if _, ok, err := r.Authenticate(t.Context(), "hunter2"); ok || err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%t, %v", ok, err)
	}
}

func TestReviewsAllowedIsWhatTheAPIServerSays(t *testing.T) {
	c := kubetest.NewCluster(t)
	var got authorizationv1.SubjectAccessReviewSpec
	answer := authorizationv1.SubjectAccessReviewStatus{Allowed: true}
	c.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r := a.(clienttesting.CreateAction).GetObject().DeepCopyObject().(*authorizationv1.SubjectAccessReview) //nolint:forcetypeassert // a create
		got, r.Status = r.Spec, answer
		return true, r, nil
	})
	r := clientOf(c).Reviews()
	may := func(user string) bool {
		who := auth.Caller{Name: user, Groups: []string{"ops"}, UID: "u1", Extra: map[string][]string{"iam.gke.io/user-assertion": {"a", "b"}}}
		ok, err := r.Allowed(t.Context(), who, auth.ResourceAttributes{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: ns, Name: "cron-x"})
		if err != nil {
			t.Error(err)
		}
		return ok
	}
	want := authorizationv1.SubjectAccessReviewSpec{User: "ada", Groups: []string{"ops"}, UID: "u1", Extra: map[string]authorizationv1.ExtraValue{"iam.gke.io/user-assertion": {"a", "b"}}, ResourceAttributes: &authorizationv1.ResourceAttributes{
		Verb: "create", Resource: "pods", Subresource: "exec", Namespace: ns, Name: "cron-x",
	}}
	if !may("ada") || !cmp.Equal(want, got) {
		t.Error(cmp.Diff(want, got))
	}
	answer.Denied = true
	if may("ada") || may("") {
		t.Error("it is denied")
	}
}
