package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

func jobTemplate() batchv1.JobTemplateSpec {
	return batchv1.JobTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "migrate"}, Annotations: map[string]string{"note": "kept"}},
		Spec: batchv1.JobSpec{BackoffLimit: new(int32(2)), Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "migrate"}},
			Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyOnFailure, Containers: []corev1.Container{
				{Name: "app", Image: "gcr.io/acme/migrate:1"}, {Name: "proxy", Image: "gcr.io/sql/proxy:1"},
			}},
		}},
	}
}

func migrateRun() plan.JobRun {
	return plan.JobRun{
		Name: "migrate-1", Operation: "deploy-1", From: plan.TemplateRef{Kind: plan.FromCronJob, Name: "migrate"},
		Images: []plan.ImageChange{{Container: "app", From: "gcr.io/acme/migrate:1", To: "gcr.io/acme/migrate:2"}},
	}
}

func TestClustersStartJobStartsOneOnceFromACronJob(t *testing.T) {
	template := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "migrate", UID: "x"}, Spec: batchv1.CronJobSpec{Suspend: new(true), JobTemplate: jobTemplate()}}
	c := kubetest.NewCluster(t, template)
	r := clusters(c)
	for range 2 {
		if err := r.StartJob(t.Context(), testEnvironment(), migrateRun()); err != nil {
			t.Fatal(err)
		}
		template.Spec.JobTemplate.Spec.BackoffLimit = new(int32(9)) // it is this one, even if another would be made now
		c.Put(template)
	}
	all, err := c.BatchV1().Jobs(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(all.Items) != 1 {
		t.Fatalf("%d jobs, %v", len(all.Items), err)
	}
	want := batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ns, Name: "migrate-1", ResourceVersion: all.Items[0].ResourceVersion,
			Labels:      map[string]string{"app": "migrate", apiserver.ManagedBy: "unstuck", operationLabel: "deploy-1"},
			Annotations: map[string]string{"note": "kept", "cronjob.kubernetes.io/instantiate": "manual", fromNote: "cronjob migrate"},
		},
		Spec: jobTemplate().Spec,
	}
	want.Spec.TTLSecondsAfterFinished = new(int32(7 * 24 * 3600))
	want.Spec.Template.Labels = map[string]string{"app": "migrate", operationLabel: "deploy-1"}
	want.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	want.Spec.Template.Spec.Containers[0].Image = "gcr.io/acme/migrate:2"
	if diff := cmp.Diff(want, all.Items[0]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestClustersStartJobTriesOneFromAPodTemplateOnce(t *testing.T) {
	c := kubetest.NewCluster(t, &corev1.PodTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "clear"}, Template: corev1.PodTemplateSpec{
		Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{Name: "app", Image: "redis:7"}}},
	}})
	run := plan.JobRun{Name: "clear-1", Operation: "task-1", From: plan.TemplateRef{Kind: plan.FromPodTemplate, Name: "clear"}}
	if err := clusters(c).StartJob(t.Context(), testEnvironment(), run); err != nil {
		t.Fatal(err)
	}
	job, err := c.BatchV1().Jobs(ns).Get(t.Context(), "clear-1", metav1.GetOptions{})
	if err != nil || *job.Spec.BackoffLimit != 0 || job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("%+v, %v", job.Spec, err)
	}
}

func TestNewJobStaysForADayOnceItHasEnded(t *testing.T) {
	for given, want := range map[int32]int32{0: 24 * 3600, 60: 24 * 3600, 48 * 3600: 48 * 3600} {
		template := jobTemplate()
		template.Spec.TTLSecondsAfterFinished = &given
		job, err := newJob(ns, migrateRun(), template)
		if err != nil || *job.Spec.TTLSecondsAfterFinished != want {
			t.Errorf("%d s: %d s, %v", given, *job.Spec.TTLSecondsAfterFinished, err)
		}
		if len(job.OwnerReferences) > 0 {
			t.Error("the CronJob's history limits would remove it")
		}
	}
}

