package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/exec"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/kubetest"
)

func TestTapePlayGoesOnWhereItEnded(t *testing.T) {
	long := strings.Repeat("x", 3*apiserver.LongestLine)
	for _, tc := range []struct {
		name  string
		reads []string // the last one when the container has ended
		want  []string
		fail  error
	}{
		{"at once", []string{"a\nb\n"}, []string{"a", "b"}, nil},
		{"nothing", []string{"", ""}, nil, nil},
		{"cut off", []string{"a\n", "a\nb\n", "a\nb\nc\n"}, []string{"a", "b", "c"}, nil},
		{"cut off within a line", []string{"a\nb", "a\nbcd\n"}, []string{"a", "bcd"}, nil},
		{"cut off within the first", []string{"a", "ab\n"}, []string{"ab"}, nil},
		{"no end", []string{"a\n", "a\nb"}, []string{"a", "b"}, nil},
		{"lines that are alike", []string{"a\na\n", "a\na\na\n"}, []string{"a", "a", "a"}, nil},
		{"long lines", []string{long + "\nb\n"}, []string{long[:apiserver.LongestLine], "b"}, nil},
		{"it was rotated", []string{"a\nb\n", "c\nd\ne\n"}, []string{"a", "b"}, errLogCut},
		{"it is shorter", []string{"a\nb\n", "a\n"}, []string{"a", "b"}, errLogCut},
		{"it is empty", []string{"a\n", ""}, []string{"a"}, errLogCut},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var read tape
			var got []string
			var err error
			for i, text := range tc.reads {
				err = read.play(strings.NewReader(text), i == len(tc.reads)-1, func(l string) { got = append(got, l) })
			}
			if !slices.Equal(got, tc.want) || !errors.Is(err, tc.fail) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// connect gives a connection to an API server that is h.
func connect(t *testing.T, h http.Handler) *apiserver.Conn {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	conn, err := apiserver.ForConfig(&rest.Config{Host: server.URL}, "unstuck", kubetest.Quiet())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// following gives what FollowJob gives, where a server answers for a Job and its pod; each answers in its reconcile, and the
// last for ever.
func following(t *testing.T, jobs []*batchv1.Job, pods []*corev1.Pod, logs ...string) ([]string, error) {
	t.Helper()
	next := func(n *int, of int) int { *n++; return min(*n, of) - 1 }
	var mu sync.Mutex
	var jobN, podN, logN int
	conn := connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		var answer any
		switch path := strings.TrimPrefix(r.URL.Path, "/apis/batch/v1"); path {
		case "/namespaces/production/jobs/migrate-1":
			job := jobs[next(&jobN, len(jobs))].DeepCopy()
			job.Kind, job.APIVersion = "Job", "batch/v1"
			answer = job
		case "/api/v1/namespaces/production/pods":
			answer = map[string]any{"kind": "PodList", "apiVersion": "v1", "items": []*corev1.Pod{pods[min(podN, len(pods)-1)]}}
		case "/api/v1/namespaces/production/pods/migrate-1-x":
			pod := pods[next(&podN, len(pods))].DeepCopy()
			pod.Kind, pod.APIVersion = "Pod", "v1"
			answer = pod
		case "/api/v1/namespaces/production/pods/migrate-1-x/log":
			if q := r.URL.Query(); q.Get("container") != "app" || q.Get("follow") != "true" || q.Has("tailLines") {
				t.Errorf("asked for %s", r.URL)
			}
			fmt.Fprint(w, logs[next(&logN, len(logs))])
			return
		default:
			t.Errorf("asked for %s", r.URL)
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	r := New()
	r.Add(conn, testEnvironment())
	var got []string
	err := r.FollowJob(t.Context(), testEnvironment(), "migrate-1", func(l string) { got = append(got, l) })
	return got, err
}

func TestClustersFollowJobReadsTheLogToItsEnd(t *testing.T) {
	const a, b = "2026-11-23T00:38:01Z a\n", "2026-11-23T00:38:02Z b\n"
	over := migration(batchv1.JobCondition{Type: batchv1.JobComplete, Status: corev1.ConditionTrue})
	over.Status.Succeeded = 1
	twice := over.DeepCopy()
	twice.Status.Failed = 1
	running, ended := migrationPod(), migrationPod()
	ended.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
	restarted := migrationPod()
	restarted.Status.ContainerStatuses[0].RestartCount = 1
	beside := withSidecar(ended.DeepCopy(), corev1.ContainerStatus{
		RestartCount: 1, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 143}},
	})
	for _, tc := range []struct {
		name string
		jobs []*batchv1.Job
		pods []*corev1.Pod
		logs []string
		want []string
		fail error
	}{
		{"when it has ended", []*batchv1.Job{over}, []*corev1.Pod{ended}, []string{a + b}, []string{"a", "b"}, nil},
		{"while it runs", []*batchv1.Job{migration(), over}, []*corev1.Pod{running, ended}, []string{a, a + b}, []string{"a", "b"}, nil},
		{"a pod is gone", []*batchv1.Job{twice}, []*corev1.Pod{ended}, []string{a}, nil, errPodsLost},
		{"a container was started again", []*batchv1.Job{over}, []*corev1.Pod{restarted}, []string{a}, nil, errRunLost},
		{"a sidecar was started again, and killed", []*batchv1.Job{over}, []*corev1.Pod{beside}, []string{a}, []string{"a"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := following(t, tc.jobs, tc.pods, tc.logs...)
			if !errors.Is(err, tc.fail) || tc.fail == nil && !slices.Equal(got, tc.want) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestClustersExecGivesACommandsLinesAndItsExitCode(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		code int
		fail string
	}{
		{"it succeeds", nil, 0, ""},
		{"it fails", exec.CodeExitError{Err: errors.New("x"), Code: 7}, 7, ""},
		{"it was not run to its end", io.ErrUnexpectedEOF, -1, "unexpected EOF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run := kubetest.Command(func(_ context.Context, pod string, o *corev1.PodExecOptions, stdout, stderr io.Writer) error {
				if pod != "cron-x" || o.Container != "app" || o.Stdin || o.TTY || !slices.Equal(o.Command, []string{"import"}) {
					t.Errorf("%s: %+v", pod, o)
				}
				fmt.Fprint(stdout, "a\r\nb")
				fmt.Fprint(stderr, "bad\xff\n"+strings.Repeat("x", 2*apiserver.LongestLine)+"\n")
				fmt.Fprint(stdout, "c\n\nrest")
				return tc.err
			})
			r := New()
			r.Add(kubetest.NewCluster(t).Running(run), testEnvironment())
			var got []string
			code, err := r.Exec(t.Context(), testEnvironment(), "cron-x", "app", []string{"import"}, func(l string) { got = append(got, l) })
			if code != tc.code || (err == nil) != (tc.fail == "") || err != nil && !strings.Contains(err.Error(), tc.fail) {
				t.Errorf("%d, %v", code, err)
			}
			if want := []string{"a", "bad?", strings.Repeat("x", apiserver.LongestLine), "bc", "", "rest"}; !slices.Equal(got, want) {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestClustersExecLeavesACommandAloneThatIgnoresItsContext(t *testing.T) {
	let := make(chan struct{})
	run := kubetest.Command(func(_ context.Context, _ string, _ *corev1.PodExecOptions, stdout, _ io.Writer) error {
		<-let
		fmt.Fprintln(stdout, "late")
		return nil
	})
	conn := kubetest.NewCluster(t).Running(run)
	r := New()
	r.Add(conn, testEnvironment())
	ctx, stop := context.WithCancel(t.Context())
	stop()
	_, err := r.Exec(ctx, testEnvironment(), "cron-x", "app", []string{"x"}, func(l string) { t.Errorf("it says %q", l) })
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "may still run") {
		t.Errorf("%v", err)
	}
	close(let)
	conn.Commands.Stop(func() {})
	if _, err := r.Exec(t.Context(), testEnvironment(), "cron-x", "app", []string{"x"}, nil); err == nil {
		t.Error("it runs after the client was stopped")
	}
}

func TestClustersPodLogOfAPodThatCrashedIsThatOfItsLastRun(t *testing.T) {
	pod := cronPod("cron-x", "2")
	pod.Status.ContainerStatuses[1] = corev1.ContainerStatus{
		Name: "app", LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}},
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
	}
	pod.Kind, pod.APIVersion = "Pod", "v1"
	for container, previous := range map[string]string{"app": "true", "proxy": "", "setup": ""} {
		conn := connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/log") {
				w.Header().Set("Content-Type", "application/json")
				if err := json.NewEncoder(w).Encode(pod); err != nil {
					t.Error(err)
				}
				return
			}
			if q := r.URL.Query(); q.Get("previous") != previous || q.Get("tailLines") != "2" || q.Get("container") != container {
				t.Errorf("asked for %s", r.URL)
			}
			fmt.Fprint(w, "2026-11-23T00:38:01Z a\n2026-11-23T00:38:01Z b\n")
		}))
		r := New()
		r.Add(conn, testEnvironment())
		got, err := r.PodLog(t.Context(), testEnvironment(), "cron-x", container, 2)
		if err != nil || !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("%s: %q, %v", container, got, err)
		}
	}
}
