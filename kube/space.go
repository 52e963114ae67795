package kube

import (
	"context"
	"log/slog"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/cjworkbench/unstuck/kube/apiserver"
)

// space is what is watched of a namespace, for all targets in it.
type space struct {
	sets    *feed[workload]
	budgets *feed[budget]
	locks   *feed[apiserver.Lock]

	mu          sync.Mutex
	replicaSets *feed[workload] // nil: there is no application in it
	deployments *feed[workload] // nil: there is no application in it
}

// feeds are those that every target needs.
func (s *space) feeds() []runner { return []runner{s.sets, s.budgets, s.locks} }

// newFeed makes a feed; L is the type of client-go's client for the kind of objects, T what is kept of each.
func newFeed[T any, L runtime.Object](
	resource, namespace string, example runtime.Object, client lister[L], trim func(runtime.Object) T, log *slog.Logger,
) *feed[T] {
	return &feed[T]{
		resource: resource, namespace: namespace, example: example, trim: trim, log: log, items: make(map[string]T),
		list:  func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return client.List(ctx, o) },
		watch: client.Watch,
	}
}

// lister is what each of client-go's clients can do.
type lister[L runtime.Object] interface {
	List(ctx context.Context, o metav1.ListOptions) (L, error)
	Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
}

func newPodFeed(a apiserver.API, t Target, selector labels.Selector, log *slog.Logger) *feed[pod] {
	f := newFeed("pods", t.Namespace, &corev1.Pod{}, lister[*corev1.PodList](a.CoreV1().Pods(t.Namespace)),
		trimPod(t.Container), log)
	f.narrow = func(o *metav1.ListOptions) { o.LabelSelector = selector.String() }
	return f
}

func newSpace(a apiserver.API, namespace string, log *slog.Logger) *space {
	s := &space{
		sets: newFeed("statefulsets", namespace, &appsv1.StatefulSet{},
			lister[*appsv1.StatefulSetList](a.AppsV1().StatefulSets(namespace)), trimStatefulSet, log),
		budgets: newFeed("poddisruptionbudgets", namespace, &policyv1.PodDisruptionBudget{},
			lister[*policyv1.PodDisruptionBudgetList](a.PolicyV1().PodDisruptionBudgets(namespace)), trimBudget, log),
		locks: newFeed("leases", namespace, &coordinationv1.Lease{},
			lister[*coordinationv1.LeaseList](a.CoordinationV1().Leases(namespace)), trimLock, log),
	}
	s.locks.narrow = func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", apiserver.LockLease).String()
	}
	return s
}

// addApps adds what applications need, and gives it; nothing if it is there.
func (s *space) addApps(a apiserver.API, namespace string, log *slog.Logger) []runner {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deployments != nil {
		return nil
	}
	s.replicaSets = newFeed("replicasets", namespace, &appsv1.ReplicaSet{},
		lister[*appsv1.ReplicaSetList](a.AppsV1().ReplicaSets(namespace)), trimReplicaSet, log)
	s.deployments = newFeed("deployments", namespace, &appsv1.Deployment{},
		lister[*appsv1.DeploymentList](a.AppsV1().Deployments(namespace)), trimDeployment, log)
	return []runner{s.replicaSets, s.deployments}
}

// removeApps takes out what applications need, and gives it; nothing if it is not there.
func (s *space) removeApps() []runner {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deployments == nil {
		return nil
	}
	all := []runner{s.replicaSets, s.deployments}
	s.replicaSets, s.deployments = nil, nil
	return all
}

// apps are the feeds that applications need; nil if there is no application.
func (s *space) apps() (replicaSets, deployments *feed[workload]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replicaSets, s.deployments
}

// around is what is known of a namespace at one moment. What could not be told is nil.
type around struct {
	sets, replicaSets, deployments map[string]workload
	budgets                        map[string]budget
	locks                          map[string]apiserver.Lock
	at                             time.Time // the oldest of what is known
}

// look gives what the watches of the namespace say now.
func (s *space) look(now time.Time) around {
	a := around{at: now}
	a.sets = known(s.sets, now, &a.at)
	a.budgets = known(s.budgets, now, &a.at)
	a.locks = known(s.locks, now, &a.at)
	if replicaSets, deployments := s.apps(); deployments != nil {
		a.replicaSets = known(replicaSets, now, &a.at)
		a.deployments = known(deployments, now, &a.at)
	}
	return a
}

// known gives what f knows, or nil, and moves at back to when that was true.
func known[T any](f *feed[T], now time.Time, at *time.Time) map[string]T {
	items, since, err := f.known(now)
	if err == nil && since.Before(*at) {
		*at = since
	}
	return items
}

// above gives what stands above p.
func (a around) above(p pod) lineage {
	var l lineage
	switch p.owner.kind {
	case "StatefulSet":
		l.set = lookUp(a.sets, p.owner.name)
	case "ReplicaSet":
		if l.replicaSet = lookUp(a.replicaSets, p.owner.name); l.replicaSet != nil &&
			l.replicaSet.owner.kind == "Deployment" {
			l.deployment = lookUp(a.deployments, l.replicaSet.owner.name)
		}
	}
	return l
}

func lookUp(all map[string]workload, name string) *workload {
	if w, ok := all[name]; ok {
		return &w
	}
	return nil
}
