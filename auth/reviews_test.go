package auth

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

// server is an API server that allows what is in its list.
type server struct {
	allows string // "*": everything
	asked  []string
	about  Caller // the last
	err    error
}

func (s *server) Authenticate(_ context.Context, token string) (who Caller, ok bool, err error) {
	return Caller{Name: "ada@example.com", Groups: []string{"oncall"}}, token == "good", s.err
}

func (s *server) Allowed(_ context.Context, who Caller, what ResourceAttributes) (bool, error) {
	need := what.String()
	s.asked, s.about = append(s.asked, need), who
	return (s.allows == "*" || strings.Contains(s.allows, need)) && who.Name != "" && len(who.Groups) == 1, s.err
}

func TestReviewsNeedsAreThoseThatKubectlHas(t *testing.T) {
	patches := func(ns string) []string {
		return []string{
			"patch deployments.apps frontend-deployment in namespace " + ns, "patch deployments.apps cron-deployment in namespace " + ns,
			"get cronjobs.batch migrate in namespace " + ns, "create jobs.batch in namespace " + ns,
		}
	}
	for _, c := range []struct {
		action Action
		want   []string
	}{
		{Action{Verb: Deploy, Environment: "staging"}, patches("staging")},
		{Action{Verb: Promote, Environment: "production"}, patches("production")},
		{Action{Verb: Revert, Environment: "production"}, patches("production")},
		{Action{Verb: Restart, Environment: "staging", Service: "cron"}, []string{"patch deployments.apps cron-deployment in namespace staging"}},
		{Action{Verb: Restart, Environment: "staging", Secret: "db"}, []string{"patch deployments.apps in namespace staging"}},
		{Action{Verb: RunTask, Environment: "staging", Task: "import-plans"}, []string{"create pods/exec in namespace staging"}},
		{Action{Verb: RunTask, Environment: "staging", Task: "clear-render-cache"}, []string{"get podtemplates clear in namespace staging", "create jobs.batch in namespace staging"}},
		{Action{Verb: Logs, Environment: "staging", Service: "cron"}, []string{
			"get deployments.apps cron-deployment in namespace staging", "list pods in namespace staging", "get pods/log in namespace staging",
		}},
		{Action{Verb: Env, Environment: "staging", Service: "cron"}, []string{"get deployments.apps cron-deployment in namespace staging", "list pods in namespace staging"}},
		{Action{Verb: Env, Environment: "staging", Service: "cron", Pod: "cron-1"}, []string{"get pods cron-1 in namespace staging"}},
		{Action{Verb: Read, Environment: "staging"}, []string{"list deployments.apps in namespace staging", "get pods/log in namespace staging"}},
		{Action{Verb: Read, Target: "orders"}, []string{"get pods/log in namespace mq"}},
		{Action{Verb: Delete, Target: "orders", Node: "mq-1"}, []string{"delete pods mq-1 in namespace mq"}},
		{Action{Verb: Probe, Target: "orders", Node: "mq-1"}, []string{"create pods/exec mq-1 in namespace mq"}},
		{Action{Verb: Pause, Target: "orders"}, []string{"patch configmaps in namespace unstuck"}},
		{Action{Verb: Pause}, []string{"patch configmaps in namespace unstuck"}},
	} {
		s := &server{allows: "*"}
		v := Reviews{Own: s, Releases: environments(), Targets: inMQ, Home: "unstuck"}
		who := Caller{Name: "ada@example.com", Groups: []string{"oncall"}}
		got, err := v.Allowed(t.Context(), who, c.action)
		if diff := cmp.Diff(c.want, s.asked); err != nil || !got.Allowed || diff != "" {
			t.Errorf("%s: %+v, %v\n%s", c.action, got, err, diff)
		}
		for _, missing := range c.want { // without any one of them it is refused
			s := &server{allows: strings.ReplaceAll(strings.Join(c.want, ";"), missing, "")}
			v.Own = s
			if got, err := v.Allowed(t.Context(), who, c.action); err != nil || got.Allowed || got.Why != "needs the right to "+missing {
				t.Errorf("%s without %q: %+v, %v", c.action, missing, got, err)
			}
		}
		v.Own = &server{allows: "*", err: errors.New("connection refused")}
		if got, err := v.Allowed(t.Context(), who, c.action); err == nil || got.Allowed {
			t.Errorf("%s while nobody answers: %+v, %v", c.action, got, err)
		}
	}
}

