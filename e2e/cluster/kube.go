package cluster

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

//go:embed bootstrap.yaml
var bootstrap string

// manager is who the API server says owns the fields that Apply sets.
const manager = "unstuck-e2e"

// Apply applies each object of a YAML stream, on the server's side. What has no namespace and needs one goes to
// "default".
func (c *Cluster) Apply(ctx context.Context, manifests string) error {
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096)
	for {
		var object unstructured.Unstructured
		err := decoder.Decode(&object)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("apply: %w", err)
		}
		if len(object.Object) == 0 {
			continue
		}
		if err := c.apply(ctx, &object); err != nil {
			return fmt.Errorf("apply %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
}

func (c *Cluster) apply(ctx context.Context, object *unstructured.Unstructured) error {
	kind := object.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset() // it may have come after we asked
		mapping, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return err
	}
	var resource dynamic.ResourceInterface = c.dynamic.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		namespace := object.GetNamespace()
		if namespace == "" {
			namespace = metav1.NamespaceDefault
		}
		resource = c.dynamic.Resource(mapping.Resource).Namespace(namespace)
	}
	_, err = resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: manager, Force: true})
	return err
}

// waitHost waits until the host takes pods: it is ready, and the namespace's service account is there.
func (c *Cluster) waitHost(ctx context.Context) error {
	return until(ctx, "the host to be ready", func(ctx context.Context) error {
		host, err := c.Kubernetes.CoreV1().Nodes().Get(ctx, hostName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range host.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
				return errors.New(condition.Message)
			}
		}
		if len(host.Status.Conditions) == 0 || len(host.Spec.Taints) > 0 {
			return errors.New("it has said nothing yet")
		}
		_, err = c.Kubernetes.CoreV1().ServiceAccounts(Namespace).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// Pod gives a pod as it is now.
func (c *Cluster) Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	return c.Kubernetes.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
}

// WaitPod waits until a pod is as wanted: the function says why it is not yet.
func (c *Cluster) WaitPod(ctx context.Context, namespace, name string,
	wanted func(*corev1.Pod) error,
) (*corev1.Pod, error) {
	var pod *corev1.Pod
	err := until(ctx, "pod "+name, func(ctx context.Context) error {
		var err error
		if pod, err = c.Pod(ctx, namespace, name); err != nil {
			return err
		}
		return wanted(pod)
	})
	return pod, err
}

// Ready is what most want of a pod: see WaitPod.
func Ready(pod *corev1.Pod) error {
	if pod.DeletionTimestamp != nil {
		return errors.New("it is terminating")
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("it is not ready: %s", describe(pod))
}

// Successor is a pod that is ready and not the one that had the UID: see WaitPod.
func Successor(uid types.UID) func(*corev1.Pod) error {
	return func(pod *corev1.Pod) error {
		if pod.UID == uid {
			return errors.New("it is still the old one")
		}
		return Ready(pod)
	}
}

// describe says what a pod waits for.
func describe(pod *corev1.Pod) string {
	words := []string{string(pod.Status.Phase)}
	for _, s := range pod.Status.ContainerStatuses {
		if w := s.State.Waiting; w != nil {
			words = append(words, s.Name, w.Reason, w.Message)
		}
		if t := s.LastTerminationState.Terminated; t != nil {
			words = append(words, s.Name, "ended with", fmt.Sprint(t.ExitCode), t.Message)
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Status != corev1.ConditionTrue && condition.Message != "" {
			words = append(words, condition.Message)
		}
	}
	return strings.Join(words, " ")
}

// Exec runs a command in a container, as an administrator, and gives what it printed. A non-zero exit code is an error
// that ends with what the command complained about.
func (c *Cluster) Exec(ctx context.Context, namespace, pod, container string, argv ...string) (string, error) {
	url := c.Kubernetes.CoreV1().RESTClient().Get().Namespace(namespace).Resource("pods").Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: argv, Stdout: true, Stderr: true},
			scheme.ParameterCodec).URL()
	executor, err := remotecommand.NewWebSocketExecutor(c.Config, "GET", url.String())
	if err != nil {
		return "", fmt.Errorf("exec in %s: %w", pod, err)
	}
	var stdout, stderr bytes.Buffer
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr})
	if err != nil {
		said := strings.TrimSpace(stderr.String())
		return stdout.String(), fmt.Errorf("exec %s in %s: %w: %s", argv[0], pod, err, said[max(0, len(said)-300):])
	}
	return stdout.String(), nil
}

