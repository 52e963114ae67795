package kube

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cjworkbench/unstuck/kube/apiserver"
)

// What is kept of the cluster's objects, and no more: a pod as the API server gives it takes some 10 KiB.

// owner is the controller of an object: what would recreate it.
type owner struct {
	kind, name, uid string
}

// pod is what we need to know of a pod.
type pod struct {
	name, uid, ip, host string
	container           string   // the one that matters
	containers          []string // those that there are, if that one is not among them
	labels              map[string]string
	owner               owner // empty: nobody
	terminating         bool
	ready               bool
	over                bool      // it has ended for good, and is only kept for its records
	started             time.Time // of the container that matters; zero: it does not run
}

// isNode says whether a pod is a node of the target whose selector fits it. One that has ended is none any more. That
// of a Job never is, whatever its labels: it runs a backup, say, and is there to end.
func (p pod) isNode() bool { return !p.over && p.owner.kind != "Job" }

// workload is what owns pods: a StatefulSet, a Deployment, or between it and its pods a ReplicaSet.
type workload struct {
	name, uid       string
	owner           owner
	terminating     bool
	replicas        int // how many pods there should be
	start           int // the ordinal of the first, of a StatefulSet
	partition       int // pods of a lower index keep their revision in a rolling update of a StatefulSet
	template        map[string]string
	observed        bool // the status speaks of the present specification
	current         int  // pods that there are
	updated         int  // of these, those of the update revision
	currentRev      string
	updateRev       string
	updatesOnDelete bool // a StatefulSet's pods are only updated when somebody deletes them
}

// budget is a PodDisruptionBudget.
type budget struct {
	name             string
	selector         labels.Selector // nil: it cannot be read
	observed         bool            // the status speaks of the present specification
	allowed          int             // disruptions
	healthy, desired int             // pods
	unhealthyAlways  bool            // pods that are not ready may always go
}

func controller(refs []metav1.OwnerReference) owner {
	for _, r := range refs {
		if r.Controller != nil && *r.Controller {
			return owner{kind: r.Kind, name: r.Name, uid: string(r.UID)}
		}
	}
	return owner{}
}

// trimPod gives a function that keeps what is needed of a pod whose container of that name matters; of its default
// container, as kubectl has it, if the name is empty.
func trimPod(container string) func(runtime.Object) pod {
	return func(o runtime.Object) pod {
		p, ok := o.(*corev1.Pod)
		if !ok {
			return pod{}
		}
		kept := pod{
			name: p.Name, uid: string(p.UID), ip: p.Status.PodIP, host: p.Spec.NodeName, labels: maps.Clone(p.Labels),
			owner: controller(p.OwnerReferences), terminating: p.DeletionTimestamp != nil,
			over: p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
		}
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady {
				kept.ready = c.Status == corev1.ConditionTrue
			}
		}
		kept.container = apiserver.ContainerOf(p, container)
		if names := containerNames(p); !slices.Contains(names, kept.container) {
			kept.containers = names
		}
		for _, c := range p.Status.ContainerStatuses {
			if c.Name == kept.container && c.State.Running != nil {
				kept.started = c.State.Running.StartedAt.Time
			}
		}
		return kept
	}
}

// containerNames gives the containers that a command can be run in and whose log can be read.
func containerNames(p *corev1.Pod) []string {
	var names []string
	for _, all := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for _, c := range all {
			names = append(names, c.Name)
		}
	}
	return names
}

func trimStatefulSet(o runtime.Object) workload {
	s, ok := o.(*appsv1.StatefulSet)
	if !ok {
		return workload{}
	}
	w := workload{
		name: s.Name, uid: string(s.UID), owner: controller(s.OwnerReferences), terminating: s.DeletionTimestamp != nil,
		replicas: orOne(s.Spec.Replicas), template: maps.Clone(s.Spec.Template.Labels),
		observed: s.Status.ObservedGeneration > 0 && s.Status.ObservedGeneration >= s.Generation,
		current:  int(s.Status.Replicas), updated: int(s.Status.UpdatedReplicas),
		currentRev: s.Status.CurrentRevision, updateRev: s.Status.UpdateRevision,
		updatesOnDelete: s.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType,
	}
	if s.Spec.Ordinals != nil {
		w.start = int(s.Spec.Ordinals.Start)
	}
	if r := s.Spec.UpdateStrategy.RollingUpdate; r != nil && r.Partition != nil && !w.updatesOnDelete {
		w.partition = int(*r.Partition)
	}
	return w
}

func trimReplicaSet(o runtime.Object) workload {
	s, ok := o.(*appsv1.ReplicaSet)
	if !ok {
		return workload{}
	}
	return workload{
		name: s.Name, uid: string(s.UID), owner: controller(s.OwnerReferences), terminating: s.DeletionTimestamp != nil,
		replicas: orOne(s.Spec.Replicas), current: int(s.Status.Replicas),
		observed: s.Status.ObservedGeneration > 0 && s.Status.ObservedGeneration >= s.Generation,
	}
}

func trimDeployment(o runtime.Object) workload {
	d, ok := o.(*appsv1.Deployment)
	if !ok {
		return workload{}
	}
	return workload{
		name: d.Name, uid: string(d.UID), owner: controller(d.OwnerReferences), terminating: d.DeletionTimestamp != nil,
		replicas: orOne(d.Spec.Replicas), template: maps.Clone(d.Spec.Template.Labels),
		observed: d.Status.ObservedGeneration > 0 && d.Status.ObservedGeneration >= d.Generation,
		current:  int(d.Status.Replicas), updated: int(d.Status.UpdatedReplicas),
	}
}

// orOne reads a number of replicas, which is one where it is left out.
func orOne(n *int32) int {
	if n == nil {
		return 1
	}
	return int(*n)
}

func trimBudget(o runtime.Object) budget {
	b, ok := o.(*policyv1.PodDisruptionBudget)
	if !ok {
		return budget{}
	}
	kept := budget{
		name: b.Name, observed: b.Status.ObservedGeneration > 0 && b.Status.ObservedGeneration >= b.Generation,
		allowed: int(b.Status.DisruptionsAllowed), healthy: int(b.Status.CurrentHealthy),
		desired: int(b.Status.DesiredHealthy),
		unhealthyAlways: b.Spec.UnhealthyPodEvictionPolicy != nil &&
			*b.Spec.UnhealthyPodEvictionPolicy == policyv1.AlwaysAllow,
	}
	if s, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil {
		kept.selector = s
	}
	return kept
}

func trimLock(o runtime.Object) apiserver.Lock {
	l, ok := o.(*coordinationv1.Lease)
	if !ok {
		return apiserver.Lock{}
	}
	return apiserver.LockOf(l)
}

// ordinal gives the number at the end of the name of a StatefulSet's pod.
func ordinal(set, pod string) (int, bool) {
	text, ok := strings.CutPrefix(pod, set+"-")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 0
}
