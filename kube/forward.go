package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/cjworkbench/unstuck/kube/apiserver"
)

// ForwardOptions say in which cluster an Unstuck runs, and where in it.
type ForwardOptions struct {
	Kubeconfig string // a file; empty: what kubectl reads
	Context    string // of the kubeconfig; empty: its current one
	Namespace  string // of Unstuck; empty: unstuck
	UserAgent  string
}

// The Unstuck of a chart: what its pods are called by, and where its API listens if no port of theirs is named api.
const (
	ourLabel    = "app.kubernetes.io/name=unstuck"
	ourInstance = "app.kubernetes.io/instance"
	ourLease    = "unstuck"
	leaseNote   = "unstuck.cjworkbench.org/lease" // an annotation: the name of the Lease, if it is another
	ourPort     = 8080
)

// Forward is the way of somebody with a kubeconfig to the API of the Unstuck in their cluster: a connection to its pod
// as `kubectl port-forward` makes it, without a listener on this machine, and the token of the kubeconfig's user.
type Forward struct {
	api       apiserver.API
	config    *rest.Config
	namespace string
	dial      func(pod string) (httpstream.Connection, error)
	only      *Daemon // whose pods alone are connected to; nil: any that has the label
}

// NewForward reads the kubeconfig. It does not talk to the cluster yet. What client-go has to say goes to log.
func NewForward(o ForwardOptions, log *slog.Logger) (*Forward, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules,
		&clientcmd.ConfigOverrides{CurrentContext: o.Context})
	config, err := loader.ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("read the kubeconfig: there is none, or nothing in it: set KUBECONFIG, or give --kubeconfig")
	}
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	if config.Impersonate.UserName != "" {
		return nil,
			errors.New("the kubeconfig impersonates somebody, whom Unstuck would not know the caller as: use another context, " +
				"or --server and --token-file")
	}
	klog.SetSlogLogger(log)
	config = rest.CopyConfig(config)
	config.UserAgent, config.WarningHandler = cmp.Or(o.UserAgent, "unstuck"), rest.NoWarnings{}
	set, err := apiserver.NewClientSet(config)
	if err != nil {
		return nil, fmt.Errorf("connect to Kubernetes: %w", err)
	}
	f := &Forward{api: set, config: config, namespace: cmp.Or(o.Namespace, "unstuck")}
	f.dial = func(pod string) (httpstream.Connection, error) {
		return dialPod(config, set.CoreV1().RESTClient(), f.namespace, pod)
	}
	return f, nil
}

// Host is the name by which Unstuck's certificate knows it, if the API is served by TLS: that of its Service.
func (f *Forward) Host() string { return "unstuck." + f.namespace + ".svc" }

// Token gives the bearer token of the kubeconfig's user, however they come by it: a plugin is run for it. It is asked
// for anew each time, for tokens expire. It is empty for who has none: a client certificate, or a password, are between
// the user and the API server, and cannot be passed on.
func (f *Forward) Token(ctx context.Context) (string, error) {
	var seen authorization
	signed, err := rest.HTTPWrappersForConfig(f.config, &seen)
	if err != nil {
		return "", fmt.Errorf("read who the kubeconfig's user is: %w", err)
	}
	// This request is sent nowhere: all that comes of it is the header that would have been sent.
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://unstuck.invalid/", http.NoBody)
	if err != nil {
		return "", err
	}
	answer, err := signed.RoundTrip(r)
	if err != nil {
		return "", fmt.Errorf("get the token of the kubeconfig's user: %w", err)
	}
	_ = answer.Body.Close()
	token, _ := strings.CutPrefix(string(seen), "Bearer ")
	if token == string(seen) {
		return "", nil
	}
	return token, nil
}

// authorization is a RoundTripper that sends nothing, and remembers the header that it would have sent.
type authorization string

// RoundTrip implements http.RoundTripper.
func (a *authorization) RoundTrip(r *http.Request) (*http.Response, error) {
	*a = authorization(r.Header.Get("Authorization"))
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody,
		Request: r,
	}, nil
}

