package config

import (
	"slices"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/remediate/decide"
)

func TestDiscoveryIsNoneUnlessAskedForAndThenObservesOnly(t *testing.T) {
	plain := parsed(t, "brokers: [{name: a, username: u, password_file: p, nodes: [{name: n, address: 'a:1'}]}]")
	if plain.Discovery != nil || plain.InCluster() {
		t.Fatalf("%+v", plain.Discovery)
	}
	// What the other brokers share is not what is found: neither their mode, nor their user, nor their TLS.
	c := parsed(t, `
defaults: {mode: remediate, username: u, password_file: p, vhost: /jobs, tls: {ca_file: ca}, policy: {cooldown: 1h}}
discovery: {namespaces: [orders]}
`)
	d := c.Discovery
	if d == nil || !c.InCluster() || !slices.Equal(d.Namespaces, []string{"orders"}) || !d.RabbitmqClusters || !d.StatefulSets {
		t.Fatalf("%+v", d)
	}
	if d.Broker.Policy.Mode != decide.Observe || d.MaxMode != decide.Observe || d.HasCredentials() || d.Broker.Username != "" || d.Broker.TLS != nil {
		t.Errorf("%+v", d.Broker)
	}
	if d.Broker.Vhost != "/jobs" || d.Broker.Policy.Cooldown != time.Hour {
		t.Errorf("what brokers share does not hold for those that are found: %+v", d.Broker)
	}
}

func TestDiscoveryModesAndItsOwnDefaults(t *testing.T) {
	for _, c := range []struct {
		keys      string
		mode, max decide.Mode
	}{
		{"mode: observe", decide.Observe, decide.Observe},
		{"mode: remediate", decide.Remediate, decide.Remediate},
		{"max_mode: remediate", decide.Observe, decide.Remediate},
		{"mode: remediate, max_mode: remediate", decide.Remediate, decide.Remediate},
	} {
		d := parsed(t, "discovery: {"+c.keys+", all_namespaces: true, defaults: {secret: {name: s, username_key: u}, vhost: /a}}").Discovery
		if d.Broker.Policy.Mode != c.mode || d.MaxMode != c.max || !d.HasCredentials() || d.Broker.Vhost != "/a" {
			t.Errorf("%s: %+v", c.keys, d)
		}
	}
}

func TestDiscoveryClaimantIsWhoseSelectorFits(t *testing.T) {
	c := parsed(t, `
brokers:
  - {name: one, username: u, password_file: p, pods: {namespace: a, selector: "app=rabbit,tier!=test", container: c}}
  - {name: listed, username: u, password_file: p, nodes: [{name: n, address: 'a:1'}]}
apps: [{name: web, pods: {namespace: a, selector: app=web, container: c}}]
`)
	for _, one := range []struct {
		namespace string
		pod       map[string]string
		want      string
	}{
		{"a", map[string]string{"app": "rabbit", "more": "x"}, "one"},
		{"a", map[string]string{"app": "rabbit", "tier": "test"}, ""},
		{"b", map[string]string{"app": "rabbit"}, ""},
		{"a", map[string]string{"app": "web"}, "web"},
		{"a", nil, ""},
	} {
		if got := c.Claimant(one.namespace, one.pod); got != one.want {
			t.Errorf("%v in %s: %q, want %q", one.pod, one.namespace, got, one.want)
		}
	}
}
