package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/target"
)

// minGrace is the shortest grace period. Zero would be a forced deletion: the pod's name is free before its process has
// ended, and two nodes of one name write to one volume.
const minGrace = time.Second

// Delete deletes the very pod with n's UID, and gives it that grace, in seconds rounded up, to stop by itself. It
// returns when the API server has accepted that.
//
// All that the watches told and that the cluster can tell is read afresh first. What is not as it must be any more is
// target.ErrGone, target.ErrChanged or a *target.RefusedError, and nothing has happened then. After any other error it
// may have.
func (p *Pods) Delete(ctx context.Context, n target.Node, grace time.Duration) error {
	if err := p.delete(ctx, n, grace); err != nil {
		return fmt.Errorf("delete pod %s in namespace %s: %w", n.Name, p.Namespace, err)
	}
	return nil
}

func (p *Pods) delete(ctx context.Context, n target.Node, grace time.Duration) error {
	if grace < minGrace {
		return refuse(target.CauseGrace, "it must be at least %s, not %s", minGrace, grace)
	}
	pod, err := p.lookAfresh(ctx, n)
	if err != nil {
		return err
	}
	if !p.SkipPreStopChecks || pod.labels[skipChecks] != "" { // or somebody else has set it: it stays theirs
		return p.request(ctx, n, grace)
	}
	if err = p.label(ctx, n, "true"); err == nil {
		err = p.request(ctx, n, grace)
	}
	if err != nil && !errors.Is(err, target.ErrGone) && !errors.Is(err, target.ErrChanged) {
		// A pod that stays must not go without its checks when somebody else stops it later.
		if undo := p.label(context.WithoutCancel(ctx), n, nil); undo != nil {
			p.client.Log.Warn("cannot take the label away again", "label", skipChecks, "namespace", p.Namespace, "pod", n.Name,
				"error", undo.Error())
		}
	}
	return err
}

// request asks for the deletion.
func (p *Pods) request(ctx context.Context, n target.Node, grace time.Duration) error {
	// Leadership counts for renewDeadline, and nobody else takes the Lease before leaseDuration has passed: so a request
	// that is sent now and may take apiserver.Timeout ends before another replica could act.
	if a, _ := p.client.IsLeader(); a != target.Yes {
		return &target.RefusedError{Cause: target.CauseNotLeader}
	}
	uid, seconds := types.UID(n.UID), int64(math.Ceil(grace.Seconds()))
	ctx, cancel := context.WithTimeout(ctx, apiserver.Timeout)
	defer cancel()
	err := p.client.CoreV1().Pods(p.Namespace).Delete(ctx, n.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &uid}, GracePeriodSeconds: &seconds,
	})
	switch {
	// of another kind than the precondition, if the pod is still there
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return p.stays(ctx, n, err)
	}
	explained := apiserver.Explain(err, "delete", "pods", p.Namespace)
	if _, notAllowed := errors.AsType[apiserver.NotAllowedError](explained); notAllowed {
		return refuse(target.CauseNotAllowed, "%w", explained)
	}
	if declined(err) {
		return refuse(target.CauseRejected, "%w", explained)
	}
	return explained
}

// declined says whether the API server has refused a request for certain, so that nothing came of it.
func declined(err error) bool {
	return apierrors.IsBadRequest(err) || apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) ||
		apierrors.IsMethodNotSupported(err) || apierrors.IsInvalid(err) || apierrors.IsTooManyRequests(err)
}

// stays says what became of a pod whose deletion was answered with an error by which it is gone or another.
func (p *Pods) stays(ctx context.Context, n target.Node, why error) error {
	now, err := apiserver.Get(ctx, p.client.CoreV1().Pods(p.Namespace).Get, n.Name)
	switch {
	case apierrors.IsNotFound(err):
		return target.ErrGone
	case err == nil && string(now.UID) != n.UID:
		return target.ErrChanged
	case err == nil && now.DeletionTimestamp != nil: // by this request, if it came twice, or by somebody else
		return apiserver.Explain(why, "delete", "pods", p.Namespace)
	case err == nil:
		return refuse(target.CauseRejected, "it is still there, and the API server says: %w", why)
	}
	return refuse(target.CauseCannotTell, "get pods: %w", apiserver.Explain(err, "get", "pods", p.Namespace))
}

