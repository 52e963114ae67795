package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/cjworkbench/unstuck/e2e/artifact"
)

// Where Unstuck lives in the cluster, by its chart.
const (
	UnstuckNamespace = "unstuck" // by default
	unstuckRelease   = "unstuck"
	unstuckMetrics   = "9090"
	unstuckAPI       = "8080"
)

// Unstuck is Unstuck as its own chart installed it, with the chart's service account and Roles.
type Unstuck struct {
	Namespace string
	Token     string // for its API; empty: it asks for none

	cluster *Cluster
	root    string
	helm    string
	began   string // tells the values of the last Install from others
}

// In gives the same for an installation in another namespace, which knows nothing of this one.
func (u *Unstuck) In(namespace string) *Unstuck {
	other := *u
	other.Namespace = namespace
	return &other
}

// Helm gives the path of the helm with which it is installed.
func (u *Unstuck) Helm() string { return u.helm }

// PrepareUnstuck makes and imports our image, and makes helm. Install then takes seconds.
func (c *Cluster) PrepareUnstuck(ctx context.Context, maker *artifact.Maker) (*Unstuck, error) {
	image, err := maker.Unstuck(ctx)
	if err != nil {
		return nil, err
	}
	helm, err := maker.Helm(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.ImportImage(ctx, image); err != nil {
		return nil, err
	}
	return &Unstuck{Namespace: UnstuckNamespace, cluster: c, root: maker.Root, helm: helm}, nil
}

// Install installs the chart with these values, in YAML, or changes an installation to them, and returns once all
// replicas are ready and one of them leads. Other values than before start other pods. The image is ours, and the API
// is exposed for API.
func (u *Unstuck) Install(ctx context.Context, values string) error {
	u.began = fmt.Sprintf("%x", sha256.Sum256([]byte(values)))
	return u.Reconfigure(ctx, values)
}

// Reconfigure is Install, but that the pods stay unless the chart itself starts others: the running daemon takes the
// change up when the kubelet has brought it, within a minute or so.
func (u *Unstuck) Reconfigure(ctx context.Context, values string) error {
	err := u.run(ctx, values, "upgrade", "--install", unstuckRelease, filepath.Join(u.root, "charts", "unstuck"),
		"--namespace", u.Namespace, "--create-namespace", "--values", "-", "--wait", "--timeout", "2m",
		"--set", "image.repository="+artifact.UnstuckImage, "--set", "image.tag="+artifact.UnstuckTag,
		"--set", "image.pullPolicy=Never", "--set", "api.exposed=true", "--set-string", "podAnnotations.values="+u.began)
	if err != nil {
		return fmt.Errorf("install Unstuck: %w", err)
	}
	return wait.PollUntilContextCancel(ctx, pollEvery, true, func(ctx context.Context) (bool, error) {
		leader, err := u.Leader(ctx)
		return leader != nil, err
	})
}

// Test runs the chart's own test, and gives what it says if it fails.
func (u *Unstuck) Test(ctx context.Context) error {
	out, err := u.output(ctx, "", "test", unstuckRelease, "--namespace", u.Namespace, "--timeout", "90s", "--logs")
	if err != nil {
		return fmt.Errorf("the chart's test: %w", err)
	}
	if !bytes.Contains(out, []byte("ready: targets that reconcile: ")) {
		return fmt.Errorf("the chart's test says nothing of its readiness: %s", out)
	}
	return nil
}

// Scale changes how many replicas there are, and does not wait.
func (u *Unstuck) Scale(ctx context.Context, replicas int) error {
	patch := fmt.Appendf(nil, `{"spec": {"replicas": %d}}`, replicas)
	_, err := u.cluster.Kubernetes.AppsV1().Deployments(u.Namespace).Patch(ctx, unstuckRelease, types.MergePatchType,
		patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("scale Unstuck to %d: %w", replicas, err)
	}
	return nil
}

// Remove uninstalls it, with all that it has written down.
func (u *Unstuck) Remove(ctx context.Context) error {
	err := u.run(ctx, "", "uninstall", unstuckRelease, "--namespace", u.Namespace, "--ignore-not-found", "--wait",
		"--timeout", "2m")
	if err != nil {
		return fmt.Errorf("remove Unstuck: %w", err)
	}
	return u.Forget(ctx)
}

// Forget removes all that Unstuck has written down: incidents, deletions, pauses and the lease.
func (u *Unstuck) Forget(ctx context.Context) error {
	maps := u.cluster.Kubernetes.CoreV1().ConfigMaps(u.Namespace)
	leases := u.cluster.Kubernetes.CoordinationV1().Leases(u.Namespace)
	err := maps.DeleteCollection(ctx, metav1.DeleteOptions{},
		metav1.ListOptions{LabelSelector: "app.kubernetes.io/managed-by=unstuck"})
	if e := leases.Delete(ctx, "unstuck", metav1.DeleteOptions{}); !apierrors.IsNotFound(e) {
		err = errors.Join(err, e)
	}
	if err != nil {
		return fmt.Errorf("forget what Unstuck wrote down: %w", err)
	}
	return nil
}

func (u *Unstuck) run(ctx context.Context, stdin string, args ...string) error {
	_, err := u.output(ctx, stdin, args...)
	return err
}

// output runs helm, and gives what it prints.
func (u *Unstuck) output(ctx context.Context, stdin string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, u.helm, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+u.cluster.Kubeconfig(), "HELM_CACHE_HOME="+u.cluster.dir,
		"HELM_CONFIG_HOME="+u.cluster.dir,
		"HELM_DATA_HOME="+u.cluster.dir)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil, fmt.Errorf("helm %s: %w: %s", args[0], err, bytes.TrimSpace(exit.Stderr))
	}
	return out, err
}

