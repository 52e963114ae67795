package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cjworkbench/unstuck/probe"
)

// minGrace is the shortest grace period. Zero would be a forced deletion: the pod's name is free before its process has
// ended, and two nodes of one name write to one volume.
const minGrace = time.Second

// Delete deletes the very pod with n's UID, and gives it that grace, in seconds rounded up, to stop by itself. It
// returns when the API server has accepted that.
//
// All that the watches told and that the cluster can tell is read afresh first. What is not as it must be any more is
// probe.ErrGone, probe.ErrChanged or probe.ErrRefused, and nothing has happened then. After any other error it may have.
func (p *Pods) Delete(ctx context.Context, n probe.Node, grace time.Duration) error {
	if err := p.delete(ctx, n, grace); err != nil {
		return fmt.Errorf("delete pod %s in namespace %s: %w", n.Name, p.Namespace, err)
	}
	return nil
}

func (p *Pods) delete(ctx context.Context, n probe.Node, grace time.Duration) error {
	if grace < minGrace {
		return refuse("its grace must be at least %s, not %s", minGrace, grace)
	}
	if err := p.lookAfresh(ctx, n); err != nil {
		return err
	}
	if p.SkipPreStopChecks {
		if err := p.label(ctx, n); err != nil {
			return err
		}
	}
	// Leadership counts for renewDeadline, and nobody else takes the Lease before leaseDuration has passed: so a request
	// that is sent now and may take callTimeout ends before another replica could act.
	if a, _ := p.client.campaign.leading(time.Now()); a != probe.Yes {
		return refuse("this replica does not lead: %s", a)
	}
	uid, seconds := types.UID(n.UID), int64(math.Ceil(grace.Seconds()))
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := p.client.api.CoreV1().Pods(p.Namespace).Delete(ctx, n.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &uid}, GracePeriodSeconds: &seconds,
	})
	switch {
	case apierrors.IsNotFound(err):
		return probe.ErrGone
	case apierrors.IsConflict(err): // the precondition
		return probe.ErrChanged
	}
	return explain(err, "delete", "pods", p.Namespace)
}

// lookAfresh reads from the API server what the watches told, and says what forbids the deletion.
func (p *Pods) lookAfresh(ctx context.Context, n probe.Node) error {
	ctx, cancel := context.WithTimeout(ctx, silence) // all of it together, or the first is old when the last comes
	defer cancel()
	fresh, err := get(ctx, p.client.api.CoreV1().Pods(p.Namespace).Get, n.Name)
	switch {
	case apierrors.IsNotFound(err):
		return probe.ErrGone
	case err != nil:
		return refuse("get pods: %w", explain(err, "get", "pods", p.Namespace))
	}
	pod := trimPod(p.Container)(fresh)
	switch {
	case pod.uid != n.UID:
		return probe.ErrChanged
	case pod.terminating:
		return refuse("it is being deleted already")
	case pod.over:
		return refuse("it has ended")
	case !p.selector.Matches(labels.Set(pod.labels)):
		return refuse("its labels do not fit the selector any more")
	case !pod.started.Equal(n.Started):
		return refuse("its container has been started anew")
	}
	here, err := p.read(ctx, pod)
	if err != nil {
		return refuse("%w", err)
	}
	above := here.above(pod)
	l, found := here.locks[operationLease]
	locked, _ := operating(l, found, time.Now())
	var closed []string
	for _, q := range []struct {
		verdict
		want probe.Answer
	}{
		{owned(pod, above), probe.Yes}, {rollingOut(pod, above), probe.No}, {disruptable(pod, here.budgets), probe.Yes}, {locked, probe.No},
	} {
		if q.Answer != q.want {
			closed = append(closed, q.why)
		}
	}
	if len(closed) > 0 {
		return refuse("%s", strings.Join(closed, "; "))
	}
	return nil
}

// read reads what surrounds a pod. What does not exist is not in it.
func (p *Pods) read(ctx context.Context, pod pod) (around, error) {
	here := around{
		sets: make(map[string]workload), replicaSets: make(map[string]workload), deployments: make(map[string]workload),
		budgets: make(map[string]budget), locks: make(map[string]lock),
	}
	apps := p.client.api.AppsV1()
	var err error
	switch pod.owner.kind {
	case "StatefulSet":
		err = into(ctx, here.sets, apps.StatefulSets(p.Namespace).Get, pod.owner.name, trimStatefulSet, "statefulsets", p.Namespace)
	case "ReplicaSet":
		err = into(ctx, here.replicaSets, apps.ReplicaSets(p.Namespace).Get, pod.owner.name, trimReplicaSet, "replicasets", p.Namespace)
		if above := here.replicaSets[pod.owner.name].owner; err == nil && above.kind == "Deployment" {
			err = into(ctx, here.deployments, apps.Deployments(p.Namespace).Get, above.name, trimDeployment, "deployments", p.Namespace)
		}
	}
	if err != nil {
		return here, err
	}
	leases := p.client.api.CoordinationV1().Leases(p.Namespace)
	if err := into(ctx, here.locks, leases.Get, operationLease, trimLock, "leases", p.Namespace); err != nil {
		return here, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	budgets, err := p.client.api.PolicyV1().PodDisruptionBudgets(p.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return here, fmt.Errorf("list poddisruptionbudgets: %w", explain(err, "list", "poddisruptionbudgets", p.Namespace))
	}
	for i := range budgets.Items {
		here.budgets[budgets.Items[i].Name] = trimBudget(&budgets.Items[i])
	}
	return here, nil
}

// get reads one object.
func get[O any](ctx context.Context, read func(context.Context, string, metav1.GetOptions) (O, error), name string) (O, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return read(ctx, name, metav1.GetOptions{})
}

// into reads one object into a map of such, unless it does not exist.
func into[O runtime.Object, T any](
	ctx context.Context, to map[string]T, read func(context.Context, string, metav1.GetOptions) (O, error),
	name string, trim func(runtime.Object) T, resource, namespace string,
) error {
	o, err := get(ctx, read, name)
	switch {
	case err == nil:
		to[name] = trim(o)
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("get %s %s: %w", resource, name, explain(err, "get", resource, namespace))
	}
	return nil
}

// label sets the label that has the cluster operator's hook let go. The UID in the patch is a precondition.
func (p *Pods) label(ctx context.Context, n probe.Node) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": n.UID, "labels": map[string]string{"skipPreStopChecks": "true"},
	}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err = p.client.api.CoreV1().Pods(p.Namespace).Patch(ctx, n.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return refuse("set its label skipPreStopChecks: %w", explain(err, "patch", "pods", p.Namespace))
	}
	return nil
}
