package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Trouble says why a pod does not come up, from a closed list.
type Trouble string

// What can keep a pod from coming up, the most telling first.
const (
	ImagePull     Trouble = "image_pull"    // its image cannot be had
	BadConfig     Trouble = "bad_config"    // a ConfigMap, Secret or command that it needs is missing
	OutOfMemory   Trouble = "out_of_memory" // it was killed for its memory
	Crash         Trouble = "crash"         // it ends when it should run
	ProbeFails    Trouble = "probe"         // it runs, and its probe says that it does not serve
	Unschedulable Trouble = "unschedulable" // no host takes it
	Evicted       Trouble = "evicted"       // its host threw it out
	NoPod         Trouble = "no_pod"        // pods cannot be made: a quota, an admission webhook
	Starting      Trouble = "starting"      // nothing is wrong that can be seen: it is only slow
)

// Diagnosis says which pod does not come up, which of its containers, and why.
type Diagnosis struct {
	Pod       string   `json:"pod,omitzero"`
	Container string   `json:"container,omitzero"`
	Why       Trouble  `json:"why"`
	Detail    string   `json:"detail"`
	Log       []string `json:"log,omitzero"`    // the container's last lines
	Events    []string `json:"events,omitzero"` // the latest about the pod
}

// SetLog keeps the last of the container's lines.
func (d *Diagnosis) SetLog(lines []string) { d.Log = tailOf(lines, KeptLines) }

func (d Diagnosis) String() string {
	where := "no pod"
	if d.Pod != "" {
		where = strings.TrimSuffix("pod "+d.Pod+", container "+d.Container, ", container ")
	}
	return fmt.Sprintf("%s: %s: %s", where, d.Why, d.Detail)
}

// order is the order of the list: what says most about a failure comes first.
var order = []Trouble{ImagePull, BadConfig, OutOfMemory, Crash, ProbeFails, Unschedulable, Evicted, NoPod, Starting}

// DiagnoseRollout says why a Deployment does not roll out, by that of its new pods which tells most; the log is left
// for the caller to read. It gives nothing if nothing can be seen to be wrong.
func DiagnoseRollout(d Deployment) (Diagnosis, bool) {
	var all []Diagnosis
	for _, p := range d.Pods {
		if p.Updated && !p.Terminating {
			all = append(all, diagnosePod(p)...)
		}
	}
	if c, ok := d.condition("ReplicaFailure"); ok && c.Status == "True" {
		all = append(all, Diagnosis{Why: NoPod, Detail: c.Message})
	}
	return worst(all)
}

// DiagnosePods says why the pods of a job failed, by that which tells most.
func DiagnosePods(pods []Pod) (Diagnosis, bool) {
	var all []Diagnosis
	for _, p := range pods {
		all = append(all, diagnosePod(p)...)
	}
	return worst(all)
}

func worst(all []Diagnosis) (Diagnosis, bool) {
	if len(all) == 0 {
		return Diagnosis{}, false
	}
	return slices.MinFunc(all, func(a, b Diagnosis) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Why), slices.Index(order, b.Why)), cmp.Compare(a.Pod, b.Pod))
	}), true
}

// diagnosePod gives what is wrong with one pod: a line for each of its containers that is not as it should be.
func diagnosePod(p Pod) []Diagnosis {
	var all []Diagnosis
	found := func(container string, why Trouble, detail string) {
		all = append(all, Diagnosis{
			Pod: p.Name, Container: container, Why: why, Detail: Tidy(detail), Events: tailOf(p.Events, 5),
		})
	}
	if p.Reason == "Evicted" {
		found("", Evicted, "its host evicted it")
	}
	for _, c := range p.Conditions {
		if c.Type == "PodScheduled" && c.Status == "False" {
			found("", Unschedulable, cmp.Or(c.Message, c.Reason))
		}
	}
	for _, c := range p.Containers {
		if why, detail := diagnoseContainer(p, c); why != "" {
			found(c.Name, why, detail)
		}
	}
	if len(all) == 0 && p.live() && !p.Ready {
		found("", Starting, "it is "+strings.ToLower(p.Phase))
	}
	return all
}

func diagnoseContainer(p Pod, c ContainerState) (Trouble, string) {
	ended := fmt.Sprintf("it ended with exit code %d (%s), %d restarts", c.LastExit,
		cmp.Or(c.LastReason, "no reason given"), c.Restarts)
	if c.LastReason == "OOMKilled" && (!c.Ready || p.Phase == "Failed") {
		return OutOfMemory, ended
	}
	switch c.Waiting {
	case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
		"RegistryUnavailable":
		return ImagePull, cmp.Or(c.Message, c.Waiting)
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
		return BadConfig, cmp.Or(c.Message, c.Waiting)
	case "CrashLoopBackOff":
		return diagnoseRestarts(p, ended)
	case "":
	default: // ContainerCreating, PodInitializing
		return Starting, cmp.Or(c.Message, c.Waiting)
	}
	switch {
	case c.Ended && (c.LastExit != 0 || (!c.Init && p.live())):
		return Crash, ended
	case c.Ended || c.Ready || c.Init:
		return "", ""
	}
	if c.Restarts > 0 { // that it is not ready between two crashes says less than that it crashes
		return diagnoseRestarts(p, ended)
	}
	if probe := probeEvent(p, "probe failed"); probe != "" {
		return ProbeFails, probe
	}
	return ProbeFails, "it runs and is not ready"
}

// diagnoseRestarts says why a container runs again and again: the kubelet ends it, or it ends by itself.
func diagnoseRestarts(p Pod, ended string) (Trouble, string) {
	if probe := probeEvent(p, "Liveness probe failed", "Startup probe failed"); probe != "" {
		return ProbeFails, probe
	}
	return Crash, ended
}

// probeEvent gives the last event of the pod that holds one of the words.
func probeEvent(p Pod, words ...string) string {
	for _, e := range slices.Backward(p.Events) {
		if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(e, w) }) {
			return e
		}
	}
	return ""
}
