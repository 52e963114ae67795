// Package kube supplies the nodes of brokers and the pods of applications from a Kubernetes cluster: what is known of
// them, commands and logs in their containers, and their guarded deletion. It also elects the replica that may act,
// reads credentials, keeps our documents, and tells people by Events what was done.
//
// It is the only importer of client-go. Whatever it cannot tell it leaves at the zero value, which closes a guard:
// knowledge that may be old is never given as new, and what leads to a deletion is read afresh right before it.
package kube

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/klog/v2"

	"github.com/cjworkbench/unstuck/release/plan"
)

// callTimeout bounds one request to the API server, except for watches, logs and commands.
const callTimeout = 5 * time.Second

// Options say which cluster to talk to, and how.
type Options struct {
	Kubeconfig string // a file; empty: the service account of the pod that we run in
	Context    string // of the kubeconfig; empty: its current one
	Namespace  string // of our own state; empty: that of the service account or of the context
	Lease      string // the name of the Lease that says which replica leads; unstuck if empty
	External   bool   // it is another cluster than our own, and none of our state is in it: only tells Check what is needed

	QPS   int // requests a second, on average; 50 if zero. As many more for reviews; Leases have an allowance of their own.
	Burst int // and at once; 100 if zero

	UserAgent string // by which the API server's log tells us apart; unstuck if empty
}

// Client is a connection to one cluster. Run keeps what it knows up to date.
type Client struct {
	api       api
	namespace string
	log       *slog.Logger
	campaign  *campaign
	events    *events
	commands  commands

	external bool // nothing of our own state is in this cluster

	mu           sync.Mutex
	running      bool
	spaces       map[string]*space // by namespace
	pods         []*Pods
	secrets      []SecretRef
	environments []plan.Environment
	reviews      bool // callers are asked about
}

var setLogger sync.Once

// Connect makes a client. It reads the configuration and does not talk to the cluster yet.
func Connect(o Options, log *slog.Logger) (*Client, error) {
	config, namespace, err := load(o)
	if err != nil {
		return nil, fmt.Errorf("connect to Kubernetes: %w", err)
	}
	// client-go logs to a logger of its own, straight to standard error. This is the one way to have it use ours, and it
	// must not be set anew while a client is at work.
	setLogger.Do(func() { klog.SetSlogLogger(log) })
	config = rateLimited(config, cmp.Or(o.QPS, 50), cmp.Or(o.Burst, 100))
	config.UserAgent = cmp.Or(o.UserAgent, "unstuck")
	config.WarningHandler = rest.NoWarnings{} // they would be logged again with each request
	set, err := newClientSet(config)
	if err != nil {
		return nil, fmt.Errorf("connect to Kubernetes: %w", err)
	}
	c := newClient(set, namespace, cmp.Or(o.Lease, "unstuck"), &dialer{config: config, pods: set.core.RESTClient()}, log)
	c.external = o.External
	return c, nil
}

// rateLimited has all clients that are made of config share one allowance of requests.
func rateLimited(config *rest.Config, qps, burst int) *rest.Config {
	config.QPS, config.Burst = float32(qps), burst
	config.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(config.QPS, config.Burst)
	return config
}

// load reads the configuration, and finds out in which namespace we are. What it gives is ours to change.
func load(o Options) (config *rest.Config, namespace string, err error) {
	// With no file at all, the loader falls back to the service account of the pod.
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: o.Kubeconfig}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.Context})
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

func newClient(a api, namespace, lease string, s streamer, log *slog.Logger) *Client {
	return &Client{
		api: a, namespace: namespace, log: log, spaces: make(map[string]*space),
		campaign: newCampaign(a, namespace, lease, log),
		events:   newEvents(a, log),
		commands: commands{streamer: s, running: make(map[string]*command)},
	}
}

// Namespace is the one that our own state lives in.
func (c *Client) Namespace() string { return c.namespace }

// Run keeps what is known of all that is watched up to date, and writes Events, until ctx ends. Then it writes the
// Events that still wait, and leaves the commands that still run to themselves. Everything must be watched before.
func (c *Client) Run(ctx context.Context) error {
	c.mu.Lock()
	if c.running {
		c.mu.Unlock()
		return errRunning
	}
	c.running = true
	var feeds []runner
	for _, s := range c.spaces {
		feeds = append(feeds, s.feeds()...)
	}
	for _, p := range c.pods {
		feeds = append(feeds, p.feed)
	}
	c.mu.Unlock()

	group, ctx := errgroup.WithContext(ctx)
	for _, f := range feeds {
		group.Go(func() error { f.run(ctx); return nil })
	}
	group.Go(func() error { c.events.run(ctx); return nil })
	group.Go(func() error { <-ctx.Done(); c.commands.stop(); return nil })
	return group.Wait()
}

// runner is a feed of any kind.
type runner interface{ run(ctx context.Context) }
