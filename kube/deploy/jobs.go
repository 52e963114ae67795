package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

const (
	operationLabel = "unstuck.cjworkbench.org/operation"
	fromNote       = "unstuck.cjworkbench.org/from" // an annotation: what a Job was started from

	jobKept      = 7 * 24 * time.Hour // how long a Job that has ended is kept, if its template does not say
	jobKeptLeast = 24 * time.Hour     // and at least
	jobPoll      = time.Second        // between two looks at what is waited for
)

// StartJob implements release.Jobs, much as `kubectl create job --from` does. There are three differences, so that what
// has ended can still be looked at. The Job has no owner, or the CronJob's history limits would remove it. It outlives
// its end by a day at least. And a container that fails is not started again in its pod, but in another one: the log of
// a run before the last would be lost, and of the last, too, once the Job has failed.
func (cs *Clusters) StartJob(ctx context.Context, env plan.Environment, j plan.JobRun) error {
	c, err := cs.at(env)
	if err != nil {
		return err
	}
	template, err := c.jobTemplate(ctx, env.Namespace, j.From)
	if err != nil {
		return fmt.Errorf("%w: %w", release.ErrNotStarted, err)
	}
	job, err := newJob(env.Namespace, j, template)
	if err != nil {
		return fmt.Errorf("start job %s in namespace %s: %w: %w", j.Name, env.Namespace, release.ErrNotStarted, err)
	}
	_, err = apiserver.Create(ctx, c.BatchV1().Jobs(env.Namespace).Create, job)
	if err == nil || apierrors.IsAlreadyExists(err) {
		return nil
	}
	never := rejected(err)
	err = fmt.Errorf("start job %s in namespace %s: %w", j.Name, env.Namespace,
		apiserver.Explain(err, "create", "jobs", env.Namespace))
	if never {
		return fmt.Errorf("%w: %w", release.ErrNotStarted, err)
	}
	return err
}

// rejected says whether the API server itself has said that it does not do what was asked: any answer that puts it
// down to the request, a conflict over a ResourceQuota included. Of any other error, a late answer for instance, nobody
// knows what comes.
func rejected(err error) bool {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok {
		return false
	}
	code := status.Status().Code
	return code >= 400 && code < 500 && code != http.StatusRequestTimeout
}

func newJob(namespace string, j plan.JobRun, template batchv1.JobTemplateSpec) (*batchv1.Job, error) {
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: j.Name, Namespace: namespace,
			Labels: with(unmarked(template.Labels), apiserver.ManagedBy, "unstuck", operationLabel, j.Operation),
			Annotations: with(unmarked(template.Annotations),
				"cronjob.kubernetes.io/instantiate", "manual", fromNote, j.From.String()),
		},
		Spec: template.Spec,
	}
	kept := int32(jobKept.Seconds())
	if t := job.Spec.TTLSecondsAfterFinished; t != nil {
		kept = max(*t, int32(jobKeptLeast.Seconds()))
	}
	job.Spec.TTLSecondsAfterFinished = &kept
	job.Spec.Template.Labels = with(job.Spec.Template.Labels, operationLabel, j.Operation)
	job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	return job, setImages(&job.Spec.Template.Spec, j.Images)
}

// with gives a copy of a map with more keys, each followed by its value.
func with(m map[string]string, more ...string) map[string]string {
	all := maps.Clone(m)
	if all == nil {
		all = make(map[string]string)
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

// JobState implements release.Jobs. A Job has failed or is done once it says so for good, and its pods have ended.
func (cs *Clusters) JobState(ctx context.Context, env plan.Environment, name string) (release.JobState, error) {
	c, err := cs.at(env)
	if err != nil {
		return release.JobState{}, err
	}
	job, pods, err := c.job(ctx, env.Namespace, name)
	if err != nil {
		return release.JobState{}, err
	}
	s := outcomeOf(job)
	for i := range pods {
		s.Pods = append(s.Pods, podOf(&pods[i]))
	}
	if !s.Done {
		c.addEvents(ctx, env.Namespace, pods, s.Pods)
	}
	if !s.Done && !s.Failed && !s.Failing {
		s.Message = c.whyTooFew(ctx, job, pods)
	}
	return s, nil
}

// whyTooFew says why a Job has fewer pods than it wants; nothing if it has them, or if nothing is known. In the Job's
// status there is no word of a pod that cannot be made: its controller tells it by events, and tries again. Events from
// before the latest pod speak of earlier tries.
func (c cluster) whyTooFew(ctx context.Context, job *batchv1.Job, pods []corev1.Pod) string {
	live, latest := 0, time.Time{}
	for i := range pods {
		p := &pods[i]
		if p.DeletionTimestamp == nil && !isOver(p) {
			live++
		}
		latest = laterOf(latest, p.CreationTimestamp.Time)
	}
	why := whyNoneIsMade(job, live)
	if why == "" && (live >= wantedPods(job) || hasEnough(job)) {
		return ""
	}
	events, err := c.warnings(ctx, job.Namespace, job.UID, latest)
	switch {
	case len(events) > 0:
		return strings.TrimPrefix(why+"; "+events[len(events)-1], "; ")
	case why == "" && err != nil && len(pods) == 0:
		return "the Job has no pod, and its events, which may say why, cannot be read: " +
			apiserver.Explain(err, "list", "events", job.Namespace).Error()
	}
	return why
}

// whyNoneIsMade says why a Job, which has so many live pods, is not to have any, or not by Kubernetes' own controller.
func whyNoneIsMade(job *batchv1.Job, live int) string {
	switch by := job.Spec.ManagedBy; {
	case isTrue(job.Spec.Suspend):
		return "the Job is suspended (spec.suspend): it has no pods until it is resumed"
	case job.Spec.Parallelism != nil && *job.Spec.Parallelism == 0:
		return "the Job is to have no pods (spec.parallelism is 0)"
	case by != nil && *by != batchv1.JobControllerName && live == 0:
		return "the Job has no live pod: to make them is left to " + *by + " (spec.managedBy)"
	}
	return ""
}

// wantedPods gives how many pods a Job wants at once, for what it has not completed yet.
func wantedPods(job *batchv1.Job) int {
	want := int32(1)
	if n := job.Spec.Parallelism; n != nil {
		want = *n
	}
	if n := job.Spec.Completions; n != nil {
		want = min(want, *n-job.Status.Succeeded)
	}
	return int(want)
}

// hasEnough says whether a Job has completed what it is to, so that it wants no more pods.
func hasEnough(job *batchv1.Job) bool {
	return slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
		return c.Type == batchv1.JobSuccessCriteriaMet && c.Status == corev1.ConditionTrue
	})
}

