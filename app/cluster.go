package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/kube"
	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/discover"
	"github.com/cjworkbench/unstuck/metrics"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
	"github.com/cjworkbench/unstuck/version"
)

// permissionsEvery is how often we look whether we may do what we need to.
const permissionsEvery = 5 * time.Minute

// cluster supplies the brokers and the applications that are pods, and reaches the clusters of the environments.
type cluster struct {
	*kube.Client // our own

	others  map[string]*kube.Client // of environments, by place
	metrics *metrics.Metrics
	log     *slog.Logger
	changed chan struct{} // with room for one: other permissions are needed than before

	discovery *discover.Watcher // nil: nothing is looked for

	mu   sync.Mutex
	pods map[string][]*kube.Pods // by the name of the broker or application: behind the one that runs its successor
}

// newCluster reads how to reach the cluster. It asks nothing of it yet.
func newCluster(c *config.Config, m *metrics.Metrics, log *slog.Logger) (*cluster, error) {
	k := c.Kubernetes
	conn, err := apiserver.Connect(apiserver.Options{
		Kubeconfig: k.Kubeconfig, Context: k.Context, Namespace: k.Namespace, QPS: k.QPS, Burst: k.Burst,
		UserAgent: userAgent(),
	}, log)
	if err != nil {
		return nil, err
	}
	return &cluster{
		Client: kube.New(conn, kube.Options{Lease: k.Lease}), others: make(map[string]*kube.Client),
		pods: make(map[string][]*kube.Pods), metrics: m, log: log, changed: make(chan struct{}, 1),
	}, nil
}

func userAgent() string { return "unstuck/" + version.Current().Version }

// broker gives what is needed to watch a broker: its pods, or the nodes that are listed.
func (c *cluster) broker(b config.Broker) (Supplier, error) {
	user := ""
	if b.Secret != nil {
		var err error
		if user, err = b.User(); err != nil {
			return Supplier{}, err
		}
	}
	s := Supplier{World: fixedNodes{nodes: b.Nodes, isLeader: c.IsLeader}, giveBack: func() {}}
	if b.Pods != nil {
		pods, giveBack, err := c.watch(b.Name, *b.Pods, false, b.Policy, c.confirmed(b))
		if err != nil {
			return Supplier{}, err
		}
		s = Supplier{
			World: pods, Exec: pods, Logs: pods, mayDelete: pods.MayDelete, namespace: pods.Namespace, giveBack: giveBack,
		}
	}
	c.logins(b, user, &s)
	return s, nil
}

// logins says how to log in to a broker's nodes: with what stands in files, or in Secrets. The user is the one that the
// configuration names.
func (c *cluster) logins(b config.Broker, user string, s *Supplier) {
	var read []*kube.SecretValues
	s.Credentials = b.Credentials
	s.trust = trustOf(b, func(namespace, name string, keys ...string) *kube.SecretValues {
		values := c.SecretValues(namespace, name, keys...)
		read = append(read, values)
		return values
	})
	if b.Secret != nil {
		namespace := b.Secret.Namespace
		if namespace == "" { // so they are pods
			namespace = b.Pods.Namespace
		}
		secret := c.Secret(kube.SecretRef{
			Namespace: namespace, Name: b.Secret.Name,
			UsernameKey: b.Secret.UsernameKey, PasswordKey: b.Secret.PasswordKey, Username: user,
		})
		s.Credentials, s.refused, s.loginErr = secret.Credentials, secret.Refused, secret.Err
		read = append(read, secret.SecretValues)
	}
	pods := s.giveBack
	s.giveBack = func() {
		for _, values := range read {
			values.Stop()
		}
		pods()
	}
}

// app gives what is needed to watch an application's pods.
func (c *cluster) app(a config.App) (Supplier, error) {
	pods, giveBack, err := c.watch(a.Name, a.Pods, true, a.Policy, kube.Target{})
	if err != nil {
		return Supplier{}, err
	}
	return Supplier{
		World: pods, Logs: pods, mayDelete: pods.MayDelete, namespace: pods.Namespace, giveBack: giveBack,
	}, nil
}

