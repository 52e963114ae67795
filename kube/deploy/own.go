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
)

// ownPod is a pod of a Deployment.
type ownPod struct {
	*corev1.Pod

	updated bool // it is of the Deployment's current template
	orphan  bool // nothing that exists controls it; it may have been the Deployment's, so it may still do its work
}

// podsOf gives a Deployment and its pods. All that looks at the pods of a service asks here. A pod is the Deployment's
// by its owners, as for Kubernetes: the pods of a CronJob may have the same labels, for instance those of a Helm
// release.
//
// The Deployment is read first and the pods last: of a Deployment that reports that it has none, no pod that was made
// before can be missed.
func (c cluster) podsOf(ctx context.Context, namespace, name string) (*appsv1.Deployment, []ownPod, error) {
	d, err := apiserver.Get(ctx, c.AppsV1().Deployments(namespace).Get, name)
	if err != nil {
		return nil, nil, c.absent(err, "deployments", "Deployment", namespace, name)
	}
	own, err := c.podsUnder(ctx, d)
	if err != nil {
		return nil, nil, fmt.Errorf("look at the pods of Deployment %s in namespace %s: %w", name, namespace, err)
	}
	return d, own, nil
}

func (c cluster) podsUnder(ctx context.Context, d *appsv1.Deployment) ([]ownPod, error) {
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil || selector.Empty() || selector.String() == "" {
		return nil, errors.New("its selector cannot be read")
	}
	options := metav1.ListOptions{LabelSelector: selector.String()}
	sets, err := apiserver.List(ctx, c.AppsV1().ReplicaSets(d.Namespace).List, options)
	if err != nil {
		return nil, apiserver.Explain(err, "list", "replicasets", d.Namespace)
	}
	pods, err := apiserver.List(ctx, c.CoreV1().Pods(d.Namespace).List, options)
	if err != nil {
		return nil, apiserver.Explain(err, "list", "pods", d.Namespace)
	}
	f := newFamily(d, selector)
	f.add(sets.Items)
	if slices.ContainsFunc(pods.Items, f.isOfUnknownSet) {
		// Is the ReplicaSet gone, or has it other labels than its pods, or is it new? Only the list of all tells.
		all, err := apiserver.List(ctx, c.AppsV1().ReplicaSets(d.Namespace).List, metav1.ListOptions{})
		if err != nil {
			return nil, apiserver.Explain(err, "list", "replicasets", d.Namespace)
		}
		f.add(all.Items)
	}
	return f.own(pods.Items), nil
}

// family is a Deployment and the ReplicaSets that there are, its own and others.
type family struct {
	deployment *appsv1.Deployment
	selector   labels.Selector
	sets       map[types.UID]*appsv1.ReplicaSet
}

func newFamily(d *appsv1.Deployment, selector labels.Selector) family {
	return family{deployment: d, selector: selector, sets: make(map[types.UID]*appsv1.ReplicaSet)}
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

// claim says whether a pod that the selector selects is the Deployment's. An orphan is, for it may be an old pod of a
// singleton, that runs on; what something else controls is not.
func (f family) claim(p *corev1.Pod) (ownPod, bool) {
	by := metav1.GetControllerOf(p)
	switch {
	case by == nil:
		return ownPod{Pod: p, orphan: true}, true
	case by.Kind != "ReplicaSet":
		return ownPod{}, false
	}
	set := f.sets[by.UID]
	if set == nil { // it is gone
		return ownPod{Pod: p, orphan: true}, true
	}
	switch above := metav1.GetControllerOf(set); {
	case above == nil: // a Deployment whose selector selects it adopts it
		return ownPod{Pod: p, orphan: true}, f.selector.Matches(labels.Set(set.Labels))
	case above.UID == f.deployment.UID:
		return ownPod{Pod: p, updated: f.isCurrent(set)}, true
	default: // one of this name that was deleted, and this one made anew
		return ownPod{Pod: p, orphan: true}, above.Kind == "Deployment" && above.Name == f.deployment.Name
	}
}

// isCurrent says whether a ReplicaSet of the Deployment's is of the current template: of the Deployment's own revision.
// While the controller has not seen the latest change nobody knows which that is.
func (f family) isCurrent(set *appsv1.ReplicaSet) bool {
	d, revision := f.deployment, set.Annotations[revisionNote]
	return d.Status.ObservedGeneration >= d.Generation && revision != "" && revision == d.Annotations[revisionNote]
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
