package cluster

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cjworkbench/unstuck/e2e/artifact"
)

// The names of a broker: production's.
const (
	Namespace  = "production"
	BrokerName = "rabbitmq-1-rabbitmq" // of the StatefulSet; the Secret's is this and "-secret"
	Container  = "rabbitmq"
	User       = "rabbit"
	Selector   = "app.kubernetes.io/name=rabbitmq-1,app.kubernetes.io/component=rabbitmq-server"
)

// BrokerOptions says which broker to start. The zero value gives three nodes of RabbitMQ 4.0.
type BrokerOptions struct {
	Namespace        string        // default Namespace; there is one broker in each
	Resource         string        // the RabbitmqCluster whose broker it is, by the operator's names; default none
	Version          string        // of RabbitMQ; default 4.0
	Replicas         int           // default 3
	Grace            time.Duration // for a pod to end; default 180 s, as in production
	PreStop          string        // a shell command; default none, as in production
	HandshakeTimeout time.Duration // default RabbitMQ's own, 10 s
	// readiness and liveness by `rabbitmqctl status` every 90 s; default: cheaper and quicker
	ProductionChecks bool
}

// Broker is a RabbitMQ cluster in pods.
type Broker struct {
	BrokerOptions

	cluster  *Cluster
	password string
}

//go:embed broker.yaml
var brokerYAML string

// StartBroker starts a broker and returns once all nodes accept logins and are in one cluster. Of a broker that was
// there in the same namespace nothing remains.
func (c *Cluster) StartBroker(ctx context.Context, o BrokerOptions) (*Broker, error) {
	if o.Namespace == "" {
		o.Namespace = Namespace
	}
	if o.Version == "" {
		o.Version = "4.0"
	}
	if o.Replicas == 0 {
		o.Replicas = 3
	}
	if o.Grace == 0 {
		o.Grace = 180 * time.Second
	}
	if o.HandshakeTimeout == 0 {
		o.HandshakeTimeout = 10 * time.Second
	}
	b := &Broker{BrokerOptions: o, cluster: c, password: rand.Text()}
	if err := b.Stop(ctx); err != nil {
		return nil, err
	}
	for _, pod := range b.Pods() { // the containers' user has another number in each image: all may write
		dir := filepath.Join(b.dataDir(), pod)
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o777)); err != nil {
			return nil, fmt.Errorf("start a broker: %w", err)
		}
	}
	manifests, err := b.manifests()
	if err != nil {
		return nil, fmt.Errorf("start a broker: %w", err)
	}
	if err := c.Apply(ctx, manifests); err != nil {
		return nil, fmt.Errorf("start a broker: %w", err)
	}
	return b, b.WaitReady(ctx)
}

// OpenBroker gives the broker that runs in a namespace.
func (c *Cluster) OpenBroker(ctx context.Context, namespace string) (*Broker, error) {
	set, err := c.Kubernetes.AppsV1().StatefulSets(namespace).Get(ctx, BrokerName, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("open the broker: %w", err)
	}
	secret, err := c.Kubernetes.CoreV1().Secrets(namespace).Get(ctx, BrokerName+"-secret", metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("open the broker: %w", err)
	}
	return &Broker{
		BrokerOptions: BrokerOptions{Namespace: namespace, Replicas: int(*set.Spec.Replicas)},
		cluster:       c, password: string(secret.Data["rabbitmq-pass"]),
	}, nil
}

func (b *Broker) manifests() (string, error) {
	pods, err := json.Marshal(b.labels())
	if err != nil {
		return "", err
	}
	return fill("broker", brokerYAML, struct {
		*Broker
		Labels, Password, Cookie, Image string
	}{b, string(pods), b.password, rand.Text(), artifact.RabbitMQImage(b.Version)}, nil)
}

// Name gives the name of the broker's StatefulSet.
func (b *Broker) Name() string {
	if b.Resource != "" {
		return b.Resource + "-server"
	}
	return BrokerName
}

// labels gives the labels of the broker's pods, which are its selector as well.
func (b *Broker) labels() labels.Set {
	if b.Resource != "" {
		return labels.Set{
			"app.kubernetes.io/name": b.Resource, "app.kubernetes.io/component": "rabbitmq",
			"app.kubernetes.io/part-of": "rabbitmq",
		}
	}
	return labels.Set{"app.kubernetes.io/name": "rabbitmq-1", "app.kubernetes.io/component": "rabbitmq-server"}
}

// Pods gives the names of the broker's pods, in order.
func (b *Broker) Pods() []string {
	var pods []string
	for i := range b.Replicas {
		pods = append(pods, fmt.Sprintf("%s-%d", b.Name(), i))
	}
	return pods
}

// Erlang gives the name of a pod's node among Erlang nodes.
func (b *Broker) Erlang(pod string) string {
	return fmt.Sprintf("rabbit@%s.%s-headless.%s.svc.cluster.local", pod, b.Name(), b.Namespace)
}

// Password gives the password of User that the broker was started with, which its Secret has.
func (b *Broker) Password() string { return b.password }

