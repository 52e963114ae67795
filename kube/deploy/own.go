package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/release/workload"
)

// ownPod is a pod of a workload.
type ownPod struct {
	*corev1.Pod

	updated bool // it is of the workload's current template
	orphan  bool // nothing that exists controls it; it may have been the workload's, so it may still do its work
}

// podsOf gives a workload, with what it has to do with pods, and its pods. All that looks at the pods of a service asks
// here. A pod is the workload's by its owners, as for Kubernetes: the pods of a CronJob may have the same labels, for
// instance those of a Helm release.
//
// The workload is read first and the pods last: of a workload that reports that it has none, no pod that was made
// before can be missed.
func (c cluster) podsOf(ctx context.Context, namespace string, ref workload.Ref) (family, []ownPod, error) {
	o, err := c.read(ctx, namespace, ref)
	if err != nil {
		return family{}, nil, err
	}
	f, own, err := c.podsUnder(ctx, o)
	if err != nil {
		return family{}, nil, fmt.Errorf("look at the pods of %s in namespace %s: %w", ref.Title(), namespace, err)
	}
	return f, own, nil
}

func (c cluster) podsUnder(ctx context.Context, o object) (family, []ownPod, error) {
	selector, err := metav1.LabelSelectorAsSelector(o.selector)
	if err != nil || selector.Empty() || selector.String() == "" {
		return family{}, nil, errors.New("its selector cannot be read")
	}
	options := metav1.ListOptions{LabelSelector: selector.String()}
	f := family{object: o, selector: selector, sets: make(map[types.UID]*appsv1.ReplicaSet)}
	switch o.seen.WorkloadKind() {
	case workload.Deployment:
		err = c.addSets(ctx, f, options)
	case workload.DaemonSet:
		f.revision, err = c.daemonRevision(ctx, f, options)
	case workload.StatefulSet: // its status names it
	}
	if err != nil {
		return family{}, nil, err
	}
	pods, err := apiserver.List(ctx, c.CoreV1().Pods(o.GetNamespace()).List, options)
	if err != nil {
		return family{}, nil, apiserver.Explain(err, "list", "pods", o.GetNamespace())
	}
	if f.seen.WorkloadKind() == workload.Deployment && slices.ContainsFunc(pods.Items, f.isOfUnknownSet) {
		// Is the ReplicaSet gone, or has it other labels than its pods, or is it new? Only the list of all tells.
		if err := c.addSets(ctx, f, metav1.ListOptions{}); err != nil {
			return family{}, nil, err
		}
	}
	return f, f.own(pods.Items), nil
}

// addSets adds the ReplicaSets that there are.
func (c cluster) addSets(ctx context.Context, f family, which metav1.ListOptions) error {
	sets, err := apiserver.List(ctx, c.AppsV1().ReplicaSets(f.GetNamespace()).List, which)
	if err != nil {
		return apiserver.Explain(err, "list", "replicasets", f.GetNamespace())
	}
	f.add(sets.Items)
	return nil
}

// daemonRevision gives the label of the pods of a DaemonSet's current template. Its status does not name it: the latest
// of its revisions does, for one that is gone back to is made the latest.
func (c cluster) daemonRevision(ctx context.Context, f family, which metav1.ListOptions) (string, error) {
	all, err := apiserver.List(ctx, c.AppsV1().ControllerRevisions(f.GetNamespace()).List, which)
	if err != nil {
		return "", apiserver.Explain(err, "list", "controllerrevisions", f.GetNamespace())
	}
	var latest *appsv1.ControllerRevision
	for i := range all.Items {
		one := &all.Items[i]
		if by := metav1.GetControllerOf(one); by != nil && by.UID == f.GetUID() &&
			(latest == nil || one.Revision > latest.Revision) {
			latest = one
		}
	}
	if latest == nil {
		return "", nil
	}
	return latest.Labels[appsv1.ControllerRevisionHashLabelKey], nil
}

// family is a workload, and of a Deployment the ReplicaSets that there are, its own and others.
type family struct {
	object

	selector labels.Selector
	sets     map[types.UID]*appsv1.ReplicaSet
}