func TestClustersStartJobRefusesAnotherImageThanWasPlanned(t *testing.T) {
	c := kubetest.NewCluster(t, &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "migrate"}, Spec: batchv1.CronJobSpec{JobTemplate: jobTemplate()}})
	run := migrateRun()
	run.Images[0].Container = "renamed"
	if err := clusters(c).StartJob(t.Context(), testEnvironment(), run); err == nil || !strings.Contains(err.Error(), "it has no container renamed") {
		t.Errorf("%v", err)
	}
	if c.Asked("create jobs") > 0 {
		t.Error("it was started")
	}
}

// migration is a Job that runs, and its pod.
func migration(conditions ...batchv1.JobCondition) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "migrate-1", UID: "job-uid"},
		Spec:       batchv1.JobSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"controller-uid": "job-uid"}}},
		Status:     batchv1.JobStatus{Conditions: conditions},
	}
}

func migrationPod() *corev1.Pod {
	p := kubetest.NewPod("migrate-1-x", "app", "controller-uid", "job-uid", metav1.OwnerReference{Kind: "Job", Name: "migrate-1", UID: "job-uid"})
	p.Spec.Containers = p.Spec.Containers[1:]
	p.Status.ContainerStatuses = p.Status.ContainerStatuses[1:]
	return p
}

func TestClustersJobStateSaysHowAJobIsDoing(t *testing.T) {
	condition := func(kind batchv1.JobConditionType, reason, message string) batchv1.JobCondition {
		return batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: message}
	}
	unmet := condition(batchv1.JobComplete, "", "")
	unmet.Status = corev1.ConditionFalse
	for _, tc := range []struct {
		name         string
		job          *batchv1.Job
		done, failed bool
		message      string
	}{
		{"it runs", migration(), false, false, ""},
		{"it has not ended", migration(unmet), false, false, ""},
		{"it is about to end", migration(condition(batchv1.JobSuccessCriteriaMet, "", "")), false, false, ""},
		{"it is about to fail", migration(condition(batchv1.JobFailureTarget, "", "")), false, false, ""},
		{"it fails for a reason", migration(condition(batchv1.JobFailureTarget, "DeadlineExceeded", "too long")), false, false, "DeadlineExceeded: too long"},
		{"it has failed for it", migration(condition(batchv1.JobFailed, "DeadlineExceeded", "too long"), condition(batchv1.JobFailureTarget, "PodFailurePolicy", "x")), false, true, "DeadlineExceeded: too long"},
		{"it is done", migration(condition(batchv1.JobComplete, "", "")), true, false, ""},
		{"it has failed", migration(condition(batchv1.JobFailed, "BackoffLimitExceeded", "too often")), false, true, "BackoffLimitExceeded: too often"},
		{"it does not say why", migration(condition(batchv1.JobFailed, "", "")), false, true, "Failed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := clusters(kubetest.NewCluster(t, tc.job, migrationPod(), other())).JobState(t.Context(), testEnvironment(), "migrate-1")
			if err != nil || s.Done != tc.done || s.Failed != tc.failed || s.Message != tc.message || len(s.Pods) != 1 || s.Pods[0].Name != "migrate-1-x" {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}

func TestClustersStopJobEndsOnceTheJobAndItsPodsAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, migration(), migrationPod())
		r, env := clusters(c), testEnvironment()
		ends := time.Now().Add(20 * time.Second)
		time.AfterFunc(time.Until(ends), func() { c.Drop("jobs", "batch", ns, "migrate-1") })
		c.PrependReactor("delete", "jobs", func(a clienttesting.Action) (bool, runtime.Object, error) {
			d := a.(clienttesting.DeleteActionImpl) //nolint:forcetypeassert // a delete
			if p := d.DeleteOptions.PropagationPolicy; p == nil || *p != metav1.DeletePropagationForeground || *d.DeleteOptions.Preconditions.UID != "job-uid" {
				t.Errorf("deleted with %+v", d.DeleteOptions)
			}
			return true, nil, nil
		})
		ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
		defer stop()
		if err := r.StopJob(ctx, env, "migrate-1"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "have not ended yet") {
			t.Errorf("too soon: %v", err)
		}
		if err := r.StopJob(t.Context(), env, "migrate-1"); err != nil || time.Now().Before(ends) {
			t.Errorf("%v, %s too early", err, time.Until(ends))
		}
		if err := r.StopJob(t.Context(), env, "migrate-1"); err != nil {
			t.Errorf("one that there is not: %v", err)
		}
	})
}