// lookAfresh reads from the API server what the watches told, and says what forbids the deletion. It gives the pod.
func (p *Pods) lookAfresh(ctx context.Context, n target.Node) (pod, error) {
	ctx, cancel := context.WithTimeout(ctx, silence) // all of it together, or the first is old when the last comes
	defer cancel()
	fresh, err := apiserver.Get(ctx, p.client.CoreV1().Pods(p.Namespace).Get, n.Name)
	switch {
	case apierrors.IsNotFound(err):
		return pod{}, target.ErrGone
	case err != nil:
		return pod{}, refuse(target.CauseCannotTell, "get pods: %w", apiserver.Explain(err, "get", "pods", p.Namespace))
	}
	it := trimPod(p.Container)(fresh)
	switch {
	case it.uid != n.UID:
		return it, target.ErrChanged
	case it.terminating:
		return it, &target.RefusedError{Cause: target.CauseTerminating}
	case it.over:
		return it, &target.RefusedError{Cause: target.CauseEnded}
	case !p.selector.Matches(labels.Set(it.labels)):
		return it, &target.RefusedError{Cause: target.CauseNotSelected}
	case !it.started.Equal(n.Started):
		return it, &target.RefusedError{Cause: target.CauseRestarted}
	}
	here, err := p.read(ctx, it)
	if err != nil {
		return it, refuse(target.CauseCannotTell, "%w", err)
	}
	above := here.above(it)
	locked, _ := p.operating(here.locks, time.Now())
	var first target.Cause // of those that forbid it
	var about string
	var closed []string
	for _, q := range []struct {
		verdict
		want  target.Answer
		cause target.Cause
		about string
	}{
		{owned(it, above), target.Yes, target.CauseNoController, ""},
		{rollingOut(it, above), target.No, target.CauseRollout, here.sets[it.owner.name].updateRev},
		{disruptable(it, here.budgets), target.Yes, target.CauseDisruptionBudget, ""},
		{locked, target.No, target.CauseOperation, here.locks[apiserver.LockLease].Holder},
	} {
		if q.Answer == q.want {
			continue
		}
		if first == "" {
			first, about = q.cause, q.about
		}
		closed = append(closed, q.why)
	}
	if len(closed) > 0 {
		return it, refuseFor(about, first, "%s", strings.Join(closed, "; "))
	}
	if p.Confirm != nil {
		if err := p.Confirm(ctx); err != nil {
			return it, err
		}
	}
	return it, p.othersStay(ctx, it)
}

// bootsFor is for how long a container that is not ready counts as booting. Later its logins tell more than its
// readiness, which may be about something else.
const bootsFor = 2 * time.Minute