// Logs gives the last lines of a container's log.
func (c *Cluster) Logs(ctx context.Context, namespace, pod, container string, lines int64) (string, error) {
	raw, err := c.Kubernetes.CoreV1().Pods(namespace).
		GetLogs(pod, &corev1.PodLogOptions{Container: container, TailLines: &lines}).DoRaw(ctx)
	return string(raw), err
}

// AccountToken makes a token of a service account, for an hour. With audiences it is for these, and not for the
// cluster.
func (c *Cluster) AccountToken(ctx context.Context, namespace, account string, audiences ...string) (string, error) {
	return c.accountToken(ctx, namespace, account, authenticationv1.TokenRequestSpec{Audiences: audiences})
}

func (c *Cluster) accountToken(ctx context.Context, namespace, account string,
	spec authenticationv1.TokenRequestSpec,
) (string, error) {
	token, err := c.Kubernetes.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account,
		&authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("make a token for %s: %w", account, err)
	}
	return token.Status.Token, nil
}

// AccountKubeconfig writes a kubeconfig with which one is a service account, for an hour, and gives its path.
func (c *Cluster) AccountKubeconfig(ctx context.Context, namespace, account string) (string, error) {
	token, err := c.AccountToken(ctx, namespace, account)
	if err != nil {
		return "", err
	}
	path := filepath.Join(c.dir, account+"."+namespace+".kubeconfig")
	return path, c.writeTokenKubeconfig(path, namespace, account, token)
}

// UseAccount makes all that take the cluster's Kubeconfig a service account, for as long as the cluster's certificates
// are valid. Unlike the certificate of the administrator, whom it stands for from now on, its token says to Unstuck too
// who calls.
func (c *Cluster) UseAccount(ctx context.Context, namespace, account string) error {
	seconds := int64(validity.Seconds())
	token, err := c.accountToken(ctx, namespace, account, authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds})
	if err != nil {
		return err
	}
	return c.writeTokenKubeconfig(c.Kubeconfig(), metav1.NamespaceDefault, account, token)
}

func (c *Cluster) writeTokenKubeconfig(path, namespace, user, token string) error {
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: e2e
contexts: [{name: e2e, context: {cluster: e2e, user: %[1]q, namespace: %[2]q}}]
clusters: [{name: e2e, cluster: {server: %[3]q, certificate-authority: %[4]q}}]
users: [{name: %[1]q, user: {token: %[5]q}}]
`, user, namespace, c.Config.Host, filepath.Join(c.dir, pkiDir, "ca.crt"), token)
	return os.WriteFile(path, []byte(text), 0o600)
}

// TakeVerb takes a verb on a resource, such as "create" on "pods/exec", away from a Role. The function that it returns
// gives the Role back what it had.
func (c *Cluster) TakeVerb(ctx context.Context, namespace, role, resource,
	verb string,
) (func(context.Context) error, error) {
	roles := c.Kubernetes.RbacV1().Roles(namespace)
	old, err := roles.Get(ctx, role, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("take %s %s: %w", verb, resource, err)
	}
	cut := old.DeepCopy()
	if cut.Rules = without(old.Rules, resource, verb); rulesLen(cut.Rules) == rulesLen(old.Rules) {
		return nil, fmt.Errorf("take %s %s: role %s does not have it", verb, resource, role)
	}
	if _, err := roles.Update(ctx, cut, metav1.UpdateOptions{}); err != nil {
		return nil, fmt.Errorf("take %s %s: %w", verb, resource, err)
	}
	return func(ctx context.Context) error {
		now, err := roles.Get(ctx, role, metav1.GetOptions{})
		if err != nil {
			return err
		}
		now.Rules = old.Rules
		_, err = roles.Update(ctx, now, metav1.UpdateOptions{})
		return err
	}, nil
}

// without gives the rules, one for each resource and verb, less the verb on the resource.
func without(rules []rbacv1.PolicyRule, resource, verb string) []rbacv1.PolicyRule {
	var kept []rbacv1.PolicyRule
	for _, rule := range rules {
		for _, r := range rule.Resources {
			for _, v := range rule.Verbs {
				if r == resource && v == verb {
					continue
				}
				one := rule
				one.Resources, one.Verbs = []string{r}, []string{v}
				kept = append(kept, one)
			}
		}
	}
	return kept
}

func rulesLen(rules []rbacv1.PolicyRule) int {
	n := 0
	for _, rule := range rules {
		n += len(rule.Resources) * len(rule.Verbs)
	}
	return n
}
