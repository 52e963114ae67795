// Package deploy supplies what package release needs of Kubernetes: Deployments, jobs and their logs, commands in pods,
// the lock on an environment's namespace, and a store of operations.
package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

const (
	restartedNote = "kubectl.kubernetes.io/restartedAt"
	revisionNote  = "deployment.kubernetes.io/revision" // on a Deployment and on its ReplicaSets
	sideBySide    = 4                                   // how many Deployments are looked at at once
)

// Clusters is what package release needs of the clusters: a World, Jobs, Logs and a Lock. All that it gives is asked of
// the API server at that moment.
type Clusters struct {
	of map[string]cluster // by the environment's name
}

// cluster is one that environments are in.
type cluster struct{ *apiserver.Conn }

var (
	_ release.World = (*Clusters)(nil)
	_ release.Jobs  = (*Clusters)(nil)
	_ release.Logs  = (*Clusters)(nil)
	_ release.Lock  = (*Clusters)(nil)

	_ release.JobLines = (*Clusters)(nil)
	_ release.Store    = (*Store)(nil)
)

// New makes one that knows no environment. Add them before anything else.
func New() *Clusters { return &Clusters{of: make(map[string]cluster)} }

// Add has an environment be in that cluster, of which the environment's operations then need permissions.
func (cs *Clusters) Add(conn *apiserver.Conn, env plan.Environment) {
	cs.of[env.Name] = cluster{conn}
	conn.Require(func(need apiserver.Need) { needsOf(env, need) })
}

func (cs *Clusters) at(env plan.Environment) (cluster, error) {
	c, known := cs.of[env.Name]
	if !known {
		return cluster{}, fmt.Errorf("in which cluster environment %s is, is not known", env.Name)
	}
	return c, nil
}

// needsOf tells which permissions the operations of an environment need, in its namespace.
func needsOf(env plan.Environment, add apiserver.Need) {
	need := func(resource, name string, verbs ...string) { add(env.Namespace, resource, name, verbs...) }
	for _, s := range env.Services {
		need("deployments", s.Deployment, "get", "patch")
	}
	need("replicasets", "", "list")
	need("pods", "", "get", "list")
	need("pods/log", "", "get")
	need("events", "", "list")
	need("leases", "", "create")
	need("leases", apiserver.LockLease, "get", "update")
	for _, ref := range templatesOf(env) {
		need(string(ref.Kind)+"s", ref.Name, "get")
		need("jobs", "", "create", "get", "delete")
	}
	if slices.ContainsFunc(env.Tasks, func(t plan.Task) bool { return len(t.Exec.Command) > 0 }) {
		need("pods/exec", "", "get", "create") // get is what a WebSocket is
	}
}

// templatesOf gives what the environment's jobs and tasks are started from, each once.
func templatesOf(env plan.Environment) []plan.TemplateRef {
	var all []plan.TemplateRef
	for _, j := range env.Jobs {
		all = append(all, j.From)
	}
	for _, t := range env.Tasks {
		if t.From != (plan.TemplateRef{}) && !slices.Contains(all, t.From) {
			all = append(all, t.From)
		}
	}
	return all
}