// othersStay reads the target's other pods, and refuses if one of them is going or boots, or they are not the ones that
// were looked at: a watch that stalls tells neither, and what owns them only once its controller has noticed.
func (p *Pods) othersStay(ctx context.Context, doomed pod) error {
	watched, _, err := p.feed.known(time.Now())
	if err != nil {
		return refuse(target.CauseCannotTell, "%w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, apiserver.Timeout)
	defer cancel()
	list, err := p.client.CoreV1().Pods(p.Namespace).List(ctx, metav1.ListOptions{LabelSelector: p.selector.String()})
	if err != nil {
		return refuse(target.CauseCannotTell, "list pods: %w", apiserver.Explain(err, "list", "pods", p.Namespace))
	}
	trim := trimPod(p.Container)
	for i := range list.Items {
		other := trim(&list.Items[i])
		was, there := watched[other.name]
		delete(watched, other.name)
		switch {
		case other.name == doomed.name || !other.isNode():
		case other.terminating:
			return refuseFor(other.name, target.CausePeers, "pod %s is being deleted too", other.name)
		case !there || was.uid != other.uid:
			return refuseFor(other.name, target.CausePeers, "pod %s is another than was looked at", other.name)
		case other.started.IsZero() || !was.started.Equal(other.started):
			return refuseFor(other.name, target.CausePeers,
				"the container of pod %s does not run, or has been started anew", other.name)
		case !other.ready && time.Since(other.started) < bootsFor:
			return refuseFor(other.name, target.CausePeers,
				"the container of pod %s has just been started, and is not ready", other.name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(watched)) {
		if watched[name].isNode() {
			return refuseFor(name, target.CausePeers, "pod %s is gone", name)
		}
	}
	return nil
}

// read reads what surrounds a pod. What does not exist is not in it.
func (p *Pods) read(ctx context.Context, pod pod) (around, error) {
	here := around{
		sets: make(map[string]workload), replicaSets: make(map[string]workload), deployments: make(map[string]workload),
		budgets: make(map[string]budget), locks: make(map[string]apiserver.Lock),
	}
	apps := p.client.AppsV1()
	var err error
	switch pod.owner.kind {
	case "StatefulSet":
		err = into(ctx, here.sets, apps.StatefulSets(p.Namespace).Get, pod.owner.name, trimStatefulSet, "statefulsets",
			p.Namespace)
	case "ReplicaSet":
		err = into(ctx, here.replicaSets, apps.ReplicaSets(p.Namespace).Get, pod.owner.name, trimReplicaSet, "replicasets",
			p.Namespace)
		if above := here.replicaSets[pod.owner.name].owner; err == nil && above.kind == "Deployment" {
			err = into(ctx, here.deployments, apps.Deployments(p.Namespace).Get, above.name, trimDeployment, "deployments",
				p.Namespace)
		}
	}
	if err != nil {
		return here, err
	}
	leases := p.client.CoordinationV1().Leases(p.Namespace)
	if err := into(ctx, here.locks, leases.Get, apiserver.LockLease, trimLock, "leases", p.Namespace); err != nil {
		return here, err
	}
	ctx, cancel := context.WithTimeout(ctx, apiserver.Timeout)
	defer cancel()
	budgets, err := p.client.PolicyV1().PodDisruptionBudgets(p.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return here, fmt.Errorf("list poddisruptionbudgets: %w",
			apiserver.Explain(err, "list", "poddisruptionbudgets", p.Namespace))
	}
	for i := range budgets.Items {
		here.budgets[budgets.Items[i].Name] = trimBudget(&budgets.Items[i])
	}
	return here, nil
}

// into reads one object into a map of such, unless it does not exist.
func into[O runtime.Object, T any](
	ctx context.Context, to map[string]T, read func(context.Context, string, metav1.GetOptions) (O, error),
	name string, trim func(runtime.Object) T, resource, namespace string,
) error {
	o, err := apiserver.Get(ctx, read, name)
	switch {
	case err == nil:
		to[name] = trim(o)
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("get %s %s: %w", resource, name, apiserver.Explain(err, "get", resource, namespace))
	}
	return nil
}

// skipChecks is the label that has the cluster operator's hook let go.
const skipChecks = "skipPreStopChecks"

// label sets that label, or takes it away if value is nil. The UID in the patch is a precondition.
func (p *Pods) label(ctx context.Context, n target.Node, value any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": n.UID, "labels": map[string]any{skipChecks: value},
	}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, apiserver.Timeout)
	defer cancel()
	_, err = p.client.CoreV1().Pods(p.Namespace).Patch(ctx, n.Name, types.StrategicMergePatchType, patch,
		metav1.PatchOptions{})
	if err != nil {
		return refuse(target.CauseNotLabeled, "set its label %s: %w", skipChecks,
			apiserver.Explain(err, "patch", "pods", p.Namespace))
	}
	return nil
}

// refuse says why nothing was deleted, and what is known besides.
func refuse(cause target.Cause, format string, args ...any) error {
	return refuseFor("", cause, format, args...)
}

// refuseFor says besides what the cause is about.
func refuseFor(about string, cause target.Cause, format string, args ...any) error {
	return &target.RefusedError{Cause: cause, About: about, Err: fmt.Errorf(format, args...)}
}
