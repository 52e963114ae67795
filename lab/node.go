package lab

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/target"
)

// node is one RabbitMQ node. Its goroutine, keep, starts its process anew whenever that ends.
type node struct {
	lab               *Lab
	name, host        string
	dir               string
	amqp, amqps, dist int // ports

	deletes chan deletion // at most one at a time
	backend *authServer   // nil without Options.HTTPBackend

	mu          sync.Mutex
	uid         string
	terminating bool
	proc        *process // the current one, or the last
	log         *ring    // of this UID
}

type deletion struct{ grace time.Duration }

// process is one run of a node.
type process struct {
	pid     int
	started time.Time
	ctx     context.Context // ends with the process
	done    chan struct{}   // closed when it has ended and its log is read to the end
	pipe    *os.File        // its log, where we read it
	valve   valve
}

func newUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// How long a node waits before it starts a process anew that ended by itself: as a kubelet does, longer each time.
const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 10 * time.Second
	longEnough = 30 * time.Second // a process that ran this long starts the backoff afresh
)

// keep keeps a process running until ctx ends, and then ends it.
func (n *node) keep(ctx context.Context) {
	backoff, replaced := minBackoff, false
	for ctx.Err() == nil {
		p, err := n.launch(ctx, replaced)
		if err != nil {
			n.lab.log.Error("cannot start a node", "node", n.name, "error", err)
		} else if replaced = n.watch(ctx, p); replaced || time.Since(p.started) > longEnough {
			backoff = minBackoff
		}
		if replaced {
			continue
		}
		timer := time.NewTimer(backoff)
		select {
		case <-ctx.Done():
		case <-n.deletes:
			replaced = true
		case <-timer.C:
		}
		timer.Stop()
		backoff = min(2*backoff, maxBackoff)
	}
}

// watch waits for the end of a process. It is true if the node was deleted: what comes next is another node.
func (n *node) watch(ctx context.Context, p *process) (deleted bool) {
	select {
	case <-ctx.Done():
		n.end(ctx, p, 0)
		return false
	case d := <-n.deletes:
		n.end(ctx, p, d.grace)
		return true
	case <-p.done:
		n.lab.log.Debug("a node's process ended", "node", n.name)
		return false
	}
}

// launch starts the node's process; under a new UID if the node was replaced. A new process has none of the faults
// of the last one.
func (n *node) launch(ctx context.Context, replaced bool) (*process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe for the log: %w", err)
	}
	cmd := n.lab.command(ctx, n.dir, n.env(), filepath.Join(n.lab.bin, "rabbitmq-server"))
	cmd.Stdout, cmd.Stderr = w, w
	err = n.lab.spawner.start(cmd)
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	n.lab.forget(n.name)

	lifetime, ended := context.WithCancel(ctx)
	p := &process{pid: cmd.Process.Pid, started: time.Now(), ctx: lifetime, done: make(chan struct{}), pipe: r}
	n.mu.Lock()
	n.proc = p
	if replaced {
		n.uid, n.terminating, n.log = newUID(), false, new(ring)
	}
	log := n.log
	n.mu.Unlock()

	read := make(chan struct{})
	go func() {
		defer close(read)
		readLog(lifetime, r, &p.valve, log)
	}()
	go func() {
		defer close(p.done)
		if err := cmd.Wait(); err != nil {
			n.lab.log.Debug("a node's process failed", "node", n.name, "error", err)
		}
		ended()
		// A helper process may hold the pipe a little longer.
		_ = r.SetReadDeadline(time.Now().Add(time.Second))
		<-read
		_ = r.Close()
	}()
	return p, nil
}

// end ends a process: SIGTERM, which Erlang takes as a request for a clean stop, and SIGKILL when grace is over or
// ctx ends. SIGKILL works on frozen processes too.
func (n *node) end(ctx context.Context, p *process, grace time.Duration) {
	if grace > 0 {
		if err := terminate(p.pid); err != nil {
			n.lab.log.Error("cannot terminate a node", "node", n.name, "error", err)
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-p.done:
			return
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if err := killGroup(p.pid); err != nil {
		n.lab.log.Error("cannot kill a node", "node", n.name, "error", err)
	}
	<-p.done
}

// readLog adds what comes out of the pipe to the log, line by line, until the pipe's end. Shutting the valve stops
// it, and a broker whose pipe is full can log no more.
func readLog(ctx context.Context, r *os.File, v *valve, log *ring) {
	in := bufio.NewReaderSize(r, 16<<10)
	for {
		line, err := in.ReadSlice('\n') // a line longer than the buffer comes in pieces
		if !v.pass(ctx) {
			return
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			log.add(target.LogLine{At: time.Now(), Text: string(line)})
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// valve can hold up a reader. The zero value is open.
type valve struct {
	mu   sync.Mutex
	shut chan struct{} // nil while open; closed when it opens again
}

func (v *valve) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.shut == nil {
		v.shut = make(chan struct{})
	}
}

func (v *valve) open() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.shut != nil {
		close(v.shut)
		v.shut = nil
	}
}

// pass waits until the valve is open. It is false if ctx ended before.
func (v *valve) pass(ctx context.Context) bool {
	v.mu.Lock()
	shut := v.shut
	v.mu.Unlock()
	if shut == nil {
		return true
	}
	select {
	case <-shut:
		return true
	case <-ctx.Done():
		return false
	}
}

func (n *node) lines() *ring {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.log
}

// process gives the node's running process, or an error if it has none just now.
func (n *node) process() (*process, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc == nil || n.proc.ctx.Err() != nil {
		return nil, fmt.Errorf("%s has no running process", n.name)
	}
	return n.proc, nil
}
