// Package deploy supplies what package release needs of Kubernetes: workloads, jobs and their logs, commands in pods,
// the lock on an environment's namespace, and a store of operations.
package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
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
	sideBySide    = 4                                   // how many workloads are looked at at once
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
		need(s.WorkloadKind().Resource(), s.WorkloadName(), "get", "patch")
	}
	if hasService(env, workload.Deployment) {
		need("replicasets", "", "list")
	}
	if hasService(env, workload.DaemonSet) {
		need("controllerrevisions", "", "list")
	}
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

func hasService(env plan.Environment, kind workload.Kind) bool {
	return slices.ContainsFunc(env.Services, func(s plan.Service) bool { return s.WorkloadKind() == kind })
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

// State implements release.World: the workloads of the environment's services, and the templates of its jobs and
// tasks. Of the pods it does not tell the events.
func (cs *Clusters) State(ctx context.Context, env plan.Environment) (plan.State, error) {
	c, err := cs.at(env)
	if err != nil {
		return plan.State{}, err
	}
	workloads := make([]*workload.Workload, len(env.Services))
	refs := templatesOf(env)
	templates := make([]*plan.Template, len(refs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(sideBySide)
	for i, s := range env.Services {
		group.Go(func() error {
			w, _, _, err := c.workload(ctx, env.Namespace, s.Ref)
			if err == nil {
				workloads[i] = &w
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
	return plan.State{Workloads: present(workloads), Templates: present(templates)}, nil
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

// Workload implements release.World.
func (cs *Clusters) Workload(ctx context.Context, env plan.Environment, ref workload.Ref) (workload.Workload, error) {
	c, err := cs.at(env)
	if err != nil {
		return workload.Workload{}, err
	}
	w, uid, pods, err := c.workload(ctx, env.Namespace, ref)
	if err != nil {
		return workload.Workload{}, err
	}
	c.addEvents(ctx, env.Namespace, pods, w.Pods)
	c.addFailure(ctx, uid, pods, &w)
	return w, nil
}

// workload gives a workload with its pods, and these as Kubernetes has them, in the same order.
func (c cluster) workload(ctx context.Context, namespace string, ref workload.Ref) (
	workload.Workload, types.UID, []corev1.Pod, error,
) {
	f, own, err := c.podsOf(ctx, namespace, ref)
	if err != nil {
		return workload.Workload{}, "", nil, err
	}
	all := f.seen
	all.Conditions = f.conditions()
	var pods []corev1.Pod
	for _, o := range own {
		p := podOf(o.Pod)
		p.Updated, p.Orphan = o.updated, o.orphan
		all.Pods, pods = append(all.Pods, p), append(pods, *o.Pod)
	}
	return all, f.GetUID(), pods, nil
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
		return fmt.Errorf("patch %s in namespace %s: %w", p.Workload.Title(), env.Namespace,
			apiserver.Explain(err, "patch", p.Workload.WorkloadKind().Resource(), env.Namespace))
	}
	return nil
}

func (c cluster) patch(ctx context.Context, namespace string, p release.Patch) error {
	o, err := c.read(ctx, namespace, p.Workload)
	if err != nil {
		return err
	}
	if p.Images, err = missingImages(o.pod, p.Images); err != nil {
		return err
	}
	data, err := json.Marshal(patchOf(p, o))
	if err != nil {
		return err
	}
	return c.patchObject(ctx, namespace, p.Workload, data)
}

// patchOf is the strategic merge patch for p. The UID and the resource version are preconditions.
func patchOf(p release.Patch, o metav1.Object) map[string]any {
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
	of := map[string]any{"uid": o.GetUID(), "resourceVersion": o.GetResourceVersion()}
	return map[string]any{"metadata": of, "spec": spec}
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