func TestClustersStartJobBelievesOnlyTheAPIServerThatNoneIsStarted(t *testing.T) {
	jobs := schema.GroupResource{Group: "batch", Resource: "jobs"}
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{apierrors.NewForbidden(jobs, "x", errors.New("over quota")), true},
		{apierrors.NewBadRequest("no"), true},
		{apierrors.NewConflict(schema.GroupResource{Resource: "resourcequotas"}, "compute", errors.New("the object has been modified")), true},
		{apierrors.NewTimeoutError("etcd", 1), false},
		{apierrors.NewInternalError(errors.New("a webhook")), false},
		{context.DeadlineExceeded, false},
	} {
		c := kubetest.NewCluster(t, &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "migrate"}, Spec: batchv1.CronJobSpec{JobTemplate: jobTemplate()}})
		c.PrependReactor("create", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, tt.err })
		if err := clusters(c).StartJob(t.Context(), testEnvironment(), migrateRun()); errors.Is(err, release.ErrNotStarted) != tt.want || err == nil {
			t.Errorf("%v: want that it is certain: %t", err, tt.want)
		}
	}
	if err := clusters(kubetest.NewCluster(t)).StartJob(t.Context(), testEnvironment(), migrateRun()); !errors.Is(err, release.ErrNotStarted) {
		t.Errorf("without a template: %v", err)
	}
}

// The template of a Job may bring a selector of its own, which then fits the pods of each Job that is made from it.
func TestClustersJobStateTellsNothingOfAnotherJobsPods(t *testing.T) {
	earlier := migrationPod()
	earlier.Name, earlier.UID, earlier.OwnerReferences[0].UID = "migrate-0-x", "earlier", "earlier-job-uid"
	s, err := clusters(kubetest.NewCluster(t, migration(batchv1.JobCondition{}), earlier, migrationPod())).JobState(t.Context(), testEnvironment(), "migrate-1")
	if err != nil || len(s.Pods) != 1 || s.Pods[0].Name != "migrate-1-x" {
		t.Errorf("%+v, %v", s.Pods, err)
	}
}

// about is a warning about migrate-1 of so long before or after its pod was made.
func about(reason, message string, since time.Duration) *corev1.Event {
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: reason + since.String()}, Type: corev1.EventTypeWarning, Reason: reason, Message: message,
		InvolvedObject: corev1.ObjectReference{Kind: "Job", Namespace: ns, Name: "migrate-1", UID: "job-uid"}, LastTimestamp: metav1.NewTime(longAgo.Add(since)),
	}
}

