// Package apiserver is what both halves need of a Kubernetes API server: the connection, with its allowances of
// requests; which permissions are needed, and which are missing; commands, logs, Secrets and documents in ConfigMaps;
// and the lock on a namespace, by which deploys and deletions wait for each other.
package apiserver

import (
	"cmp"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/klog/v2"
)

// Timeout bounds one request to the API server, except for watches, logs and commands.
const Timeout = 5 * time.Second

// Options say which cluster to talk to, and how.
type Options struct {
	Kubeconfig string // a file; empty: the service account of the pod that we run in
	Context    string // of the kubeconfig; empty: its current one
	Namespace  string // of our own state; empty: that of the service account or of the context

	// QPS is how many requests there may be a second, on average; 50 if zero. As many more may be for reviews; Leases have
	// an allowance of their own.
	QPS   int
	Burst int // and at once; 100 if zero

	UserAgent string // by which the API server's log tells us apart; unstuck if empty
}

// Conn is a connection to one cluster.
type Conn struct {
	API

	Commands *Commands
	Log      *slog.Logger
	// Resources reads resources of kinds that no client of API is for; nil: there is no such client.
	Resources dynamic.Interface

	namespace string

	mu    sync.Mutex
	needs []*func(Need) // each by its address, by which it is withdrawn
}

var setLogger sync.Once

// Connect makes a connection. It reads the configuration and does not talk to the cluster yet.
func Connect(o Options, log *slog.Logger) (*Conn, error) {
	config, namespace, err := load(o)
	if err != nil {
		return nil, fmt.Errorf("connect to Kubernetes: %w", err)
	}
	// client-go logs to a logger of its own, straight to standard error. This is the one way to have it use ours, and it
	// must not be set anew while a client is at work.
	setLogger.Do(func() { klog.SetSlogLogger(log) })
	config.QPS, config.Burst = float32(o.QPS), o.Burst
	config.UserAgent = cmp.Or(o.UserAgent, "unstuck")
	config.WarningHandler = rest.NoWarnings{} // they would be logged again with each request
	return ForConfig(config, namespace, log)
}

// ForConfig makes a connection with a configuration of client-go's, and has all its clients share one allowance of
// requests; a QPS below zero is no bound.
func ForConfig(config *rest.Config, namespace string, log *slog.Logger) (*Conn, error) {
	config = rest.CopyConfig(config)
	if config.QPS >= 0 {
		config.QPS, config.Burst = cmp.Or(config.QPS, 50), cmp.Or(config.Burst, 100)
		config.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(config.QPS, config.Burst)
	}
	set, err := NewClientSet(config)
	if err != nil {
		return nil, fmt.Errorf("connect to Kubernetes: %w", err)
	}
	conn := New(set, namespace, &dialer{config: config, pods: set.CoreV1().RESTClient()}, log)
	// It speaks JSON alone, and shares the allowance of requests.
	if conn.Resources, err = dynamic.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("connect to Kubernetes: %w", err)
	}
	return conn, nil
}

// New makes a connection of its parts.
func New(api API, namespace string, s Streamer, log *slog.Logger) *Conn {
	return &Conn{API: api, Commands: &Commands{streamer: s}, Log: log, namespace: namespace}
}

// Namespace is the one that our own state lives in.
func (c *Conn) Namespace() string { return c.namespace }

// load reads the configuration, and finds out in which namespace we are. What it gives is ours to change.
func load(o Options) (config *rest.Config, namespace string, err error) {
	// With no file at all, the loader falls back to the service account of the pod.
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: o.Kubeconfig}
	overrides := &clientcmd.ConfigOverrides{CurrentContext: o.Context}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	if config, err = loader.ClientConfig(); err != nil {
		return nil, "", err
	}
	if namespace = o.Namespace; namespace == "" {
		if namespace, _, err = loader.Namespace(); err != nil {
			return nil, "", err
		}
	}
	return rest.CopyConfig(config), namespace, nil
}
