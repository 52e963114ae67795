package workload

import (
	"fmt"
	"slices"
	"time"
)

// NotRun says why nothing shows that the current template has run since the given time, or nothing if a pod of it has:
// of a workload that is to have no pods all are there, too.
func (w Workload) NotRun(since time.Time) string {
	switch {
	case w.Replicas == 0 && w.WorkloadKind() == DaemonSet:
		return "no host is to have a pod of it, so nothing shows that its commit runs"
	case w.Replicas == 0:
		return "it is scaled to 0, so nothing shows that its commit runs"
	case w.Updated < w.Replicas && w.WorkloadKind() == StatefulSet:
		return "not all of its pods run its commit: " + w.keptOld()
	}
	why := "no pod of its current template is ready, so nothing shows that its commit runs"
	for _, p := range w.Pods {
		if !p.Updated || !p.Ready || p.Terminating || !p.Live() {
			continue
		}
		if why = p.readyOnlySince(since); why == "" {
			return ""
		}
	}
	return why
}

// readyOnlySince says since when a pod is ready that has not been since the given time; nothing if it has.
func (p Pod) readyOnlySince(since time.Time) string {
	i := slices.IndexFunc(p.Conditions, func(c Condition) bool { return c.Type == "Ready" && c.Changed.After(since) })
	if i < 0 {
		return ""
	}
	return fmt.Sprintf("pod %s is ready only since %s", p.Name, p.Conditions[i].Changed.UTC().Format(time.RFC3339))
}

// Unhealthy says why a workload that is rolled out has not been healthy since the given time, or nothing if it has.
func (w Workload) Unhealthy(since time.Time) string {
	why := ""
	if w.WorkloadKind() == Deployment {
		why = w.changedSince(since)
	} else {
		why = w.podsSince(since)
	}
	if why != "" {
		return why
	}
	for _, p := range w.Pods {
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

// changedSince goes by the conditions of a Deployment.
func (w Workload) changedSince(since time.Time) string {
	for _, kind := range []string{"Available", "Progressing"} {
		c, ok := w.condition(kind)
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
	return ""
}

// podsSince goes by the pods of a StatefulSet or a DaemonSet, whose status does not say since when it is as it is: each
// must have been ready since then.
func (w Workload) podsSince(since time.Time) string {
	for _, p := range w.Pods {
		switch {
		case !p.Live() || p.Terminating || p.Orphan:
		case !p.Ready:
			return "pod " + p.Name + " is not ready"
		case p.readyOnlySince(since) != "":
			return p.readyOnlySince(since)
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
