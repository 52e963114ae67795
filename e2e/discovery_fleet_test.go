package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/cjworkbench/unstuck/e2e/artifact"
	"github.com/cjworkbench/unstuck/e2e/cluster"
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

// fleet is a site whose brokers are found.
type fleet struct {
	*site
	resources dynamic.Interface
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
	for ; meta.IsNoMatchError(err) || apierrors.IsNotFound(err); err = shared.Apply(ctx, manifests) { // a kind is served some moments after it is made
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

// serve has the API server serve the operator's kind in the version that is known, or in another one alone.
func (f fleet) serve(known bool) {
	f.t.Helper()
	kind := strings.Replace(operatorsKind, "    served: true", fmt.Sprintf("    served: %t", known), 1) + `
  - name: v2
    served: true
    storage: false
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`
	f.apply(kind)
}
