// Package remediate finds stuck nodes and has them replaced. A Loop observes one target, asks package decide, captures
// the incident, writes down what it is about to do, deletes the node and verifies the cure.
package remediate

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// World is what a Loop needs of the world: to see a broker's nodes, and to delete one.
type World interface {
	// View says what is known of the broker now.
	View(ctx context.Context, targetName string) (target.View, error)
	// Delete asks for n to be deleted: the very node with n's UID, which has so much grace to stop by itself. It
	// gives target.ErrGone or target.ErrChanged if there is no such node any more.
	Delete(ctx context.Context, n target.Node, grace time.Duration) error
}

// Locker is what a World is besides if who deploys there and who deletes wait for each other.
type Locker interface {
	// Lock takes the lock, or renews it for who has that id. It ends by itself after ttl. The reason is for those who
	// wait. While it is held the View's Operating is No: it is not another's. The error says who holds it, if anybody.
	Lock(ctx context.Context, id, reason string, ttl time.Duration) error
	// Unlock gives the lock back if id holds it.
	Unlock(ctx context.Context, id string) error
}

// Runner runs the probes of a broker's nodes. probe.Runner is one.
type Runner interface {
	SetNodes(nodes []target.Node)
	SetPace(node string, p probe.Pace)
	RunNow(node string, kinds ...probe.Kind)
	Late() time.Duration
}

// Options are what a Loop is made of.
type Options struct {
	Target string
	Source target.Source // where the target comes from
	Policy decide.Policy
	World  World
	Runner Runner
	Store  Store

	Exec     target.Execer    // nil: nothing can be asked of the nodes' tools
	Logs     target.LogReader // nil: incidents hold no log lines
	Hosts    *Hosts           // shared by the loops of all brokers
	Recorder Recorder
	Log      *slog.Logger

	// Targets names everything that is watched, so that a pause for none of it is noticed; nil: it is not.
	Targets func() []string
	// LoginError is why nobody can log in to the nodes, whatever they are like: there are no credentials, or our
	// certificates are at fault; nil: it is not known, or nothing.
	LoginError func() error

	Every time.Duration // a reconcile at least so often; default 5 s
}

// Bounds of the loop.
const (
	viewTimeout     = 5 * time.Second
	storeTimeout    = 5 * time.Second
	askTimeout      = 20 * time.Second
	deletionTimeout = 30 * time.Second
	// captureTimeout bounds all that is asked for an incident together: somebody may be waiting for the deletion.
	captureTimeout = 30 * time.Second
	// tooLate is how late probes may start before we doubt our own view: a starved prober sees stuck brokers.
	tooLate = 5 * time.Second
	// debounce is the shortest time from one reconcile to the next, so that many results make one reconcile.
	debounce = 50 * time.Millisecond
	// settling is how long something must be wrong with how the broker is looked for before it is an error, for its only
	// pod is missing whenever it is replaced; and how long after the start nothing is a warning, for little is known yet.
	settling = 10 * time.Second
)

// Loop watches one broker: it observes, decides, captures the incident, acts and verifies. One goroutine does all of
// it, so there are never two deletions at once, manual or not.
type Loop struct {
	Options

	mu       sync.Mutex
	mail     []probe.Result
	snapshot Snapshot
	wake     chan struct{}
	requests chan func(context.Context) // what a person asks for, to be done between two reconciles
	ended    chan struct{}              // closed when Run has returned

	// The rest belongs to the goroutine of Run.
	state decide.State
	// inherited are deletions by loops that ended before this one began, of targets that may have had the same pods.
	inherited []decide.Deletion
	view      target.View // of this reconcile
	quorum    map[string]decide.Quorum
	// refusals are what the nodes themselves say, see askLast
	refusals map[string]decide.Refusal
	recent   map[string][]probe.Result
	asked    map[string]time.Time // when a probe was last asked for, by node and kind
	last     map[string]decide.Decision
	troubles []trouble                        // of this reconcile
	logged   []trouble                        // those of the last reconcile, so that they are logged once
	began    time.Time                        // of Run
	wrong    map[target.ProblemKind]time.Time // what is wrong with how the broker is looked for, and since when
	held     heldLock
	journal

	gate gate
}

