package kube

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/kube/kubetest"
)

func TestNeedsThatAreMissingAreNamed(t *testing.T) {
	c := kubetest.NewCluster(t)
	client := clientOf(c)
	watchOne(t, client, brokerTarget())
	client.Secret(SecretRef{Namespace: ns, Name: "rabbit", PasswordKey: "password"})
	if missing, err := client.Check(t.Context()); err != nil || len(missing) > 0 {
		t.Fatalf("%v, %v", missing, err)
	}
	for _, p := range []string{"create pods/exec", "delete pods", "get pods/log", "get secrets", "update leases"} {
		verb, resource, _ := strings.Cut(p, " ")
		c.Deny(verb, resource, true)
	}
	missing, err := client.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range missing {
		got = append(got, m.String())
	}
	want := []string{
		"update leases.coordination.k8s.io unstuck-operation in namespace production",
		"delete pods in namespace production", "create pods/exec in namespace production", "get pods/log in namespace production",
		"get secrets rabbit in namespace production", "update leases.coordination.k8s.io unstuck in namespace unstuck",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	c.SetGone(true)
	if _, err := client.Check(t.Context()); err == nil {
		t.Error("nobody answers, and it is no error")
	}
}

func TestPodsMayDeleteNamesWhatIsMissingThoughNobodyMeantToAct(t *testing.T) {
	c := kubetest.NewCluster(t)
	kubeTarget := brokerTarget()
	kubeTarget.Act, kubeTarget.SkipPreStopChecks = false, true
	p := watchOne(t, clientOf(c), kubeTarget)
	if missing, err := p.MayDelete(t.Context()); err != nil || len(missing) > 0 {
		t.Fatalf("%v, %v", missing, err)
	}
	for _, verb := range []string{"delete", "patch"} {
		c.Deny(verb, "pods", true)
	}
	c.Deny("create", "leases", true)
	missing, err := p.MayDelete(t.Context())
	want := []auth.ResourceAttributes{
		{Verb: "delete", Resource: "pods", Namespace: ns},
		{Verb: "create", Group: "coordination.k8s.io", Resource: "leases", Namespace: ns},
		{Verb: "patch", Resource: "pods", Namespace: ns},
	}
	if diff := cmp.Diff(want, missing); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	c.SetGone(true)
	if _, err := p.MayDelete(t.Context()); err == nil {
		t.Error("nobody answers, and it is no error")
	}
}

func TestNeedsAreNoMoreThanThoseOfWhatIsWatched(t *testing.T) {
	needs := func(targets ...Target) []string {
		client := clientOf(kubetest.NewCluster(t))
		for _, kubeTarget := range targets {
			watchOne(t, client, kubeTarget)
		}
		var all []string
		for _, m := range client.Needs() {
			all = append(all, m.String())
		}
		return all
	}
	observed, app, other := brokerTarget(), appTarget(), brokerTarget()
	observed.Act, app.Act, other.Namespace = false, false, "staging"
	if all := needs(observed, app); slices.ContainsFunc(all, func(s string) bool {
		return strings.Contains(s, "delete pods") || strings.Contains(s, "patch pods") || strings.HasSuffix(s, " in namespace production") &&
			(strings.HasPrefix(s, "create leases.") || strings.HasPrefix(s, "update leases."))
	}) {
		t.Errorf("to observe: %v", all)
	}
	if all := needs(app); slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, "exec") }) {
		t.Errorf("for an application: %v", all)
	}
	if all := needs(observed); slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, "deployments") || strings.Contains(s, "replicasets") }) {
		t.Errorf("for a broker: %v", all)
	}
	one, two := needs(observed), needs(observed, observed, other)
	if len(two) >= 2*len(one) || slices.Compact(slices.Sorted(slices.Values(two))) == nil {
		t.Errorf("%d for one, %d for two in two namespaces", len(one), len(two))
	}
	skipping := brokerTarget()
	skipping.SkipPreStopChecks = true
	if all := needs(skipping); !slices.Contains(all, "patch pods in namespace production") {
		t.Errorf("to label: %v", all)
	}
}

func TestNeedsHaveNothingOfOurOwnInAnotherCluster(t *testing.T) {
	for external, want := range map[bool][]string{
		true: {"create subjectaccessreviews.authorization.k8s.io"},
		false: {
			"create subjectaccessreviews.authorization.k8s.io", "create tokenreviews.authentication.k8s.io",
			"create configmaps in namespace unstuck", "delete configmaps in namespace unstuck",
			"list configmaps in namespace unstuck", "update configmaps in namespace unstuck",
			"create leases.coordination.k8s.io in namespace unstuck", "get leases.coordination.k8s.io unstuck in namespace unstuck",
			"update leases.coordination.k8s.io unstuck in namespace unstuck",
		},
	} {
		client := New(kubetest.NewCluster(t).Conn(), Options{External: external})
		client.Reviews()
		var got []string
		for _, m := range client.Needs() {
			got = append(got, m.String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("another cluster %t (-want +got):\n%s", external, diff)
		}
	}
}
