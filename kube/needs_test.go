package kube

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/kubetest"
)

func TestThePermissionsThatAreMissingAreNamed(t *testing.T) {
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
		"leases update in namespace production (unstuck-operation)",
		"pods delete in namespace production", "pods/exec create in namespace production", "pods/log get in namespace production",
		"secrets get in namespace production (rabbit)", "leases update in namespace unstuck (unstuck)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	c.SetGone(true)
	if _, err := client.Check(t.Context()); err == nil {
		t.Error("nobody answers, and it is no error")
	}
}

func TestWhatIsMissingToDeleteIsNamedThoughNobodyMeantToActAtFirst(t *testing.T) {
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
	want := []apiserver.Missing{
		{Verb: "delete", Resource: "pods", Namespace: ns},
		{Verb: "create", Resource: "leases", Namespace: ns},
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

func TestNoMorePermissionsAreNeededThanWhatIsWatchedNeeds(t *testing.T) {
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
		return strings.Contains(s, "pods delete") || strings.Contains(s, "pods patch") || strings.Contains(s, "leases create in namespace production") ||
			strings.Contains(s, "leases update in namespace production")
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
	if all := needs(skipping); !slices.Contains(all, "pods patch in namespace production") {
		t.Errorf("to label: %v", all)
	}
}

func TestInAnotherClusterNothingOfOurOwnNeedsAPermission(t *testing.T) {
	for external, want := range map[bool][]string{
		true: {"subjectaccessreviews create"},
		false: {
			"subjectaccessreviews create", "tokenreviews create",
			"configmaps create in namespace unstuck", "configmaps delete in namespace unstuck",
			"configmaps list in namespace unstuck", "configmaps update in namespace unstuck",
			"leases create in namespace unstuck", "leases get in namespace unstuck (unstuck)",
			"leases update in namespace unstuck (unstuck)",
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
