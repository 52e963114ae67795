package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/cjworkbench/unstuck/e2e/artifact"
	"github.com/cjworkbench/unstuck/e2e/cluster"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

var (
	clusters = schema.GroupVersionResource{Group: "rabbitmq.com", Version: "v1beta1", Resource: "rabbitmqclusters"}
	kinds    = schema.GroupVersionResource{
		Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
	}
)

// operatorsKind is the kind of the RabbitMQ cluster operator, whose own schema is longer and asks for no more.
const operatorsKind = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: rabbitmqclusters.rabbitmq.com}
spec:
  group: rabbitmq.com
  scope: Namespaced
  names: {kind: RabbitmqCluster, listKind: RabbitmqClusterList, plural: rabbitmqclusters, singular: rabbitmqcluster, shortNames: [rmq]}
  versions:
  - name: v1beta1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, x-kubernetes-preserve-unknown-fields: true}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
`

// operatorsWork is what somebody writes, with the operator's defaults, and what the operator makes of it: the Secret of
// the default user, and a StatefulSet.
const operatorsWork = `
apiVersion: rabbitmq.com/v1beta1
kind: RabbitmqCluster
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  replicas: 1
  image: rabbitmq:4.0-management
  service: {type: ClusterIP}
  persistence: {storage: 10Gi}
  delayStartSeconds: 30
  terminationGracePeriodSeconds: 604800
  rabbitmq: {}
---
apiVersion: v1
kind: Secret
metadata: {name: %[2]s-default-user, namespace: %[1]s}
stringData: {username: %[3]s, password: %[4]q, host: %[2]s.%[1]s.svc, port: "5672", provider: rabbitmq, type: rabbitmq}
`

// operatorsSet is the StatefulSet of a broker that is none: it has so many pods, which do not speak AMQP.
const operatorsSet = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: %[2]s-server, namespace: %[1]s}
spec:
  replicas: %[3]d
  serviceName: %[2]s-nodes
  selector: {matchLabels: {app.kubernetes.io/name: %[2]s, app.kubernetes.io/component: rabbitmq, app.kubernetes.io/part-of: rabbitmq}}
  template:
    metadata: {labels: {app.kubernetes.io/name: %[2]s, app.kubernetes.io/component: rabbitmq, app.kubernetes.io/part-of: rabbitmq}}
    spec:
      terminationGracePeriodSeconds: 1
      automountServiceAccountToken: false
      containers: [{name: rabbitmq, image: %[4]q, imagePullPolicy: Never}]
`

// operatorsStatus is the status of a resource that the operator is done with.
const operatorsStatus = `{"status": {
	"observedGeneration": 1,
	"conditions": [
		{"type": "AllReplicasReady", "status": "True", "reason": "AllPodsAreReady", "lastTransitionTime": "2026-11-02T08:17:00Z"},
		{"type": "ClusterAvailable", "status": "True", "reason": "AtLeastOneEndpointAvailable", "lastTransitionTime": "2026-11-02T08:17:00Z"},
		{"type": "ReconcileSuccess", "status": "True", "reason": "Success", "message": "Finish reconciling", "lastTransitionTime": "2026-11-02T08:15:10Z"}],
	"binding": {"name": "%[2]s-default-user"},
	"defaultUser": {
		"secretReference": {"name": "%[2]s-default-user", "namespace": "%[1]s", "keys": {"username": "username", "password": "password"}},
		"serviceReference": {"name": "%[2]s", "namespace": "%[1]s"}}}}`

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

// fleet is a site whose brokers are found.
type fleet struct {
	*site
	resources dynamic.Interface
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
	f.patch(names[0], `{"metadata": {"annotations": {"unstuck.cjworkbench.org/mode": "remediate"}}}`)
	names = slices.Delete(names, 1, 3)
	f.watches(time.Minute, names...)
	f.wait(time.Minute, "the real one is remediated", func(v brokers.Target) error {
		if v.Mode != decide.Remediate {
			return fmt.Errorf("its mode is %v", v.Mode)
		}
		return f.allHealthy(v)
	})

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
	if err := resources.Resource(kinds).Delete(within(t, 10*time.Second), clusters.GroupResource().String(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.watches(time.Minute)
	f.unproblematic(0)
}

// end removes everything, and says why if the test failed.
func (f fleet) end() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(f.t.Context()), 2*time.Minute)
	defer cancel()
	if f.t.Failed() {
		f.explain(ctx)
	}
	errs := []error{f.daemon.Remove(ctx)}
	err := f.resources.Resource(kinds).Delete(ctx, clusters.GroupResource().String(), metav1.DeleteOptions{})
	if !apierrors.IsNotFound(err) {
		errs = append(errs, err)
	}
	for _, namespace := range []string{"discovery", "discovery-more"} {
		list, err := shared.Kubernetes.AppsV1().StatefulSets(namespace).List(ctx, metav1.ListOptions{})
		errs = append(errs, err)
		for _, set := range list.Items {
			if set.Name != f.Name() {
				errs = append(errs, shared.Kubernetes.AppsV1().StatefulSets(namespace).Delete(ctx, set.Name, metav1.DeleteOptions{}))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		f.t.Error(err)
	}
}

func (f fleet) apply(manifests string) {
	f.t.Helper()
	ctx := within(f.t, time.Minute)
	err := shared.Apply(ctx, manifests)
	for ; apierrors.IsNotFound(err); err = shared.Apply(ctx, manifests) { // a kind is served some moments after it is made
		if pause(ctx, 300*time.Millisecond); ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// make makes a resource, and what the operator makes of it; of fewer than no pods the StatefulSet is there already.
func (f fleet) make(namespace, name, password string, pods int) {
	f.t.Helper()
	f.apply(fmt.Sprintf(operatorsWork, namespace, name, cluster.User, password))
	if pods >= 0 {
		f.apply(fmt.Sprintf(operatorsSet, namespace, name, pods, artifact.ToolImage))
	}
	f.patch(namespace+"/"+name, fmt.Sprintf(operatorsStatus, namespace, name), "status")
}

// patch changes a resource.
func (f fleet) patch(resource, patch string, part ...string) {
	f.t.Helper()
	namespace, name, _ := strings.Cut(resource, "/")
	_, err := f.resources.Resource(clusters).Namespace(namespace).Patch(within(f.t, 10*time.Second), name, types.MergePatchType,
		[]byte(patch), metav1.PatchOptions{}, part...)
	if err != nil {
		f.t.Fatal(err)
	}
}

// drop deletes a resource.
func (f fleet) drop(resource string) {
	f.t.Helper()
	namespace, name, _ := strings.Cut(resource, "/")
	err := f.resources.Resource(clusters).Namespace(namespace).Delete(within(f.t, 10*time.Second), name, metav1.DeleteOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
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

// unproblematic checks that every replica has the rights that it needs, and misses nothing.
func (f fleet) unproblematic(watched int) {
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
		for _, line := range f.logged(p.Name) {
			for _, bad := range []string{"cannot look for brokers", "discovery may miss brokers", "a permission is missing", `"level":"ERROR"`} {
				if strings.Contains(line, bad) {
					f.t.Errorf("%s logs %s", p.Name, line)
				}
			}
		}
	}
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
	f.t.Logf("the status:\n%s", out[:min(len(out), 1500)])
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
