package workload

import (
	"strings"
	"testing"
	"time"
)

func TestDiagnosePodsSaysWhyAJobFailsOrDoesNotEnd(t *testing.T) {
	done, failed := ContainerState{Name: "app", Ended: true, LastReason: "Completed"}, ContainerState{Name: "app", Ended: true, LastExit: 1, LastReason: "Error"}
	proxy, killed := ContainerState{Name: "istio-proxy", Ready: true}, ContainerState{Name: "sql-proxy", Init: true, Ended: true, LastExit: 137, LastReason: "Error"}
	sidecar := ContainerState{Name: "sql-proxy", Init: true, Sidecar: true, Ready: true}
	pod := func(phase string, all ...ContainerState) Pod { return Pod{Name: "m-x", Phase: phase, Containers: all} }
	of := func(p Pod, change func(*Pod)) Pod { change(&p); return p }
	for name, tc := range map[string]struct {
		pods []Pod
		want string // empty: nothing is wrong
	}{
		"a plain sidecar runs on":            {[]Pod{pod("Running", done, proxy)}, "container istio-proxy: still_runs: still running: istio-proxy; ended: app; the job ends once all have"},
		"two of them, one not ready":         {[]Pod{pod("Running", done, ContainerState{Name: "vector"}, proxy)}, "container vector: still_runs: still running: vector, istio-proxy; ended: app"},
		"it runs on after a failure":         {[]Pod{pod("Running", failed, proxy)}, "container app: crash: it ended with exit code 1 (Error), 0 restarts; still running: istio-proxy"},
		"a sidecar that Kubernetes ends":     {[]Pod{pod("Running", sidecar, done)}, "container sql-proxy: still_runs: still running: sql-proxy; ended: app; Kubernetes ends its sidecars now"},
		"all of it runs":                     {[]Pod{pod("Running", sidecar, ContainerState{Name: "app", Ready: true}, proxy)}, ""},
		"all of it has ended":                {[]Pod{pod("Running", done)}, ""},
		"it has no readiness to speak of":    {[]Pod{of(pod("Running", ContainerState{Name: "app", Ready: true}), func(p *Pod) { p.Ready = true })}, ""},
		"a sidecar is killed at its end":     {[]Pod{pod("Failed", killed, failed)}, "container app: crash: it ended with exit code 1"},
		"a plain sidecar is killed after it": {[]Pod{pod("Failed", ContainerState{Name: "istio-proxy", Ended: true, LastExit: 143, LastReason: "Error"}, failed)}, "container app: crash: it ended with exit code 1"},
		"a sidecar is out of memory":         {[]Pod{pod("Failed", of(pod("", sidecar), func(p *Pod) { p.Containers[0].Ended, p.Containers[0].LastReason = true, "OOMKilled" }).Containers[0], failed)}, "container app: crash: it ended"},
		"a sidecar crashes":                  {[]Pod{pod("Pending", ContainerState{Name: "s", Init: true, Sidecar: true, Waiting: "CrashLoopBackOff", LastExit: 2, Restarts: 3}, ContainerState{Name: "app", Waiting: "PodInitializing"})}, "container s: crash: it ended with exit code 2"},
		"a sidecar crashes beside the work":  {[]Pod{pod("Running", ContainerState{Name: "s", Init: true, Sidecar: true, Waiting: "CrashLoopBackOff", LastExit: 2, Restarts: 3}, ContainerState{Name: "app", Ready: true})}, "container s: crash: it ended with exit code 2"},
		"an init container is out of memory": {[]Pod{pod("Failed", ContainerState{Name: "setup", Init: true, Ended: true, LastExit: 137, LastReason: "OOMKilled"}, ContainerState{Name: "app", Waiting: "PodInitializing"})}, "container setup: out_of_memory"},
		"the second try has not begun":       {[]Pod{pod("Failed", failed), pod("Pending", ContainerState{Name: "app", Waiting: "ContainerCreating"})}, "container app: crash"},
		"the second try does not end":        {[]Pod{pod("Failed", failed), pod("Running", done, proxy)}, "still_runs"},
		"its last words":                     {[]Pod{pod("Failed", ContainerState{Name: "app", Ended: true, LastExit: 1, LastReason: "Error", LastMessage: "Traceback:\n  x\nno such table: users\n"})}, "(Error), 0 restarts: no such table: users"},
		"a liveness probe ended it":          {[]Pod{of(pod("Failed", ContainerState{Name: "app", Ended: true, LastExit: 137, LastReason: "Error"}), func(p *Pod) { p.Events = []string{"Unhealthy: Liveness probe failed: timeout"} })}, "probe: Unhealthy: Liveness probe failed"},
		"a probe had failed before":          {[]Pod{of(pod("Failed", failed), func(p *Pod) { p.Events = []string{"Unhealthy: Liveness probe failed: timeout"} })}, "crash: it ended with exit code 1"},
		"a pod's own deadline": {[]Pod{of(pod("Failed", failed, ContainerState{Name: "istio-proxy", Ended: true, LastExit: 137, LastReason: "Error"}), func(p *Pod) {
			p.Reason, p.Message = "DeadlineExceeded", "Pod was active on the node longer than the specified deadline"
		})}, "pod m-x: deadline: DeadlineExceeded: Pod was active on the node longer than the specified deadline; container app: it ended with exit code 1 (Error), 0 restarts"},
		"it was preempted": {[]Pod{of(pod("Failed", ContainerState{Name: "app", Ended: true, LastExit: 143, LastReason: "Error"}), func(p *Pod) {
			p.Conditions = []Condition{{Type: "DisruptionTarget", Status: "True", Reason: "PreemptionByScheduler", Message: "preempting to accommodate a higher priority pod"}}
		})}, "evicted: PreemptionByScheduler: preempting to accommodate a higher priority pod"},
		"it is deleted, for the Job is too late": {[]Pod{of(pod("Failed", done, ContainerState{Name: "istio-proxy", Ended: true, LastExit: 137, LastReason: "Error"}), func(p *Pod) { p.Terminating = true })}, "pod m-x: evicted: it was deleted while it ran"},
		"it is deleted after a failure":          {[]Pod{of(pod("Failed", failed), func(p *Pod) { p.Terminating = true })}, "crash: it ended with exit code 1"},
		"it was not preempted after all":         {[]Pod{of(pod("Running", done, proxy), func(p *Pod) { p.Conditions = []Condition{{Type: "DisruptionTarget", Status: "True"}} })}, "still_runs"},
	} {
		d, ok := DiagnosePods(tc.pods)
		if ok != (tc.want != "") || !strings.Contains(d.String(), tc.want) {
			t.Errorf("%s: %s, want %q", name, d, tc.want)
		}
	}
}

