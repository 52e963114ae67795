package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// FilesDir is where Unstuck's pods find the files of PutFiles, if Mounts is among the chart's values.
const FilesDir = "/etc/unstuck-files"

// Mounts are the values of the chart that show Unstuck its files, and have it trust the registry.
const Mounts = `
mounts:
- {secret: unstuck-files, path: ` + FilesDir + `}
- {configMap: registry-ca, path: /etc/pki/tls/certs}
`

// PutFiles gives Unstuck files, by name: those with its callers' tokens, for example. Its namespace is created, if need
// be. Pods that run see them within a minute or two, or see HurryFiles.
func (u *Unstuck) PutFiles(ctx context.Context, files map[string]string, r *Registry) error {
	var manifests strings.Builder
	fmt.Fprintf(&manifests, `
apiVersion: v1
kind: Namespace
metadata: {name: %[1]s}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: registry-ca, namespace: %[1]s}
data: {registry.crt: %[2]q}
---
apiVersion: v1
kind: Secret
metadata: {name: unstuck-files, namespace: %[1]s}
stringData:
`, u.Namespace, r.CA)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&manifests, "  %s: %q\n", name, files[name])
	}
	if err := u.cluster.Apply(ctx, manifests.String()); err != nil {
		return fmt.Errorf("give Unstuck its files: %w", err)
	}
	return nil
}

// HurryFiles has the kubelet bring changed files into the pods now: it looks at a pod whose annotations have changed.
func (u *Unstuck) HurryFiles(ctx context.Context) error {
	pods, err := u.Pods(ctx)
	if err != nil {
		return fmt.Errorf("bring files into pods: %w", err)
	}
	patch := fmt.Appendf(nil, `{"metadata": {"annotations": {"unstuck-e2e/files": %q}}}`,
		time.Now().Format(time.RFC3339Nano))
	var errs []error
	for _, p := range pods {
		_, err := u.cluster.Kubernetes.CoreV1().Pods(u.Namespace).Patch(ctx, p.Name, types.MergePatchType, patch,
			metav1.PatchOptions{})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
