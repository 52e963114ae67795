// Package app is the daemon: one wiring of probes, decisions, records, metrics, operations and the API, whatever
// supplies the nodes: the configuration itself, a Kubernetes, or the lab of the demo.
package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/metrics"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/ui"
	"github.com/cjworkbench/unstuck/version"
)

// App is everything that runs: a runner and a loop for each broker, what carries out operations, and the two listeners.
type App struct {
	metrics *metrics.Metrics
	store   remediate.Store
	log     *slog.Logger
	hosts   remediate.Hosts
	wants   wants
	fleet   fleet
	found   found

	api    api
	pulse  *ui.Pulse
	beside []func(context.Context) error // what else runs, and ends with the rest

	// around, if not nil, runs as long as anything else does: it begins before, and ends after.
	around func(context.Context) error

	listeners listeners
	closers   []func()
	kept      slog.Attr // where the records are kept
	home      string    // our own namespace; empty: not in Kubernetes

	// events, if not nil, are told of every reconcile and deletion, besides the metrics.
	events *events
	// observer, if not nil, is told of everything besides the metrics. The demo shows it.
	observer Observer

	left sync.Map // the names of what was watched and is no longer
}

// Options are what an App is made of.
type Options struct {
	Config *config.Config
	Log    *slog.Logger
	// Level, if not nil, is the level of Log, which follows the configuration file.
	Level *slog.LevelVar

	// Supply, if not nil, gives what supplies a broker's nodes, in the place of their addresses in the configuration: the
	// lab's nodes, for example. Nothing is asked of a Kubernetes then.
	Supply func(config.Broker) Supplier
	// Observer, if not nil, is told of everything that happens.
	Observer Observer
}

// New does everything that can fail before an App begins to watch: it opens what the records are kept in, reads
// credentials, certificates and tokens, and listens. Run has to follow, which ends all of that.
func New(ctx context.Context, o Options) (_ *App, err error) {
	c := o.Config
	a := newApp(nil, o.Log)
	a.observer = o.Observer
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	var reviews *auth.Reviews
	if c.InCluster() && o.Supply == nil {
		reviews, err = a.useCluster(c)
	} else {
		err = a.useDir(c, o.Supply)
	}
	if err != nil {
		return nil, err
	}
	if err := a.apply(fromFile, wanted{c.Brokers, c.Apps}); err != nil {
		return nil, err
	}
	a.watchFiles(c)
	if err := a.openAPI(c, reviews); err != nil {
		return nil, err
	}
	if a.listeners, err = listen(ctx, c.Listen); err != nil {
		return nil, err
	}
	a.reload(c, cmp.Or(o.Level, new(slog.LevelVar)))
	a.tellAccess(c, a.APIAddr())
	a.log.With(a.kept).Info("watching", "brokers", len(c.Brokers), "apps", len(c.Apps), "environments",
		len(c.Environments),
		"metrics", a.MetricsAddr().String(), "api", a.APIAddr().String(), "version", version.Current().Version)
	return a, nil
}

func newApp(store remediate.Store, log *slog.Logger) *App {
	return &App{
		metrics: metrics.New(version.Current().Version), store: store, log: log, pulse: ui.NewPulse(),
		wants: wants{of: make(map[origin]wanted)}, fleet: fleet{log: log},
	}
}

// Run watches until ctx ends. It can be called once.
func (a *App) Run(ctx context.Context) error {
	defer a.close()
	err := a.run(ctx)
	a.log.Info("stopped")
	return err
}

// run runs the daemon until ctx ends. It closes the listeners.
func (a *App) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var around errgroup.Group
	outlasting, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	if a.around != nil {
		around.Go(func() error {
			defer cancel() // nothing goes on without it
			return a.around(outlasting)
		})
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.fleet.run(ctx) })
	for _, run := range a.beside {
		group.Go(func() error { return run(ctx) })
	}
	api, ready := a.halves()
	page := ui.New(api, a.snapshots, a.pulse, a.log)
	ops := httpapi.NewOps(ready, a.metrics.Handler(), a.log)
	group.Go(func() error {
		return httpapi.Serve(ctx, a.log,
			httpapi.Server{Name: "metrics", Listener: a.listeners.metrics, Handler: ops},
			httpapi.Server{
				Name: "api", Listener: a.listeners.api, Handler: api.Handler(page), TLS: a.api.tls, Proxies: a.api.Proxies,
			})
	})
	err := group.Wait()
	end()
	return errors.Join(err, around.Wait())
}

func (a *App) snapshots() []remediate.Snapshot {
	targets := a.fleet.all()
	all := make([]remediate.Snapshot, len(targets))
	for i, w := range targets {
		all[i] = w.loop.Snapshot()
	}
	return all
}

// known gives the names that a pause may have: of what is watched, of what was since the start, and of what was found
// and is not watched. A pause of a broker that is scaled to 0 is for that broker, and for no other.
func (a *App) known() []string {
	all := a.names()
	a.left.Range(func(name, _ any) bool {
		if s, ok := name.(string); ok && !slices.Contains(all, s) {
			all = append(all, s)
		}
		return true
	})
	for _, u := range a.found.told().Unwatched {
		if !slices.Contains(all, u.Target) {
			all = append(all, u.Target)
		}
	}
	return all
}

// names gives the names of all that is watched.
func (a *App) names() []string {
	targets := a.fleet.all()
	all := make([]string, len(targets))
	for i, w := range targets {
		all[i] = w.loop.Target
	}
	return all
}

// close gives back what New took.
func (a *App) close() {
	for _, c := range a.closers {
		c()
	}
}

// APIAddr is where the API and the status page are served.
func (a *App) APIAddr() net.Addr { return a.listeners.api.Addr() }

// MetricsAddr is where metrics and health are served.
func (a *App) MetricsAddr() net.Addr { return a.listeners.metrics.Addr() }

// NewLogger gives a logger as the configuration asks for it, and its level, which may be changed.
func NewLogger(l config.Log, out io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(l.Level)
	options := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(out, options)), level
	}
	return slog.New(slog.NewTextHandler(out, options)), level
}

// listeners are where the daemon is reached.
type listeners struct{ metrics, api net.Listener }

func listen(ctx context.Context, l config.Listen) (listeners, error) {
	var lc net.ListenConfig
	metrics, err := lc.Listen(ctx, "tcp", l.Metrics)
	if err != nil {
		return listeners{}, fmt.Errorf("listen for metrics: %w", err)
	}
	api, err := lc.Listen(ctx, "tcp", l.API)
	if err != nil {
		return listeners{}, errors.Join(fmt.Errorf("listen for the API: %w", err), metrics.Close())
	}
	return listeners{metrics: metrics, api: api}, nil
}
