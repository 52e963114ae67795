package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

var (
	errKilled = errors.New("killed")
	errFlaky  = errors.New("connection reset")
)

// client is one process's way to the cluster. At its call number at it runs do, before or after the call takes effect;
// a killed client's calls have none.
type client struct {
	*cluster
	mu     sync.Mutex
	calls  int
	at     int
	after  bool
	do     func()
	taken  func(plan.Operation) // if not nil, told of an operation as soon as it is written down, and before anything else happens
	killed bool
	frozen chan struct{} // if not nil, the process stands still until it is closed
	flaky  *rand.Rand    // if not nil, every fifth call fails, half of these after it took effect
}

// kill makes the process die: its context ends, and no call of it has an effect any more.
func (c *client) kill(cancel context.CancelFunc) func() {
	return func() { c.killed = true; cancel() }
}

// freeze makes the process stand still: whatever it does next waits, and what it is doing has its answer late.
func (c *client) freeze(d time.Duration) func() {
	return func() {
		thaw := make(chan struct{})
		c.frozen = thaw
		time.AfterFunc(d, func() { close(thaw) })
	}
}

func (c *client) wait() {
	c.mu.Lock()
	frozen := c.frozen
	c.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
}

func call[T any](c *client, f func() (T, error)) (T, error) {
	c.wait()
	defer c.wait()
	return callNow(c, f)
}

func callNow[T any](c *client, f func() (T, error)) (T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	hit := c.calls == c.at
	if hit && !c.after {
		c.do()
	}
	if c.killed {
		var zero T
		return zero, errKilled
	}
	fails, early := c.flaky != nil && c.flaky.IntN(5) == 0, c.flaky != nil && c.flaky.IntN(2) == 0
	if fails && early {
		var zero T
		return zero, errFlaky
	}
	c.cluster.mu.Lock()
	v, err := f()
	c.cluster.mu.Unlock()
	if fails {
		err = errFlaky
	}
	if hit && c.after {
		c.do()
	}
	if c.killed {
		err = errKilled
	}
	return v, err
}

