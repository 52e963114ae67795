package workload

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/release/text"
)

// Trouble says why a pod does not come up, or a job does not end, from a closed list.
type Trouble string

// What can keep a pod from coming up, or a job from ending.
const (
	ImagePull     Trouble = "image_pull"    // its image cannot be had
	BadConfig     Trouble = "bad_config"    // a ConfigMap, Secret, volume or command that it needs is missing or wrong
	OutOfMemory   Trouble = "out_of_memory" // it was killed for its memory
	Crash         Trouble = "crash"         // it ends when it should run
	Deadline      Trouble = "deadline"      // it ran for longer than its activeDeadlineSeconds allow
	ProbeFails    Trouble = "probe"         // it runs, and its probe says that it does not serve
	HostSetup     Trouble = "host_setup"    // its host cannot set it up: its network, a disk, a device
	Unschedulable Trouble = "unschedulable" // no host takes it
	Evicted       Trouble = "evicted"       // it was ended from outside: by its host, with it, or by a deletion
	NoPod         Trouble = "no_pod"        // pods cannot be made: a quota, an admission webhook, a Job that is suspended
	StillRuns     Trouble = "still_runs"    // the others of a job's pod have ended, and it keeps the job from ending
	Starting      Trouble = "starting"      // nothing is wrong that can be seen: it is only slow
)

// order is the order of the list: what says most about a failure comes first.
var order = []Trouble{
	ImagePull, BadConfig, OutOfMemory, Crash, Deadline, ProbeFails, HostSetup, Unschedulable, Evicted, NoPod, StillRuns,
	Starting,
}

// Troubles lists every Trouble, the most telling first.
func Troubles() []Trouble { return slices.Clone(order) }

// Diagnosis says which pod does not come up, which of its containers, and why.
type Diagnosis struct {
	Pod       string   `json:"pod,omitzero"`
	Container string   `json:"container,omitzero"`
	Why       Trouble  `json:"why"`
	Detail    string   `json:"detail"`
	Log       []string `json:"log,omitzero"`    // the container's last lines
	Events    []string `json:"events,omitzero"` // the latest about the pod
}

// SetLog keeps the last of the container's lines, without what looks like a secret and is no commit that runs.
func (d *Diagnosis) SetLog(lines []string, running ...string) {
	d.Log = nil
	for _, line := range lines[max(0, len(lines)-text.KeptLines):] {
		d.Log = append(d.Log, text.Kept(line, running))
	}
}

func (d Diagnosis) String() string {
	where := "no pod"
	if d.Pod != "" {
		where = strings.TrimSuffix("pod "+d.Pod+", container "+d.Container, ", container ")
	}
	return where + ": " + string(d.Why) + ": " + d.Detail
}

// DiagnoseRollout says why a workload does not roll out, by that of its new pods which tells most; the log is left for
// the caller to read. It gives nothing if nothing can be seen to be wrong, or the change is not observed yet. What its
// conditions say counts only if it is not from before the change; zero: whenever.
func DiagnoseRollout(w Workload, changed time.Time) (Diagnosis, bool) {
	if w.ObservedGeneration < w.Generation {
		return Diagnosis{}, false
	}
	var all []Diagnosis
	old, held := w.HeldUpBy()
	for _, p := range w.Pods {
		if p.Updated && !p.Terminating || held && p.Name == old.Name {
			all = append(all, diagnosePod(p, ofService)...)
		}
	}
	for _, c := range w.Conditions {
		why, is := causeOf(InOwner, c.Type)
		is = is && c.Status == "True"
		if !is && c.Status == "False" {
			why, is = causeOf(InOwner, c.Reason)
		}
		if is && !c.before(changed) {
			all = append(all, Diagnosis{Why: why, Detail: text.Tidy(c.Message)})
		}
	}
	return worst(all)
}

