package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cjworkbench/unstuck/kube/apiserver"
)

// Daemon is an Unstuck as its cluster knows it: what somebody looks at before they hand it a token of their own. A
// label is not enough for that, for any pod can have it.
type Daemon struct {
	Cluster        string `json:"cluster"` // the address of the API server
	Namespace      string `json:"namespace"`
	Deployment     string `json:"deployment"`
	UID            string `json:"uid"` // of the Deployment: another of the same name is another Daemon
	ServiceAccount string `json:"service_account"`
}

func (d Daemon) String() string {
	return fmt.Sprintf("Deployment %s (service account %s) in namespace %s of the cluster at %s", d.Deployment,
		d.ServiceAccount, d.Namespace, d.Cluster)
}

// ErrNotDaemon is why a pod is not taken for one of Unstuck's, whatever its labels say.
var ErrNotDaemon = errors.New("it is not known to be Unstuck's")

// Daemon gives the Unstuck whose pods there are, after a look at what controls them: a ReplicaSet of a Deployment that
// has Unstuck's labels, with the service account that the Deployment gives its pods. If no pod passes, the error is an
// ErrNotDaemon that says what is wrong with one of them.
func (f *Forward) Daemon(ctx context.Context) (Daemon, error) {
	ctx, stop := context.WithTimeout(ctx, apiserver.Timeout)
	defer stop()
	ready, err := f.ready(ctx)
	if err != nil {
		return Daemon{}, fmt.Errorf("find Unstuck in namespace %s: %w", f.namespace, err)
	}
	found, _, err := f.daemons(ctx, ready)
	switch {
	case err != nil:
		return Daemon{}, err
	case len(found) > 1:
		return Daemon{}, fmt.Errorf("there are several, %s and %s: say which with --server", found[0].Deployment,
			found[1].Deployment)
	}
	return found[0], nil
}

// Only has DialContext connect to no pod but those of d from now on.
func (f *Forward) Only(d Daemon) { f.only = &d }

// daemons gives the Unstucks that the pods are of, and those of the pods that are of the one that is meant, or of any
// if none is. The error is why there is none.
func (f *Forward) daemons(ctx context.Context, pods []corev1.Pod) (found []Daemon, theirs []corev1.Pod, err error) {
	var why error
	for _, p := range pods {
		d, err := f.daemonOf(ctx, p)
		if err == nil && f.only != nil && d != *f.only {
			err = fmt.Errorf("pod %s: %w: it is of %s, and not of %s", p.Name, ErrNotDaemon, d, *f.only)
		}
		switch {
		case err == nil:
			theirs = append(theirs, p)
			if !slices.Contains(found, d) {
				found = append(found, d)
			}
		case why == nil || errors.Is(why, ErrNotDaemon) && !errors.Is(err, ErrNotDaemon):
			why = err
		}
	}
	if len(found) == 0 {
		return nil, nil, why
	}
	return found, theirs, nil
}

// daemonOf says which Unstuck a pod is of.
func (f *Forward) daemonOf(ctx context.Context, p corev1.Pod) (d Daemon, err error) {
	not := func(format string, args ...any) (Daemon, error) {
		return Daemon{}, fmt.Errorf("pod %s: %w: %s", p.Name, ErrNotDaemon, fmt.Sprintf(format, args...))
	}
	set := controllerOf(&p, "ReplicaSet")
	if set == nil {
		return not("no ReplicaSet controls it, as one of a Deployment's does")
	}
	replicas, err := f.api.AppsV1().ReplicaSets(f.namespace).Get(ctx, set.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return not("there is no ReplicaSet %s, which would control it", set.Name)
	} else if err != nil {
		err = apiserver.Explain(err, "get", "replicasets", f.namespace)
		return d, fmt.Errorf("see what controls pod %s: %w", p.Name, err)
	}
	owner := controllerOf(replicas, "Deployment")
	if replicas.UID != set.UID || owner == nil {
		return not("no Deployment controls its ReplicaSet %s", set.Name)
	}
	deployment, err := f.api.AppsV1().Deployments(f.namespace).Get(ctx, owner.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return not("there is no Deployment %s, which would control its ReplicaSet", owner.Name)
	} else if err != nil {
		err = apiserver.Explain(err, "get", "deployments", f.namespace)
		return d, fmt.Errorf("see what controls pod %s: %w", p.Name, err)
	}
	account := p.Spec.ServiceAccountName
	switch wrong, err := notOurs(deployment, p); {
	case err != nil:
		return d, err
	case deployment.UID != owner.UID:
		return not("Deployment %s has been made anew since", owner.Name)
	case wrong != "":
		return not("%s", wrong)
	}
	return Daemon{f.config.Host, f.namespace, deployment.Name, string(deployment.UID), account}, nil
}

// notOurs says what is wrong with a Deployment and its pod, if they are to be Unstuck's.
func notOurs(d *appsv1.Deployment, p corev1.Pod) (wrong string, err error) {
	ours, err := labels.Parse(ourLabel)
	if err != nil {
		return "", err
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return "", fmt.Errorf("read the selector of Deployment %s: %w", d.Name, err)
	}
	has, wants := p.Spec.ServiceAccountName, d.Spec.Template.Spec.ServiceAccountName
	switch {
	case !ours.Matches(labels.Set(d.Labels)):
		return fmt.Sprintf("its Deployment %s is not labelled %s", d.Name, ourLabel), nil
	case d.Labels[ourInstance] != p.Labels[ourInstance]:
		return fmt.Sprintf("its Deployment %s is of another installation (%s: %q, the pod's is %q)", d.Name, ourInstance,
			d.Labels[ourInstance], p.Labels[ourInstance]), nil
	case !selector.Matches(labels.Set(p.Labels)):
		return fmt.Sprintf("the selector of its Deployment %s does not select it", d.Name), nil
	case has != wants:
		return fmt.Sprintf("it runs as service account %s, and its Deployment %s gives its pods %s", quoted(has), d.Name,
			quoted(wants)), nil
	case has == "" || has == "default":
		return "it runs as service account default, which every pod may: Unstuck has one of its own", nil
	}
	return "", nil
}

func quoted(name string) string {
	if name == "" {
		return `"default"`
	}
	return fmt.Sprintf("%q", name)
}

// controllerOf gives what controls an object, if that is of this kind of Kubernetes' own.
func controllerOf(o metav1.Object, kind string) *metav1.OwnerReference {
	c := metav1.GetControllerOf(o)
	if c == nil || c.APIVersion != appsv1.SchemeGroupVersion.String() || c.Kind != kind {
		return nil
	}
	return c
}

// still says whether the pod that was looked at is there, by its UID: what was connected to is known by its name only.
func (f *Forward) still(ctx context.Context, name string, uid types.UID) error {
	ready, err := f.ready(ctx)
	if err != nil {
		return err
	}
	for _, p := range ready {
		if p.Name == name && p.UID == uid {
			return nil
		}
	}
	return fmt.Errorf("pod %s has been replaced since it was looked at", name)
}
