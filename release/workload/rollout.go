package workload

import (
	"fmt"
	"slices"
	"time"
)

// Rollout is how far a Deployment has rolled out.
type Rollout struct {
	Done   bool
	Failed bool   // Kubernetes gave up
	Detail string // what it waits for, or why it failed
}

// RolloutOf says how far a Deployment has rolled out, by the rules of `kubectl rollout status`
// (k8s.io/kubectl/pkg/polymorphichelpers/rollout_status.go): what it reports counts only if it speaks of the current
// generation, and progressDeadlineSeconds ends the waiting whatever one's own deadline.
func RolloutOf(d Workload) Rollout { return RolloutSince(d, time.Time{}) }

// RolloutSince is RolloutOf for who has changed the Deployment at that time: that an earlier rollout took too long does
// not speak of the change. The controller may have observed it and still show that.
func RolloutSince(d Workload, changed time.Time) Rollout {
	if d.ObservedGeneration < d.Generation {
		return Rollout{Detail: "waiting for the change to be observed"}
	}
	progressing, _ := d.condition("Progressing")
	failure, failing := d.condition("ReplicaFailure")
	switch {
	case progressing.Reason == "ProgressDeadlineExceeded" && !progressing.before(changed):
		return Rollout{Failed: true, Detail: "exceeded its progress deadline: " + progressing.Message}
	case d.Paused:
		return Rollout{Detail: "paused"}
	case failing && failure.Status == "True" && d.Updated < d.Replicas:
		return Rollout{Detail: "pods cannot be created: " + failure.Message}
	case d.Updated < d.Replicas:
		return Rollout{Detail: fmt.Sprintf("%d of %d new pods made", d.Updated, d.Replicas)}
	case d.Total == d.Updated+1:
		return Rollout{Detail: "1 old pod to go"}
	case d.Total > d.Updated:
		return Rollout{Detail: fmt.Sprintf("%d old pods to go", d.Total-d.Updated)}
	case d.Available < d.Updated:
		return Rollout{Detail: fmt.Sprintf("%d of %d new pods available", d.Available, d.Updated)}
	}
	return Rollout{Done: true, Detail: fmt.Sprintf("%d of %d pods available", d.Available, d.Replicas)}
}

func (d Workload) condition(kind string) (Condition, bool) {
	i := slices.IndexFunc(d.Conditions, func(c Condition) bool { return c.Type == kind })
	if i < 0 {
		return Condition{}, false
	}
	return d.Conditions[i], true
}

// LivePods names the pods that may still run a container, and says which of them are nobody's: nothing stops these.
func (d Workload) LivePods() []string {
	var names []string
	for _, p := range d.Pods {
		switch {
		case !p.Live():
		case p.Orphan && !p.Terminating:
			names = append(names, p.Name+", which no ReplicaSet controls")
		default:
			names = append(names, p.Name)
		}
	}
	return names
}

// Gone says whether a Deployment that was scaled to 0 has no pod left that may still run, and knows that it was.
func (d Workload) Gone() bool {
	return d.Replicas == 0 && d.ObservedGeneration >= d.Generation && d.Total == 0 && len(d.LivePods()) == 0
}

// NotRun says why nothing shows that the current template has run since the given time, or nothing if a pod of it has:
// of a Deployment that is scaled to 0 all pods are there, too.
func (d Workload) NotRun(since time.Time) string {
	if d.Replicas == 0 {
		return "it is scaled to 0, so nothing shows that its commit runs"
	}
	why := "no pod of its current template is ready, so nothing shows that its commit runs"
	for _, p := range d.Pods {
		if !p.Updated || !p.Ready || p.Terminating || !p.Live() {
			continue
		}
		i := slices.IndexFunc(p.Conditions, func(c Condition) bool { return c.Type == "Ready" && c.Changed.After(since) })
		if i < 0 {
			return ""
		}
		why = fmt.Sprintf("pod %s is ready only since %s", p.Name, p.Conditions[i].Changed.UTC().Format(time.RFC3339))
	}
	return why
}

// Unhealthy says why a Deployment that is rolled out has not been healthy since the given time, or nothing if it has.
func (d Workload) Unhealthy(since time.Time) string {
	for _, kind := range []string{"Available", "Progressing"} {
		c, ok := d.condition(kind)
		last := c.Changed
		if kind == "Progressing" { // confirmed anew when a rollout completes
			last = c.Updated
		}
		switch {
		case !ok:
			return "it does not say since when it is rolled out: it has no condition " + kind
		case c.Status != "True":
			return "it is not healthy: its condition " + kind + " is " + c.Status
		case last.After(since):
			return fmt.Sprintf("it changed at %s (%s)", last.UTC().Format(time.RFC3339), kind)
		}
	}
	for _, p := range d.Pods {
		for _, c := range p.Containers {
			switch {
			case !p.Live() || p.Terminating || p.Orphan:
			case c.Waiting != "":
				return fmt.Sprintf("container %s of pod %s waits: %s", c.Name, p.Name, c.Waiting)
			case (!c.Init || c.Sidecar) && c.Restarts > 0 && c.LastEnd.After(since):
				return fmt.Sprintf("container %s of pod %s ended at %s with exit code %d", c.Name, p.Name,
					c.LastEnd.UTC().Format(time.RFC3339), c.LastExit)
			}
		}
	}
	return ""
}

// before says whether a condition is known to be older than a time. API servers keep whole seconds.
func (c Condition) before(t time.Time) bool {
	at := c.Updated
	if at.Before(c.Changed) {
		at = c.Changed
	}
	return !at.IsZero() && at.Before(t.Truncate(time.Second))
}
