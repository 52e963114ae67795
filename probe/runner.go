package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/cjworkbench/unstuck/target"
)

// Func probes one node once. It should end soon after its context does, and return a Result whatever happens.
type Func func(ctx context.Context, n target.Node) Result

// Probe is a Func and when to call it.
type Probe struct {
	Kind Kind
	Run  Func

	// Schedule is when to run. Each node has its own phase: within the whole period of a cron.ConstantDelaySchedule
	// ("@every 15s"), or up to five seconds after the times of a cron spec, which are in UTC. Nil: only on demand.
	Schedule cron.Schedule
	// First is the span over which the Runner spreads the first runs of nodes that appear together, so that after a
	// restart of ours it does not wait a whole period. 0: 15 seconds. First never exceeds the period of an
	// "@every".
	First time.Duration

	// Suspect and Confirmed are the time from the end of one run to the start of the next while the node has that
	// pace, whatever Schedule says. 0: as scheduled.
	Suspect   time.Duration
	Confirmed time.Duration

	// Timeout is how long Run takes at most, by its own deadline. Its context ends three seconds later, because a
	// probe that is cut off knows less than one that runs out of time by itself. After another three seconds the
	// Runner gives the run up. 0: DefaultTimeout.
	Timeout time.Duration
}

// DefaultTimeout is a Probe's Timeout if it has none.
const DefaultTimeout = time.Minute

const (
	// timeoutMargin lies between a probe's own deadline and the end of its context, and again between that end and
	// our giving up.
	timeoutMargin = 3 * time.Second
	// shutdownGrace is how long the Runner waits for cancelled probes.
	shutdownGrace = 5 * time.Second
)

// interval is the time between two runs at this pace, and 0 if the schedule says when to run.
func (p *Probe) interval(pace Pace) time.Duration {
	switch pace {
	case PaceSuspect:
		return p.Suspect
	case PaceConfirmed:
		return p.Confirmed
	case PaceNormal:
	}
	return 0
}

func (p *Probe) timeout() time.Duration {
	if p.Timeout > 0 {
		return p.Timeout
	}
	return DefaultTimeout
}

// Pace is how often the Runner probes a node.
type Pace uint8

// The paces.
const (
	PaceNormal    Pace = iota // as scheduled
	PaceSuspect               // at Probe.Suspect: sooner
	PaceConfirmed             // at Probe.Confirmed: later, because each login leaks processes on a stuck node
)

// RunnerOptions say what to run and where results go.
type RunnerOptions struct {
	Probes []Probe
	// Sink takes each result. Many goroutines call it, and it holds up the probe whose result it takes. The results
	// of one probe of one node come one after the other. A result may still be on its way to Sink while SetNodes
	// removes its node: Result.UID tells.
	Sink func(Result)
	Log  *slog.Logger
}

// Runner runs probes of nodes. It never runs two probes of one kind on one node at once, and spreads the probes
// over time. Its methods may be called from anywhere, also before Run, and do not block.
//
// Each node has one goroutine that waits for its next probe. Each run has one while it lasts, so a slow kind of
// probe does not hold up the others. A run that panics gives NotRun. So does a run that ignores its context; its
// kind then rests on that node until the run returns.
type Runner struct {
	options RunnerOptions
	busy    busy
	late    lateness
	loops   sync.WaitGroup

	mu    sync.Mutex
	ctx   context.Context // Run's; nil before
	ended bool
	nodes map[string]*nodeLoop // by name
}

// NewRunner gives a Runner without nodes.
func NewRunner(o RunnerOptions) *Runner {
	if o.Sink == nil {
		o.Sink = func(Result) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Runner{
		options: o,
		nodes:   make(map[string]*nodeLoop),
		busy:    busy{runs: make(map[runKey]chan struct{})},
	}
}

// Run probes until ctx ends, and then waits until all probes have ended, at most five seconds. It leaves behind a
// probe that ignores its context. That, and a second Run, are its only errors.
func (r *Runner) Run(ctx context.Context) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	beat := time.NewTicker(beatInterval)
	defer beat.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-beat.C:
			r.late.beat(time.Now())
		}
	}
	r.mu.Lock()
	r.ended = true // SetNodes launches nothing more
	r.mu.Unlock()
	r.loops.Wait()
	if n := r.busy.len(); n > 0 {
		return fmt.Errorf("%d probes did not return within %s of being cancelled", n, shutdownGrace)
	}
	return nil
}

func (r *Runner) begin(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx != nil {
		return errors.New("the runner has been run before")
	}
	r.ctx = ctx
	r.late.beat(time.Now())
	for _, n := range r.nodes {
		r.launch(n)
	}
	return nil
}

// launch starts a node's goroutine. The caller holds r.mu, and r.ctx is set.
func (r *Runner) launch(n *nodeLoop) {
	ctx, cancel := context.WithCancel(r.ctx)
	n.cancel = cancel
	r.loops.Go(func() {
		defer cancel()
		n.loop(ctx)
	})
}

// SetNodes says which nodes there are. The Runner soon probes a new node. It cancels the probes of a node that is
// gone, and gives no more results of it. A node with another UID or address than before is gone, and new. Names are
// unique within a Runner: of two nodes with the same name, the first counts.
func (r *Runner) SetNodes(nodes []target.Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	seen := make(map[string]bool, len(nodes))
	for _, n := range nodes {
		if seen[n.Name] {
			r.options.Log.Warn("two nodes have the same name, only the first is probed", "target", n.Target, "node", n.Name)
			continue
		}
		seen[n.Name] = true
		if old := r.nodes[n.Name]; old != nil {
			if old.update(n) {
				continue
			}
			old.cancel()
		}
		l := newNodeLoop(r, n)
		r.nodes[n.Name] = l
		if r.ctx != nil {
			r.launch(l)
		}
	}
	for name, l := range r.nodes {
		if !seen[name] {
			l.cancel()
			delete(r.nodes, name)
		}
	}
}

// SetPace says how often to probe the node of that name from now on. A node begins at PaceNormal. SetPace ignores
// names that are not there.
func (r *Runner) SetPace(name string, p Pace) {
	if l := r.node(name); l != nil {
		l.setPace(p)
	}
}

// RunNow runs the probes of those kinds, or of every kind if none is named, as soon as possible. If that kind is
// running, it runs once more afterwards, however many calls came meanwhile.
func (r *Runner) RunNow(name string, kinds ...Kind) {
	if l := r.node(name); l != nil {
		l.ask(kinds)
	}
}

func (r *Runner) node(name string) *nodeLoop {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nodes[name]
}

// Late is how late starts have been recently: the worst of the last half to whole minute. Large lateness means that
// this process did not get to run, and that its results are worth little.
func (r *Runner) Late() time.Duration { return r.late.worst(time.Now()) }
