package workload

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Rollout is how far a workload has rolled out.
type Rollout struct {
	Done   bool
	Failed bool   // Kubernetes gave up
	Detail string // what it waits for, or why it failed
}

// Because adds why to what a rollout waits for, unless that says it already.
func (r Rollout) Because(why Diagnosis) string {
	if why.Pod == "" && strings.Contains(r.Detail, why.Detail) {
		return r.Detail
	}
	return r.Detail + ": " + why.String()
}

// RolloutOf says how far a workload has rolled out, by the rules of `kubectl rollout status`
// (k8s.io/kubectl/pkg/polymorphichelpers/rollout_status.go): what it reports counts only if it speaks of the current
// generation. A Deployment's progressDeadlineSeconds ends the waiting whatever one's own deadline; the others have
// none.
func RolloutOf(w Workload) Rollout { return RolloutSince(w, time.Time{}) }

// RolloutSince is RolloutOf for who has changed the workload at that time: that an earlier rollout took too long does
// not speak of the change. The controller may have observed it and still show that.
func RolloutSince(w Workload, changed time.Time) Rollout {
	if w.ObservedGeneration < w.Generation {
		return Rollout{Detail: "waiting for the change to be observed"}
	}
	switch w.WorkloadKind() {
	case StatefulSet:
		return w.statefulRollout()
	case DaemonSet:
		return w.daemonRollout()
	case Deployment:
	}
	return w.deploymentRollout(changed)
}

func (w Workload) deploymentRollout(changed time.Time) Rollout {
	progressing, _ := w.condition("Progressing")
	failure, failing := w.condition("ReplicaFailure")
	switch {
	case progressing.Reason == "ProgressDeadlineExceeded" && !progressing.before(changed):
		return Rollout{Failed: true, Detail: "exceeded its progress deadline: " + progressing.Message}
	case w.Paused:
		return Rollout{Detail: "paused"}
	case failing && failure.Status == "True" && w.Updated < w.Replicas:
		return Rollout{Detail: "pods cannot be created: " + failure.Message}
	case w.Updated < w.Replicas:
		return Rollout{Detail: fmt.Sprintf("%d of %d new pods made", w.Updated, w.Replicas)}
	case w.Total == w.Updated+1:
		return Rollout{Detail: "1 old pod to go"}
	case w.Total > w.Updated:
		return Rollout{Detail: fmt.Sprintf("%d old pods to go", w.Total-w.Updated)}
	case w.Available < w.Updated:
		return Rollout{Detail: fmt.Sprintf("%d of %d new pods available", w.Available, w.Updated)}
	}
	return Rollout{Done: true, Detail: fmt.Sprintf("%d of %d pods available", w.Available, w.Replicas)}
}

// statefulRollout is stricter than kubectl in one thing: with minReadySeconds, a pod that is ready must be so for as
// long, as the controller itself waits for that before it goes on.
func (w Workload) statefulRollout() Rollout {
	want := max(0, w.Replicas-w.Partition)
	available := fmt.Sprintf("%d of %d pods available", w.Available, w.Replicas)
	var waits string
	switch {
	case w.Updated < want && !w.Rolls():
		waits = w.leftOld(want)
	case w.Updated < want:
		waits = fmt.Sprintf("%d of %d new pods made, %s", w.Updated, want, available)
	case w.Available < w.Replicas:
		waits = available
	case w.Total > w.Replicas:
		waits = fmt.Sprintf("%s, %d to go", available, w.Total-w.Replicas)
	case w.Updated < w.Replicas: // what its partition keeps
		return Rollout{Done: true, Detail: available + ", " + w.keptOld()}
	default:
		return Rollout{Done: true, Detail: available}
	}
	if p, held := w.HeldUpBy(); held {
		waits += "; " + w.heldUp(p)
	}
	return Rollout{Detail: waits}
}

// keptOld says how many pods of a StatefulSet keep the old template.
func (w Workload) keptOld() string {
	return fmt.Sprintf("%d of the old template by its partition %d", w.Replicas-w.Updated, w.Partition)
}

