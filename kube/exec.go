package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/exec"

	"github.com/cjworkbench/unstuck/target"
)

// commandLimit is how long a command may take before it counts as ended, whether it has or not: what is exec'd lives
// on in the pod when the stream is gone, and its stream may never end.
const commandLimit = 2 * time.Minute

// Exec runs a command in n's container, as it is given, and writes what it prints to stdout and stderr, which may be
// the same. It returns the exit code, or an error if the command was not seen to end, for instance before ctx did.
//
// There is one command at a time in a pod. One that was left alone when its ctx ended still counts until its stream
// ends, for 2 minutes at most; the next waits for it. After Exec has returned nothing more is written.
func (p *Pods) Exec(ctx context.Context, n target.Node, argv []string, stdout, stderr io.Writer) (int, error) {
	if len(argv) == 0 {
		return -1, errors.New("run a command: none given")
	}
	code, err := p.exec(ctx, n, argv, stdout, stderr)
	if err != nil {
		return -1, fmt.Errorf("run %s in pod %s: %w", argv[0], n.Name, err)
	}
	return code, nil
}

func (p *Pods) exec(ctx context.Context, n target.Node, argv []string, stdout, stderr io.Writer) (int, error) {
	pod, err := p.current(n)
	if err != nil {
		return -1, err
	}
	// The stream outlives ctx, so that we see when the command ends.
	cmd, err := p.client.commands.begin(ctx, pod.uid)
	if err != nil {
		return -1, err
	}
	out := &gate{}
	defer out.close()
	result, err := p.client.Commands.Start(cmd.ctx, p.Namespace, pod.name, &corev1.PodExecOptions{
		Container: pod.container, Command: argv, Stdout: true, Stderr: true,
	}, out.to(stdout), out.to(stderr), cmd.end)
	if err != nil {
		cmd.end()
		return -1, err
	}
	select {
	case err = <-result:
	case <-ctx.Done():
		return -1, fmt.Errorf("left alone, it may still run: %w", context.Cause(ctx))
	}
	if code, ok := errors.AsType[exec.CodeExitError](err); ok {
		return code.Code, nil
	}
	if err != nil {
		return -1, err
	}
	return 0, nil
}

// commands are those that run, at most one in a pod.
type commands struct {
	mu      sync.Mutex
	running map[string]*command // by the pod's UID
}

// command is one that runs.
type command struct {
	ctx   context.Context //nolint:containedctx // it belongs to the stream, which outlives the call that began it
	end   func()          // is called when the stream has ended, or the time for it; may be called again
	ended chan struct{}
}

// begin waits until no command runs in the pod, and notes that one does.
func (c *commands) begin(ctx context.Context, uid string) (*command, error) {
	for {
		cmd, other := c.tryBegin(ctx, uid)
		if cmd != nil {
			return cmd, nil
		}
		select {
		case <-other.ended:
		case <-ctx.Done():
			return nil, fmt.Errorf("another command still runs in it: %w", context.Cause(ctx))
		}
	}
}

// tryBegin gives a command that may begin, or the other one that runs.
func (c *commands) tryBegin(ctx context.Context, uid string) (cmd, other *command) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if other = c.running[uid]; other != nil {
		return nil, other
	}
	streamCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandLimit)
	cmd = &command{ctx: streamCtx, ended: make(chan struct{})}
	cmd.end = sync.OnceFunc(func() {
		cancel()
		c.mu.Lock()
		delete(c.running, uid)
		c.mu.Unlock()
		close(cmd.ended)
	})
	context.AfterFunc(streamCtx, cmd.end)
	c.running[uid] = cmd
	return cmd, nil
}

// end ends the commands that run.
func (c *commands) end() {
	c.mu.Lock()
	running := slices.Collect(maps.Values(c.running))
	c.mu.Unlock()
	for _, cmd := range running {
		cmd.end()
	}
}

// gate lets writes through one at a time, until it is closed.
type gate struct {
	mu     sync.Mutex
	closed bool
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

func (g *gate) to(w io.Writer) io.Writer { return gated{g, w} }

type gated struct {
	*gate

	w io.Writer
}

func (g gated) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.w == nil { // read on, so that the stream can end
		return len(b), nil
	}
	return g.w.Write(b)
}
