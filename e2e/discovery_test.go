package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/cjworkbench/unstuck/e2e/cluster"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// discovering gives the chart's values with which brokers are found there.
func discovering(where string) string {
	return `
config:
  log: {format: json, level: debug}
  discovery:
    ` + where + `
    max_mode: remediate
    defaults:` + strings.ReplaceAll(quick, "\n    ", "\n      ")
}

// The operator's resources come, change and go, and what is watched follows them, with the rights that the chart gives:
// in two namespaces, and then in all.
func TestDiscoveryWatchesWhatTheOperatorsResourcesSay(t *testing.T) {
	t.Parallel()
	const first, second, real = "discovery", "discovery-more", "orders"
	base, err := prepared()
	if err != nil {
		t.Fatal(err)
	}
	resources, err := dynamic.NewForConfig(shared.Config)
	if err != nil {
		t.Fatal(err)
	}
	const week = 7 * 24 * time.Hour // the operator's default, for a hook that a stuck node never ends
	broker := startBroker(t, cluster.BrokerOptions{
		Namespace: first, Resource: real, Replicas: 1, HandshakeTimeout: quickHandshake, Grace: week, PreStop: "sleep 604800",
	})
	f := fleet{&site{t: t, Broker: broker, daemon: base.In("unstuck-discovery"), target: first + "-" + real}, resources}
	t.Cleanup(f.end)
	f.apply("{apiVersion: v1, kind: Namespace, metadata: {name: " + second + "}}")

	// The kind is not there yet: that is said once for each namespace, and is no error.
	if err := f.daemon.Install(within(t, 3*time.Minute), discovering("namespaces: ["+first+", "+second+"]")); err != nil {
		t.Fatal(err)
	}
	f.saidOnce("the cluster has no resources of that kind", first, second)
	f.apply(operatorsKind)
	names := []string{first + "/" + real}
	f.make(first, real, broker.Password(), -1)
	for i := range 29 {
		namespace, name := []string{first, second}[i%2], fmt.Sprintf("standin-%02d", i)
		f.make(namespace, name, "nobody", 1-min(i%10, 1))
		names = append(names, namespace+"/"+name)
	}
	f.watches(3*time.Minute, names...)
	f.wait(time.Minute, "the real one is healthy", f.allHealthy)
	f.unproblematic(len(names))
	f.showsStatus(len(names))

	f.patch(names[1], `{"metadata": {"annotations": {"unstuck.cjworkbench.org/mode": "ignore"}}}`)
	f.drop(names[2])
	f.patch(names[3], `{"metadata": {"finalizers": ["deletion.finalizers.rabbitmqclusters.rabbitmq.com"]}}`)
	f.drop(names[3]) // the operator has not let it go yet
	f.patch(names[0], `{"metadata": {"annotations": {"unstuck.cjworkbench.org/mode": "remediate"}}}`)
	finalized := names[3]
	names = slices.Delete(names, 1, 4)
	f.watches(time.Minute, names...)
	f.patch(finalized, `{"metadata": {"finalizers": null}}`)
	f.wait(time.Minute, "the real one is remediated", func(v brokers.Target) error {
		if v.Mode != decide.Remediate {
			return fmt.Errorf("its mode is %v", v.Mode)
		}
		return f.allHealthy(v)
	})

	f.followsALabel(first, "standin-10-server", names)

	victim, before := f.Pods()[0], f.uids()
	if err := f.WedgeLogin(t.Context(), victim); err != nil {
		t.Fatal(err)
	}
	f.cured(victim, before, 0, 4*time.Minute)

	everywhere := discovering("all_namespaces: true") + "rbac: {allNamespaces: true}\n"
	if err := f.daemon.Install(within(t, 3*time.Minute), everywhere); err != nil {
		t.Fatal(err)
	}
	f.watches(3*time.Minute, names...)
	f.wait(time.Minute, "the real one is healthy", f.allHealthy)
	f.unproblematic(len(names))

	f.serve(false)
	f.watches(time.Minute)
	f.saysWhy("rabbitmqclusters.rabbitmq.com are served as v2 alone: want v1beta1, the version that is known")
	f.serve(true)
	f.watches(time.Minute, names...)
	f.counts(len(names))
	if err := resources.Resource(kinds).Delete(within(t, 10*time.Second), clusters.GroupResource().String(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.watches(time.Minute)
	f.counts(0)
}

// followsALabel gives a StatefulSet our label, and takes it away: as long as it has it, it is one resource more.
func (f fleet) followsALabel(namespace, name string, others []string) {
	f.t.Helper()
	sets := shared.Kubernetes.AppsV1().StatefulSets(namespace)
	patch := func(patch string) {
		f.t.Helper()
		if _, err := sets.Patch(within(f.t, 10*time.Second), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			f.t.Fatal(err)
		}
	}
	said := func(want bool) {
		f.t.Helper()
		f.eventually(30*time.Second, fmt.Sprintf("what the label says is known: %t", want), func(ctx context.Context) error {
			var all brokers.Targets
			if err := f.ask(ctx, "/api/v1/targets", &all); err != nil {
				return err
			}
			refused := slices.ContainsFunc(all.Unwatched, func(u brokers.Unwatched) bool {
				return u.Source == target.Source{Kind: target.FromStatefulSet, Namespace: namespace, Name: name} && !u.Ignored
			})
			if refused != want {
				return fmt.Errorf("not watched: %+v", all.Unwatched)
			}
			return nil
		})
	}
	patch(`{"metadata": {"labels": {"unstuck.cjworkbench.org/discover": "true"}}}`)
	said(true) // it claims the pods of the RabbitmqCluster: neither is watched
	patch(`{"metadata": {"labels": {"unstuck.cjworkbench.org/discover": null}}}`)
	said(false)
	f.watches(30*time.Second, others...)
}

// saysWhy waits until discovery says why it may miss brokers.
func (f fleet) saysWhy(problem string) {
	f.t.Helper()
	f.eventually(time.Minute, "what is wrong is said", func(ctx context.Context) error {
		var all brokers.Targets
		if err := f.ask(ctx, "/api/v1/targets", &all); err != nil {
			return err
		}
		if !slices.Equal(all.DiscoveryProblems, []string{problem}) {
			return fmt.Errorf("it says %q", all.DiscoveryProblems)
		}
		return nil
	})
}

// watches waits until the brokers of these resources and no others are in the API and in the metrics, each with its
// source and after its first reconcile.
func (f fleet) watches(d time.Duration, resources ...string) {
	f.t.Helper()
	want := slices.Sorted(slices.Values(resources))
	f.eventually(d, fmt.Sprintf("%d brokers are watched", len(want)), func(ctx context.Context) error {
		var all brokers.Targets
		if err := f.ask(ctx, "/api/v1/targets", &all); err != nil {
			return err
		}
		var got []string
		for _, b := range all.Targets {
			if b.Source.Kind != target.FromRabbitmqCluster || b.Target != b.Source.Namespace+"-"+b.Source.Name {
				return fmt.Errorf("%s is of %s", b.Target, b.Source)
			}
			if !b.At.IsZero() {
				got = append(got, b.Source.Namespace+"/"+b.Source.Name)
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			return fmt.Errorf("%d are watched: %v; not watched: %v; %v", len(got), got, all.Unwatched, all.DiscoveryProblems)
		}
		leader, err := f.daemon.Leader(ctx)
		if err != nil || leader == nil {
			return fmt.Errorf("nobody leads: %w", err)
		}
		metrics, err := f.daemon.Metrics(ctx, leader)
		if err != nil {
			return err
		}
		if n := strings.Count(metrics, "\nunstuck_target_info{"); n != len(want) {
			return fmt.Errorf("the metrics tell of %d", n)
		}
		for _, r := range want {
			namespace, name, _ := strings.Cut(r, "/")
			line := fmt.Sprintf("\nunstuck_target_info{namespace=%q,resource=%q,source=%q,target=%q} 1\n", namespace, name,
				target.FromRabbitmqCluster, namespace+"-"+name)
			if !strings.Contains(metrics, line) {
				return fmt.Errorf("the metrics have no %s", line)
			}
		}
		return nil
	})
}

// unproblematic checks that every replica has the rights that it needs, misses nothing, and never did.
func (f fleet) unproblematic(watched int) {
	f.t.Helper()
	for _, p := range f.counts(watched) {
		for _, line := range f.logged(p.Name) {
			for _, bad := range []string{"cannot look for brokers", "discovery may miss brokers", "a permission is missing", `"level":"ERROR"`} {
				if strings.Contains(line, bad) {
					f.t.Errorf("%s logs %s", p.Name, line)
				}
			}
		}
	}
}

// counts checks that the metrics of every replica say that so many resources are watched and nothing is wrong, and gives
// the replicas.
func (f fleet) counts(watched int) []corev1.Pod {
	f.t.Helper()
	pods, err := f.daemon.Pods(within(f.t, 10*time.Second))
	if err != nil {
		f.t.Fatal(err)
	}
	for _, p := range pods {
		metrics, err := f.daemon.Metrics(within(f.t, 10*time.Second), &p)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, want := range []string{"unstuck_discovery_problems 0", fmt.Sprintf(`unstuck_discovery_resources{state="watched"} %d`, watched)} {
			if !strings.Contains(metrics, "\n"+want+"\n") {
				f.t.Errorf("the metrics of %s have no %s", p.Name, want)
			}
		}
		if strings.Contains(metrics, "\nunstuck_permission_missing{") {
			f.t.Errorf("%s lacks a right", p.Name)
		}
	}
	return pods
}

// showsStatus checks that the command in a pod of Unstuck shows so many brokers with where they come from, as the README
// has it.
func (f fleet) showsStatus(brokers int) {
	f.t.Helper()
	out, err := shared.Exec(within(f.t, 30*time.Second), f.daemon.Namespace, f.leader().Name, "unstuck", "unstuck", "status",
		"--server", "http://127.0.0.1:8080")
	if err != nil {
		f.t.Error(err)
	}
	if n := strings.Count(out, "  found by RabbitmqCluster "); n != brokers {
		f.t.Errorf("the status shows %d of %d brokers: %s", n, brokers, out)
	}
	f.t.Logf("the status:\n%s", out[max(0, strings.Index(out, f.target)):])
}

// saidOnce checks that every replica has logged a message once for each namespace.
func (f fleet) saidOnce(message string, namespaces ...string) {
	f.t.Helper()
	pods, err := f.daemon.Pods(within(f.t, 10*time.Second))
	if err != nil {
		f.t.Fatal(err)
	}
	for _, p := range pods {
		for _, namespace := range namespaces {
			n := 0
			for _, line := range f.logged(p.Name) {
				if strings.Contains(line, message) && strings.Contains(line, `"namespace":"`+namespace+`"`) {
					n++
				}
			}
			if n != 1 {
				f.t.Errorf("%s says %d times that %s in %s", p.Name, n, message, namespace)
			}
		}
	}
}

// logged gives the lines that a replica has logged.
func (f fleet) logged(pod string) []string {
	f.t.Helper()
	logs, err := f.daemon.Logs(within(f.t, 10*time.Second), pod, 20000)
	if err != nil {
		f.t.Fatal(err)
	}
	return strings.Split(logs, "\n")
}
