package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

func TestClustersStateIsReadFromTheAPIServer(t *testing.T) {
	ending := cronPod("cron-old", "1")
	ending.DeletionTimestamp = new(metav1.NewTime(longAgo))
	c := kubetest.NewCluster(t, cron(), cronSet("1"), cronSet("2"), ending, cronPod("cron-new", "2"), other(),
		&corev1.PodTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "clear"}, Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "redis", Image: "redis:7"}},
		}}},
		&batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "migrate"}, Spec: batchv1.CronJobSpec{JobTemplate: jobTemplate()}})
	got, err := clusters(c).State(t.Context(), testEnvironment())
	if err != nil {
		t.Fatal(err)
	}
	containers := []workload.ContainerState{
		{Name: "setup", Init: true, Ended: true, Started: longAgo, LastEnd: longAgo, LastReason: "Completed"},
		{Name: "app", Ready: true, Started: longAgo},
		{Name: "proxy", Ready: true, Started: longAgo},
	}
	ready := []workload.Condition{{Type: "Ready", Status: "True"}}
	want := plan.State{
		Workloads: []workload.Workload{{
			Ref: workload.Ref{Deployment: "cron-deployment"}, Namespace: ns, RestartedAt: "then", Replicas: 1, Generation: 4, ObservedGeneration: 4, Total: 1, Updated: 1, Available: 1,
			Containers: []workload.Container{
				{Name: "setup", Init: true, Image: "gcr.io/acme/cron:1"},
				{Name: "app", Image: "gcr.io/acme/cron:1", EnvSecrets: []string{"password"}, EnvFromSecrets: []string{"all"}},
				{Name: "proxy", Image: "gcr.io/sql/proxy:1"},
			},
			Volumes: []workload.Volume{{Name: "tls", Secrets: []string{"tls"}}, {Name: "both", Secrets: []string{"projected"}}, {Name: "tmp"}},
			Conditions: []workload.Condition{{
				Type: "Progressing", Status: "True", Reason: "NewReplicaSetAvailable", Message: "fine", Updated: longAgo.Add(time.Hour), Changed: longAgo,
			}},
			Pods: []workload.Pod{
				{Name: "cron-new", Phase: "Running", Updated: true, Ready: true, Conditions: ready, Containers: containers},
				{Name: "cron-old", Phase: "Running", Terminating: true, Ready: true, Conditions: ready, Containers: containers},
			},
		}},
		Templates: []plan.Template{
			{Ref: plan.TemplateRef{Kind: plan.FromCronJob, Name: "migrate"}, Containers: []workload.Container{
				{Name: "app", Image: "gcr.io/acme/migrate:1"}, {Name: "proxy", Image: "gcr.io/sql/proxy:1"},
			}},
			{Ref: plan.TemplateRef{Kind: plan.FromPodTemplate, Name: "clear"}, Containers: []workload.Container{{Name: "redis", Image: "redis:7"}}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if c.Asked("watch") > 0 {
		t.Error("it watches")
	}
}

func TestClustersWorkloadHasNoCurrentPodsWhileTheTemplateIsUnknown(t *testing.T) {
	updated := func(d *appsv1.Deployment, sets ...runtime.Object) bool {
		t.Helper()
		c := kubetest.NewCluster(t, append(sets, d, cronPod("cron-x", "2"))...)
		got, err := clusters(c).Workload(t.Context(), testEnvironment(), workload.Ref{Deployment: "cron-deployment"})
		if err != nil || len(got.Pods) != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
		return got.Pods[0].Updated
	}
	foreign := cronSet("2")
	foreign.OwnerReferences[0].UID = "another"
	for name, tc := range map[string]struct {
		d    *appsv1.Deployment
		set  runtime.Object
		want bool
	}{
		"it is known":                   {cron(), cronSet("2"), true},
		"the change is not seen yet":    {cron(func(d *appsv1.Deployment) { d.Generation = 5 }), cronSet("2"), false},
		"there is a newer one":          {cron(func(d *appsv1.Deployment) { d.Annotations[revisionNote] = "3" }), cronSet("2"), false},
		"the set is another's":          {cron(), foreign, false},
		"the Deployment says no number": {cron(func(d *appsv1.Deployment) { d.Annotations = nil }), cronSet("2"), false},
	} {
		if got := updated(tc.d, tc.set); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestClustersWorkloadReadsThePodsLast(t *testing.T) {
	c := kubetest.NewCluster(t, cron())
	if _, err := clusters(c).Workload(t.Context(), testEnvironment(), workload.Ref{Deployment: "cron-deployment"}); err != nil {
		t.Fatal(err)
	}
	want := []string{"get deployments cron-deployment", "list replicasets", "list pods"}
	if got := c.Requests(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestClustersWorkloadShowsTheLatestWarningsOfAPodThatIsUnwell(t *testing.T) {
	broken := cronPod("cron-x", "2")
	kubetest.NotReady(broken)
	broken.Status.ContainerStatuses[1] = corev1.ContainerStatus{
		Name: "app", RestartCount: 3, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error", FinishedAt: metav1.NewTime(longAgo)}},
	}
	objects := []runtime.Object{cron(), cronSet("2"), broken}
	for i := range 8 {
		objects = append(objects, &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("e%d", i)}, InvolvedObject: corev1.ObjectReference{UID: "cron-x-uid"},
			Type: "Warning", Reason: "Unhealthy", Message: fmt.Sprint(i), LastTimestamp: metav1.NewTime(longAgo.Add(time.Duration(-i) * time.Minute)),
		})
	}
	objects = append(objects,
		&corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "normal"}, InvolvedObject: corev1.ObjectReference{UID: "cron-x-uid"}, Type: "Normal", Reason: "Pulled"},
		&corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "other"}, InvolvedObject: corev1.ObjectReference{UID: "other"}, Type: "Warning", Reason: "Other"})
	c := kubetest.NewCluster(t, objects...)
	look := func() workload.Pod {
		t.Helper()
		d, err := clusters(c).Workload(t.Context(), testEnvironment(), workload.Ref{Deployment: "cron-deployment"})
		if err != nil || len(d.Pods) != 1 {
			t.Fatalf("%+v, %v", d, err)
		}
		return d.Pods[0]
	}
	p := look()
	if want := []string{"Unhealthy: 4", "Unhealthy: 3", "Unhealthy: 2", "Unhealthy: 1", "Unhealthy: 0"}; !slices.Equal(p.Events, want) {
		t.Errorf("events %q", p.Events)
	}
	want := workload.ContainerState{
		Name: "app", Waiting: "CrashLoopBackOff", Message: "back-off", Ended: true, Restarts: 3, LastEnd: longAgo, LastExit: 3, LastReason: "Error",
	}
	if diff := cmp.Diff(want, p.Containers[1]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	c.Deny("list", "events", true)
	if p = look(); p.Events != nil {
		t.Errorf("events %q", p.Events)
	}
}

func TestClustersPatchChangesWhatItSaysAndNothingElse(t *testing.T) {
	c := kubetest.NewCluster(t, cron())
	r := clusters(c)
	zero := 0
	p := release.Patch{Workload: workload.Ref{Deployment: "cron-deployment"}, RestartedAt: "now", Replicas: &zero, Images: []plan.ImageChange{
		{Container: "setup", Init: true, From: "gcr.io/acme/cron:1", To: "gcr.io/acme/cron:2"},
		{Container: "app", From: "gcr.io/acme/cron:1", To: "gcr.io/acme/cron:2"},
	}}
	want := cron()
	want.Spec.Replicas = new(int32(0))
	want.Spec.Template.Annotations[restartedNote] = "now"
	want.Spec.Template.Spec.InitContainers[0].Image, want.Spec.Template.Spec.Containers[0].Image = "gcr.io/acme/cron:2", "gcr.io/acme/cron:2"
	for range 2 {
		if err := r.Patch(t.Context(), testEnvironment(), p); err != nil {
			t.Fatal(err)
		}
		d, err := c.AppsV1().Deployments(ns).Get(t.Context(), "cron-deployment", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.Spec, d.Spec); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if n := c.Asked("patch deployments"); n != 2 {
		t.Errorf("%d patches, want one for each call", n)
	}
	if err := r.Patch(t.Context(), testEnvironment(), release.Patch{Workload: workload.Ref{Deployment: "cron-deployment"}, Replicas: new(1)}); err != nil {
		t.Fatal(err)
	}
	want.Spec.Replicas = new(int32(1))
	if d, err := c.AppsV1().Deployments(ns).Get(t.Context(), "cron-deployment", metav1.GetOptions{}); err != nil || !cmp.Equal(want.Spec, d.Spec) {
		t.Errorf("%v, %s", err, cmp.Diff(want.Spec, d.Spec))
	}
}

func TestClustersPatchOverwritesNoImageThatSomebodyElseHasSet(t *testing.T) {
	const digest = "@sha256:abababababababababababababababababababababababababababababababab"
	for name, tt := range map[string]struct {
		found, want string // want is empty where it is refused
	}{
		"the old one":                 {"gcr.io/acme/cron:1", "gcr.io/acme/cron:2"},
		"the old one with a digest":   {"gcr.io/acme/cron:1" + digest, "gcr.io/acme/cron:2"},
		"the new one":                 {"gcr.io/acme/cron:2", "gcr.io/acme/cron:2"},
		"the new one with a digest":   {"gcr.io/acme/cron:2" + digest, "gcr.io/acme/cron:2" + digest},
		"a hotfix":                    {"gcr.io/acme/cron:3", ""},
		"another repository":          {"gcr.io/other/cron:1", ""},
		"a digest without the tag":    {"gcr.io/acme/cron" + digest, ""},
		"the tag of another registry": {"cron:2", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := kubetest.NewCluster(t, cron(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = tt.found }))
			err := clusters(c).Patch(t.Context(), testEnvironment(), release.Patch{
				Workload: workload.Ref{Deployment: "cron-deployment"}, Replicas: new(0),
				Images: []plan.ImageChange{{Container: "app", From: "gcr.io/acme/cron:1", To: "gcr.io/acme/cron:2"}},
			})
			d, _ := c.AppsV1().Deployments(ns).Get(t.Context(), "cron-deployment", metav1.GetOptions{})
			if tt.want == "" {
				if !errors.Is(err, release.ErrChanged) || !strings.Contains(err.Error(), "and runs "+tt.found) || c.Asked("patch") > 0 {
					t.Errorf("%d patches, %v", c.Asked("patch"), err)
				}
			} else if err != nil || d.Spec.Template.Spec.Containers[0].Image != tt.want {
				t.Errorf("%s, %v", d.Spec.Template.Spec.Containers[0].Image, err)
			}
		})
	}
}

