package deploy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/release/workload"
)

const (
	explainedPods = 5 // of how many pods that are not healthy the events are read
	keptEvents    = 5 // of each

	failedCreate = "FailedCreate" // the reason of the event that a pod cannot be made
)

// containersOf gives the containers of a pod template, the init containers first.
func containersOf(spec corev1.PodSpec) []workload.Container {
	var all []workload.Container
	for i, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		one := workload.Container{Name: c.Name, Init: i < len(spec.InitContainers), Image: c.Image}
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				one.EnvSecrets = append(one.EnvSecrets, e.ValueFrom.SecretKeyRef.Name)
			}
		}
		for _, e := range c.EnvFrom {
			if e.SecretRef != nil {
				one.EnvFromSecrets = append(one.EnvFromSecrets, e.SecretRef.Name)
			}
		}
		all = append(all, one)
	}
	return all
}

func volumesOf(spec corev1.PodSpec) []workload.Volume {
	var all []workload.Volume
	for _, v := range spec.Volumes {
		one := workload.Volume{Name: v.Name}
		if v.Secret != nil {
			one.Secrets = append(one.Secrets, v.Secret.SecretName)
		}
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				if s.Secret != nil {
					one.Secrets = append(one.Secrets, s.Secret.Name)
				}
			}
		}
		all = append(all, one)
	}
	return all
}

// podOf says of a pod what release wants to know, but for its events and whose it is. Its containers are in the order
// of its specification, as far as something is known of them, for the kubelet sorts by name; but its default container
// comes before the others: an injected sidecar may stand first.
func podOf(p *corev1.Pod) workload.Pod {
	one := workload.Pod{
		Name: p.Name, Phase: string(p.Status.Phase), Terminating: p.DeletionTimestamp != nil, Reason: p.Status.Reason,
		Message: p.Status.Message,
	}
	for _, c := range p.Status.Conditions {
		one.Ready = one.Ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		one.Conditions = append(one.Conditions, workload.Condition{
			Type: string(c.Type), Status: string(c.Status), Reason: c.Reason, Message: c.Message,
			Updated: laterOf(c.LastProbeTime.Time, c.LastTransitionTime.Time), Changed: c.LastTransitionTime.Time,
		})
	}
	add := func(init bool, containers []corev1.Container, statuses []corev1.ContainerStatus) {
		for _, c := range containers {
			if i := slices.IndexFunc(statuses, func(s corev1.ContainerStatus) bool { return s.Name == c.Name }); i >= 0 {
				state := containerState(statuses[i])
				state.Init, state.Sidecar = init, init && isSidecar(c)
				one.Containers = append(one.Containers, state)
			}
		}
	}
	add(true, p.Spec.InitContainers, p.Status.InitContainerStatuses)
	byDefault := apiserver.ContainerOf(p, "")
	containers := slices.Clone(p.Spec.Containers)
	slices.SortStableFunc(containers, func(a, b corev1.Container) int {
		return rank(a.Name != byDefault, b.Name != byDefault)
	})
	add(false, containers, p.Status.ContainerStatuses)
	return one
}

