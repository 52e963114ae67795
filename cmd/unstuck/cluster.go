package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/kube"
	"github.com/cjworkbench/unstuck/metrics"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate"
)

// permissionsEvery is how often we look whether we may do what we need to.
const permissionsEvery = 5 * time.Minute

// cluster supplies the brokers and the applications that are pods.
type cluster struct {
	*kube.Client

	pods    map[string]*kube.Pods // by the name of the broker or application
	metrics *metrics.Metrics
	log     *slog.Logger
}

// newCluster reads how to reach the cluster. It asks nothing of it yet.
func newCluster(c *config.Config, m *metrics.Metrics, log *slog.Logger) (*cluster, error) {
	k := c.Kubernetes
	client, err := kube.Connect(kube.Options{
		Kubeconfig: k.Kubeconfig, Context: k.Context, Namespace: k.Namespace, Lease: k.Lease, QPS: k.QPS, Burst: k.Burst,
		UserAgent: "unstuck/" + currentVersion().Version,
	}, log)
	if err != nil {
		return nil, err
	}
	return &cluster{Client: client, pods: make(map[string]*kube.Pods), metrics: m, log: log}, nil
}

// broker gives what is needed to watch a broker's pods.
func (c *cluster) broker(b config.Broker) (supplier, error) {
	pods, err := c.watch(b.Name, *b.Pods, false, b.Policy)
	if err != nil {
		return supplier{}, err
	}
	s := supplier{World: pods, exec: pods, logs: pods, credentials: b.Credentials}
	if b.Secret == nil {
		return s, nil
	}
	user, err := b.User()
	if err != nil {
		return supplier{}, fmt.Errorf("broker %s: %w", b.Name, err)
	}
	secret := c.Secret(kube.SecretRef{
		Namespace: cmp.Or(b.Secret.Namespace, b.Pods.Namespace), Name: b.Secret.Name,
		UsernameKey: b.Secret.UsernameKey, PasswordKey: b.Secret.PasswordKey, Username: user,
	})
	s.credentials, s.refused = secret.Credentials, secret.Refused
	return s, nil
}

// app gives what is needed to watch an application's pods.
func (c *cluster) app(a config.App) (supplier, error) {
	pods, err := c.watch(a.Name, a.Pods, true, a.Policy)
	return supplier{World: pods, logs: pods}, err
}

func (c *cluster) watch(name string, p config.Pods, app bool, policy remediate.Policy) (*kube.Pods, error) {
	pods, err := c.Watch(kube.Target{
		Name: name, Namespace: p.Namespace, Selector: p.Selector, Container: p.Container, Port: p.Port,
		App: app, Act: policy.Mode == remediate.Remediate, SkipPreStopChecks: p.SkipPreStopChecks,
	})
	if err != nil {
		return nil, err
	}
	c.pods[name] = pods
	return pods, nil
}

// event tells of something that happened to n, in the cluster itself.
func (c *cluster) event(n probe.Node, warning bool, reason, message string) {
	if pods := c.pods[n.Broker]; pods != nil {
		pods.Event(n, warning, reason, message)
	}
}

// run keeps what is known of the cluster up to date, and campaigns for leadership, until ctx ends. That must not be
// before everything that acts has ended.
func (c *cluster) run(ctx context.Context) error {
	identity, err := identity()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.Run(ctx) })
	group.Go(func() error { return c.Lead(ctx, identity) })
	group.Go(func() error { c.checkPermissions(ctx); return nil })
	return group.Wait()
}

// identity is this process's alone: a replica that starts anew is another one.
func identity() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("find out who we are: %w", err)
	}
	return host + "-" + strings.ToLower(rand.Text()[:8]), nil
}

// checkPermissions looks again and again whether we may do what we need to, and names what is missing.
func (c *cluster) checkPermissions(ctx context.Context) {
	ticker := time.NewTicker(permissionsEvery)
	defer ticker.Stop()
	var known []kube.Missing
	for {
		missing, err := c.Check(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			c.log.Warn("cannot tell which permissions are missing", "error", err.Error())
		default:
			for _, m := range missing {
				if !slices.Contains(known, m) {
					c.log.Error("a permission is missing", "verb", m.Verb, "resource", m.Resource, "namespace", m.Namespace, "name", m.Name)
				}
			}
			if len(missing) == 0 && len(known) > 0 {
				c.log.Info("no permission is missing any more")
			}
			known = missing
			c.metrics.PermissionsMissing(permissions(missing))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func permissions(missing []kube.Missing) []metrics.Permission {
	all := make([]metrics.Permission, len(missing))
	for i, m := range missing {
		all[i] = metrics.Permission{Verb: m.Verb, Resource: m.Resource, Namespace: m.Namespace}
	}
	return all
}

// runInCluster is runDaemon where at least some nodes are pods: what must survive is kept in the cluster then.
func runInCluster(ctx context.Context, c *config.Config, log *slog.Logger) error {
	d := newDaemon(nil, log)
	k, err := newCluster(c, d.metrics, log)
	if err != nil {
		return err
	}
	d.store, d.around = remediate.NewStore(k.Shelf()), k.run
	d.recorder = &events{event: k.event}
	for _, b := range c.Brokers {
		s := supplier{World: fixedNodes{nodes: b.Nodes, leading: k.Leading}, credentials: b.Credentials}
		if b.Pods != nil {
			if s, err = k.broker(b); err != nil {
				return err
			}
		}
		if err := d.watch(b, s); err != nil {
			return err
		}
	}
	for _, a := range c.Apps {
		s, err := k.app(a)
		if err != nil {
			return err
		}
		d.watchApp(a, s)
	}
	l, err := listen(ctx, c.Listen)
	if err != nil {
		return err
	}
	log.Info("watching", "brokers", len(c.Brokers), "apps", len(c.Apps), "metrics", l.metrics.Addr().String(), "api", l.api.Addr().String(),
		"namespace", k.Namespace(), "version", currentVersion().Version)
	err = d.run(ctx, l)
	log.Info("stopped")
	return err
}