func TestReviewsRefuseWhatNobodyKnowsTheNeedsOf(t *testing.T) {
	v := Reviews{Own: &server{allows: "*"}, Releases: environments(), Targets: inMQ, Home: "unstuck"}
	for _, action := range []Action{
		{Verb: Deploy},
		{Verb: Delete},
		{Verb: Read, Environment: "nowhere"},
		{Verb: Delete, Target: "nobody", Node: "x"},
		{Verb: Logs, Environment: "staging"},
		{Verb: Env, Environment: "staging", Service: "nobody", Pod: "x"},
		{Verb: Logs, Target: "orders"},
		{Verb: Restart, Environment: "staging", Service: "nobody"},
		{Verb: Restart, Environment: "staging"},
		{Verb: RunTask, Environment: "staging", Task: "none"},
		{Verb: "rule", Environment: "staging"},
		{Environment: "staging"},
		{Verb: Delete, Environment: "staging"},
		{Verb: Deploy, Target: "orders"},
		{},
	} {
		if got, err := v.Allowed(t.Context(), Caller{Name: "ada", Groups: []string{"x"}}, action); err != nil || got.Allowed || got.Why == "" {
			t.Errorf("%+v: %+v, %v", action, got, err)
		}
	}
}

func TestReviewsAskAnotherClusterAboutItsOwnAndPeopleOnly(t *testing.T) {
	env := environments()[0]
	env.Context = "far"
	own, far := &server{allows: "*"}, &server{}
	v := Reviews{Own: own, Releases: []plan.Environment{env}, Others: map[string]Reviewer{"far": far}}
	action := Action{Verb: Deploy, Environment: "staging"}
	for name, allowed := range map[string]string{"ada@example.com": "*", "eve@example.com": "", "system:serviceaccount:ci:deployer": "*"} {
		far.allows = allowed
		want := name == "ada@example.com"
		if got, err := v.Allowed(t.Context(), Caller{Name: name, Groups: []string{"x"}}, action); err != nil || got.Allowed != want {
			t.Errorf("%s: %+v, %v, want %t", name, got, err, want)
		}
	}
	v.Others = nil
	if got, err := v.Allowed(t.Context(), Caller{Name: "ada@example.com", Groups: []string{"x"}}, action); err != nil || got.Allowed {
		t.Errorf("a cluster that cannot be asked: %+v, %v", got, err)
	}
	if len(own.asked) > 0 {
		t.Errorf("our own cluster was asked about another's: %q", own.asked)
	}
}

// grouped is an API server that lets those in who are in one of its groups.
type grouped struct {
	server
	group string
}

func (g *grouped) Allowed(_ context.Context, who Caller, _ ResourceAttributes) (bool, error) {
	return slices.Contains(who.Groups, g.group), nil
}

func TestReviewsTellTheServerAllThatItSaidOfTheCaller(t *testing.T) {
	env := environments()[0]
	own, far := &server{allows: "*"}, &server{allows: "*"}
	v := Reviews{Own: own, Releases: []plan.Environment{env}, Others: map[string]Reviewer{"far": far}}
	ada := Caller{Name: "ada@example.com", Groups: []string{"oncall"}, UID: "u1", Extra: map[string][]string{
		"iam.gke.io/user-assertion": {"a"}, "authentication.kubernetes.io/credential-id": {"c"},
	}}
	action := Action{Verb: Deploy, Environment: "staging"}
	if got, err := v.Allowed(t.Context(), ada, action); err != nil || !got.Allowed || !cmp.Equal(own.about, ada) {
		t.Errorf("%+v, %v\n%s", got, err, cmp.Diff(ada, own.about))
	}
	v.Releases[0].Context = "far"
	want := Caller{Name: ada.Name, Groups: ada.Groups, Extra: map[string][]string{"iam.gke.io/user-assertion": {"a"}}}
	if got, err := v.Allowed(t.Context(), ada, action); err != nil || !got.Allowed || !cmp.Equal(far.about, want) || len(ada.Extra) != 2 {
		t.Errorf("in another cluster: %+v, %v\n%s", got, err, cmp.Diff(want, far.about))
	}
	ada.Extra["scopes.authorization.openshift.io"] = []string{"user:info"}
	if got, err := v.Allowed(t.Context(), ada, action); err != nil || got.Allowed || !strings.Contains(got.Why, "limited") {
		t.Errorf("with scopes that another cluster does not know: %+v, %v", got, err)
	}
	v.Releases[0].Context = ""
	if _, err := v.Allowed(t.Context(), ada, action); err != nil || !cmp.Equal(own.about, ada) {
		t.Errorf("with scopes: %v\n%s", err, cmp.Diff(ada, own.about))
	}
}