func TestClustersPatchAddsNoContainerThatIsNotThere(t *testing.T) {
	c := kubetest.NewCluster(t, cron())
	for _, change := range []plan.ImageChange{{Container: "other", To: "x:2"}, {Container: "app", Init: true, To: "x:2"}} {
		err := clusters(c).Patch(t.Context(), testEnvironment(), release.Patch{Workload: workload.Ref{Deployment: "cron-deployment"}, Images: []plan.ImageChange{change}})
		if err == nil || !strings.Contains(err.Error(), "it has no container "+change.Container) {
			t.Errorf("%v", err)
		}
	}
	if c.Asked("patch") > 0 {
		t.Error("it was patched")
	}
}

func TestClustersPatchIsOfWhatWasLookedAt(t *testing.T) {
	c := kubetest.NewCluster(t, cron())
	others := 0
	c.Intercept(func(request string) {
		if request == "patch deployments cron-deployment" && others < 2 {
			others++
			c.Put(cron(func(d *appsv1.Deployment) { d.Spec.Paused = true }))
		}
	})
	err := clusters(c).Patch(t.Context(), testEnvironment(), release.Patch{Workload: workload.Ref{Deployment: "cron-deployment"}, RestartedAt: "now"})
	d, _ := c.AppsV1().Deployments(ns).Get(t.Context(), "cron-deployment", metav1.GetOptions{})
	if err != nil || !d.Spec.Paused || d.Spec.Template.Annotations[restartedNote] != "now" {
		t.Errorf("%v: %+v", err, d.Spec)
	}
	if n := c.Asked("patch deployments"); n != 3 {
		t.Errorf("%d patches", n)
	}
}