func TestClustersJobStateSaysWhyAJobLacksPods(t *testing.T) {
	forbidden := about("FailedCreate", `Error creating: pods "migrate-1-x" is forbidden: exceeded quota: compute`, time.Minute)
	before := about("FailedCreate", `Error creating: pods "migrate-1-x" is forbidden: no service account`, -time.Minute)
	timeless := about("FailedCreate", "exceeded quota", 0)
	timeless.LastTimestamp = metav1.Time{}
	job := func(change func(*batchv1.Job)) *batchv1.Job { j := migration(); change(j); return j }
	pod := func(phase corev1.PodPhase) *corev1.Pod {
		p := migrationPod()
		p.CreationTimestamp, p.Status.Phase = metav1.NewTime(longAgo), phase
		return p
	}
	failing := batchv1.JobCondition{Type: batchv1.JobFailureTarget, Status: corev1.ConditionTrue}
	succeeding := batchv1.JobCondition{Type: batchv1.JobSuccessCriteriaMet, Status: corev1.ConditionTrue}
	for name, tc := range map[string]struct {
		objects []runtime.Object
		want    string
	}{
		"a quota, at first":            {[]runtime.Object{migration(), forbidden}, "FailedCreate: Error creating: pods \"migrate-1-x\" is forbidden: exceeded quota"},
		"a quota, at the second try":   {[]runtime.Object{migration(), before, forbidden, pod(corev1.PodFailed)}, "exceeded quota"},
		"only the first was forbidden": {[]runtime.Object{migration(), before, pod(corev1.PodFailed)}, ""},
		"it has its pod":               {[]runtime.Object{migration(), forbidden, pod(corev1.PodRunning)}, ""},
		"it has one of its two":        {[]runtime.Object{job(func(j *batchv1.Job) { j.Spec.Parallelism = new(int32(2)) }), forbidden, pod(corev1.PodRunning)}, "exceeded quota"},
		"one of its two is done": {[]runtime.Object{job(func(j *batchv1.Job) {
			j.Spec.Parallelism, j.Spec.Completions, j.Status.Succeeded = new(int32(2)), new(int32(2)), 1
		}), forbidden, pod(corev1.PodRunning)}, ""},
		"an event without a time":         {[]runtime.Object{migration(), timeless}, "exceeded quota"},
		"it is about to fail":             {[]runtime.Object{migration(failing), about("DeadlineExceeded", "too long", time.Minute)}, ""},
		"it is about to succeed":          {[]runtime.Object{migration(succeeding), forbidden}, ""},
		"nothing is known":                {[]runtime.Object{migration()}, ""},
		"it is suspended":                 {[]runtime.Object{job(func(j *batchv1.Job) { j.Spec.Suspend = new(true) })}, "suspended (spec.suspend)"},
		"it is suspended, and somebody":   {[]runtime.Object{job(func(j *batchv1.Job) { j.Spec.Suspend = new(true) }), about("QueueMissing", "no queue", 0)}, "is resumed; QueueMissing: no queue"},
		"it is to have none":              {[]runtime.Object{job(func(j *batchv1.Job) { j.Spec.Parallelism = new(int32(0)) })}, "spec.parallelism is 0"},
		"it is another controller's":      {[]runtime.Object{job(func(j *batchv1.Job) { j.Spec.ManagedBy = new("acme.org/queue") })}, "left to acme.org/queue"},
		"it is Kubernetes' by its name":   {[]runtime.Object{job(func(j *batchv1.Job) { j.Spec.ManagedBy = new(batchv1.JobControllerName) })}, ""},
		"an event of another of its name": {[]runtime.Object{job(func(j *batchv1.Job) { j.UID = "new" }), forbidden}, ""},
	} {
		s, err := clusters(kubetest.NewCluster(t, tc.objects...)).JobState(t.Context(), testEnvironment(), "migrate-1")
		if err != nil || s.Done || s.Failed || !strings.Contains(s.Message, tc.want) || (s.Message == "") != (tc.want == "") {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	c := kubetest.NewCluster(t, migration())
	c.PrependReactor("list", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "events"}, "", errors.New("no right"))
	})
	if s, err := clusters(c).JobState(t.Context(), testEnvironment(), "migrate-1"); err != nil || !strings.Contains(s.Message, "its events, which may say why, cannot be read: events is forbidden") {
		t.Errorf("without the right to list events: %+v, %v", s, err)
	}
}

func TestRejectedIsWhateverTheAPIServerPutsDownToTheRequest(t *testing.T) {
	jobs := schema.GroupResource{Group: "batch", Resource: "jobs"}
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{apierrors.NewConflict(schema.GroupResource{Resource: "resourcequotas"}, "compute", errors.New("the object has been modified")), true},
		{apierrors.NewMethodNotSupported(jobs, "create"), true},
		{apierrors.NewRequestEntityTooLargeError("3 MB"), true},
		{apierrors.NewGenericServerResponse(422, "create", jobs, "x", "a webhook denied the request", 0, true), true},
		{apierrors.NewTooManyRequests("later", 1), true},
		{apierrors.NewGenericServerResponse(408, "create", jobs, "x", "", 0, true), false},
		{apierrors.NewServiceUnavailable("etcd"), false},
		{apierrors.NewTimeoutError("etcd", 1), false},
		{errors.New("connection reset by peer"), false},
	} {
		if got := rejected(fmt.Errorf("create: %w", tc.err)); got != tc.want {
			t.Errorf("%v: %t", tc.err, got)
		}
	}
}