// dataDir is where the nodes' data is; it outlives pods.
func (b *Broker) dataDir() string { return filepath.Join(b.cluster.dir, brokers, b.Namespace) }

// Stop deletes the broker and its data, without grace: frozen and wedged nodes end too.
func (b *Broker) Stop(ctx context.Context) error {
	c, now := b.cluster, int64(0)
	err := c.Kubernetes.AppsV1().StatefulSets(b.Namespace).Delete(ctx, b.Name(), metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("stop the broker: %w", err)
	}
	err = until(ctx, "the broker's pods to end", func(ctx context.Context) error {
		pods, err := c.Kubernetes.CoreV1().Pods(b.Namespace).List(ctx, metav1.ListOptions{LabelSelector: b.labels().String()})
		if err != nil {
			return err
		}
		var errs []error
		for _, pod := range pods.Items {
			err := c.Kubernetes.CoreV1().Pods(b.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
			if !apierrors.IsNotFound(err) {
				errs = append(errs, fmt.Errorf("%s is still there: %w", pod.Name, errors.Join(err, errRemains)))
			}
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("stop the broker: %w", err)
	}
	// The kubelet may still be ending the processes of pods that are gone, and they may still write.
	return until(ctx, "the broker's data to be removed", func(context.Context) error { return os.RemoveAll(b.dataDir()) })
}

var errRemains = errors.New("it remains")

// WaitReady waits until each node accepts logins and all are in one cluster.
func (b *Broker) WaitReady(ctx context.Context) error {
	for _, pod := range b.Pods() {
		if _, err := b.cluster.WaitPod(ctx, b.Namespace, pod, Ready); err != nil {
			return err
		}
		if err := b.WaitLogin(ctx, pod); err != nil {
			return err
		}
	}
	return until(ctx, "the nodes to form a cluster", b.clustered)
}

// WaitLogin waits until a node accepts logins.
func (b *Broker) WaitLogin(ctx context.Context, pod string) error {
	return until(ctx, pod+" to accept logins", func(ctx context.Context) error { return b.Login(ctx, pod) })
}

// loginTimeout is ample for a node that is healthy.
const loginTimeout = 5 * time.Second

// Login logs in to a node once, with the password that the broker was started with.
func (b *Broker) Login(ctx context.Context, pod string) error {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	p, err := b.Pod(ctx, pod)
	if err != nil {
		return err
	}
	if p.Status.PodIP == "" {
		return fmt.Errorf("log in to %s: it has no address yet", pod)
	}
	socket, err := b.cluster.Dial(ctx, net.JoinHostPort(p.Status.PodIP, "5672"))
	if err != nil {
		return fmt.Errorf("log in to %s: %w", pod, err)
	}
	defer socket.Close()
	// The library knows no contexts, and may wait for ever: closing the socket ends whatever it does.
	defer context.AfterFunc(ctx, func() { _ = socket.Close() })()
	conn, err := amqp.Open(socket, amqp.Config{
		SASL: []amqp.Authentication{&amqp.PlainAuth{Username: User, Password: b.password}}, Vhost: "/",
		Properties: amqp.Table{"connection_name": "unstuck e2e", "product": "unstuck"},
	})
	if err == nil {
		err = conn.Close()
	}
	if err != nil && ctx.Err() != nil { // the library gives a wrong reason for a timeout
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("log in to %s: %w", pod, err)
	}
	return nil
}

// clustered is nil if all nodes run in one cluster.
func (b *Broker) clustered(ctx context.Context) error {
	out, err := b.exec(ctx, b.Pods()[0], "rabbitmqctl", "--quiet", "cluster_status", "--formatter", "json")
	if err != nil {
		return err
	}
	var status struct {
		Running []string `json:"running_nodes"`
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return fmt.Errorf("read the cluster's status: %w", err)
	}
	for _, pod := range b.Pods() {
		if !slices.Contains(status.Running, b.Erlang(pod)) {
			return fmt.Errorf("%s does not see %s, but %v", b.Pods()[0], pod, status.Running)
		}
	}
	return nil
}

// Pod gives a pod of the broker as it is now.
func (b *Broker) Pod(ctx context.Context, name string) (*corev1.Pod, error) {
	return b.cluster.Pod(ctx, b.Namespace, name)
}

// Delete deletes a pod of the broker that has the UID, with a grace period, as an administrator would.
func (b *Broker) Delete(ctx context.Context, pod string, uid types.UID, grace time.Duration) error {
	seconds := int64(grace.Seconds())
	return b.cluster.Kubernetes.CoreV1().Pods(b.Namespace).Delete(ctx, pod, metav1.DeleteOptions{
		GracePeriodSeconds: &seconds, Preconditions: metav1.NewUIDPreconditions(string(uid)),
	})
}

func (b *Broker) exec(ctx context.Context, pod string, argv ...string) (string, error) {
	return b.cluster.Exec(ctx, b.Namespace, pod, Container, argv...)
}