// job gives a Job, and after it its pods: what something else controls is none, whatever its labels.
func (c cluster) job(ctx context.Context, namespace, name string) (*batchv1.Job, []corev1.Pod, error) {
	job, err := apiserver.Get(ctx, c.BatchV1().Jobs(namespace).Get, name)
	if err != nil {
		return nil, nil, c.absent(err, "jobs", "job", namespace, name)
	}
	selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	if err == nil && selector.String() == "" {
		err = errors.New("it has no selector")
	}
	var pods *corev1.PodList
	if err == nil {
		pods, err = apiserver.List(ctx, c.CoreV1().Pods(namespace).List, metav1.ListOptions{LabelSelector: selector.String()})
	}
	if err != nil {
		return nil, nil, fmt.Errorf("look at the pods of job %s in namespace %s: %w", name, namespace,
			apiserver.Explain(err, "list", "pods", namespace))
	}
	return job, slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool {
		by := metav1.GetControllerOf(&p)
		return by != nil && by.UID != job.UID
	}), nil
}

// outcomeOf says how a Job has ended, for good. That it is to fail once its pods have ended is no end yet.
func outcomeOf(job *batchv1.Job) (s release.JobState) {
	for _, c := range job.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		why := strings.TrimSuffix(c.Reason+": "+c.Message, ": ")
		switch c.Type {
		case batchv1.JobComplete:
			s.Done = true
		case batchv1.JobFailed:
			s.Failed, s.Message = true, cmp.Or(strings.TrimPrefix(why, ": "), s.Message, "Failed")
		case batchv1.JobFailureTarget:
			s.Failing, s.Message = true, cmp.Or(s.Message, strings.TrimPrefix(why, ": "))
		case batchv1.JobSuspended, batchv1.JobSuccessCriteriaMet: // not for good
		}
	}
	return s
}

// StopJob implements release.Jobs. It returns when the Job and its pods are gone, for what comes next may be the same
// job again; it is an error if ctx ends before.
func (cs *Clusters) StopJob(ctx context.Context, env plan.Environment, name string) error {
	c, err := cs.at(env)
	if err != nil {
		return err
	}
	if err := c.stopJob(ctx, env.Namespace, name); err != nil {
		return fmt.Errorf("stop job %s in namespace %s: %w", name, env.Namespace, err)
	}
	return nil
}

func (c cluster) stopJob(ctx context.Context, namespace, name string) error {
	job, err := apiserver.Get(ctx, c.BatchV1().Jobs(namespace).Get, name)
	for asked := false; ; {
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return apiserver.Explain(err, "get", "jobs", namespace)
		}
		if !asked {
			if err := c.deleteJob(ctx, job); err != nil {
				return err
			}
			asked = true
		} else if !pause(ctx, jobPoll) {
			return fmt.Errorf("it is being deleted, and its pods have not ended yet: %w", context.Cause(ctx))
		}
		uid := job.UID
		if job, err = apiserver.Get(ctx, c.BatchV1().Jobs(namespace).Get, name); err == nil && job.UID != uid {
			return nil
		}
	}
}

// deleteJob deletes a Job with its pods: in the foreground, so that it is there as long as they are.
func (c cluster) deleteJob(ctx context.Context, job *batchv1.Job) error {
	ctx, cancel := context.WithTimeout(ctx, apiserver.Timeout)
	defer cancel()
	foreground := metav1.DeletePropagationForeground
	err := c.BatchV1().Jobs(job.Namespace).Delete(ctx, job.Name, metav1.DeleteOptions{
		PropagationPolicy: &foreground, Preconditions: &metav1.Preconditions{UID: &job.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return apiserver.Explain(err, "delete", "jobs", job.Namespace)
	}
	return nil
}

// pause waits; false if the context ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
