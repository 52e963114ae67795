package deploy

import (
	"cmp"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/cjworkbench/unstuck/kube/apiserver"
)

// DockerConfig gives a source of the docker config in a Secret, read anew each time: of the key .dockerconfigjson if
// none is named, or of the older .dockercfg.
func DockerConfig(conn *apiserver.Conn, namespace, name, key string) func(context.Context) ([]byte, error) {
	conn.Require(func(need apiserver.Need) { need(namespace, "secrets", name, "get") })
	return func(ctx context.Context) ([]byte, error) {
		data, err := dockerConfig(ctx, conn, namespace, name, cmp.Or(key, corev1.DockerConfigJsonKey))
		if err != nil {
			return nil, fmt.Errorf("read secret %s in namespace %s: %w", name, namespace, err)
		}
		return data, nil
	}
}

func dockerConfig(ctx context.Context, conn *apiserver.Conn, namespace, name, key string) ([]byte, error) {
	secret, err := conn.Secret(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	for _, k := range []string{key, corev1.DockerConfigKey} {
		if data, ok := secret.Data[k]; ok {
			return data, nil
		}
	}
	return nil, fmt.Errorf("it has no key %s", key)
}