// DiagnosePods says why the pods of a job failed or do not end, by that which tells most. While one of them lives, it
// is the live ones that are waited for, and those of earlier tries tell less.
func DiagnosePods(pods []Pod) (Diagnosis, bool) {
	var all, live []Diagnosis
	for _, p := range pods {
		found := diagnosePod(p, ofJob)
		all = append(all, found...)
		if p.Live() {
			live = append(live, slices.DeleteFunc(found, func(d Diagnosis) bool { return d.Why == Starting })...)
		}
	}
	if len(live) > 0 {
		return worst(live)
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

// purpose is what a pod is for: a service's containers are to run, those of a job to end.
type purpose bool

const (
	ofService purpose = false
	ofJob     purpose = true
)

// diagnosePod gives what is wrong with one pod: what has ended it from outside, or a line for each of its containers
// that is not as it should be. If that is only that they have not begun, warnings about the pod may say why.
func diagnosePod(p Pod, is purpose) []Diagnosis {
	var all []Diagnosis
	found := func(container string, why Trouble, detail string) {
		all = append(all, Diagnosis{
			Pod: p.Name, Container: container, Why: why, Detail: text.Tidy(detail), Events: text.Last(p.Events, 5),
		})
	}
	if why, detail := p.fromOutside(); why != "" { // the exit codes follow from that
		found("", why, detail)
		return all
	}
	for _, c := range p.Conditions {
		if c.Type == "PodScheduled" && c.Status == "False" {
			found("", Unschedulable, cmp.Or(c.Message, c.Reason))
		}
	}
	last, running := "", ""
	if is == ofJob {
		last, running = p.lastToRun()
	}
	// Which of two has crashed? The one that ended by itself, and not the one that was killed after it.
	containers := slices.Clone(p.Containers)
	slices.SortStableFunc(containers, func(a, b ContainerState) int {
		return cmp.Compare(btoi(a.over() && a.wasKilled()), btoi(b.over() && b.wasKilled()))
	})
	for _, c := range containers {
		why, detail := p.diagnoseContainer(c, is)
		switch {
		case why == "", last != "" && c.runs(): // a job's probes say nothing once it only has to end
		case last != "" && c.over():
			found(c.Name, why, detail+"; "+running)
		default:
			found(c.Name, why, detail)
		}
	}
	if last != "" {
		found(last, StillRuns, running)
	}
	slow := p.Live() && !p.Ready && !slices.ContainsFunc(all, func(d Diagnosis) bool { return d.Why != Starting })
	if !slow {
		return all
	}
	if why, detail := p.setupTrouble(); why != "" {
		all = nil
		found("", why, detail)
	} else if len(all) == 0 && (is == ofService || p.Phase == "Pending") {
		found("", Starting, "it is "+strings.ToLower(p.Phase))
	}
	return all
}

// fromOutside says what ended a pod, or its run on a lost host, that was not one of its containers. Every reason in the
// status of a pod that has failed is of that kind, whichever program writes it; one that never ran was refused.
func (p Pod) fromOutside() (Trouble, string) {
	if p.Phase == "Succeeded" {
		return "", ""
	}
	gone := p.Phase == "Failed" || p.Phase == "Unknown"
	why, listed := causeOf(InPod, p.Reason)
	switch {
	case !listed && gone && p.Reason != "":
		why = Evicted
		if !slices.ContainsFunc(p.Containers, func(c ContainerState) bool { return c.Waiting == "" }) {
			why = Unschedulable
		}
	case !listed && p.Terminating && slices.ContainsFunc(p.Containers, ContainerState.endedByOthers):
		return Evicted, "it was deleted while it ran" + p.failures()
	case !listed:
		c, _ := conditionOf(p.Conditions, "DisruptionTarget")
		if c.Status != "True" || !gone && !p.Terminating {
			return "", ""
		}
		return Evicted, sentence(c.Reason, c.Message) + p.failures()
	}
	return why, sentence(p.Reason, p.Message) + p.failures()
}

// lastToRun gives that container of a job's pod which keeps it from ending while others have ended, and says so.
func (p Pod) lastToRun() (container, detail string) {
	var running, sidecars, ended []string
	for _, c := range p.Containers {
		switch {
		case c.runs() && c.Sidecar:
			sidecars = append(sidecars, c.Name)
		case c.Init:
		case c.runs():
			running = append(running, c.Name)
		case c.over():
			ended = append(ended, c.Name)
		default:
			return "", "" // it waits, which has a reason of its own
		}
	}
	ends := "the job ends once all have"
	if len(running) == 0 {
		running, ends = sidecars, "Kubernetes ends its sidecars now"
	}
	if len(running) == 0 || len(ended) == 0 || !p.Live() {
		return "", ""
	}
	return running[0], fmt.Sprintf("still running: %s; ended: %s; %s", strings.Join(running, ", "),
		strings.Join(ended, ", "), ends)
}
