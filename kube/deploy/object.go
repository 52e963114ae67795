package deploy

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/release/workload"
)

// object is a workload as Kubernetes has it.
type object struct {
	metav1.Object

	seen     workload.Workload // what release wants to know of it, but for its pods
	selector *metav1.LabelSelector
	pod      corev1.PodSpec // of its template
	// of a Deployment its revision, of a StatefulSet the label of the pods of its current template; empty: not known
	revision string
}

// read gives a workload, with release.ErrNotFound if there is none.
func (c cluster) read(ctx context.Context, namespace string, ref workload.Ref) (object, error) {
	var o object
	var err error
	switch name := ref.WorkloadName(); ref.WorkloadKind() {
	case workload.StatefulSet:
		o, err = get(ctx, c.AppsV1().StatefulSets(namespace).Get, name, ofStatefulSet)
	case workload.DaemonSet:
		o, err = get(ctx, c.AppsV1().DaemonSets(namespace).Get, name, ofDaemonSet)
	case workload.Deployment:
		o, err = get(ctx, c.AppsV1().Deployments(namespace).Get, name, ofDeployment)
	}
	if err != nil {
		kind := ref.WorkloadKind()
		return object{}, c.absent(err, kind.Resource(), string(kind), namespace, ref.WorkloadName())
	}
	return o, nil
}

func get[T any](ctx context.Context, ask func(context.Context, string, metav1.GetOptions) (*T, error), name string,
	of func(*T) object,
) (object, error) {
	one, err := apiserver.Get(ctx, ask, name)
	if err != nil {
		return object{}, err
	}
	return of(one), nil
}

// patch changes a workload by a strategic merge patch.
func (c cluster) patchObject(ctx context.Context, namespace string, ref workload.Ref, data []byte) (err error) {
	ctx, cancel := context.WithTimeout(ctx, apiserver.Timeout)
	defer cancel()
	const how = types.StrategicMergePatchType
	var options metav1.PatchOptions
	switch name := ref.WorkloadName(); ref.WorkloadKind() {
	case workload.StatefulSet:
		_, err = c.AppsV1().StatefulSets(namespace).Patch(ctx, name, how, data, options)
	case workload.DaemonSet:
		_, err = c.AppsV1().DaemonSets(namespace).Patch(ctx, name, how, data, options)
	case workload.Deployment:
		_, err = c.AppsV1().Deployments(namespace).Patch(ctx, name, how, data, options)
	}
	return err
}

// describe says what is the same for workloads of all kinds.
func describe(o metav1.Object, ref workload.Ref, template corev1.PodTemplateSpec) workload.Workload {
	return workload.Workload{
		Ref: ref, Namespace: o.GetNamespace(), Containers: containersOf(template.Spec), Volumes: volumesOf(template.Spec),
		RestartedAt: template.Annotations[restartedNote], ChangedBy: changedBy(o), KeptBy: keptBy(o),
		Generation: o.GetGeneration(),
	}
}

func ofDeployment(d *appsv1.Deployment) object {
	seen := describe(d, workload.Ref{Deployment: d.Name}, d.Spec.Template)
	seen.Paused, seen.Replicas = d.Spec.Paused, orOne(d.Spec.Replicas)
	seen.ObservedGeneration, seen.Total = d.Status.ObservedGeneration, int(d.Status.Replicas)
	seen.Updated, seen.Available = int(d.Status.UpdatedReplicas), int(d.Status.AvailableReplicas)
	for _, c := range d.Status.Conditions {
		seen.Conditions = append(seen.Conditions, workload.Condition{
			Type: string(c.Type), Status: string(c.Status), Reason: c.Reason, Message: c.Message,
			Updated: c.LastUpdateTime.Time, Changed: c.LastTransitionTime.Time,
		})
	}
	return object{
		Object: d, seen: seen, selector: d.Spec.Selector, pod: d.Spec.Template.Spec, revision: d.Annotations[revisionNote],
	}
}

func ofStatefulSet(s *appsv1.StatefulSet) object {
	seen := describe(s, workload.Ref{StatefulSet: s.Name}, s.Spec.Template)
	seen.Strategy, seen.Replicas = string(s.Spec.UpdateStrategy.Type), orOne(s.Spec.Replicas)
	if r := s.Spec.UpdateStrategy.RollingUpdate; r != nil && r.Partition != nil {
		seen.Partition = int(*r.Partition)
	}
	seen.Ordered = s.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
	if p := s.Spec.PersistentVolumeClaimRetentionPolicy; p != nil && len(s.Spec.VolumeClaimTemplates) > 0 {
		seen.DropsVolumes = p.WhenScaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	}
	seen.ObservedGeneration, seen.Total = s.Status.ObservedGeneration, int(s.Status.Replicas)
	seen.Updated, seen.Available = int(s.Status.UpdatedReplicas), int(s.Status.AvailableReplicas)
	return object{
		Object: s, seen: seen, selector: s.Spec.Selector, pod: s.Spec.Template.Spec, revision: s.Status.UpdateRevision,
	}
}

func ofDaemonSet(d *appsv1.DaemonSet) object {
	seen := describe(d, workload.Ref{DaemonSet: d.Name}, d.Spec.Template)
	seen.Strategy, seen.Replicas = string(d.Spec.UpdateStrategy.Type), int(d.Status.DesiredNumberScheduled)
	seen.ObservedGeneration, seen.Total = d.Status.ObservedGeneration, int(d.Status.CurrentNumberScheduled)
	seen.Updated, seen.Available = int(d.Status.UpdatedNumberScheduled), int(d.Status.NumberAvailable)
	return object{Object: d, seen: seen, selector: d.Spec.Selector, pod: d.Spec.Template.Spec}
}

// orOne gives how many pods are asked for; one if nothing is said.
func orOne(replicas *int32) int {
	if replicas == nil {
		return 1
	}
	return int(*replicas)
}