// NewLoop makes a loop. Run runs it.
func NewLoop(o Options) *Loop {
	if o.Every == 0 {
		o.Every = 5 * time.Second
	}
	if o.Hosts == nil {
		o.Hosts = &Hosts{}
	}
	return &Loop{
		Options: o, wake: make(chan struct{}, 1), requests: make(chan func(context.Context)), ended: make(chan struct{}),
		snapshot: Snapshot{Target: o.Target, Source: o.Source, Policy: o.Policy},
		quorum:   make(map[string]decide.Quorum), refusals: make(map[string]decide.Refusal),
		recent: make(map[string][]probe.Result), asked: make(map[string]time.Time),
		last: make(map[string]decide.Decision), journal: newJournal(),
	}
}

// Deliver takes a probe's result. It never blocks.
func (l *Loop) Deliver(r probe.Result) {
	l.mu.Lock()
	l.mail = append(l.mail, r)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Snapshot gives what the loop knew at its last reconcile.
func (l *Loop) Snapshot() Snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.snapshot
}

// Run runs the loop until ctx ends, once. What is under way then is written down as an intent, and its successor
// settles it.
func (l *Loop) Run(ctx context.Context) error {
	defer close(l.ended)
	l.began = time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
		case <-timer.C:
		case apply := <-l.requests:
			apply(ctx)
		}
		next := l.reconcile(ctx)
		timer.Reset(min(max(time.Until(next), debounce), l.Every))
		select { // let more results gather
		case <-ctx.Done():
			return nil
		case <-time.After(debounce):
		}
	}
}

// reconcile is one pass of the loop. It gives the time of the next at the latest.
func (l *Loop) reconcile(ctx context.Context) time.Time {
	o := l.observe(ctx, false)
	now := time.Now()
	state, decisions := decide.Decide(l.state, o, l.Policy, now)
	l.state = state
	if l.mayWrite() {
		l.catchUp(ctx)
	}
	l.settled(ctx)
	l.keepLock(ctx)
	if i := slices.IndexFunc(decisions, l.wantsAnswers); i >= 0 {
		l.askLast(ctx, decisions[i])
		o.Results = nil
		l.state, decisions = decide.Decide(l.state, o, l.Policy, time.Now())
	}
	l.openIncidents(ctx, o, decisions)
	if i := slices.IndexFunc(decisions, func(d decide.Decision) bool { return d.Action == decide.Delete }); i >= 0 {
		decisions, _ = l.deleteNode(ctx, o, decisions[i]) // the decisions say why not, if it does not
	}
	l.follow(ctx, decisions)
	l.closeGone(ctx, o.View)
	l.pace(decisions)
	l.publish(o, decisions)
	l.logTroubles()
	l.forget(o.View)
	next := now.Add(l.Every)
	for _, d := range decisions {
		if d.Next.Before(next) {
			next = d.Next
		}
	}
	return next
}

