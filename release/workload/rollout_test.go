package workload

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func rolledOut() Workload {
	long := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	return Workload{
		Ref: Ref{Deployment: "web"}, Replicas: 3, Generation: 7, ObservedGeneration: 7, Total: 3, Updated: 3, Available: 3,
		Conditions: []Condition{
			{Type: "Available", Status: "True", Changed: long},
			{Type: "Progressing", Status: "True", Reason: "NewReplicaSetAvailable", Updated: long},
		},
		Pods: []Pod{{Name: "web-1", Phase: "Running", Updated: true, Ready: true, Containers: []ContainerState{{Name: "app", Ready: true}}}},
	}
}

func TestRolloutOfIsReadAsKubectlReadsIt(t *testing.T) {
	tests := map[string]struct {
		change       func(*Workload)
		done, failed bool
		detail       string
	}{
		"done":                         {change: func(*Workload) {}, done: true, detail: "3 of 3 pods available"},
		"a stale report counts little": {change: func(d *Workload) { d.Generation = 8 }, detail: "waiting for the change to be observed"},
		"nor does a stale failure": {
			change: func(d *Workload) { d.Generation = 8; d.Conditions[1].Reason = "ProgressDeadlineExceeded" }, detail: "observed",
		},
		"given up": {change: func(d *Workload) {
			d.Conditions[1] = Condition{Type: "Progressing", Status: "False", Reason: "ProgressDeadlineExceeded", Message: `ReplicaSet "web-5d" has timed out progressing.`}
		}, failed: true, detail: "exceeded its progress deadline: ReplicaSet"},
		"paused":               {change: func(d *Workload) { d.Paused = true }, detail: "paused"},
		"new pods to be made":  {change: func(d *Workload) { d.Updated = 1 }, detail: "1 of 3 new pods made"},
		"an old pod to go":     {change: func(d *Workload) { d.Total = 4 }, detail: "1 old pod to go"},
		"old pods to go":       {change: func(d *Workload) { d.Total = 5 }, detail: "2 old pods to go"},
		"pods to be available": {change: func(d *Workload) { d.Available = 2 }, detail: "2 of 3 new pods available"},
		"a quota": {change: func(d *Workload) {
			d.Updated = 1
			d.Conditions = append(d.Conditions, Condition{Type: "ReplicaFailure", Status: "True", Message: "exceeded quota"})
		}, detail: "pods cannot be created: exceeded quota"},
		"scaled to nothing": {change: func(d *Workload) { d.Replicas, d.Total, d.Updated, d.Available = 0, 0, 0, 0 }, done: true, detail: "0 of 0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := rolledOut()
			tt.change(&d)
			got := RolloutOf(d)
			if got.Done != tt.done || got.Failed != tt.failed || !strings.Contains(got.Detail, tt.detail) {
				t.Errorf("%+v, want done %v, failed %v, %q", got, tt.done, tt.failed, tt.detail)
			}
		})
	}
}

