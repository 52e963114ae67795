package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/probe/login"
	"github.com/cjworkbench/unstuck/probe/stuck"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
	"github.com/cjworkbench/unstuck/version"
)

// Supplier is where a broker's nodes come from, and what can be done to them.
type Supplier struct {
	remediate.World

	Exec        target.Execer    // nil: commands cannot be run next to the nodes
	Logs        target.LogReader // nil: their logs cannot be read
	Credentials func(context.Context) (target.Credentials, error)
	refused     func()       // nil, or told that a login with the credentials was refused
	loginErr    func() error // nil, or why the credentials cannot be read
	trust       *login.Trust // nil: TLS comes from files, if there is any

	// mayDelete, if not nil, names what is not allowed of what a deletion needs.
	mayDelete func(context.Context) ([]auth.ResourceAttributes, error)

	source    target.Source // where the broker comes from
	namespace string        // of its pods; empty: they are none
	giveBack  func()        // nil, or gives back what was taken for this
}

// Observer is told what happens as it happens, from many goroutines.
type Observer interface {
	remediate.Recorder
	ProbeDone(r probe.Result)
}

// watched is one broker, or one application, that is watched.
type watched struct {
	spec      any    // what it was made of: a config.Broker or a config.App
	namespace string // of its pods; empty: they are none
	giveBack  func() // see Supplier
	life

	refused    func()                                                   // nil, or told that a login was refused
	mayDelete  func(context.Context) ([]auth.ResourceAttributes, error) // nil: it needs no permission
	trust      *login.Trust                                             // nil: no TLS
	runner     *probe.Runner
	loop       *remediate.Loop
	baselines  stuck.Baselines
	handshakes login.Handshakes

	mu     sync.Mutex
	logins map[string]goodLogin // by the node's name, and so no more of them than there ever were names
	hinted map[string]time.Time // likewise: when a silent login last had maybe_stuck run
}

// life is how far a target has come in its fleet.
type life struct {
	cancel context.CancelFunc // ends it; nil: it has not begun
	ended  chan struct{}      // closed when it has ended; nil: it has not begun
	over   bool               // it is to end, or not to begin
}

// goodLogin is our latest to a node. The log of a container that started again in the same pod does not have it.
type goodLogin struct {
	uid         string
	nodeStarted time.Time
	began       time.Time
}

// run runs the runner and the loop until ctx ends.
func (w *watched) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.runner.Run(ctx) })
	group.Go(func() error { return w.loop.Run(ctx) })
	return group.Wait()
}

// release gives back what was taken to supply it, once it has ended.
func (w *watched) release() {
	if w.giveBack != nil {
		w.giveBack()
	}
}

// watchedBroker makes what watches a broker, whose nodes s supplies.
func (a *App) watchedBroker(b config.Broker, s Supplier) *watched {
	if s.loginErr == nil && s.Credentials != nil {
		c := &credentials{read: s.Credentials}
		s.Credentials, s.loginErr = c.get, c.err
	}
	if s.trust == nil {
		s.trust = trustOf(b, nil)
	}
	w := &watched{
		logins: make(map[string]goodLogin), hinted: make(map[string]time.Time), refused: s.refused, trust: s.trust,
	}
	certificates := func() error { return nil }
	if s.trust != nil {
		certificates = s.trust.Err
	}
	s.loginErr = loginErrors(s.loginErr, certificates)
	s.source = b.Source
	return a.equip(w, b.Name, b.Policy, w.probes(b, s, a.log.With("target", b.Name)), s)
}

// watchedApp makes what watches an application, whose pods s supplies.
func (a *App) watchedApp(app config.App, s Supplier) *watched {
	run := probe.NewLogAge(s.Logs, probe.LogAgeOptions{MaxAge: app.MaxAge})
	return a.equip(&watched{}, app.Name, app.Policy,
		[]probe.Probe{{Kind: probe.LogAge, Run: run, Schedule: app.Every.Schedule}}, s)
}