// observe gathers what there is to know. What cannot be known is left at its zero value, which closes guards. Before a
// deletion the pauses are read afresh.
func (l *Loop) observe(ctx context.Context, toAct bool) decide.Observation {
	l.troubles = nil
	o := decide.Observation{Quorum: l.quorum, Refusals: l.refusals, NoCommands: l.Exec == nil}
	var err error
	if o.View, err = l.look(ctx); err != nil {
		o.View = l.view // the nodes that were there, of which nothing is known now
		o.View.At, o.View.IsLeader, o.View.Operating, o.View.Problems = time.Time{}, target.CannotTell, target.CannotTell, nil
		l.trouble(cannotLook, "", "look at the nodes: "+err.Error())
	} else {
		l.Runner.SetNodes(o.View.Nodes)
	}
	l.view = o.View
	l.learn(ctx, o.View, err == nil)
	o.HistoryKnown = l.history
	o.Pauses, o.PausesKnown = l.readPauses(ctx, toAct)
	if l.Targets != nil {
		o.Targets = l.Targets()
	}
	l.misconfigured(o)
	if late := l.Runner.Late(); late > tooLate {
		o.Degraded = fmt.Sprintf("probes start %s late", late.Round(time.Millisecond))
	}

	l.mu.Lock()
	o.Results, l.mail = l.mail, nil
	l.mu.Unlock()
	for _, r := range o.Results {
		l.recent[r.Node] = append(l.recent[r.Node], r)
		if extra := len(l.recent[r.Node]) - keptResults; extra > 0 {
			l.recent[r.Node] = slices.Delete(l.recent[r.Node], 0, extra)
		}
	}
	o.SilentOnHosts, o.ClaimedBy = l.Hosts.silent(), l.Hosts.claim(l.Target, o.View)
	return o
}

func (l *Loop) look(ctx context.Context) (target.View, error) {
	return bounded(ctx, &l.gate, "look", viewTimeout, func(ctx context.Context) (target.View, error) {
		return l.World.View(ctx, l.Target)
	})
}

// publish makes the snapshot of this reconcile.
func (l *Loop) publish(o decide.Observation, decisions []decide.Decision) {
	s := Snapshot{
		Target: l.Target, Source: l.Source, At: time.Now(), Policy: l.Policy, View: o.View,
		Deletions: slices.Clone(l.state.Deletions), Error: sentence(l.troubles),
		Nodes: make([]NodeSnapshot, 0, len(decisions)),
	}
	for _, p := range o.Pauses {
		if (p.Target == "" || p.Target == l.Target || p.Stray(o.Targets)) && !p.Over(s.At) {
			s.Pauses = append(s.Pauses, p)
		}
	}
	byName := make(map[string]target.Node, len(o.View.Nodes))
	for _, n := range o.View.Nodes {
		byName[n.Name] = n
	}
	for _, d := range decisions {
		ns := NodeSnapshot{Node: byName[d.Node], Decision: d}
		state := l.state.Nodes[d.Node]
		for _, kind := range probe.Kinds() {
			if r, ok := state.Latest[kind]; ok {
				ns.Latest = append(ns.Latest, r)
			}
		}
		ns.Stuck = d.Evidence.Since
		// A loop that begins anew knows no better than the one before it, until its own first probe.
		if _, probed := state.Latest[l.Policy.LivenessKind()]; probed || !l.Hosts.has(ns.Node) {
			l.Hosts.set(ns.Node, state.Silent(d, l.Policy), s.At)
		}
		s.Nodes = append(s.Nodes, ns)
	}
	l.Hosts.keep(l.Target, o.View)
	l.mu.Lock()
	l.snapshot = s
	l.mu.Unlock()
	l.Recorder.Reconciled(s)
}

// forget drops what was kept of nodes that are no more, unless v knows nothing. Open incidents stay.
func (l *Loop) forget(v target.View) {
	if v.At.IsZero() {
		return
	}
	here := make(map[string]bool, len(v.Nodes))
	for _, n := range v.Nodes {
		here[n.Name] = true
	}
	maps.DeleteFunc(l.quorum, func(name string, _ decide.Quorum) bool { return !here[name] })
	maps.DeleteFunc(l.refusals, func(name string, _ decide.Refusal) bool { return !here[name] })
	maps.DeleteFunc(l.recent, func(name string, _ []probe.Result) bool { return !here[name] })
	maps.DeleteFunc(l.last, func(name string, _ decide.Decision) bool { return !here[name] })
	maps.DeleteFunc(l.asked, func(key string, at time.Time) bool { return time.Since(at) > time.Hour })
	if len(l.outcomes) > 2*len(l.state.Deletions)+100 {
		clear(l.outcomes)
		for _, a := range l.state.Deletions {
			l.outcomes[a.ID] = a.Outcome
		}
	}
}
