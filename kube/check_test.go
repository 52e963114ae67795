package kube

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

func TestThePermissionsThatAreMissingAreNamed(t *testing.T) {
	c := newCluster(t)
	client := c.client()
	watchOne(t, client, brokerTarget())
	client.Secret(SecretRef{Namespace: ns, Name: "rabbit", PasswordKey: "password"})
	if missing, err := client.Check(t.Context()); err != nil || len(missing) > 0 {
		t.Fatalf("%v, %v", missing, err)
	}
	for _, p := range []string{"create pods/exec", "delete pods", "get pods/log", "get secrets", "update leases"} {
		verb, resource, _ := strings.Cut(p, " ")
		c.deny(verb, resource, true)
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
	c.setGone(true)
	if _, err := client.Check(t.Context()); err == nil {
		t.Error("nobody answers, and it is no error")
	}
}

func TestWhatIsMissingToDeleteIsNamedThoughNobodyMeantToActAtFirst(t *testing.T) {
	c := newCluster(t)
	kubeTarget := brokerTarget()
	kubeTarget.Act, kubeTarget.SkipPreStopChecks = false, true
	p := watchOne(t, c.client(), kubeTarget)
	if missing, err := p.MayDelete(t.Context()); err != nil || len(missing) > 0 {
		t.Fatalf("%v, %v", missing, err)
	}
	for _, verb := range []string{"delete", "patch"} {
		c.deny(verb, "pods", true)
	}
	c.deny("create", "leases", true)
	missing, err := p.MayDelete(t.Context())
	want := []Missing{
		{Verb: "delete", Resource: "pods", Namespace: ns},
		{Verb: "create", Resource: "leases", Namespace: ns},
		{Verb: "patch", Resource: "pods", Namespace: ns},
	}
	if diff := cmp.Diff(want, missing); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	c.setGone(true)
	if _, err := p.MayDelete(t.Context()); err == nil {
		t.Error("nobody answers, and it is no error")
	}
}

func TestNoMorePermissionsAreNeededThanWhatIsWatchedNeeds(t *testing.T) {
	needs := func(targets ...Target) []string {
		client := newCluster(t).client()
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

func TestOnlyARefusalForWantOfAPermissionIsOne(t *testing.T) {
	if err := explain(forbidden("delete", pods, ns), "delete", "pods", ns); !errors.Is(err, Missing{Verb: "delete", Resource: "pods", Namespace: ns}) {
		t.Errorf("%v", err)
	}
	webhook := apierrors.NewForbidden(pods.GroupResource(), "rabbit-1", fmt.Errorf("admission webhook denied the request: a freeze is on"))
	if err := explain(webhook, "delete", "pods", ns); !errors.Is(err, webhook) {
		t.Errorf("%v", err)
	}
	if err := explain(nil, "delete", "pods", ns); err != nil {
		t.Errorf("%v", err)
	}
}

func TestAKubeconfigThatCannotBeUsedShowsNoneOfItsSecrets(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"broken":     "apiVersion: v1\nkind: Config\nusers: [{name: me, user: {token: hunter2}\n",
		"wrong type": "apiVersion: v1\nkind: Config\nusers: [{name: me, user: {token: [hunter2]}}]\n",
		"no cluster": "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{name: x, context: {cluster: none, user: me}}]\nusers: [{name: me, user: {token: hunter2}}]\n",
		"no CA": "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{name: x, context: {cluster: c, user: me}}]\n" +
			"clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1', certificate-authority: /none}}]\nusers: [{name: me, user: {token: hunter2}}]\n",
	} {
		file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Connect(Options{Kubeconfig: file}, quiet())
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Connect(Options{Kubeconfig: filepath.Join(dir, "none")}, quiet()); err == nil {
		t.Error("a file that there is not is no error")
	}
}