// DialContext connects to the API's port in a ready pod, whatever the address: that of the replica that leads, if that
// can be told, for it takes operations on. It looks for the pod anew each time, and so finds the successor of one that
// is gone.
func (f *Forward) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	chosen, port, err := f.find(ctx)
	if err != nil {
		return nil, fmt.Errorf("find Unstuck in namespace %s: %w", f.namespace, err)
	}
	pod := chosen.Name
	type dialled struct {
		httpstream.Connection
		err error
	}
	// The dialer takes no context, and may be a long time about it.
	result, gone := make(chan dialled), make(chan struct{})
	go func() {
		c, err := f.dial(pod)
		select {
		case result <- dialled{c, err}:
		case <-gone:
			if err == nil {
				_ = c.Close()
			}
		}
	}()
	select {
	case d := <-result:
		err = d.err
		if err == nil && f.only != nil {
			if err = f.still(ctx, pod, chosen.UID); err != nil {
				_ = d.Close()
			}
		}
		if err == nil {
			var conn net.Conn
			if conn, err = newForwarded(d.Connection, pod, port); err == nil {
				return conn, nil
			}
		}
	case <-ctx.Done():
		close(gone)
		err = context.Cause(ctx)
	}
	err = apiserver.Explain(err, "get", "pods/portforward", f.namespace)
	err = apiserver.Explain(err, "create", "pods/portforward", f.namespace)
	return nil, fmt.Errorf("forward a port of pod %s: %w", pod, err)
}

// ready gives the pods with Unstuck's label that are ready; an error if there is none.
func (f *Forward) ready(ctx context.Context) ([]corev1.Pod, error) {
	list, err := f.api.CoreV1().Pods(f.namespace).List(ctx, metav1.ListOptions{LabelSelector: ourLabel})
	if err != nil {
		return nil, apiserver.Explain(err, "list", "pods", f.namespace)
	}
	there := len(list.Items)
	ready := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		return p.DeletionTimestamp != nil || !slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
	})
	if len(ready) == 0 {
		return nil, fmt.Errorf("no pod labelled %s is ready, of %d there: give --namespace, --context or --server",
			ourLabel, there)
	}
	return ready, nil
}

// find gives the pod to talk to, and its port.
func (f *Forward) find(ctx context.Context) (chosen corev1.Pod, port int32, err error) {
	ctx, stop := context.WithTimeout(ctx, apiserver.Timeout)
	defer stop()
	ready, err := f.ready(ctx)
	if err == nil && f.only != nil {
		_, ready, err = f.daemons(ctx, ready)
	}
	if err != nil {
		return chosen, 0, err
	}
	for _, p := range ready {
		if one, other := ready[0].Labels[ourInstance], p.Labels[ourInstance]; one != other {
			return chosen, 0, fmt.Errorf("there are several, %s and %s: say which with --server", one, other)
		}
	}
	chosen = ready[0]
	// Who may not see the Lease talks to any replica.
	name := cmp.Or(chosen.Annotations[leaseNote], ourLease)
	if lease, err := f.api.CoordinationV1().Leases(f.namespace).Get(ctx, name, metav1.GetOptions{}); err == nil &&
		lease.Spec.HolderIdentity != nil {
		for _, p := range ready {
			if strings.HasPrefix(*lease.Spec.HolderIdentity, p.Name+"-") {
				chosen = p
			}
		}
	}
	for _, c := range chosen.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == "api" {
				return chosen, p.ContainerPort, nil
			}
		}
	}
	return chosen, ourPort, nil // it listens to its own pod only
}

// dialPod opens what connections to a pod's ports are made of: by WebSocket, and by SPDY where that is not understood.
func dialPod(config *rest.Config, pods rest.Interface, namespace, pod string) (httpstream.Connection, error) {
	url := pods.Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	socket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, config)
	if err != nil {
		return nil, err
	}
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	plain := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	// By SPDY a refusal has no status, only words: what the first was told is what is worth telling.
	var refusal error
	both := portforward.NewFallbackDialerForStreaming(socket, plain, func(err error) bool {
		if upgrade, ok := errors.AsType[*httpstream.UpgradeFailureError](err); ok {
			refusal = upgrade.Cause
			return true
		}
		return httpstream.IsHTTPSProxyError(err)
	})
	c, _, err := both.Dial(portforward.PortForwardProtocolV1Name)
	if _, told := errors.AsType[*apierrors.StatusError](refusal); err != nil && told {
		return nil, refusal
	}
	return c, err
}
