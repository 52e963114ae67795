package app

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/kube/discover"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// resource is a RabbitmqCluster of three nodes, as it is read.
func resource(namespace, name string) discover.Found {
	pod := map[string]string{"app.kubernetes.io/name": name, "app.kubernetes.io/component": "rabbitmq"}
	return discover.Found{
		Source: target.Source{Kind: target.FromRabbitmqCluster, Namespace: namespace, Name: name}, UID: "uid-" + name,
		Name: namespace + "-" + name, Selector: "app.kubernetes.io/name=" + name, Labels: pod, Container: "rabbitmq", Port: 5672,
		Secret:   discover.Secret{Name: name + "-default-user", UsernameKey: "username", PasswordKey: "password"},
		Replicas: 3, Grace: 604800 * time.Second, SkipPreStopChecks: true,
	}
}

func looking(t *testing.T, keys string) *config.Config {
	t.Helper()
	c, err := config.Parse([]byte("discovery: {all_namespaces: true" + keys + "}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// settled gives the one broker that is made of a resource, or why there is none.
func settled(t *testing.T, keys string, change func(*discover.Found)) (config.Broker, string) {
	t.Helper()
	c, f := looking(t, keys), resource("production", "orders")
	change(&f)
	brokers, unwatched := settle(c.Discovery, c, discover.Known{Found: []discover.Found{f}})
	if len(brokers) == 1 && len(unwatched) == 0 {
		return brokers[0], ""
	}
	if len(brokers) == 0 && len(unwatched) == 1 && !unwatched[0].Ignored {
		return config.Broker{}, unwatched[0].Reason
	}
	t.Fatalf("%d brokers, unwatched %+v", len(brokers), unwatched)
	return config.Broker{}, ""
}

func TestSettleMakesABrokerOfWhatTheResourceSays(t *testing.T) {
	b, _ := settled(t, "", func(*discover.Found) {})
	if b.Name != "production-orders" || b.Source.String() != "RabbitmqCluster production/orders" || b.Policy.Mode != decide.Observe ||
		b.Policy.SingleNode || b.TLS != nil || *b.Secret != (config.Secret{Namespace: "production", Name: "orders-default-user", UsernameKey: "username", PasswordKey: "password"}) ||
		*b.Pods != (config.Pods{Namespace: "production", Selector: "app.kubernetes.io/name=orders", Container: "rabbitmq", Port: 5672, SkipPreStopChecks: true}) {
		t.Errorf("%+v", b)
	}
	if b.Policy.GracePeriod != decide.DefaultPolicy().GracePeriod {
		t.Errorf("the operator's week became the grace period: %s", b.Policy.GracePeriod)
	}
	b, _ = settled(t, "", func(f *discover.Found) { f.Replicas, f.Grace = 1, 10*time.Second })
	if !b.Policy.SingleNode || b.Policy.GracePeriod != 10*time.Second {
		t.Errorf("%+v", b.Policy)
	}
	b, _ = settled(t, ", defaults: {secret: {name: monitor, username_key: user}}", func(f *discover.Found) { f.NoSecret = "Vault" })
	if b.Secret.Name != "monitor" || b.Secret.Namespace != "" { // that of the pods
		t.Errorf("%+v", b.Secret)
	}
}

func TestSettleNeverGoesBeyondWhatTheConfigurationAllows(t *testing.T) {
	for _, c := range []struct {
		keys string
		asks discover.Asks
		want decide.Mode
	}{
		{"", discover.AsksNothing, decide.Observe},
		{"", discover.AsksRemediate, decide.Observe},
		{", max_mode: remediate", discover.AsksNothing, decide.Observe},
		{", max_mode: remediate", discover.AsksRemediate, decide.Remediate},
		{", mode: remediate", discover.AsksNothing, decide.Remediate},
		{", mode: remediate", discover.AsksObserve, decide.Observe},
		{", mode: remediate", discover.Asks("everything"), decide.Observe},
	} {
		b, why := settled(t, c.keys, func(f *discover.Found) { f.Asks = c.asks })
		if why != "" || b.Policy.Mode != c.want {
			t.Errorf("%q asks %q: %s, %s", c.keys, c.asks, b.Policy.Mode, why)
		}
	}
}

func TestSettleSaysWhatCannotBeReadAndHowToPutItRight(t *testing.T) {
	_, why := settled(t, "", func(f *discover.Found) { f.NoSecret = "its default user is in Vault" })
	if why != "its default user is in Vault: want discovery.defaults.secret in the configuration, to log in with another user" {
		t.Error(why)
	}
}

func TestSettleReadsTheCAThatAResourceNames(t *testing.T) {
	b, why := settled(t, "", func(f *discover.Found) { f.Port, f.TLS = 5671, &discover.TLS{Required: true, CASecret: "ca"} })
	if why != "" || b.TLS == nil || b.TLS.CASecret == nil ||
		*b.TLS.CASecret != (config.CASecret{Namespace: b.Pods.Namespace, Name: "ca", Key: "ca.crt"}) {
		t.Errorf("%+v, %s", b.TLS, why)
	}
}

func TestSettleSpeaksTLSWhereItMustOrKnowsWhomToTrust(t *testing.T) {
	for _, c := range []struct {
		keys string
		tls  discover.TLS
		port int // of the resource
		want int
		name string // empty: plain
	}{
		{"", discover.TLS{ServerName: "s"}, 5672, 5672, ""},
		{"", discover.TLS{ServerName: "s", CASecret: "ca"}, 5671, 5672, ""},
		{"", discover.TLS{ServerName: "s", Required: true}, 5671, 5671, "s"},
		{", defaults: {tls: {ca_file: ca}}", discover.TLS{ServerName: "s"}, 5672, 5671, "s"},
		{", defaults: {tls: {ca_file: ca, server_name: n}}", discover.TLS{ServerName: "s", Required: true, CASecret: "ca"}, 5671, 5671, "n"},
	} {
		b, why := settled(t, c.keys, func(f *discover.Found) { f.Port, f.TLS = c.port, &c.tls })
		name := ""
		if b.TLS != nil {
			name = string(b.TLS.ServerName)
		}
		if why != "" || b.Pods.Port != c.want || name != c.name {
			t.Errorf("%+v with %q: port %d, name %q, %s", c.tls, c.keys, b.Pods.Port, name, why)
		}
	}
	if b, _ := settled(t, ", defaults: {tls: {ca_file: ca}}", func(*discover.Found) {}); b.TLS != nil {
		t.Error("TLS to a broker that has none")
	}
}

func TestSettleLetsTheConfigurationWinAndRefusesBothOfTwoClaims(t *testing.T) {
	written := looking(t, "")
	written.Brokers = []config.Broker{
		{Name: "production-orders", Nodes: []target.Node{{Name: "a"}}},
		{Name: "jobs", Pods: &config.Pods{Namespace: "production", Selector: "app.kubernetes.io/component=rabbitmq,app.kubernetes.io/name=jobs"}},
	}
	twin := resource("staging", "twin")
	twin.Source.Kind = target.FromStatefulSet
	brokers, unwatched := settle(written.Discovery, written, discover.Known{
		Found: []discover.Found{
			resource("production", "orders"), resource("production", "jobs"), resource("staging", "jobs"), resource("staging", "twin"), twin,
		},
		Refused: []discover.Refusal{{Name: "a-half", Why: "it has no spec yet"}},
	})
	if len(brokers) != 1 || brokers[0].Name != "staging-jobs" {
		t.Errorf("%+v", brokers)
	}
	var got []string
	for _, u := range unwatched {
		got = append(got, fmt.Sprint(u.Target, " ", u.Ignored, " ", u.Reason))
	}
	want := []string{
		"a-half false it has no spec yet",
		"production-orders true the configuration has a target of that name, and what is written there wins",
		"production-jobs true its pods are those of jobs in the configuration, and what is written there wins",
		"staging-twin false StatefulSet staging/twin would have the same name, staging-twin: neither is watched",
		"staging-twin false RabbitmqCluster staging/twin would have the same name, staging-twin: neither is watched",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// Thirty brokers come at once, one changes, one goes, and what cannot be read costs nothing else.
func TestAppWatchFoundWatchesThirtyBrokersAndFollowsThem(t *testing.T) {
	applied(t, func(t *testing.T, a *App, s *supply) {
		mustApply(t, a, named("written"))
		d := looking(t, ", max_mode: remediate").Discovery
		k := discover.Known{Listed: true, Problems: []string{"look for statefulsets in namespace b: not allowed"}}
		for i := range 30 {
			k.Found = append(k.Found, resource("production", fmt.Sprintf("b%02d", i)))
		}
		a.watchFound(d, discover.Known{Found: k.Found}) // not everything has been listed: nothing is known for certain
		if got := a.names(); len(got) != 1 || a.found.told().Complete {
			t.Fatalf("%q are watched, complete: %t", got, a.found.told().Complete)
		}
		a.watchFound(d, k)
		if got := a.names(); len(got) != 31 {
			t.Fatalf("%d are watched", len(got))
		}
		before := a.fleet.find("production-b07")
		k.Found[3].Asks = discover.AsksRemediate
		k.Found[29].NoSecret, k.Found[29].Secret = "it has no Secret", discover.Secret{}
		k.Found = slices.Delete(k.Found, 5, 6)
		a.watchFound(d, k)
		if a.fleet.find("production-b05") != nil || a.fleet.find("production-b29") != nil || a.fleet.find("production-b07") != before {
			t.Errorf("%q are watched", a.names())
		}
		if snapshot := a.fleet.find("production-b03").loop.Snapshot(); snapshot.Policy.Mode != decide.Remediate || snapshot.Source.Name != "b03" {
			t.Errorf("%+v", snapshot)
		}
		told := a.found.told()
		if len(told.Unwatched) != 1 || !strings.HasPrefix(told.Unwatched[0].Reason, "it has no Secret") || len(told.Problems) != 1 || told.Complete {
			t.Errorf("%+v", told)
		}
		s.refuses["production-b01"] = true
		k.Found[1].Asks = discover.AsksRemediate
		a.watchFound(d, k)
		told = a.found.told()
		if len(told.Unwatched) != 2 || told.Unwatched[0].Reason != "broker production-b01: nobody supplies it" || len(a.names()) != 28 {
			t.Errorf("%+v, %d are watched", told, len(a.names()))
		}
		a.watchFound(d, discover.Known{Listed: true})
		if got := a.names(); !slices.Equal(got, []string{"written"}) || len(a.found.told().Unwatched) != 0 || !a.found.told().Complete {
			t.Errorf("%q are watched", got)
		}
	})
}
