package apiserver

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
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
