package deploy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cjworkbench/unstuck/release"
)

func TestClustersFollowJobLinesTellsTheContainer(t *testing.T) {
	job := migration(batchv1.JobCondition{Type: batchv1.JobComplete, Status: corev1.ConditionTrue})
	job.Status.Succeeded = 1
	job.Kind, job.APIVersion = "Job", "batch/v1"
	pod := migrationPod()
	pod.Kind, pod.APIVersion = "Pod", "v1"
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
	pod.Spec.InitContainers = []corev1.Container{{Name: "wait"}}
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "wait", State: ended}}
	pod.Status.ContainerStatuses[0].State = ended
	r := New()
	r.Add(connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		var answer any
		switch path := r.URL.Path; {
		case strings.HasSuffix(path, "/log"):
			fmt.Fprintf(w, "2026-11-23T00:38:01Z from %s\n", r.URL.Query().Get("container"))
			return
		case strings.HasSuffix(path, "/pods"):
			answer = map[string]any{"kind": "PodList", "apiVersion": "v1", "items": []*corev1.Pod{pod}}
		case strings.HasSuffix(path, "/jobs/migrate-1"):
			answer = job
		default:
			answer = pod
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	})), testEnvironment())
	var got []string
	err := r.FollowJobLines(t.Context(), testEnvironment(), "migrate-1", func(l release.JobLine) {
		got = append(got, l.Container+": "+l.Text)
	})
	slices.Sort(got)
	want := []string{"migrate-1-x/app: from app", "migrate-1-x/wait: from wait"} // a native sidecar says nothing of the work
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}
