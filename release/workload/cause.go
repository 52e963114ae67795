package workload

import (
	"slices"
	"strings"
)

// Source is where Kubernetes says what is wrong with a pod, or why there is none, from a closed list.
type Source string

// The sources.
const (
	InPod       Source = "pod"       // the reason in the status of the pod, which has ended or is lost
	InCondition Source = "condition" // a condition of the pod
	InWaiting   Source = "waiting"   // why a container waits
	InEnd       Source = "ended"     // why the last run of a container ended
	InEvent     Source = "event"     // a warning about the pod
	InOwner     Source = "owner"     // a condition of the workload, or a warning about it
)

// Sources lists every Source, in the order in which they count: what ended a pod explains how its containers ended.
func Sources() []Source { return []Source{InPod, InCondition, InWaiting, InEnd, InEvent, InOwner} }

// Cause is a word of Kubernetes for what is wrong with a pod, and what it comes to.
type Cause struct {
	Source Source
	Reason string
	Why    Trouble
}

// causes are those of Kubernetes 1.27 to 1.35: of the kubelet (pkg/kubelet: events/event.go, images/types.go,
// container/sync_result.go, lifecycle/predicate.go, eviction and nodeshutdown), of the container runtimes, and of the
// controllers. For words that are not among them there are rules, in fromOutside, diagnoseWait and
// setupTrouble.
var causes = []Cause{
	{InPod, "Evicted", Evicted},
	{InPod, "Preempting", Evicted},
	{InPod, "Terminated", Evicted}, // its host shuts down
	{InPod, "Shutdown", Evicted},   // the same of older kubelets
	{InPod, "NodeLost", Evicted},
	{InPod, "DeadlineExceeded", Deadline},
	{InPod, "NodeAffinity", Unschedulable}, // this and what follows: its host refuses it
	{InPod, "NodeShutdown", Unschedulable},
	{InPod, "OutOfcpu", Unschedulable},
	{InPod, "OutOfmemory", Unschedulable},
	{InPod, "OutOfpods", Unschedulable},
	{InPod, "OutOfephemeral-storage", Unschedulable},
	{InPod, "TopologyAffinityError", Unschedulable},
	{InPod, "UnexpectedAdmissionError", Unschedulable},

	{InCondition, "DisruptionTarget", Evicted},
	{InCondition, "PodScheduled", Unschedulable}, // if it is False

	{InWaiting, "ErrImagePull", ImagePull},
	{InWaiting, "ImagePullBackOff", ImagePull},
	{InWaiting, "InvalidImageName", ImagePull},
	{InWaiting, "ErrImageNeverPull", ImagePull},
	{InWaiting, "ImageInspectError", ImagePull},
	{InWaiting, "RegistryUnavailable", ImagePull},
	{InWaiting, "SignatureValidationFailed", ImagePull},
	{InWaiting, "CreateContainerConfigError", BadConfig},
	{InWaiting, "CreateContainerError", BadConfig},
	{InWaiting, "RunContainerError", BadConfig},
	{InWaiting, "PreCreateHookError", BadConfig},
	{InWaiting, "PreStartHookError", BadConfig},
	{InWaiting, "PostStartHookError", BadConfig},
	{InWaiting, "ImageVolumeMountFailed", BadConfig},
	{InWaiting, "CreatePodSandboxError", HostSetup},
	{InWaiting, "ConfigPodSandboxError", HostSetup},
	{InWaiting, "CrashLoopBackOff", Crash}, // unless an event or its end says more
	{InWaiting, "ContainerCreating", Starting},
	{InWaiting, "PodInitializing", Starting},
	{InWaiting, "Waiting", Starting}, // ours: nothing is said

	{InEnd, "OOMKilled", OutOfMemory},
	{InEnd, "StartError", BadConfig},         // containerd
	{InEnd, "ContainerCannotRun", BadConfig}, // Docker
	{InEnd, "ContainerStatusUnknown", Evicted},
	{InEnd, "Unknown", Evicted}, // containerd, after its host was started anew

	{InEvent, "FailedMount", BadConfig},
	{InEvent, "FailedMapVolume", BadConfig},
	{InEvent, "FailedPostStartHook", BadConfig},
	{InEvent, "FailedAttachVolume", HostSetup},
	{InEvent, "FailedCreatePodSandBox", HostSetup},
	{InEvent, "FailedCreatePodContainer", HostSetup},
	{InEvent, "FailedPrepareDynamicResources", HostSetup},
	{InEvent, "NetworkNotReady", HostSetup},
	{InEvent, "Unhealthy", ProbeFails},
	{InEvent, "FailedScheduling", Unschedulable},

	{InOwner, "ReplicaFailure", NoPod},
	{InOwner, "ReplicaSetCreateError", NoPod}, // the reason of its condition Progressing
	{InOwner, "FailedCreate", NoPod},
	{InOwner, "Suspended", NoPod},
}

// Causes gives the table of causes.
func Causes() []Cause { return slices.Clone(causes) }

func causeOf(in Source, reason string) (Trouble, bool) {
	i := slices.IndexFunc(causes, func(c Cause) bool { return c.Source == in && c.Reason == reason })
	if i < 0 {
		return "", false
	}
	return causes[i].Why, true
}

// harmless are warnings that keep no pod from being set up, though their words are those of a failure.
var harmless = []string{"Failed", "FailedToRetrieveImagePullSecret", "FailedPreStopHook", "FailedKillPod"}

// setupTrouble says what keeps the host from setting a pod up: the latest warning that the table knows, or else the
// latest whose reason is the word of a failure, whichever tool writes it. A wait that timed out follows from something
// else, which another warning may name.
func (p Pod) setupTrouble() (Trouble, string) {
	if p.isSetUp() {
		return "", ""
	}
	var why Trouble
	var said string
	const specific, vague, foreign, none = 0, 1, 2, 3
	for best, i := none, len(p.Events)-1; i >= 0; i-- {
		reason, message, _ := strings.Cut(p.Events[i], ": ")
		means, listed := causeOf(InEvent, reason)
		rank := specific
		switch {
		case slices.Contains(harmless, reason), means == ProbeFails, means == Unschedulable && p.isScheduled():
			continue
		case !listed && !strings.Contains(reason, "Fail") && !strings.Contains(reason, "Error"):
			continue
		case !listed:
			rank, means = foreign, HostSetup
		case strings.Contains(message, "timed out waiting for the condition"):
			rank = vague
		}
		if rank < best {
			best, why, said = rank, means, p.Events[i]
		}
	}
	if why == "" && p.Reason != "" { // as those write it that stand in for a kubelet
		return HostSetup, sentence(p.Reason, p.Message)
	}
	return why, said
}

// isSetUp says whether the volumes and the sandbox of a pod are ready, or were: what was said about them is past.
func (p Pod) isSetUp() bool {
	if c, ok := conditionOf(p.Conditions, "PodReadyToStartContainers"); ok {
		return c.Status == "True"
	}
	return slices.ContainsFunc(p.Containers, func(c ContainerState) bool { return c.Waiting == "" })
}

func (p Pod) isScheduled() bool {
	c, ok := conditionOf(p.Conditions, "PodScheduled")
	return ok && c.Status == "True"
}

// sentence joins a reason and what is said about it.
func sentence(reason, message string) string {
	if message = strings.TrimSpace(message); message == "" || reason == "" {
		return reason + message
	}
	return reason + ": " + message
}
