package config

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

func TestKubernetesKeysArrive(t *testing.T) {
	c := loaded(t, "testdata/good/full.yaml")
	k := c.Kubernetes
	if !strings.HasSuffix(k.Kubeconfig, "testdata/password") || !strings.HasPrefix(k.Kubeconfig, "/") {
		t.Errorf("the kubeconfig is %q", k.Kubeconfig)
	}
	k.Kubeconfig = ""
	if diff := cmp.Diff(Kubernetes{Context: "staging", Namespace: "monitoring", Lease: "unstuck-staging", QPS: 20, Burst: 40}, k); diff != "" {
		t.Errorf("kubernetes (-want +got):\n%s", diff)
	}
	b := c.Brokers[len(c.Brokers)-1]
	pods := &Pods{Namespace: "production", Selector: "app.kubernetes.io/name=rabbitmq-1,tier in (a, b),!canary", Container: "rabbitmq", Port: 5673, SkipPreStopChecks: true}
	if diff := cmp.Diff(pods, b.Pods); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
	secret := &Secret{Namespace: "production", Name: "rabbitmq-secret", UsernameKey: "username", PasswordKey: "rabbitmq-pass"}
	if diff := cmp.Diff(secret, b.Secret); diff != "" {
		t.Errorf("secret (-want +got):\n%s", diff)
	}
	if b.Username != "" || b.PasswordFile != "" || b.Policy.Mode != decide.Remediate || !c.InCluster() {
		t.Errorf("user %q, password file %q, mode %s", b.Username, b.PasswordFile, b.Policy.Mode)
	}
	mutual := c.Brokers[slices.IndexFunc(c.Brokers, func(b Broker) bool { return b.Name == "mutual" })]
	certificates := &TLS{
		CASecret:   &CASecret{Namespace: "production", Name: "rabbitmq-ca", Key: "ca.crt"},
		CertSecret: &CertSecret{Namespace: "production", Name: "unstuck-client", CertKey: "tls.crt", KeyKey: "tls.key"},
		ServerName: "{pod}.rabbitmq-nodes.{namespace}",
	}
	if diff := cmp.Diff(certificates, mutual.TLS); diff != "" || mutual.AuthMechanism != External {
		t.Errorf("%s, TLS (-want +got):\n%s", mutual.AuthMechanism, diff)
	}
	if got := mutual.TLS.ServerName.Of("rabbitmq-server-0", "production"); got != "rabbitmq-server-0.rabbitmq-nodes.production" {
		t.Errorf("the name of a pod is %s", got)
	}
	if creds, err := mutual.Credentials(t.Context()); err != nil || creds != (target.Credentials{}) {
		t.Errorf("it logs in with %+v, %v", creds, err)
	}
	a := c.Apps[0]
	app := App{
		Name: "frontend", Pods: Pods{Namespace: "production", Selector: "app=frontend-app", Container: "app"},
		Every: schedule(t, "@every 20s"), MaxAge: 3 * time.Minute, Policy: a.Policy,
		TimeZone: location(t, "America/New_York"),
	}
	if diff := cmp.Diff(app, a, cmp.AllowUnexported(Schedule{}), sameZone); diff != "" {
		t.Errorf("application (-want +got):\n%s", diff)
	}
	policy := c.Brokers[0].Policy
	policy.Mode, policy.App = decide.Remediate, true
	policy.RecheckAfter, policy.AboveBaseline, policy.LogSilence = a.Policy.RecheckAfter, a.Policy.AboveBaseline, a.Policy.LogSilence // a broker's alone
	policy.MaintenanceWindows = policy.MaintenanceWindows[1:]
	inTimeZone(policy.MaintenanceWindows, a.TimeZone)
	if diff := cmp.Diff(policy, a.Policy, sameZone); diff != "" {
		t.Errorf("the application's policy (-want +got):\n%s", diff)
	}
}

func TestBrokerHasThePortOfItsProtocol(t *testing.T) {
	for tls, want := range map[string]int{"": 5672, "tls: {}": 5671} {
		c, err := Parse([]byte(`brokers: [{name: b, username: u, password_file: p, pods: {namespace: n, selector: a=b, container: c}}]
defaults: {` + tls + `}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Brokers[0].Pods.Port; got != want {
			t.Errorf("with %q the port is %d, want %d", tls, got, want)
		}
	}
}

func TestBrokerCredentialsTakeThePlaceOfTheDefaults(t *testing.T) {
	c, err := Parse([]byte(`
defaults: {secret: {name: all, username_key: user, password_key: pass}}
brokers:
  - {name: inherits, pods: {namespace: n, selector: a=b, container: c}}
  - {name: other-user, username: me, pods: {namespace: n, selector: a=c, container: c}}
  - {name: file, username: me, password_file: /p, pods: {namespace: n, selector: a=d, container: c}}
  - {name: other-secret, secret: {name: own, username_key: u}, pods: {namespace: n, selector: a=e, container: c}}
`))
	if err != nil {
		t.Fatal(err)
	}
	type credentials struct {
		User, File string
		Secret     *Secret
	}
	var got []credentials
	for _, b := range c.Brokers {
		got = append(got, credentials{b.Username, b.PasswordFile, b.Secret})
	}
	want := []credentials{
		{"", "", &Secret{Name: "all", UsernameKey: "user", PasswordKey: "pass"}},
		{"me", "", &Secret{Name: "all", PasswordKey: "pass"}},
		{"me", "/p", nil},
		{"", "", &Secret{Name: "own", UsernameKey: "u", PasswordKey: "password"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestKubernetesSelectorsAreThoseOfKubernetes(t *testing.T) {
	for selector, good := range map[string]bool{
		"app=x": true, "app==x": true, "app!=x": true, "app": true, "!app": true, "a.b/c-d=E_f.9": true, "a=b,c=d": true, "a=b, c in (d, e) ,!f": true,
		"a notin (b)": true, "a=": true, "": false, ",": false, "a=b,": false, "=b": false, "a in b": false, "a in (b": false, "a=b c": false, "a=-b": false,
		"a>1": false, "a=b;c": false,
	} {
		if got := selectorForm.MatchString(selector); got != good {
			t.Errorf("%q is taken: %v, want %v", selector, got, good)
		}
	}
}