func do(c *client, f func() error) error {
	_, err := call(c, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

func (c *client) State(context.Context, plan.Environment) (plan.State, error) {
	return call(c, func() (plan.State, error) {
		var s plan.State
		for name := range c.deps {
			s.Workloads = append(s.Workloads, c.look(name))
		}
		for _, ref := range []plan.TemplateRef{
			{Kind: plan.FromCronJob, Name: "migrate"}, {Kind: plan.FromPodTemplate, Name: "assets"}, {Kind: plan.FromCronJob, Name: "clear"},
		} {
			s.Templates = append(s.Templates, plan.Template{Ref: ref, Containers: []workload.Container{{Name: "app", Image: "gcr.io/acme/" + ref.Name + ":old"}}})
		}
		return s, nil
	})
}

func (c *client) Workload(_ context.Context, _ plan.Environment, ref workload.Ref) (workload.Workload, error) {
	return call(c, func() (workload.Workload, error) { return c.look(ref.Deployment), nil })
}

func (c *client) Patch(ctx context.Context, _ plan.Environment, p Patch) error {
	return do(c, func() error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d := c.deps[p.Workload.Deployment]
		if found := plan.Foreign(d.Containers, p.Images); found != "" {
			return fmt.Errorf("%w: %s", ErrChanged, found)
		}
		for _, change := range p.Images {
			i := slices.IndexFunc(d.Containers, func(x workload.Container) bool { return x.Name == change.Container })
			d.Containers[i].Image = change.To
		}
		if p.RestartedAt != "" {
			d.RestartedAt = p.RestartedAt
		}
		if p.Replicas != nil {
			d.Replicas = *p.Replicas
		}
		d.Generation++
		c.note("patch %s", p.Workload.Deployment)
		c.scale(d)
		return nil
	})
}

func (c *client) StartJob(_ context.Context, _ plan.Environment, j plan.JobRun) error {
	return do(c, func() error {
		if _, ok := c.jobs[j.Name]; !ok {
			c.jobs[j.Name] = time.Now().Add(cmp.Or(c.jobsLast, jobRuns))
			c.jobStarts[j.From.Name]++
			c.note("job %s", j.From.Name)
		}
		return nil
	})
}

func (c *client) JobState(_ context.Context, _ plan.Environment, name string) (JobState, error) {
	return call(c, func() (JobState, error) {
		end, ok := c.jobs[name]
		template, _, _ := strings.Cut(name, "-")
		switch {
		case !ok || c.stopped[name]:
			return JobState{}, ErrNotFound
		case time.Now().Before(end):
			return JobState{}, nil
		case c.jobFails[template]:
			return JobState{Failed: true, Message: "BackoffLimitExceeded", Pods: []workload.Pod{{
				Name: name + "-x", Phase: "Failed", Containers: []workload.ContainerState{{Name: "app", Ended: true, LastExit: 1, LastReason: "Error"}},
			}}}, nil
		}
		return JobState{Done: true}, nil
	})
}

func (c *client) StopJob(_ context.Context, _ plan.Environment, name string) error {
	return do(c, func() error { c.stopped[name] = true; return nil })
}

func (c *client) FollowJob(ctx context.Context, _ plan.Environment, name string, line func(string)) error {
	end, err := call(c, func() (time.Time, error) { return c.jobs[name], nil })
	if err != nil {
		return err
	}
	template, _, _ := strings.Cut(name, "-")
	for _, l := range c.jobLog[template] {
		line(l)
	}
	if !pause(ctx, time.Until(end)) {
		return ctx.Err()
	}
	return nil
}

func (c *client) PodLog(context.Context, plan.Environment, string, string, int) ([]string, error) {
	return call(c, func() ([]string, error) { return []string{"ImportError: no module named app"}, nil })
}

func (c *client) Exec(ctx context.Context, _ plan.Environment, pod, container string, command []string, line func(string)) (int, error) {
	err := do(c, func() error { c.commands++; return nil })
	if err != nil {
		return 0, err
	}
	line(fmt.Sprintf("%s in %s of %s", strings.Join(command, " "), container, pod))
	if !pause(ctx, jobRuns) {
		return 0, ctx.Err()
	}
	return 0, nil
}

func (c *client) Unpublished(_ context.Context, _ plan.Environment, images []string) ([]string, error) {
	return call(c, func() ([]string, error) {
		return slices.DeleteFunc(slices.Clone(images), func(image string) bool { return !c.unpublished[image] }), nil
	})
}

func (c *client) Save(_ context.Context, o plan.Operation) error {
	return do(c, func() error {
		if c.saveErr != nil {
			return c.saveErr
		}
		if c.ops[o.ID].Version != o.Version-1 {
			return ErrConflict
		}
		c.ops[o.ID] = o.Clone()
		if o.Version == 1 && c.taken != nil {
			c.taken(o)
		}
		return nil
	})
}

func (c *client) Load(_ context.Context, id string) (plan.Operation, error) {
	return call(c, func() (plan.Operation, error) {
		o, ok := c.ops[id]
		if !ok {
			return o, ErrNotFound
		}
		return o.Clone(), nil
	})
}

func (c *client) Operations(context.Context, string) ([]plan.Operation, error) {
	return call(c, func() ([]plan.Operation, error) {
		var all []plan.Operation
		for _, o := range c.ops {
			all = append(all, o.Clone())
		}
		return all, nil
	})
}

func (c *client) Acquire(_ context.Context, _ plan.Environment, h Holder) error {
	return do(c, func() error {
		if c.lockErr != nil {
			return c.lockErr
		}
		if c.holder.ID != "" && c.holder.ID != h.ID && time.Now().Before(c.expires) {
			return &LockedError{Holder: c.holder, Expires: c.expires}
		}
		c.holder, c.expires = h, time.Now().Add(h.TTL)
		return nil
	})
}

func (c *client) Release(_ context.Context, _ plan.Environment, h Holder) error {
	return do(c, func() error {
		if c.holder.ID == h.ID {
			c.holder = Holder{}
		}
		return nil
	})
}

// process is one replica of the daemon.
type process struct {
	*client
	*Runner
	over  chan plan.Operation // the operations that ended here
	end   context.CancelFunc
	ended chan struct{}
}

// start starts a replica; stop ends it and waits for it.
func start(t *testing.T, c *cluster, envs ...plan.Environment) *process {
	t.Helper()
	if envs == nil {
		envs = []plan.Environment{testEnvironment()}
	}
	p := &process{client: &client{cluster: c}, over: make(chan plan.Operation, 10), ended: make(chan struct{})}
	var err error
	p.Runner, err = NewRunner(Options{
		Environments: envs, World: p.client, Jobs: p.client, Logs: p.client, Registry: p.client, Store: p.client,
		Lock: p.client, Identity: "unstuck-0", Poll: 4 * time.Second, Log: slog.New(slog.DiscardHandler),
		Notify: func(o plan.Operation) {
			if o.Phase.Over() {
				p.over <- o
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	p.end = end
	go func() { defer close(p.ended); _ = p.Serve(ctx) }()
	return p
}

func (p *process) stop() { p.end(); <-p.ended }

// run submits a request and waits until it is over.
func (p *process) run(t *testing.T, req plan.Request) plan.Operation {
	t.Helper()
	p.submit(t, req)
	return <-p.over
}

func (p *process) submit(t *testing.T, req plan.Request) plan.Operation {
	t.Helper()
	o, err := p.Submit(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func deployOf(commit string) plan.Request {
	return plan.Request{Kind: plan.Deploy, Environment: "staging", Commit: commit, Reason: "a test", By: "ada"}
}