// leftOld says that the pods of the old template stay, for nothing replaces them.
func (w Workload) leftOld(want int) string {
	return fmt.Sprintf("%d of %d pods are of the current template, and its update strategy is %s: the others stay "+
		"until somebody deletes them", w.Updated, want, w.Strategy)
}

func (w Workload) daemonRollout() Rollout {
	switch {
	case w.Updated < w.Replicas && !w.Rolls():
		return Rollout{Detail: w.leftOld(w.Replicas)}
	case w.Updated < w.Replicas:
		return Rollout{Detail: fmt.Sprintf("%d of %d new pods made", w.Updated, w.Replicas)}
	case w.Available < w.Replicas:
		return Rollout{Detail: fmt.Sprintf("%d of %d new pods available", w.Available, w.Updated)}
	}
	return Rollout{Done: true, Detail: fmt.Sprintf("%d of %d pods available", w.Available, w.Replicas)}
}

// HeldUpBy gives the pod that may hold up a StatefulSet for good. Its controller goes through the pods in order, and
// no further than to one that is not ready, even if that is of an old template and the new one would cure it: what once
// was never ready stays, whatever the template becomes (kubernetes/kubernetes#67250, and "Forced rollback" in the
// documentation of StatefulSets). Only a person can tell that it never will be ready, and delete it.
func (w Workload) HeldUpBy() (Pod, bool) {
	if w.WorkloadKind() != StatefulSet || !w.Ordered || w.ObservedGeneration < w.Generation {
		return Pod{}, false
	}
	var all []Pod
	for _, p := range w.Pods {
		if p.Live() && !p.Ready && !p.Updated && !p.Terminating && !p.Orphan {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return Pod{}, false
	}
	return slices.MinFunc(all, func(a, b Pod) int { return cmp.Compare(ordinal(a.Name), ordinal(b.Name)) }), true
}

// ordinal is the number of a StatefulSet's pod, at the end of its name.
func ordinal(pod string) int {
	n, _ := strconv.Atoi(pod[strings.LastIndexByte(pod, '-')+1:])
	return n
}

func (w Workload) heldUp(p Pod) string {
	return fmt.Sprintf("pod %s is of an earlier template and not ready, and %s replaces no pod before that is ready; "+
		"if it never will be, delete it: kubectl -n %s delete pod %s", p.Name, w.Title(), w.Namespace, p.Name)
}

// HeldUp says which pod may hold up a change for good, and what a person can do; empty: none does.
func (w Workload) HeldUp() string {
	p, held := w.HeldUpBy()
	if !held {
		return ""
	}
	return w.heldUp(p)
}

func (w Workload) condition(kind string) (Condition, bool) { return conditionOf(w.Conditions, kind) }

func conditionOf(all []Condition, kind string) (Condition, bool) {
	i := slices.IndexFunc(all, func(c Condition) bool { return c.Type == kind })
	if i < 0 {
		return Condition{}, false
	}
	return all[i], true
}

// LivePods names the pods that may still run a container, and says which of them are nobody's: nothing stops these.
func (w Workload) LivePods() []string {
	var names []string
	for _, p := range w.Pods {
		switch {
		case !p.Live():
		case p.Orphan && !p.Terminating:
			names = append(names, p.Name+", which no "+w.WorkloadKind().controller()+" controls")
		default:
			names = append(names, p.Name)
		}
	}
	return names
}

// Uncontrolled names a pod that may have been the workload's and that nothing stops; false: there is none.
func (w Workload) Uncontrolled() (Pod, bool) {
	i := slices.IndexFunc(w.Pods, func(p Pod) bool { return p.Orphan && p.Live() && !p.Terminating })
	if i < 0 {
		return Pod{}, false
	}
	return w.Pods[i], true
}

// Controller is the kind of what controls its pods.
func (w Workload) Controller() string { return w.WorkloadKind().controller() }

// Gone says whether a workload that was scaled to 0 has no pod left that may still run, and knows that it was.
func (w Workload) Gone() bool {
	return w.Replicas == 0 && w.ObservedGeneration >= w.Generation && w.Total == 0 && len(w.LivePods()) == 0
}
