// Package workload reads what Kubernetes says of a workload and its pods: how far it has rolled out, whether it is
// healthy, why a pod does not come up. All of it is pure: it depends on its arguments alone, the time among them.
package workload

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Workload is a Deployment, a StatefulSet or a DaemonSet: what is asked of it, what it reports, and its pods.
type Workload struct {
	Ref

	Namespace   string
	Paused      bool        // only a Deployment can be
	Containers  []Container // of the pod template, init containers included
	Volumes     []Volume
	RestartedAt string // the pod template's annotation kubectl.kubernetes.io/restartedAt
	KeptBy      string // the tool that keeps it as Git has it, and the mark that says so; empty: none is known
	ChangedBy   string // what changed any of this last, and when, as far as is known; empty also if it was Unstuck

	Strategy string // of a StatefulSet or a DaemonSet: how its pods are replaced; empty: pod by pod, as of a Deployment
	// of a StatefulSet: how many of its pods, the first by their numbers, keep the old template
	Partition int
	// of a StatefulSet: it goes on to the next pod only when one is ready, whatever the template of that
	Ordered bool
	// of a StatefulSet: the volumes of a pod are deleted with it when it is scaled away
	DropsVolumes bool

	Replicas           int // asked for; of a DaemonSet: how many hosts are to have a pod
	Generation         int64
	ObservedGeneration int64 // what the rest speaks of
	Total              int   // pods there are, of old templates included
	Updated            int   // of these, pods of the current template
	Available          int   // of these, pods that serve
	Conditions         []Condition

	Pods []Pod // terminating ones, and orphans, included
}

// The strategies of StatefulSets and DaemonSets.
const (
	RollingUpdate = "RollingUpdate" // pod by pod
	OnDelete      = "OnDelete"      // as somebody deletes them
)

// Rolls says whether its controller replaces the pods when the template changes.
func (w Workload) Rolls() bool { return w.Strategy == "" || w.Strategy == RollingUpdate }

// Container is one container of a pod template.
type Container struct {
	Name           string
	Init           bool
	Image          string
	EnvSecrets     []string // Secrets of which a variable takes a key
	EnvFromSecrets []string // Secrets of which every key becomes a variable
}

// Volume is a volume of a pod template.
type Volume struct {
	Name    string
	Secrets []string // that it shows: its own, or those among the sources of a projected one
}

// Condition is a condition of a workload or a pod.
type Condition struct {
	Type    string
	Status  string // True, False or Unknown
	Reason  string
	Message string
	Updated time.Time // when it was last confirmed, or else when it last changed
	Changed time.Time // when its status last changed
}

// Pod is a pod of a workload, jobs included.
type Pod struct {
	Name        string
	Phase       string // Pending, Running, Succeeded, Failed or Unknown
	Updated     bool   // it is of the workload's current template
	Orphan      bool   // nothing that exists controls it; it may have been the workload's, and so do its work still
	Ready       bool
	Terminating bool
	Reason      string // status.reason, Evicted for instance
	Message     string // status.message: which resource was short, which deadline passed
	Conditions  []Condition
	Containers  []ContainerState // init containers, then the default one, as kubectl has it, then the others
	Events      []string         // the latest warnings about it, oldest first
}

// Live says whether any container of the pod may still run.
func (p Pod) Live() bool { return p.Phase != "Succeeded" && p.Phase != "Failed" }

// ContainerState is how one container of a pod is doing.
type ContainerState struct {
	Name      string
	Init      bool
	Sidecar   bool // an init container that runs beside the others, until they have ended (restartPolicy Always)
	Ready     bool
	Waiting   string // why it waits: ImagePullBackOff, CrashLoopBackOff, ContainerCreating; empty if it does not
	Message   string // what else is said about that
	Started   time.Time
	Unstarted bool // it runs, and its startup probe has not succeeded yet
	Ended     bool // it has ended and does not run again, or not yet
	Restarts  int

	LastEnd     time.Time // when its last run ended; zero if none has
	LastExit    int
	LastReason  string // OOMKilled, StartError, Error, Completed
	LastMessage string // what the runtime says about that, or else the container's own last words
}

// runs says whether the container runs.
func (c ContainerState) runs() bool { return c.Waiting == "" && !c.Ended }

// over says whether the container has ended and is not about to be started again.
func (c ContainerState) over() bool { return c.Waiting == "" && c.Ended }

// Reads says where a workload's pods read a Secret, none if they do not. Secrets for pulling images are not among
// them: a running pod does not read those.
func (w Workload) Reads(secret string) []string {
	var where []string
	for _, c := range w.Containers {
		kind := "container"
		if c.Init {
			kind = "init container"
		}
		if slices.Contains(c.EnvSecrets, secret) {
			where = append(where, fmt.Sprintf("%s %s: env", kind, c.Name))
		}
		if slices.Contains(c.EnvFromSecrets, secret) {
			where = append(where, fmt.Sprintf("%s %s: envFrom", kind, c.Name))
		}
	}
	for _, v := range w.Volumes {
		if slices.Contains(v.Secrets, secret) {
			where = append(where, "volume "+v.Name)
		}
	}
	return where
}

// ReadyPod gives the pod in which a command is to run: a ready one, of the current template if there is one, the
// first by name.
func (w Workload) ReadyPod() (Pod, bool) {
	var ready []Pod
	for _, p := range w.Pods {
		if p.Ready && !p.Terminating && !p.Orphan && p.Live() {
			ready = append(ready, p)
		}
	}
	slices.SortFunc(ready, func(a, b Pod) int {
		if a.Updated != b.Updated {
			return cmp.Compare(btoi(b.Updated), btoi(a.Updated))
		}
		return cmp.Compare(a.Name, b.Name)
	})
	if len(ready) == 0 {
		return Pod{}, false
	}
	return ready[0], true
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