// equip gives w what it takes to watch the nodes that s supplies.
func (a *App) equip(w *watched, name string, policy decide.Policy, probes []probe.Probe, s Supplier) *watched {
	log := a.log.With("target", name)
	w.runner = probe.NewRunner(probe.RunnerOptions{Probes: probes, Log: log, Sink: func(r probe.Result) {
		log.Debug("probe done", "node", r.Node, "probe", r.Kind, "reason", r.Reason, "took_seconds", r.Took.Seconds(),
			"detail", r.Detail)
		w.noteLogin(r)
		w.baselines.Observe(r)
		a.metrics.ProbeDone(r)
		a.pulse.ProbeDone(r)
		if a.observer != nil {
			a.observer.ProbeDone(r)
		}
		w.loop.Deliver(r)
	}})
	all := recorders{a.metrics, a.pulse}
	if a.events != nil {
		all = append(all, a.events)
	}
	if a.observer != nil {
		all = append(all, a.observer)
	}
	w.loop = remediate.NewLoop(remediate.Options{
		Target: name, Source: s.source, Policy: policy, World: s.World, Runner: w.runner, Store: a.store, Exec: s.Exec,
		Logs: s.Logs, Hosts: &a.hosts, Recorder: all, Log: a.log, Targets: a.known, LoginError: s.loginErr,
	})
	w.mayDelete, w.namespace, w.giveBack = s.mayDelete, s.namespace, s.giveBack
	return w
}

// probes are the probes that b's configuration asks for and s makes possible.
func (w *watched) probes(b config.Broker, s Supplier, log *slog.Logger) []probe.Probe {
	o := login.Options{
		Vhost: b.Vhost, Credentials: s.Credentials, External: b.AuthMechanism == config.External,
		HandshakeTimeout: b.HandshakeTimeout,
		Timeout:          b.Probes.Login.Timeout, Version: version.Current().Version,
	}
	if s.trust != nil {
		o.TLS = s.trust.Config
	}
	if s.Exec != nil {
		o.Handshake, o.Silent = w.handshakes.For, w.silent
	}
	roundtrip := o
	roundtrip.Level, roundtrip.Timeout = probe.Roundtrip, b.Probes.Roundtrip.Timeout
	p := b.Probes
	probes := []probe.Probe{
		{
			Kind: probe.Login, Run: login.New(o), Schedule: p.Login.Every.Schedule, Timeout: o.Longest(),
			Suspect: p.Login.WhileSuspect, Confirmed: p.Login.WhileConfirmed,
		},
		// Not more often while suspect: the loop asks for more where it is the round trip that hangs.
		{
			Kind: probe.Roundtrip, Run: login.New(roundtrip), Schedule: p.Roundtrip.Every.Schedule,
			Timeout: roundtrip.Longest(), First: time.Minute,
		},
	}
	if p.Roundtrip.Every.Schedule == nil {
		probes = probes[:1]
	}
	if s.Exec != nil {
		run := stuck.New(s.Exec, stuck.Options{
			// What exec starts lives on when we leave, so the command's own deadline comes before ours.
			Baselines: &w.baselines, ExecTimeout: p.MaybeStuck.Timeout,
			CommandTimeout: min(30*time.Second, p.MaybeStuck.Timeout*2/3),
			Limits:         stuck.Limits{AboveBaseline: p.MaybeStuck.AboveBaseline, Share: p.MaybeStuck.Share},
		})
		probes = append(probes, probe.Probe{
			Kind: probe.MaybeStuck, Run: w.askHandshake(s.Exec, run, b.HandshakeTimeout, log),
			Schedule: p.MaybeStuck.Every.Schedule,
			Timeout:  p.MaybeStuck.Timeout + login.AskTimeout, First: 2 * time.Minute,
		})
	}
	if s.Logs != nil && p.Log.Every.Schedule != nil {
		run := probe.NewLogAge(s.Logs, probe.LogAgeOptions{MaxAge: p.Log.MaxAge, LastLogin: w.lastLogin})
		probes = append(probes, probe.Probe{Kind: probe.LogAge, Run: run, Schedule: p.Log.Every.Schedule})
	}
	return probes
}

func (w *watched) noteLogin(r probe.Result) {
	if r.Reason == probe.AccessRefused && w.refused != nil {
		w.refused()
	}
	if r.Reason == probe.TLS && w.trust != nil {
		w.trust.Refused()
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