func TestPatchOfIsWhatKubectlWouldSend(t *testing.T) {
	d := cron()
	d.ResourceVersion = "7"
	data, err := json.Marshal(patchOf(release.Patch{RestartedAt: "now", Images: []plan.ImageChange{{Container: "app", To: "x:2"}}}, d))
	want := `{"metadata":{"resourceVersion":"7","uid":"cron-uid"},"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}},"spec":{"containers":[{"image":"x:2","name":"app"}]}}}}`
	if err != nil || string(data) != want {
		t.Errorf("%s, want %s", data, want)
	}
}

func TestClustersSayWhatIsNotFoundAndNameWhatIsForbidden(t *testing.T) {
	c := kubetest.NewCluster(t)
	r, env := clusters(c), testEnvironment()
	calls := map[string]func() error{
		"deployments get": func() error { _, err := r.Workload(t.Context(), env, workload.Ref{Deployment: "x"}); return err },
		"deployments get, to patch": func() error {
			return r.Patch(t.Context(), env, release.Patch{Workload: workload.Ref{Deployment: "x"}, RestartedAt: "now"})
		},
		"jobs get": func() error { _, err := r.JobState(t.Context(), env, "x"); return err },
		"pods get": func() error { _, err := r.PodLog(t.Context(), env, "x", "app", 5); return err },
		"cronjobs get": func() error {
			return r.StartJob(t.Context(), env, plan.JobRun{Name: "x", From: plan.TemplateRef{Kind: plan.FromCronJob, Name: "x"}})
		},
		"configmaps get": func() error { _, err := NewStore(c.Conn()).Load(t.Context(), "x"); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, release.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
		resource, rest, _ := strings.Cut(name, " ")
		verb, _, _ := strings.Cut(rest, ",")
		c.Deny(verb, resource, true)
		missing, ok := errors.AsType[apiserver.NotAllowedError](call())
		if !ok || missing.Verb != verb || missing.Path() != resource {
			t.Errorf("%s: %v", name, missing)
		}
		c.Deny(verb, resource, false)
	}
	c.SetGone(true)
	for name, call := range calls {
		if err := call(); err == nil || errors.Is(err, release.ErrNotFound) {
			t.Errorf("%s, and nobody answers: %v", name, err)
		}
	}
	env.Name = "unheard-of"
	if _, err := r.State(t.Context(), env); err == nil {
		t.Error("an environment that nobody knows is no error")
	}
}

func TestClustersAddNeedsTheEnvironmentsPermissionsAndNoMore(t *testing.T) {
	conn := kubetest.NewCluster(t).Conn()
	New().Add(conn, testEnvironment())
	DockerConfig(conn, ns, "pull", "")
	var got []string
	for _, m := range conn.Needs() {
		got = append(got, m.String())
	}
	in := " in namespace production"
	want := []string{
		"get cronjobs.batch migrate" + in, "get cronjobs.batch never" + in,
		"get deployments.apps cron-deployment" + in, "patch deployments.apps cron-deployment" + in, "get deployments.apps gone" + in, "patch deployments.apps gone" + in,
		"list events" + in, "create jobs.batch" + in, "delete jobs.batch" + in, "get jobs.batch" + in, "create leases.coordination.k8s.io" + in,
		"get leases.coordination.k8s.io unstuck-operation" + in, "update leases.coordination.k8s.io unstuck-operation" + in,
		"get pods" + in, "list pods" + in, "create pods/exec" + in, "get pods/exec" + in, "get pods/log" + in,
		"get podtemplates clear" + in, "list replicasets.apps" + in, "get secrets pull" + in,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	env := testEnvironment()
	env.Tasks = nil
	conn = kubetest.NewCluster(t).Conn()
	New().Add(conn, env)
	for _, m := range conn.Needs() {
		if m.Path() == "pods/exec" || m.Resource == "podtemplates" {
			t.Errorf("without tasks it needs %s", m)
		}
	}
}

func TestDockerConfigIsReadAnewEachTime(t *testing.T) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "pull"}, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte("1"), "mine": []byte("2")}}
	c := kubetest.NewCluster(t, secret)
	conn := c.Conn()
	for key, want := range map[string]string{"": "1", "mine": "2"} {
		if got, err := DockerConfig(conn, ns, "pull", key)(t.Context()); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", key, got, err)
		}
	}
	read := DockerConfig(conn, ns, "pull", "")
	secret.Data = map[string][]byte{corev1.DockerConfigKey: []byte("3")}
	c.Put(secret)
	if got, err := read(t.Context()); err != nil || string(got) != "3" {
		t.Errorf("%q, %v", got, err)
	}
	secret.Data = map[string][]byte{"other": []byte("hunter2")}
	c.Put(secret)
	if _, err := read(t.Context()); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
	c.Deny("get", "secrets", true)
	if missing, ok := errors.AsType[apiserver.NotAllowedError](second(read(t.Context()))); !ok || missing.Name != "pull" {
		t.Errorf("%v", missing)
	}
}

func second[T any](_ T, err error) error { return err }
