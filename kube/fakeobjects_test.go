package kube

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/kubetest"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

// The broker and the application of these tests.
const (
	ns       = kubetest.Namespace
	revision = "rabbit-1"
)

var longAgo = kubetest.LongAgo

func brokerTarget() Target {
	return Target{Name: "main", Namespace: ns, Selector: "app=rabbit", Container: "rabbitmq", Port: 5672, Act: true}
}

func appTarget() Target {
	return Target{Name: "web", Namespace: ns, Selector: "app=web", Container: "app", App: true, Act: true}
}

// rabbitSet is a settled StatefulSet of three.
func rabbitSet(change ...func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
	s := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "rabbit", UID: "set-uid", Generation: 2},
		Spec: appsv1.StatefulSetSpec{
			Replicas: new(int32(3)),
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "rabbit"}}},
			UpdateStrategy: appsv1.StatefulSetUpdateStrategy{
				Type: appsv1.RollingUpdateStatefulSetStrategyType, RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32(0))},
			},
		},
		Status: appsv1.StatefulSetStatus{
			ObservedGeneration: 2, Replicas: 3, ReadyReplicas: 3, CurrentReplicas: 3, UpdatedReplicas: 3,
			CurrentRevision: revision, UpdateRevision: revision,
		},
	}
	for _, f := range change {
		f(s)
	}
	return s
}

// rabbit is one of its pods.
func rabbit(i int, change ...func(*corev1.Pod)) *corev1.Pod {
	p := kubetest.NewPod(fmt.Sprintf("rabbit-%d", i), "rabbitmq", "app", "rabbit", metav1.OwnerReference{Kind: "StatefulSet", Name: "rabbit", UID: "set-uid"})
	p.Labels[appsv1.ControllerRevisionHashLabelKey] = revision
	p.Status.PodIP = fmt.Sprintf("10.0.0.%d", i)
	for _, f := range change {
		f(p)
	}
	return p
}

// broker is all of a settled broker.
func broker() []runtime.Object {
	return []runtime.Object{rabbitSet(), rabbit(0), rabbit(1), rabbit(2), rabbitBudget()}
}

func rabbitBudget(change ...func(*policyv1.PodDisruptionBudget)) *policyv1.PodDisruptionBudget {
	b := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "rabbit", Generation: 1},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "rabbit"}}},
		Status:     policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DisruptionsAllowed: 1, CurrentHealthy: 3, DesiredHealthy: 2, ExpectedPods: 3},
	}
	for _, f := range change {
		f(b)
	}
	return b
}

// webApp is a settled Deployment of two, with the ReplicaSet of an earlier rollout.
func webApp(change ...func(*appsv1.Deployment)) []runtime.Object {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web", UID: "deployment-uid", Generation: 5},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(2)), Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}},
		},
		Status: appsv1.DeploymentStatus{ObservedGeneration: 5, Replicas: 2, UpdatedReplicas: 2, ReadyReplicas: 2},
	}
	for _, f := range change {
		f(d)
	}
	by := []metav1.OwnerReference{{Kind: "Deployment", Name: "web", UID: "deployment-uid", Controller: new(true)}}
	replicas := func(name string, n int32) *appsv1.ReplicaSet {
		return &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(name + "-uid"), OwnerReferences: by, Generation: 1},
			Spec:       appsv1.ReplicaSetSpec{Replicas: &n}, Status: appsv1.ReplicaSetStatus{Replicas: n, ObservedGeneration: 1},
		}
	}
	of := metav1.OwnerReference{Kind: "ReplicaSet", Name: "web-new", UID: "web-new-uid"}
	return []runtime.Object{
		d, replicas("web-old", 0), replicas("web-new", 2),
		kubetest.NewPod("web-new-a", "app", "app", "web", of), kubetest.NewPod("web-new-b", "app", "app", "web", of),
	}
}

// operation is the lock on the namespace.
func operation(holder string, renewed time.Time) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: apiserver.LockLease},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: &holder, LeaseDurationSeconds: new(int32(30)), RenewTime: &metav1.MicroTime{Time: renewed},
		},
	}
}

// clientOf gives a client of the cluster.
func clientOf(c *kubetest.Cluster) *Client { return New(c.Conn(), Options{}) }

// watchOne watches one target.
func watchOne(t testing.TB, c *Client, kubeTarget Target) *Pods {
	t.Helper()
	p, err := c.Watch(kubeTarget)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// start runs the client and its campaign until the test ends or stop is called.
func start(t testing.TB, c *Client, identity string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Errorf("run the client: %v", err)
		}
	})
	wg.Go(func() {
		if err := c.Lead(ctx, identity); err != nil {
			t.Errorf("campaign: %v", err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	t.Cleanup(stop)
	return stop
}