// isSidecar says whether an init container is one that runs beside the other containers until they have ended.
func isSidecar(c corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func containerState(s corev1.ContainerStatus) workload.ContainerState {
	one := workload.ContainerState{Name: s.Name, Ready: s.Ready, Restarts: int(s.RestartCount)}
	last := s.LastTerminationState.Terminated
	switch {
	case s.State.Running != nil:
		one.Started, one.Unstarted = s.State.Running.StartedAt.Time, s.Started != nil && !*s.Started
	case s.State.Terminated != nil:
		last = s.State.Terminated
		one.Ended, one.Started = true, last.StartedAt.Time
	default: // also if nothing is said: then it waits
		one.Waiting, one.Ended = "Waiting", last != nil
		if w := s.State.Waiting; w != nil {
			one.Waiting, one.Message = cmp.Or(w.Reason, one.Waiting), w.Message
		}
	}
	if last != nil {
		one.LastEnd, one.LastExit = last.FinishedAt.Time, int(last.ExitCode)
		one.LastReason, one.LastMessage = last.Reason, last.Message
	}
	return one
}

// addEvents adds the latest warnings about those pods that are not healthy; they are the same as pods, in that order.
// They only help to explain: without them the pods are known as well. Pods that have failed stay, by the hundred if
// they were evicted, so those that are waited for come first: what may still run, of the current template.
func (c cluster) addEvents(ctx context.Context, namespace string, pods []corev1.Pod, to []workload.Pod) {
	var unwell []int
	for i, p := range to {
		if !p.Ready && !p.Terminating && p.Phase != string(corev1.PodSucceeded) {
			unwell = append(unwell, i)
		}
	}
	late := func(i int) int {
		p := to[i]
		return map[bool]int{true: 2}[p.Phase == string(corev1.PodFailed)] + map[bool]int{false: 1}[p.Updated]
	}
	slices.SortStableFunc(unwell, func(a, b int) int {
		return cmp.Or(cmp.Compare(late(a), late(b)), pods[b].CreationTimestamp.Compare(pods[a].CreationTimestamp.Time))
	})
	for _, i := range unwell[:min(len(unwell), explainedPods)] {
		p := &to[i]
		events, err := c.warnings(ctx, namespace, pods[i].UID, time.Time{})
		if err != nil {
			c.Log.Debug("cannot read the events of a pod", "pod", p.Name, "namespace", namespace, "error",
				apiserver.Explain(err, "list", "events", namespace).Error())
			return
		}
		p.Events = events
	}
}

// addFailure adds why a StatefulSet or a DaemonSet has fewer pods than it is to have. In its status there is no word of
// that: its controller tells it by events, and tries again. Events from before its latest pod speak of earlier tries.
// They only help to explain: without them the workload is known as well.
func (c cluster) addFailure(ctx context.Context, uid types.UID, pods []corev1.Pod, to *workload.Workload) {
	if to.WorkloadKind() == workload.Deployment || to.Total >= to.Replicas {
		return
	}
	var latest time.Time
	for i := range pods {
		latest = laterOf(latest, pods[i].CreationTimestamp.Time)
	}
	events, err := c.warned(ctx, to.Namespace, uid, latest)
	if err != nil {
		c.Log.Debug("cannot read the events of a workload", "workload", to.Title(), "namespace", to.Namespace, "error",
			apiserver.Explain(err, "list", "events", to.Namespace).Error())
		return
	}
	for _, e := range slices.Backward(events) {
		if e.Reason == failedCreate {
			to.Conditions = append(to.Conditions, workload.Condition{
				Type: failedCreate, Status: string(corev1.ConditionTrue), Reason: e.Reason, Message: e.Message,
				Updated: lastSeen(e),
			})
			return
		}
	}
}

// warnings gives the latest warnings about an object that came after a time, oldest first.
func (c cluster) warnings(ctx context.Context, namespace string, uid types.UID, after time.Time) ([]string, error) {
	items, err := c.warned(ctx, namespace, uid, after)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, e := range items[max(0, len(items)-keptEvents):] {
		texts = append(texts, fmt.Sprintf("%s: %s", e.Reason, e.Message))
	}
	return texts, nil
}

// warned gives the warnings about an object that came after a time, oldest first.
func (c cluster) warned(ctx context.Context, namespace string, uid types.UID, after time.Time) ([]corev1.Event, error) {
	about := fields.Set{"involvedObject.uid": string(uid), "type": corev1.EventTypeWarning}
	all, err := apiserver.List(ctx, c.CoreV1().Events(namespace).List, metav1.ListOptions{FieldSelector: about.String()})
	if err != nil {
		return nil, err
	}
	items := slices.DeleteFunc(all.Items, func(e corev1.Event) bool {
		at := lastSeen(e)
		return e.InvolvedObject.UID != uid || e.Type != corev1.EventTypeWarning || !at.IsZero() && !at.After(after)
	})
	slices.SortStableFunc(items, func(a, b corev1.Event) int { return lastSeen(a).Compare(lastSeen(b)) })
	return items, nil
}

func lastSeen(e corev1.Event) time.Time {
	at := laterOf(laterOf(e.LastTimestamp.Time, e.EventTime.Time), e.CreationTimestamp.Time)
	if e.Series != nil {
		at = laterOf(at, e.Series.LastObservedTime.Time)
	}
	return at
}
