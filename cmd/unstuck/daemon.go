package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/metrics"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
	"github.com/cjworkbench/unstuck/ui"
)

// supplier is where a broker's nodes come from, and what can be done to them.
type supplier struct {
	remediate.World

	exec        target.Execer    // nil: commands cannot be run next to the nodes
	logs        target.LogReader // nil: their logs cannot be read
	credentials func(context.Context) (target.Credentials, error)
	refused     func()       // nil, or told that a login with the credentials was refused
	loginErr    func() error // nil, or why the credentials cannot be read

	// mayDelete, if not nil, names what is not allowed of what a deletion needs.
	mayDelete func(context.Context) ([]apiserver.Missing, error)
}

// incidentsFor is for how long the incidents that were read are shown: whoever asks for them again and again costs one read.
const incidentsFor = 2 * time.Second

// daemon is everything that runs: a runner and a loop for each broker, what carries out operations, and the two listeners.
type daemon struct {
	metrics *metrics.Metrics
	store   remediate.Store
	log     *slog.Logger
	hosts   remediate.Hosts
	targets []*watched // and applications

	api    api
	pulse  *ui.Pulse
	beside []func(context.Context) error // what else runs, and ends with the rest

	// around, if not nil, runs as long as anything else does: it begins before, and ends after.
	around func(context.Context) error
	// recorder, if not nil, is told of every reconcile and deletion, besides the metrics.
	recorder remediate.Recorder
	// observer, if not nil, is told of everything besides the metrics. The demo shows it.
	observer observer
}

// observer is told what happens as it happens, from many goroutines.
type observer interface {
	remediate.Recorder
	ProbeDone(r probe.Result)
}

// watched is one broker, or one application, that is watched.
type watched struct {
	refused    func()                                             // nil, or told that a login was refused
	mayDelete  func(context.Context) ([]apiserver.Missing, error) // nil: it needs no permission
	runner     *probe.Runner
	loop       *remediate.Loop
	baselines  probe.Baselines
	handshakes probe.Handshakes

	mu     sync.Mutex
	logins map[string]goodLogin // by the node's name, and so no more of them than there ever were names
	hinted map[string]time.Time // likewise: when a silent login last had maybe_stuck run
}

// goodLogin is our latest to a node. The log of a container that started again in the same pod does not have it.
type goodLogin struct {
	uid         string
	nodeStarted time.Time
	began       time.Time
}

func newDaemon(store remediate.Store, log *slog.Logger) *daemon {
	return &daemon{metrics: metrics.New(currentVersion().Version), store: store, log: log, pulse: ui.NewPulse()}
}

// watch adds a broker, whose nodes s supplies.
func (d *daemon) watch(b config.Broker, s supplier) error {
	if s.loginErr == nil && s.credentials != nil {
		c := &credentials{read: s.credentials}
		s.credentials, s.loginErr = c.get, c.err
	}
	w := &watched{logins: make(map[string]goodLogin), hinted: make(map[string]time.Time)}
	probes, err := w.probes(b, s, d.log.With("target", b.Name))
	if err != nil {
		return fmt.Errorf("broker %s: %w", b.Name, err)
	}
	w.refused = s.refused
	d.add(w, b.Name, b.Policy, probes, s)
	return nil
}

// watchApp adds an application, whose pods s supplies.
func (d *daemon) watchApp(a config.App, s supplier) {
	run := probe.NewLogAge(s.logs, probe.LogAgeOptions{MaxAge: a.MaxAge})
	d.add(&watched{}, a.Name, a.Policy, []probe.Probe{{Kind: probe.LogAge, Run: run, Schedule: a.Every.Schedule}}, s)
}

// add makes w watch the nodes that s supplies.
func (d *daemon) add(w *watched, name string, policy decide.Policy, probes []probe.Probe, s supplier) {
	log := d.log.With("target", name)
	w.runner = probe.NewRunner(probe.RunnerOptions{Probes: probes, Log: log, Sink: func(r probe.Result) {
		log.Debug("probe done", "node", r.Node, "probe", r.Kind, "reason", r.Reason, "took_seconds", r.Took.Seconds(), "detail", r.Detail)
		w.noteLogin(r)
		w.baselines.Observe(r)
		d.metrics.ProbeDone(r)
		d.pulse.ProbeDone(r)
		if d.observer != nil {
			d.observer.ProbeDone(r)
		}
		w.loop.Deliver(r)
	}})
	all := recorders{d.metrics, d.pulse}
	if d.recorder != nil {
		all = append(all, d.recorder)
	}
	if d.observer != nil {
		all = append(all, d.observer)
	}
	w.loop = remediate.NewLoop(remediate.Options{
		Target: name, Policy: policy, World: s.World, Runner: w.runner, Store: d.store, Exec: s.exec, Logs: s.logs,
		Hosts: &d.hosts, Recorder: all, Log: d.log, Targets: d.names, LoginError: s.loginErr,
	})
	w.mayDelete = s.mayDelete
	d.metrics.Watch(name)
	d.targets = append(d.targets, w)
}

