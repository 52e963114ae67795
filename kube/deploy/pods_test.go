package deploy

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/release/workload"
)

func TestPodOfPutsTheContainerThatLogsAreOfFirst(t *testing.T) {
	for name, tc := range map[string]struct{ note, want string }{
		"no annotation":                      {"", "istio-proxy"},
		"it names one":                       {"app", "app"},
		"it names one that the pod has not":  {"old-app", "istio-proxy"},
		"it names the one that stands first": {"istio-proxy", "istio-proxy"},
	} {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"kubectl.kubernetes.io/default-container": tc.note}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "istio-proxy"}, {Name: "extra"}, {Name: "app"}}},
			Status:     corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "app"}, {Name: "extra"}, {Name: "istio-proxy"}}},
		}
		if logs := apiserver.ContainerOf(p, ""); logs != tc.want {
			t.Errorf("%s: logs of %s", name, logs)
		}
		if got := podOf(p).Containers; got[0].Name != tc.want || len(got) != 3 {
			t.Errorf("%s: commands in %+v", name, got)
		}
	}
}

// withSidecar gives a Job's pod that has a native sidecar.
func withSidecar(p *corev1.Pod, s corev1.ContainerStatus) *corev1.Pod {
	s.Name = "sql-proxy"
	p.Spec.InitContainers = []corev1.Container{{Name: s.Name, RestartPolicy: new(corev1.ContainerRestartPolicyAlways)}}
	p.Status.InitContainerStatuses = []corev1.ContainerStatus{s}
	return p
}

func TestPodOfTellsASidecarFromAnInitContainer(t *testing.T) {
	terminated := func(code int32, reason, message string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message}}
	}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(longAgo)}}
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}
	pod := func(phase corev1.PodPhase, sidecar, app corev1.ContainerStatus, change ...func(*corev1.Pod)) workload.Pod {
		p := withSidecar(migrationPod(), sidecar)
		kubetest.NotReady(p)
		app.Name, p.Status.Phase, p.Status.ContainerStatuses = "app", phase, []corev1.ContainerStatus{app}
		p.Status.ContainerStatuses[0].Name = "app"
		for _, f := range change {
			f(p)
		}
		one := podOf(p)
		one.Events = []string{"Unhealthy: Startup probe failed: HTTP probe failed with statuscode: 503"}
		return one
	}
	plain := func(p *corev1.Pod) { p.Spec.InitContainers[0].RestartPolicy = nil }
	evicted := func(p *corev1.Pod) {
		p.Status.Reason, p.Status.Message = "Evicted", "low on resource: ephemeral-storage"
	}
	for name, tc := range map[string]struct {
		pod  workload.Pod
		want string
	}{
		"it is killed when the pod fails":  {pod(corev1.PodFailed, corev1.ContainerStatus{State: terminated(137, "Error", "")}, corev1.ContainerStatus{State: terminated(1, "Error", "")}), "container app: crash: it ended with exit code 1"},
		"it is killed before the pod ends": {pod(corev1.PodRunning, corev1.ContainerStatus{State: terminated(143, "Error", "")}, corev1.ContainerStatus{State: terminated(2, "Error", "")}), "container app: crash: it ended with exit code 2"},
		"its startup probe fails":          {pod(corev1.PodPending, corev1.ContainerStatus{Started: new(false), State: running}, corev1.ContainerStatus{State: waiting}), "container sql-proxy: probe: Unhealthy: Startup probe failed"},
		"it was started again for it":      {pod(corev1.PodPending, corev1.ContainerStatus{Started: new(false), RestartCount: 5, State: running, LastTerminationState: terminated(137, "Error", "")}, corev1.ContainerStatus{State: waiting}), "container sql-proxy: probe: Unhealthy: Startup probe failed"},
		"an init container fails":          {pod(corev1.PodFailed, corev1.ContainerStatus{State: terminated(3, "Error", "")}, corev1.ContainerStatus{State: waiting}, plain), "container sql-proxy: crash: it ended with exit code 3"},
		"the pod was evicted":              {pod(corev1.PodFailed, corev1.ContainerStatus{State: terminated(137, "Error", "")}, corev1.ContainerStatus{State: terminated(137, "Error", "")}, evicted), "pod migrate-1-x: evicted: Evicted: low on resource: ephemeral-storage"},
		"it cannot be started":             {pod(corev1.PodFailed, corev1.ContainerStatus{}, corev1.ContainerStatus{State: terminated(128, "StartError", "no gunicorn in $PATH")}), "container app: bad_config: StartError: no gunicorn in $PATH"},
		"it cannot be started, again and again": {pod(corev1.PodRunning, corev1.ContainerStatus{Ready: true, State: running}, corev1.ContainerStatus{
			RestartCount: 4, LastTerminationState: terminated(128, "StartError", "no gunicorn in $PATH"), State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off"}},
		}), "container app: bad_config: StartError: no gunicorn in $PATH"},
		"it has not started up, and nobody says why": {func() workload.Pod {
			p := pod(corev1.PodPending, corev1.ContainerStatus{Started: new(false), State: running}, corev1.ContainerStatus{State: waiting})
			p.Events = nil
			return p
		}(), "container sql-proxy: probe: it runs, and has not started up yet"},
	} {
		if d, _ := workload.DiagnosePods([]workload.Pod{tc.pod}); !strings.Contains(d.String(), tc.want) {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestClustersWorkloadReadsTheWarningsOfPodsThatAreWaitedForFirst(t *testing.T) {
	objects := []runtime.Object{cron(), cronSet("1"), cronSet("2")}
	add := func(name, revision string, phase corev1.PodPhase) {
		p := cronPod(name, revision)
		kubetest.NotReady(p)
		p.Status.Phase = phase
		objects = append(objects, p, &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, InvolvedObject: corev1.ObjectReference{UID: p.UID},
			Type: corev1.EventTypeWarning, Reason: "FailedMount", Message: "about " + name, LastTimestamp: metav1.NewTime(longAgo),
		})
	}
	for i := range 2 * explainedPods {
		add(fmt.Sprintf("cron-a%d", i), "2", corev1.PodFailed) // evicted, and first by name
	}
	add("cron-old", "1", corev1.PodRunning)
	add("cron-z", "2", corev1.PodPending)
	d, err := clusters(kubetest.NewCluster(t, objects...)).Workload(t.Context(), testEnvironment(), workload.Ref{Deployment: "cron-deployment"})
	if err != nil {
		t.Fatal(err)
	}
	explained := 0
	for _, p := range d.Pods {
		if len(p.Events) > 0 {
			explained++
		} else if p.Name == "cron-z" || p.Name == "cron-old" {
			t.Errorf("%s has no events", p.Name)
		}
	}
	if explained != explainedPods {
		t.Errorf("%d pods are explained", explained)
	}
}