// Rules gives the PrometheusRule that the chart makes for this installation, as YAML. The cluster does not know its
// kind.
func (u *Unstuck) Rules(ctx context.Context, values string) ([]byte, error) {
	return u.output(ctx, values, "template", unstuckRelease, filepath.Join(u.root, "charts", "unstuck"), "--namespace",
		u.Namespace,
		"--values", "-", "--set", "image.repository="+artifact.UnstuckImage, "--set", "rules.enabled=true",
		"--show-only", "templates/prometheusrule.yaml")
}

// ForwardMetrics makes a replica's metrics reachable from this machine, at the address that it gives.
func (u *Unstuck) ForwardMetrics(ctx context.Context, pod *corev1.Pod) (string, error) {
	return u.cluster.Forward(ctx, "127.0.0.1:0", net.JoinHostPort(pod.Status.PodIP, unstuckMetrics))
}

// Forward makes a port of Unstuck's Service, by its name, reachable from this machine: Forwarded says where.
func (u *Unstuck) Forward(ctx context.Context, port string) error {
	service, err := u.cluster.Kubernetes.CoreV1().Services(u.Namespace).Get(ctx, unstuckRelease, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, p := range service.Spec.Ports {
		if p.Name != port {
			continue
		}
		at, err := u.cluster.Forward(ctx, "127.0.0.1:0", net.JoinHostPort(service.Spec.ClusterIP, strconv.Itoa(int(p.Port))))
		if err != nil {
			return err
		}
		return os.WriteFile(u.cluster.forwarded(port), []byte(at), 0o644)
	}
	return fmt.Errorf("forward Unstuck's port %s: its Service has none of that name", port)
}

// Forwarded gives the address on this machine at which a port of Unstuck's is reached, if it was forwarded.
func (c *Cluster) Forwarded(port string) (string, error) {
	at, err := os.ReadFile(c.forwarded(port))
	return string(at), err
}

func (c *Cluster) forwarded(port string) string { return filepath.Join(c.dir, "unstuck-"+port) }

// Pods gives the replicas that are not on their way out, by name.
func (u *Unstuck) Pods(ctx context.Context) ([]corev1.Pod, error) {
	list, err := u.cluster.Kubernetes.CoreV1().Pods(u.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: "app.kubernetes.io/instance=" + unstuckRelease,
	})
	if err != nil {
		return nil, err
	}
	pods := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return pods, nil
}

// Leader gives the replica that holds the lease; nil if none does.
func (u *Unstuck) Leader(ctx context.Context) (*corev1.Pod, error) {
	lease, err := u.cluster.Kubernetes.CoordinationV1().Leases(u.Namespace).Get(ctx, "unstuck", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	pods, err := u.Pods(ctx)
	if err != nil || lease.Spec.HolderIdentity == nil {
		return nil, err
	}
	for _, p := range pods {
		if strings.HasPrefix(*lease.Spec.HolderIdentity, p.Name+"-") {
			return &p, nil
		}
	}
	return nil, nil
}

// Kill ends a replica's process with SIGKILL, as if its host had lost power.
func (u *Unstuck) Kill(pod *corev1.Pod) error {
	pids, err := u.cluster.processes(pod, "unstuck", "unstuck")
	if err != nil {
		return err
	}
	if len(pids) != 1 {
		return fmt.Errorf("kill %s: it has %d processes", pod.Name, len(pids))
	}
	return syscall.Kill(pids[0], syscall.SIGKILL)
}

// Logs gives what a replica has logged, up to lines of it.
func (u *Unstuck) Logs(ctx context.Context, pod string, lines int64) (string, error) {
	return u.cluster.Logs(ctx, u.Namespace, pod, "unstuck", lines)
}

// API asks a replica's API and reads the answer into v.
func (u *Unstuck) API(ctx context.Context, pod *corev1.Pod, path string, v any) error {
	body, err := u.get(ctx, pod, unstuckAPI, path)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}

// Service gives a client that reaches Unstuck's API by its Service, whatever the host in the address: each request
// may come to another replica.
func (u *Unstuck) Service(ctx context.Context) (*http.Client, error) {
	service, err := u.cluster.Kubernetes.CoreV1().Services(u.Namespace).Get(ctx, unstuckRelease, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("find Unstuck's Service: %w", err)
	}
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return u.cluster.Dial(ctx, net.JoinHostPort(service.Spec.ClusterIP, unstuckAPI))
		},
		DisableKeepAlives: true,
	}}, nil
}

// Metrics gives a replica's metrics, in text.
func (u *Unstuck) Metrics(ctx context.Context, pod *corev1.Pod) (string, error) {
	body, err := u.get(ctx, pod, unstuckMetrics, "/metrics")
	return string(body), err
}

func (u *Unstuck) get(ctx context.Context, pod *corev1.Pod, port, path string) ([]byte, error) {
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return u.cluster.Dial(ctx, address) },
		// One connection for one question: the replica may be another the next time.
		DisableKeepAlives: true,
	}}
	url := "http://" + net.JoinHostPort(pod.Status.PodIP, port) + path
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if u.Token != "" {
		request.Header.Set("Authorization", "Bearer "+u.Token)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %s", url, response.Status, bytes.TrimSpace(body))
	}
	return body, err
}