// probes are the probes that b's configuration asks for and s makes possible.
func (w *watched) probes(b config.Broker, s supplier, log *slog.Logger) ([]probe.Probe, error) {
	tlsConfig, err := b.TLSConfig()
	if err != nil {
		return nil, err
	}
	login := probe.LoginOptions{
		Vhost: b.Vhost, Credentials: s.credentials, TLS: tlsConfig, HandshakeTimeout: b.HandshakeTimeout,
		Timeout: b.Probes.Login.Timeout, Version: currentVersion().Version,
	}
	if s.exec != nil {
		login.Handshake, login.Silent = w.handshakes.For, w.silent
	}
	roundtrip := login
	roundtrip.Level, roundtrip.Timeout = probe.Roundtrip, b.Probes.Roundtrip.Timeout
	p := b.Probes
	probes := []probe.Probe{
		{
			Kind: probe.Login, Run: probe.NewLogin(login), Schedule: p.Login.Every.Schedule, Timeout: login.Longest(),
			Suspect: p.Login.WhileSuspect, Confirmed: p.Login.WhileConfirmed,
		},
		// Not more often while suspect: the loop asks for more where it is the round trip that hangs.
		{
			Kind: probe.Roundtrip, Run: probe.NewLogin(roundtrip), Schedule: p.Roundtrip.Every.Schedule,
			Timeout: roundtrip.Longest(), First: time.Minute,
		},
	}
	if p.Roundtrip.Every.Schedule == nil {
		probes = probes[:1]
	}
	if s.exec != nil {
		run := probe.NewMaybeStuck(s.exec, probe.MaybeStuckOptions{
			// What exec starts lives on when we leave, so the command's own deadline comes before ours.
			Baselines: &w.baselines, ExecTimeout: p.MaybeStuck.Timeout, CommandTimeout: min(30*time.Second, p.MaybeStuck.Timeout*2/3),
			Limits: probe.StuckLimits{AboveBaseline: p.MaybeStuck.AboveBaseline, Share: p.MaybeStuck.Share},
		})
		probes = append(probes, probe.Probe{
			Kind: probe.MaybeStuck, Run: w.askHandshake(s.exec, run, b.HandshakeTimeout, log), Schedule: p.MaybeStuck.Every.Schedule,
			Timeout: p.MaybeStuck.Timeout + probe.AskTimeout, First: 2 * time.Minute,
		})
	}
	if s.logs != nil && p.Log.Every.Schedule != nil {
		run := probe.NewLogAge(s.logs, probe.LogAgeOptions{MaxAge: p.Log.MaxAge, LastLogin: w.lastLogin})
		probes = append(probes, probe.Probe{Kind: probe.LogAge, Run: run, Schedule: p.Log.Every.Schedule})
	}
	return probes, nil
}

func (w *watched) noteLogin(r probe.Result) {
	if r.Reason == probe.AccessRefused && w.refused != nil {
		w.refused()
	}
	if r.Kind == probe.Login && r.Status() == probe.Healthy {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.logins[r.Node] = goodLogin{uid: r.UID, nodeStarted: r.NodeStarted, began: r.Started}
	}
}

func (w *watched) lastLogin(n target.Node) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.logins[n.Name]; l.uid == n.UID && l.nodeStarted.Equal(n.Started) {
		return l.began
	}
	return time.Time{}
}

// run runs the daemon until ctx ends. It closes the listeners.
func (d *daemon) run(ctx context.Context, listeners listeners) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var around errgroup.Group
	outlasting, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	if d.around != nil {
		around.Go(func() error {
			defer cancel() // nothing goes on without it
			return d.around(outlasting)
		})
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, w := range d.targets {
		group.Go(func() error { return w.runner.Run(ctx) })
		group.Go(func() error { return w.loop.Run(ctx) })
	}
	for _, run := range d.beside {
		group.Go(func() error { return run(ctx) })
	}
	options := d.options()
	api := httpapi.New(options)
	page := ui.New(api, d.snapshots, d.pulse, d.log)
	ops := httpapi.NewOps(options.Brokers, d.metrics.Handler(), d.log)
	group.Go(func() error {
		return httpapi.Serve(ctx, d.log,
			httpapi.Server{Name: "metrics", Listener: listeners.metrics, Handler: ops},
			httpapi.Server{Name: "api", Listener: listeners.api, Handler: api.Handler(page), TLS: d.api.tls})
	})
	err := group.Wait()
	end()
	return errors.Join(err, around.Wait())
}

func (d *daemon) snapshots() []remediate.Snapshot {
	all := make([]remediate.Snapshot, len(d.targets))
	for i, w := range d.targets {
		all[i] = w.loop.Snapshot()
	}
	return all
}

// names gives the names of all that is watched.
func (d *daemon) names() []string {
	all := make([]string, len(d.targets))
	for i, w := range d.targets {
		all[i] = w.loop.Target
	}
	return all
}

// recorders tells each of them.
type recorders []remediate.Recorder

func (rs recorders) Reconciled(s remediate.Snapshot) {
	for _, r := range rs {
		r.Reconciled(s)
	}
}

func (rs recorders) Deleted(a decide.Deletion) {
	for _, r := range rs {
		r.Deleted(a)
	}
}

func (rs recorders) Settled(a decide.Deletion) {
	for _, r := range rs {
		r.Settled(a)
	}
}