// watch begins to watch pods, until they are given back. Of found, what a resource says beside.
func (c *cluster) watch(
	name string, p config.Pods, app bool, policy decide.Policy, found kube.Target,
) (pods *kube.Pods, giveBack func(), err error) {
	pods, err = c.Watch(kube.Target{
		Name: name, Namespace: p.Namespace, Selector: p.Selector, Container: p.Container, Port: p.Port,
		App: app, Act: policy.Mode == decide.Remediate, SkipPreStopChecks: p.SkipPreStopChecks,
		Confirm: found.Confirm, Notes: found.Notes,
	})
	if err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pods[name] = append(c.pods[name], pods)
	c.lookAgain()
	return pods, func() {
		pods.Stop()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.pods[name] = slices.DeleteFunc(c.pods[name], func(p *kube.Pods) bool { return p == pods })
		if len(c.pods[name]) == 0 {
			delete(c.pods, name)
		}
		c.lookAgain()
	}, nil
}

// lookAgain has the permissions looked at soon: others may be needed now.
func (c *cluster) lookAgain() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// event tells of something that happened to n, in the cluster itself.
func (c *cluster) event(n target.Node, warning bool, reason, message string) {
	c.mu.Lock()
	var pods *kube.Pods
	if all := c.pods[n.Target]; len(all) > 0 {
		pods = all[0]
	}
	c.mu.Unlock()
	if pods != nil {
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
	for _, other := range c.others {
		group.Go(func() error { return other.Run(ctx) })
	}
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
	known := make(map[string][]auth.ResourceAttributes) // by place
	for {
		known[""] = c.checkIn(ctx, c.Client, "", known[""])
		for where, client := range c.others {
			known[where] = c.checkIn(ctx, client, where, known[where])
		}
		if ctx.Err() != nil {
			return
		}
		c.metrics.PermissionsMissing(slices.Concat(slices.Collect(maps.Values(known))...))
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-c.changed:
		}
	}
}

// checkIn looks which permissions are missing in one cluster, and tells of those that are not among the known ones. If
// that cannot be told it is as it was.
func (c *cluster) checkIn(
	ctx context.Context, client *kube.Client, where string, known []auth.ResourceAttributes,
) []auth.ResourceAttributes {
	log := c.log
	if where != "" {
		log = log.With("cluster", where)
	}
	missing, err := client.Check(ctx)
	if ctx.Err() != nil {
		return known
	}
	if err != nil {
		log.Warn("cannot tell which permissions are missing", "error", err.Error())
		return known
	}
	for _, m := range missing {
		if !slices.Contains(known, m) {
			log.Error("a permission is missing", "verb", m.Verb, "resource", m.Path(), "namespace", m.Namespace, "name",
				m.Name)
		}
	}
	if len(missing) == 0 && len(known) > 0 {
		log.Info("no permission is missing any more")
	}
	return missing
}

// useCluster has the App keep its records in a Kubernetes, supplies it with the pods and has it serve the environments
// that are there. The reviews are what that cluster says of callers; nil: it is not to be asked.
func (a *App) useCluster(c *config.Config) (*auth.Reviews, error) {
	k, err := newCluster(c, a.metrics, a.log)
	if err != nil {
		return nil, err
	}
	a.keepRecords(c, store.New(k.Documents()), k.Documents(), k.IsLeader)
	a.around, a.kept = k.run, slog.String("namespace", k.Namespace())
	a.events, a.wants.suppliers, a.home = &events{event: k.event}, k, k.Namespace()
	a.discover(c, k)
	a.serveManual(k.Documents())
	if err := a.serveReleases(c, k); err != nil {
		return nil, err
	}
	return k.reviews(c, a.namespaceOf), nil
}

// namespaceOf gives the namespace of what is watched under that name: of nodes that are no pods there is nothing in the
// cluster but our records. Empty: nothing is.
func (a *App) namespaceOf(name string) string {
	w := a.fleet.find(name)
	if w == nil {
		return ""
	}
	return cmp.Or(w.namespace, a.home)
}