// State implements release.World: the Deployments of the environment's services, and the templates of its jobs and
// tasks. Of the pods it does not tell the events.
func (cs *Clusters) State(ctx context.Context, env plan.Environment) (plan.State, error) {
	c, err := cs.at(env)
	if err != nil {
		return plan.State{}, err
	}
	deployments := make([]*workload.Workload, len(env.Services))
	refs := templatesOf(env)
	templates := make([]*plan.Template, len(refs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(sideBySide)
	for i, s := range env.Services {
		group.Go(func() error {
			d, _, err := c.deployment(ctx, env.Namespace, s.Deployment)
			if err == nil {
				deployments[i] = &d
			}
			return unlessNotFound(err)
		})
	}
	for i, ref := range refs {
		group.Go(func() error {
			spec, err := c.jobTemplate(ctx, env.Namespace, ref)
			if err == nil {
				templates[i] = &plan.Template{Ref: ref, Containers: containersOf(spec.Spec.Template.Spec)}
			}
			return unlessNotFound(err)
		})
	}
	if err := group.Wait(); err != nil {
		return plan.State{}, err
	}
	return plan.State{Workloads: present(deployments), Templates: present(templates)}, nil
}

func unlessNotFound(err error) error {
	if errors.Is(err, release.ErrNotFound) {
		return nil
	}
	return err
}

func present[T any](all []*T) []T {
	var there []T
	for _, v := range all {
		if v != nil {
			there = append(there, *v)
		}
	}
	return there
}

// Deployment implements release.World.
func (cs *Clusters) Deployment(ctx context.Context, env plan.Environment, name string) (workload.Workload, error) {
	c, err := cs.at(env)
	if err != nil {
		return workload.Workload{}, err
	}
	d, pods, err := c.deployment(ctx, env.Namespace, name)
	if err != nil {
		return workload.Workload{}, err
	}
	c.addEvents(ctx, env.Namespace, pods, d.Pods)
	return d, nil
}

// deployment gives a Deployment with its pods, and these as Kubernetes has them, in the same order.
func (c cluster) deployment(ctx context.Context, namespace, name string) (workload.Workload, []corev1.Pod, error) {
	d, own, err := c.podsOf(ctx, namespace, name)
	if err != nil {
		return workload.Workload{}, nil, err
	}
	all := describe(d)
	var pods []corev1.Pod
	for _, o := range own {
		p := podOf(o.Pod)
		p.Updated, p.Orphan = o.updated, o.orphan
		all.Pods, pods = append(all.Pods, p), append(pods, *o.Pod)
	}
	return all, pods, nil
}

// describe says of a Deployment what release wants to know, but for its pods.
func describe(d *appsv1.Deployment) workload.Workload {
	replicas := 1
	if d.Spec.Replicas != nil {
		replicas = int(*d.Spec.Replicas)
	}
	all := workload.Workload{
		Name: d.Name, Paused: d.Spec.Paused, Containers: containersOf(d.Spec.Template.Spec),
		Volumes:     volumesOf(d.Spec.Template.Spec),
		RestartedAt: d.Spec.Template.Annotations[restartedNote], ChangedBy: changedBy(d),
		KeptBy:   keptBy(d),
		Replicas: replicas, Generation: d.Generation, ObservedGeneration: d.Status.ObservedGeneration,
		Total: int(d.Status.Replicas), Updated: int(d.Status.UpdatedReplicas), Available: int(d.Status.AvailableReplicas),
	}
	for _, c := range d.Status.Conditions {
		all.Conditions = append(all.Conditions, workload.Condition{
			Type: string(c.Type), Status: string(c.Status), Reason: c.Reason, Message: c.Message,
			Updated: c.LastUpdateTime.Time, Changed: c.LastTransitionTime.Time,
		})
	}
	return all
}

// absent says why an object could not be read, with release.ErrNotFound if there is none.
func (c cluster) absent(err error, resource, kind, namespace, name string) error {
	if apierrors.IsNotFound(err) {
		err = release.ErrNotFound
	} else {
		err = apiserver.Explain(err, "get", resource, namespace)
	}
	return fmt.Errorf("read %s %s in namespace %s: %w", kind, name, namespace, err)
}

// Patch implements release.World. The containers must be there: to patch one that is not would add it.
func (cs *Clusters) Patch(ctx context.Context, env plan.Environment, p release.Patch) error {
	c, err := cs.at(env)
	if err != nil {
		return err
	}
	// What is patched is what was looked at, or it is a conflict, and looked at again.
	err = retry.OnError(retry.DefaultRetry, func(err error) bool {
		return apierrors.IsConflict(err) && ctx.Err() == nil
	}, func() error {
		return c.patch(ctx, env.Namespace, p)
	})
	if err != nil {
		return fmt.Errorf("patch Deployment %s in namespace %s: %w", p.Deployment, env.Namespace,
			apiserver.Explain(err, "patch", "deployments", env.Namespace))
	}
	return nil
}

func (c cluster) patch(ctx context.Context, namespace string, p release.Patch) error {
	deployments := c.AppsV1().Deployments(namespace)
	d, err := apiserver.Get(ctx, deployments.Get, p.Deployment)
	if err != nil {
		if apierrors.IsNotFound(err) {
			return release.ErrNotFound
		}
		return apiserver.Explain(err, "get", "deployments", namespace)
	}
	if p.Images, err = missingImages(d.Spec.Template.Spec, p.Images); err != nil {
		return err
	}
	data, err := json.Marshal(patchOf(p, d))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, apiserver.Timeout)
	defer cancel()
	_, err = deployments.Patch(ctx, p.Deployment, types.StrategicMergePatchType, data, metav1.PatchOptions{})
	return err
}

// patchOf is the strategic merge patch for p. The UID and the resource version are preconditions.
func patchOf(p release.Patch, d *appsv1.Deployment) map[string]any {
	template := make(map[string]any)
	if len(p.Images) > 0 {
		lists := make(map[string]any)
		for _, init := range []bool{false, true} {
			var changes []map[string]string
			for _, i := range p.Images {
				if i.Init == init {
					changes = append(changes, map[string]string{"name": i.Container, "image": i.To})
				}
			}
			if len(changes) > 0 {
				lists[map[bool]string{false: "containers", true: "initContainers"}[init]] = changes
			}
		}
		template["spec"] = lists
	}
	if p.RestartedAt != "" {
		template["metadata"] = map[string]any{"annotations": map[string]string{restartedNote: p.RestartedAt}}
	}
	spec := make(map[string]any)
	if len(template) > 0 {
		spec["template"] = template
	}
	if p.Replicas != nil {
		spec["replicas"] = *p.Replicas
	}
	return map[string]any{"metadata": map[string]any{"uid": d.UID, "resourceVersion": d.ResourceVersion}, "spec": spec}
}

// missingImages gives those of the changes that are still to be made. The containers must all be there, and have the
// image that a change starts from or the one that it leads to. What was read here is what is patched, or it is a
// conflict.
func missingImages(spec corev1.PodSpec, changes []plan.ImageChange) (missing []plan.ImageChange, err error) {
	containers := containersOf(spec)
	for _, change := range changes {
		i := slices.IndexFunc(containers, func(c workload.Container) bool {
			return c.Name == change.Container && c.Init == change.Init
		})
		if i < 0 {
			return nil, fmt.Errorf("it has no container %s", change.Container)
		}
		if !plan.SameImage(containers[i].Image, change.To) {
			missing = append(missing, change)
		}
	}
	if found := plan.Foreign(containers, changes); found != "" {
		return nil, fmt.Errorf("%w: %s", release.ErrChanged, found)
	}
	return missing, nil
}

// setImages sets the images of containers that must all be there.
func setImages(spec *corev1.PodSpec, changes []plan.ImageChange) error {
	for _, change := range changes {
		containers := spec.Containers
		if change.Init {
			containers = spec.InitContainers
		}
		i := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == change.Container })
		if i < 0 {
			return fmt.Errorf("it has no container %s", change.Container)
		}
		containers[i].Image = change.To
	}
	return nil
}

// jobTemplate gives what a job is started from. Of a PodTemplate, which says nothing of how often to try, it is tried
// once.
func (c cluster) jobTemplate(ctx context.Context, namespace string,
	ref plan.TemplateRef,
) (batchv1.JobTemplateSpec, error) {
	switch ref.Kind {
	case plan.FromCronJob:
		o, err := apiserver.Get(ctx, c.BatchV1().CronJobs(namespace).Get, ref.Name)
		if err != nil {
			return batchv1.JobTemplateSpec{}, c.absent(err, "cronjobs", "CronJob", namespace, ref.Name)
		}
		return o.Spec.JobTemplate, nil
	case plan.FromPodTemplate:
		o, err := apiserver.Get(ctx, c.CoreV1().PodTemplates(namespace).Get, ref.Name)
		if err != nil {
			return batchv1.JobTemplateSpec{}, c.absent(err, "podtemplates", "PodTemplate", namespace, ref.Name)
		}
		return batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: o.Template, BackoffLimit: new(int32)}}, nil
	}
	return batchv1.JobTemplateSpec{}, fmt.Errorf("nothing can be started from a %s", ref.Kind)
}