func TestReviewsGiveWhoRulesThisClusterNoRightsInAnother(t *testing.T) {
	env := environments()[0]
	env.Context = "far"
	who := Caller{Name: "ada@example.com", Groups: []string{"oncall", "system:masters", "system:serviceaccounts", "system:authenticated"}}
	for group, want := range map[string]bool{"oncall": true, "system:authenticated": true, "system:masters": false, "system:serviceaccounts": false} {
		for _, cluster := range []string{"", "far"} {
			env.Context = cluster
			v := Reviews{
				Own: &grouped{group: group}, Releases: []plan.Environment{env}, Others: map[string]Reviewer{"far": &grouped{group: group}},
			}
			got, err := v.Allowed(t.Context(), who, Action{Verb: Deploy, Environment: "staging"})
			if err != nil || got.Allowed != (want || cluster == "") {
				t.Errorf("cluster %q lets %s in: %+v, %v", cluster, group, got, err)
			}
		}
	}
}

func TestAuthoritiesAllowWhatTheOneThatKnowsTheCallerAllows(t *testing.T) {
	file := nobodys{"ada@example.com"}
	own := &server{allows: "*"}
	kube := Reviews{Own: own, Releases: environments()}
	both := Authorities{{"tokens", file, file}, {"kubernetes", kube, kube}}
	action := Action{Verb: Deploy, Environment: "staging"}
	for token, want := range map[string]struct {
		authority string
		allowed   bool
	}{"good": {"kubernetes", true}, "token-of-ada@example.com": {"tokens", false}} {
		who, err := both.Authenticate(t.Context(), token)
		if err != nil || who.Name != "ada@example.com" || who.Authority != want.authority {
			t.Errorf("%s: %+v, %v", token, who, err)
		}
		if v, err := both.Allowed(t.Context(), who, action); err != nil || v.Allowed != want.allowed {
			t.Errorf("%s: %+v, %v, want %t", token, v, err, want.allowed)
		}
	}
	if _, err := both.Authenticate(t.Context(), "bad"); !errors.Is(err, ErrUnknownToken) {
		t.Errorf("a bad token: %v", err)
	}
	if v, err := both.Allowed(t.Context(), Caller{Name: "ada@example.com"}, action); err != nil || v.Allowed {
		t.Errorf("a caller of nobody's: %+v, %v", v, err)
	}
	own.err = errors.New("connection refused")
	if _, err := both.Authenticate(t.Context(), "bad"); err == nil || errors.Is(err, ErrUnknownToken) {
		t.Errorf("while one cannot be asked: %v, want that it cannot be told", err)
	}
	if who, err := both.Authenticate(t.Context(), "token-of-ada@example.com"); err != nil || who.Authority != "tokens" {
		t.Errorf("while the other cannot be asked: %+v, %v", who, err)
	}
}

// environments are two, the second of which is promoted to.
func environments() []plan.Environment {
	staging := plan.Environment{
		Name: "staging", Namespace: "staging", Image: "gcr.io/acme/{image}:{commit}", Images: []string{"migrate"},
		Services: []plan.Service{
			{Name: "frontend", Ref: workload.Ref{Deployment: "frontend-deployment"}, Image: "frontend", Kind: plan.Rolling},
			{Name: "cron", Ref: workload.Ref{Deployment: "cron-deployment"}, Image: "cron"},
		},
		Jobs: []plan.Job{{Name: "migrate", From: plan.TemplateRef{Kind: plan.FromCronJob, Name: "migrate"}}},
		Tasks: []plan.Task{
			{Name: "import-plans", Exec: plan.Exec{Service: "frontend", Command: []string{"./manage.py", "import-plans"}}},
			{Name: "clear-render-cache", Warning: "Users will notice a slowdown for a few minutes.", From: plan.TemplateRef{Kind: plan.FromPodTemplate, Name: "clear"}},
		},
	}
	production := staging
	production.Name, production.Namespace, production.PromoteFrom = "production", "production", "staging"
	return []plan.Environment{staging, production}
}

// nobodys is an authority that knows one caller, by a token, who may do nothing.
type nobodys struct{ name string }

func (n nobodys) Authenticate(_ context.Context, token string) (Caller, error) {
	if token != "token-of-"+n.name {
		return Caller{}, ErrUnknownToken
	}
	return Caller{Name: n.name}, nil
}

func (nobodys) Allowed(context.Context, Caller, Action) (Grant, error) {
	return Grant{Why: "the token gives no right to that"}, nil
}

// inMQ gives the namespace of the one broker that there is.
func inMQ(target string) string { return map[string]string{"orders": "mq"}[target] }
