package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Get reads one object, within Timeout.
func Get[O any](
	ctx context.Context, read func(context.Context, string, metav1.GetOptions) (O, error), name string,
) (O, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	return read(ctx, name, metav1.GetOptions{})
}

// List lists objects, within Timeout.
func List[L any](
	ctx context.Context, read func(context.Context, metav1.ListOptions) (L, error), o metav1.ListOptions,
) (L, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	return read(ctx, o)
}

// creations is how often an object is tried to be created against a ResourceQuota that others count against, too, and
// quotaWait is how long the first wait in between is.
const (
	creations = 4
	quotaWait = 100 * time.Millisecond
)

// Create creates an object, within Timeout for each try. That it conflicts over a ResourceQuota is the API server's
// word that nothing was made, because another creation was counted against the quota at the same time: it is tried
// again.
func Create[O any](
	ctx context.Context, create func(context.Context, O, metav1.CreateOptions) (O, error), o O,
) (O, error) {
	for wait, n := quotaWait, 1; ; wait, n = 2*wait, n+1 {
		call, cancel := context.WithTimeout(ctx, Timeout)
		made, err := create(call, o, metav1.CreateOptions{})
		cancel()
		if n == creations || !isQuotaConflict(err) {
			return made, err
		}
		select {
		case <-ctx.Done():
			return made, err
		case <-time.After(wait):
		}
	}
}

// IsConflict says whether an object could not be written because somebody else has made it, or written it since it was
// read. A conflict over a ResourceQuota is not of that kind.
func IsConflict(err error) bool {
	return apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) && !isQuotaConflict(err)
}

// isQuotaConflict says whether the API server could not count a creation, because of another at the same time.
func isQuotaConflict(err error) bool {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || !apierrors.IsConflict(err) {
		return false
	}
	details := status.Status().Details
	return details != nil && strings.EqualFold(details.Kind, "resourcequotas")
}

// Secret reads a Secret by its name alone, so that the right to read it can be given for it alone.
func (c *Conn) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	secret, err := Get(ctx, c.CoreV1().Secrets(namespace).Get, name)
	if err != nil {
		err = Explain(err, "get", "secrets", namespace)
		if missing, ok := errors.AsType[NotAllowedError](err); ok {
			missing.Name = name // the right to read it is given by its name
			err = missing
		}
		return nil, err
	}
	return secret, nil
}

// ContainerOf gives the name of the container that is meant when it is not named: the default one, as kubectl has it,
// that is the one that an annotation names, if the pod has it, or else the first
// (k8s.io/kubectl/pkg/cmd/util/podcmd/podcmd.go).
func ContainerOf(p *corev1.Pod, name string) string {
	if name != "" || len(p.Spec.Containers) == 0 {
		return name
	}
	name = p.Annotations["kubectl.kubernetes.io/default-container"]
	for _, all := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		if slices.ContainsFunc(all, func(c corev1.Container) bool { return c.Name == name }) {
			return name
		}
	}
	return p.Spec.Containers[0].Name
}

// Versions gives the versions of a group in which the API server serves a resource; none if it knows no such resource.
func (c *Conn) Versions(ctx context.Context, group, resource string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	var all metav1.APIGroup
	if err := c.document(ctx, "/apis/"+group, &all); apierrors.IsNotFound(err) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var serving []string
	for _, v := range all.Versions {
		var list metav1.APIResourceList
		if err := c.document(ctx, "/apis/"+v.GroupVersion, &list); apierrors.IsNotFound(err) {
			continue
		} else if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == resource }) {
			serving = append(serving, v.Version)
		}
	}
	return serving, nil
}

// document reads what the API server says of itself, which is JSON.
func (c *Conn) document(ctx context.Context, path string, v any) error {
	data, err := c.CoreV1().RESTClient().Get().AbsPath(path).SetHeader("Accept", "application/json").Do(ctx).Raw()
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}