func TestDiagnoseRolloutRanksCausesOverEffects(t *testing.T) {
	lost := ContainerState{Name: "app", Ended: true, LastExit: 137, LastReason: "ContainerStatusUnknown"}
	creating := ContainerState{Name: "app", Waiting: "ContainerCreating"}
	of := func(phase string, c ContainerState, change func(*Pod)) Pod {
		c.Name = "app"
		p := Pod{Name: "web-2", Phase: phase, Updated: true, Containers: []ContainerState{c}}
		change(&p)
		return p
	}
	reason := func(reason, message string) func(*Pod) {
		return func(p *Pod) { p.Reason, p.Message = reason, message }
	}
	events := func(all ...string) func(*Pod) { return func(p *Pod) { p.Events = all } }
	waits := func(reason string) ContainerState { return ContainerState{Waiting: reason, Message: "its words"} }
	const noMap = `FailedMount: MountVolume.SetUp failed for volume "config" : configmap "web-config" not found`
	for name, tc := range map[string]struct {
		pod  Pod
		want string
	}{
		"evicted":                   {of("Failed", lost, reason("Evicted", "The node was low on resource: ephemeral-storage.")), "pod web-2: evicted: Evicted: The node was low on resource: ephemeral-storage."},
		"its host shuts down":       {of("Failed", lost, reason("Terminated", "Pod was terminated in response to imminent node shutdown.")), "evicted: Terminated: Pod was terminated"},
		"preempted by its host":     {of("Failed", lost, reason("Preempting", "")), "evicted: Preempting"},
		"its host is lost":          {of("Running", ContainerState{Ready: true}, reason("NodeLost", "Node x is unresponsive")), "evicted: NodeLost"},
		"a word of somebody else":   {of("Failed", lost, reason("SpotReclaimed", "the host is taken back")), "evicted: SpotReclaimed: the host is taken back"},
		"refused by its host":       {of("Failed", creating, reason("OutOfcpu", "Node didn't have enough resource: cpu")), "unschedulable: OutOfcpu"},
		"refused in other words":    {of("Failed", creating, reason("SMTAlignmentError", "SMT")), "unschedulable: SMTAlignmentError: SMT"},
		"nobody saw how it ended":   {of("Failed", lost, func(*Pod) {}), "evicted: its host does not know how it ended: ContainerStatusUnknown"},
		"its host was started anew": {of("Running", ContainerState{Restarts: 1, LastExit: 255, LastReason: "Unknown"}, events("Unhealthy: Readiness probe failed: 503")), "probe: Unhealthy: Readiness probe failed: 503"},

		"a volume's ConfigMap is missing":       {of("Pending", creating, events(noMap)), "pod web-2: bad_config: FailedMount: MountVolume.SetUp failed"},
		"and then a time-out":                   {of("Pending", creating, events(noMap, "FailedMount: Unable to attach or mount volumes: timed out waiting for the condition")), `configmap "web-config" not found`},
		"only a time-out":                       {of("Pending", creating, events("FailedMount: Unable to attach or mount volumes: timed out waiting for the condition")), "bad_config: FailedMount: Unable to attach"},
		"a volume is elsewhere":                 {of("Pending", creating, events("FailedAttachVolume: Multi-Attach error")), "host_setup: FailedAttachVolume: Multi-Attach error"},
		"no network":                            {of("Pending", creating, events("FailedCreatePodSandBox: plugin calico failed")), "host_setup: FailedCreatePodSandBox"},
		"a failure in words of another tool":    {of("Pending", creating, events("FailedToAllocateGPU: none left")), "host_setup: FailedToAllocateGPU: none left"},
		"before the kubelet says anything":      {Pod{Name: "web-2", Phase: "Pending", Updated: true, Events: []string{noMap}}, "bad_config: FailedMount"},
		"not scheduled, told by an event alone": {Pod{Name: "web-2", Phase: "Pending", Updated: true, Events: []string{"FailedScheduling: 0/3 nodes"}}, "unschedulable: FailedScheduling: 0/3 nodes"},
		"it was hard to schedule": {of("Pending", creating, func(p *Pod) {
			p.Events, p.Conditions = []string{"FailedScheduling: 0/3 nodes"}, []Condition{{Type: "PodScheduled", Status: "True"}}
		}), "starting: ContainerCreating"},
		"a warning about something else": {of("Pending", creating, events("PolicyViolation: no label", "FailedToRetrieveImagePullSecret: x")), "starting: ContainerCreating"},
		"the volume is there by now": {of("Pending", creating, func(p *Pod) {
			p.Events, p.Conditions = []string{noMap}, []Condition{{Type: "PodReadyToStartContainers", Status: "True"}}
		}), "starting: ContainerCreating"},
		"another container runs by now": {of("Pending", creating, func(p *Pod) {
			p.Events, p.Containers = []string{noMap}, append(p.Containers, ContainerState{Name: "setup", Init: true})
		}), "starting: ContainerCreating"},
		"what stands in for a kubelet says it": {of("Pending", creating, reason("ProviderFailed", "no capacity in the region")), "host_setup: ProviderFailed: no capacity"},

		"a hook":                  {of("Running", waits("PostStartHookError"), func(*Pod) {}), "container app: bad_config: its words"},
		"a signature":             {of("Pending", waits("SignatureValidationFailed"), func(*Pod) {}), "container app: image_pull: its words"},
		"another word of images":  {of("Pending", waits("ImageDecryptionFailed"), func(*Pod) {}), "container app: image_pull: ImageDecryptionFailed: its words"},
		"another word":            {of("Pending", waits("CreateVMError"), func(*Pod) {}), "container app: host_setup: CreateVMError: its words"},
		"a hook, and then a wait": {of("Running", ContainerState{Waiting: "CrashLoopBackOff", LastExit: 143, Restarts: 2}, events("FailedPostStartHook: PostStartHook failed", "BackOff: x")), "bad_config: FailedPostStartHook"},
		"no command":              {of("Running", ContainerState{Waiting: "CrashLoopBackOff", Message: "back-off", LastExit: 128, LastReason: "StartError", LastMessage: `exec: "gunicorn": executable file not found`, Restarts: 4}, func(*Pod) {}), `bad_config: StartError: exec: "gunicorn": executable file not found`},
		"no command, on Docker":   {of("Running", ContainerState{Ended: true, LastExit: 127, LastReason: "ContainerCannotRun", LastMessage: "no such file"}, func(*Pod) {}), "bad_config: ContainerCannotRun: no such file"},
		"an image, in old words": {
			of("Pending", ContainerState{Waiting: "ImagePullBackOff", Message: `Back-off pulling image "x:1"`}, events(`Failed: Failed to pull image "x:1": not found`, `Failed: Failed to pull image "y:1": denied`)),
			`image_pull: Failed: Failed to pull image "x:1": not found`,
		},
		"an image, in new words":               {of("Pending", ContainerState{Waiting: "ImagePullBackOff", Message: `Back-off pulling image "x:1": ErrImagePull: not found`}, func(*Pod) {}), "ErrImagePull: not found"},
		"a service that ends well has crashed": {of("Running", ContainerState{Ended: true, LastReason: "Completed"}, func(*Pod) {}), "crash: it ended with exit code 0"},
		"a sidecar that is not ready":          {Pod{Name: "web-2", Phase: "Running", Updated: true, Containers: []ContainerState{{Name: "istio-proxy", Init: true, Sidecar: true}, {Name: "app", Ready: true}}}, "container istio-proxy: probe: it runs and is not ready"},
		"a sidecar that does not come up":      {Pod{Name: "web-2", Phase: "Pending", Updated: true, Containers: []ContainerState{{Name: "istio-proxy", Init: true, Sidecar: true, Unstarted: true}, {Name: "app", Waiting: "PodInitializing"}}}, "container istio-proxy: probe: it runs, and has not started up yet"},
		"an init container that works":         {Pod{Name: "web-2", Phase: "Pending", Updated: true, Containers: []ContainerState{{Name: "setup", Init: true}, {Name: "app", Waiting: "PodInitializing"}}}, "container setup: starting: it still runs, and the containers after it wait for its end"},
		"an init container has worked":         {Pod{Name: "web-2", Phase: "Pending", Updated: true, Containers: []ContainerState{{Name: "setup", Init: true, Ended: true}, {Name: "app", Waiting: "PodInitializing"}}}, "container app: starting: PodInitializing"},
	} {
		if d, _ := DiagnoseRollout(Workload{Pods: []Pod{tc.pod}}, time.Time{}); !strings.Contains(d.String(), tc.want) {
			t.Errorf("%s: %s, want %q", name, d, tc.want)
		}
	}
}