func TestRolloutSinceLeavesOutADeadlineOfAnEarlierRollout(t *testing.T) {
	changed := time.Date(2026, 11, 23, 12, 0, 0, 700, time.UTC)
	for name, tt := range map[string]struct {
		updated, transition time.Time
		changed             time.Time
		failed              bool
	}{
		"older":               {changed.Add(-time.Hour), changed.Add(-time.Hour), changed, false},
		"younger":             {changed.Add(time.Hour), changed.Add(time.Hour), changed, true},
		"confirmed since":     {changed.Add(time.Hour), changed.Add(-time.Hour), changed, true},
		"in the same second":  {changed.Truncate(time.Second), changed.Truncate(time.Second), changed, true},
		"nothing was changed": {changed.Add(-time.Hour), changed.Add(-time.Hour), time.Time{}, true},
		"it does not say":     {time.Time{}, time.Time{}, changed, true},
	} {
		d := rolledOut()
		d.Conditions[1] = Condition{Type: "Progressing", Status: "False", Reason: "ProgressDeadlineExceeded", Updated: tt.updated, Changed: tt.transition}
		if got := RolloutSince(d, tt.changed); got.Failed != tt.failed || got.Done == tt.failed {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestWorkloadGoneIsASingletonOnlyWhenNoPodOfItCanRun(t *testing.T) {
	tests := map[string]struct {
		change func(*Workload)
		want   bool
	}{
		"gone":                           {func(*Workload) {}, true},
		"the scaling is not observed":    {func(d *Workload) { d.Generation++ }, false},
		"it was scaled up again":         {func(d *Workload) { d.Replicas = 1 }, false},
		"a pod is still reported":        {func(d *Workload) { d.Total = 1 }, false},
		"a pod is stopping":              {func(d *Workload) { d.Pods = []Pod{{Phase: "Running", Terminating: true}} }, false},
		"a pod's host does not answer":   {func(d *Workload) { d.Pods = []Pod{{Phase: "Unknown", Terminating: true}} }, false},
		"a pod has ended and is kept on": {func(d *Workload) { d.Pods = []Pod{{Phase: "Failed", Reason: "Evicted"}} }, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := Workload{Generation: 4, ObservedGeneration: 4}
			tt.change(&d)
			if got := d.Gone(); got != tt.want {
				t.Errorf("gone: %v", got)
			}
		})
	}
}

func TestDiagnosisNamesThePodTheContainerAndWhy(t *testing.T) {
	running := func(c ContainerState, events ...string) Pod {
		c.Name = "app"
		return Pod{Name: "web-2", Phase: "Running", Updated: true, Containers: []ContainerState{c}, Events: events}
	}
	tests := map[string]struct {
		pods       []Pod
		conditions []Condition
		want       string
	}{
		"image": {pods: []Pod{running(ContainerState{Waiting: "ImagePullBackOff", Message: "not found"})}, want: "pod web-2, container app: image_pull: not found"},
		"crash": {
			pods: []Pod{running(ContainerState{Waiting: "CrashLoopBackOff", LastExit: 2, LastReason: "Error", Restarts: 4})},
			want: "pod web-2, container app: crash: it ended with exit code 2 (Error), 4 restarts",
		},
		"a crash between two waits": {
			pods: []Pod{running(ContainerState{Restarts: 1, LastExit: 2, LastReason: "Error"})}, want: "container app: crash: it ended with exit code 2",
		},
		"memory": {
			pods: []Pod{running(ContainerState{Waiting: "CrashLoopBackOff", LastExit: 137, LastReason: "OOMKilled"})}, want: "out_of_memory: it ended with exit code 137",
		},
		"configuration": {
			pods: []Pod{running(ContainerState{Waiting: "CreateContainerConfigError", Message: `secret "db" not found`})}, want: `bad_config: secret "db" not found`,
		},
		"readiness": {
			pods: []Pod{running(ContainerState{}, "Pulled", "Readiness probe failed: 503")}, want: "probe: Readiness probe failed: 503",
		},
		"liveness": {
			pods: []Pod{running(ContainerState{Waiting: "CrashLoopBackOff", LastExit: 137}, "Liveness probe failed: timeout")}, want: "probe: Liveness probe failed: timeout",
		},
		"not ready between two crashes": {
			pods: []Pod{running(ContainerState{Restarts: 2, LastExit: 1, LastReason: "Error"}, "Readiness probe failed: connection refused")},
			want: "crash: it ended with exit code 1 (Error), 2 restarts",
		},
		"not ready after the kubelet has ended it": {
			pods: []Pod{running(ContainerState{Restarts: 1, LastExit: 137}, "Liveness probe failed: timeout", "Readiness probe failed: 503")},
			want: "probe: Liveness probe failed: timeout",
		},
		"no host": {
			pods: []Pod{{Name: "web-2", Phase: "Pending", Updated: true, Conditions: []Condition{{Type: "PodScheduled", Status: "False", Message: "0/3 nodes are available"}}}},
			want: "pod web-2: unschedulable: 0/3 nodes are available",
		},
		"a quota":   {conditions: []Condition{{Type: "ReplicaFailure", Status: "True", Message: "exceeded quota"}}, want: "no pod: no_pod: exceeded quota"},
		"only slow": {pods: []Pod{running(ContainerState{Waiting: "ContainerCreating"})}, want: "starting: ContainerCreating"},
		"the worst of several, whatever their order": {
			pods: []Pod{
				{Name: "web-1", Phase: "Pending", Updated: true},
				running(ContainerState{Waiting: "ErrImagePull", Message: "denied"}),
				{Name: "web-3", Phase: "Running", Updated: true, Containers: []ContainerState{{Name: "app"}}},
			},
			want: "pod web-2, container app: image_pull: denied",
		},
		"old pods do not matter": {pods: []Pod{{Name: "web-0", Phase: "Running", Containers: []ContainerState{{Name: "app", Waiting: "CrashLoopBackOff"}}}}},
		"a failing init container": {
			pods: []Pod{{Name: "web-2", Phase: "Pending", Updated: true, Containers: []ContainerState{
				{Name: "app", Waiting: "PodInitializing"}, {Name: "setup", Init: true, Waiting: "CrashLoopBackOff", LastExit: 1},
			}}},
			want: "container setup: crash: it ended with exit code 1",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := DiagnoseRollout(Workload{Pods: tt.pods, Conditions: tt.conditions}, time.Time{})
			if ok != (tt.want != "") || (ok && !strings.Contains(got.String(), tt.want)) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// An orphan may be the old pod of a singleton. It is nobody's that a command could be run in, or that is to be healthy.
func TestWorkloadOrphansAreOnlyWaitedFor(t *testing.T) {
	d := Workload{
		Generation: 1, ObservedGeneration: 1,
		Conditions: []Condition{{Type: "Available", Status: "True"}, {Type: "Progressing", Status: "True"}},
		Pods: []Pod{
			{Name: "cron-left", Phase: "Running", Ready: true, Orphan: true, Containers: []ContainerState{{Name: "app", Waiting: "CrashLoopBackOff"}}},
			{Name: "cron-stops", Phase: "Running", Terminating: true, Orphan: true},
			{Name: "cron-over", Phase: "Failed", Orphan: true},
		},
	}
	if want := []string{"cron-left, which no ReplicaSet controls", "cron-stops"}; d.Gone() || !slices.Equal(d.LivePods(), want) {
		t.Errorf("gone: %t; alive: %q", d.Gone(), d.LivePods())
	}
	if p, ready := d.ReadyPod(); ready {
		t.Errorf("a command is run in %s", p.Name)
	}
	if why := d.Unhealthy(time.Unix(0, 0)); why != "" {
		t.Error(why)
	}
	d.Pods = d.Pods[2:]
	if !d.Gone() {
		t.Errorf("it waits for %q", d.LivePods())
	}
}

// The orphan would be waited for in vain, and the singleton left at 0 pods.