func (f family) add(sets []appsv1.ReplicaSet) {
	for i := range sets {
		f.sets[sets[i].UID] = &sets[i]
	}
}

func (f family) isOfUnknownSet(p corev1.Pod) bool {
	by := metav1.GetControllerOf(&p)
	return by != nil && by.Kind == "ReplicaSet" && f.sets[by.UID] == nil
}

// own gives those of the pods that are the Deployment's: those that run first, then those that have ended, of which
// there may be hundreds; the Deployment's for sure before the orphans; the newest first.
func (f family) own(pods []corev1.Pod) []ownPod {
	var all []ownPod
	for i := range pods {
		if p, ok := f.claim(&pods[i]); ok {
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b ownPod) int {
		return cmp.Or(rank(isOver(a.Pod), isOver(b.Pod)), rank(a.orphan, b.orphan),
			b.CreationTimestamp.Compare(a.CreationTimestamp.Time))
	})
	return all
}

// claim says whether a pod that the selector selects is the workload's. An orphan is, for it may be an old pod of a
// singleton, that runs on; what something else controls is not.
func (f family) claim(p *corev1.Pod) (ownPod, bool) {
	by := metav1.GetControllerOf(p)
	kind := f.seen.WorkloadKind()
	switch {
	case by == nil:
		return ownPod{Pod: p, orphan: true}, true
	case kind == workload.Deployment:
		return f.claimBySet(p, by)
	case by.UID == f.GetUID():
		return ownPod{
			Pod: p, updated: f.observed() && f.revision != "" && p.Labels[appsv1.ControllerRevisionHashLabelKey] == f.revision,
		}, true
	default: // one of this name that was deleted, and this one made anew
		return ownPod{Pod: p, orphan: true}, by.Kind == string(kind) && by.Name == f.GetName()
	}
}

// claimBySet says whether a pod that something controls is a Deployment's, by its ReplicaSets.
func (f family) claimBySet(p *corev1.Pod, by *metav1.OwnerReference) (ownPod, bool) {
	if by.Kind != "ReplicaSet" {
		return ownPod{}, false
	}
	set := f.sets[by.UID]
	if set == nil { // it is gone
		return ownPod{Pod: p, orphan: true}, true
	}
	switch above := metav1.GetControllerOf(set); {
	case above == nil: // a Deployment whose selector selects it adopts it
		return ownPod{Pod: p, orphan: true}, f.selector.Matches(labels.Set(set.Labels))
	case above.UID == f.GetUID():
		return ownPod{Pod: p, updated: f.isCurrent(set)}, true
	default: // one of this name that was deleted, and this one made anew
		return ownPod{Pod: p, orphan: true}, above.Kind == "Deployment" && above.Name == f.GetName()
	}
}

// observed says whether the controller has seen the latest change. Before that nobody knows which template is current.
func (f family) observed() bool { return f.seen.ObservedGeneration >= f.seen.Generation }

// isCurrent says whether a ReplicaSet of the Deployment's is of the current template: of the Deployment's own revision.
func (f family) isCurrent(set *appsv1.ReplicaSet) bool {
	revision := set.Annotations[revisionNote]
	return f.observed() && revision != "" && revision == f.revision
}

// conditions gives those of the workload. That pods cannot be made is said by the ReplicaSet of the current template,
// if it is known: what a Deployment says of that may be of an old one.
func (f family) conditions() []workload.Condition {
	all := f.seen.Conditions
	for _, set := range f.sets {
		by := metav1.GetControllerOf(set)
		if by == nil || by.UID != f.GetUID() || !f.isCurrent(set) {
			continue
		}
		const failure = string(appsv1.DeploymentReplicaFailure)
		all = slices.DeleteFunc(slices.Clone(all), func(c workload.Condition) bool { return c.Type == failure })
		for _, c := range set.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				all = append(all, workload.Condition{
					Type: failure, Status: string(c.Status), Reason: c.Reason, Message: c.Message, Changed: c.LastTransitionTime.Time,
				})
			}
		}
	}
	return all
}

// isOver says whether a pod has ended for good.
func isOver(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// rank sorts what is not so before what is.
func rank(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
