package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// DockerConfig gives a source of the docker config in a Secret, read anew each time: of the key .dockerconfigjson if none
// is named, or of the older .dockercfg.
func (c *Client) DockerConfig(namespace, name, key string) func(context.Context) ([]byte, error) {
	c.mu.Lock()
	c.secrets = append(c.secrets, SecretRef{Namespace: namespace, Name: name})
	c.mu.Unlock()
	return func(ctx context.Context) ([]byte, error) {
		data, err := c.dockerConfig(ctx, namespace, name, cmp.Or(key, corev1.DockerConfigJsonKey))
		if err != nil {
			return nil, fmt.Errorf("read secret %s in namespace %s: %w", name, namespace, err)
		}
		return data, nil
	}
}

func (c *Client) dockerConfig(ctx context.Context, namespace, name, key string) ([]byte, error) {
	secret, err := get(ctx, c.api.CoreV1().Secrets(namespace).Get, name)
	if err != nil {
		err = explain(err, "get", "secrets", namespace)
		if missing, ok := errors.AsType[Missing](err); ok {
			missing.Name = name // the right to read it is given by its name
			err = missing
		}
		return nil, err
	}
	for _, k := range []string{key, corev1.DockerConfigKey} {
		if data, ok := secret.Data[k]; ok {
			return data, nil
		}
	}
	return nil, fmt.Errorf("it has no key %s", key)
}
