package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The files with which the first process is started, after the usual three.
const (
	readyFD    = 3 // it writes "ready" there
	lifelineFD = 4 // it reads one of the modes there, and begins
)

const (
	modeAttached = 'a' // end at the end of the lifeline
	modeDetached = 'd'
)

// restartPause is the time between the end of a process and its next start. The programs of a cluster wait for each
// other by ending.
const restartPause = 500 * time.Millisecond

// Init is the life of a sandbox's first process; dir is that of the sandbox. It returns with an error if the sandbox
// cannot begin; then, and at the end of its lifeline, the caller is to exit, and with it ends the sandbox.
func Init(dir string) error {
	if os.Getpid() != 1 {
		return errors.New("this is started by the harness, as the first process of its own namespaces")
	}
	unix.CloseOnExec(readyFD) // or they would stay open in the processes that we start
	unix.CloseOnExec(lifelineFD)
	lifeline := os.NewFile(lifelineFD, "lifeline")
	mode := make([]byte, 1)
	if _, err := lifeline.Read(mode); err != nil {
		return fmt.Errorf("read what to do: %w", err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, specFile))
	if err != nil {
		return err
	}
	var spec Spec
	if err := json.Unmarshal(raw, &spec); err != nil {
		return fmt.Errorf("%s: %w", specFile, err)
	}
	n := &nursery{children: map[int]chan syscall.WaitStatus{}, keepers: map[string]*keeper{}}
	go n.reap()
	if err := furnish(n, spec); err != nil {
		return err
	}
	listener, err := net.ListenUnix(network, &net.UnixAddr{Net: network, Name: filepath.Join(dir, controlFile)})
	if err != nil {
		return err
	}
	for _, p := range spec.Processes {
		k := &keeper{Process: p, nursery: n}
		n.keepers[p.Name] = k
		if err := k.start(); err != nil {
			return err
		}
	}
	go n.serve(listener)
	ready := os.NewFile(readyFD, "ready")
	if _, err := ready.WriteString("ready"); err != nil {
		return err
	}
	if err := ready.Close(); err != nil {
		return err
	}
	if mode[0] == modeAttached {
		_, _ = lifeline.Read(mode) // nothing more comes but the end
		return nil
	}
	select {}
}

// furnish mounts, and sets up the network.
func furnish(n *nursery, spec Spec) error {
	mount := func(from, to, kind string, flags uintptr) error {
		if err := unix.Mount(from, to, kind, flags, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", from, to, err)
		}
		return nil
	}
	// Private first, so that nothing gets out; then shared among ourselves, as the kubelet wants it.
	if err := errors.Join(
		mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE),
		mount("none", "/", "", unix.MS_REC|unix.MS_SHARED),
		mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC),
		mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV),
		unix.Sethostname([]byte(spec.Hostname)),
	); err != nil {
		return err
	}
	for _, m := range spec.Mounts {
		if err := mount(m.From, m.To, "", unix.MS_BIND); err != nil {
			return err
		}
	}
	for path, value := range spec.Sysctls {
		if err := os.WriteFile("/proc/sys/net/"+path, []byte(value), 0); err != nil {
			return err
		}
	}
	for _, argv := range [][]string{
		{"ip", "link", "set", "lo", "up"},
		{"ip", "address", "add", spec.Address + "/32", "dev", "lo"},
	} {
		status, err := n.run(argv, nil, []*os.File{nil, os.Stdout, os.Stderr})
		if err != nil {
			return err
		}
		if code := (<-status).ExitStatus(); code != 0 {
			return fmt.Errorf("%v: exit code %d", argv, code)
		}
	}
	return nil
}

// nursery starts processes and takes note of their ends. The first process has to: it also inherits each process
// whose parent has ended.
type nursery struct {
	mu       sync.Mutex
	children map[int]chan syscall.WaitStatus
	keepers  map[string]*keeper // not changed once the sandbox is ready
}

// run starts a program. Its status comes when it has ended.
func (n *nursery) run(argv, env []string, files []*os.File) (<-chan syscall.WaitStatus, error) {
	_, status, err := n.start(argv, env, files)
	return status, err
}

func (n *nursery) start(argv, env []string, files []*os.File) (int, <-chan syscall.WaitStatus, error) {
	if len(argv) == 0 {
		return 0, nil, errors.New("start a program: none given")
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return 0, nil, err
	}
	n.mu.Lock() // until the child is noted: it may have ended by then
	defer n.mu.Unlock()
	p, err := os.StartProcess(path, argv, &os.ProcAttr{
		Dir: "/", Env: append(os.Environ(), env...), Files: files, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, nil, err
	}
	status := make(chan syscall.WaitStatus, 1)
	pid := p.Pid // which Release forgets
	n.children[pid] = status
	return pid, status, p.Release()
}

// reap waits for every process that ends.
func (n *nursery) reap() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	for range ended { // one signal may stand for several processes
		for {
			var status syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			if err != nil || pid <= 0 {
				break
			}
			n.mu.Lock()
			if c := n.children[pid]; c != nil {
				c <- status
				delete(n.children, pid)
			}
			n.mu.Unlock()
		}
	}
}

// keeper starts a process again whenever it ends, unless it is stopped.
type keeper struct {
	Process
	nursery *nursery

	mu     sync.Mutex
	cancel context.CancelFunc // nil: stopped
	done   chan struct{}
}

func (k *keeper) start() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cancel != nil {
		return nil
	}
	log, err := os.OpenFile(k.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel, k.done = cancel, make(chan struct{})
	go func() {
		defer close(k.done)
		defer log.Close()
		k.keep(ctx, log)
	}()
	return nil
}

func (k *keeper) keep(ctx context.Context, log *os.File) {
	for ctx.Err() == nil {
		pid, status, err := k.nursery.start(k.Argv, k.Env, []*os.File{nil, log, log})
		if err != nil {
			fmt.Fprintf(log, "start %s: %v\n", k.Name, err)
		} else {
			select {
			case s := <-status:
				fmt.Fprintf(log, "%s ended: exit code %d, signal %d\n", k.Name, s.ExitStatus(), s.Signal())
			case <-ctx.Done():
				_ = syscall.Kill(pid, syscall.SIGKILL)
				<-status
				return
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(restartPause):
		}
	}
}

// stop kills the process and returns when it has ended.
func (k *keeper) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cancel == nil {
		return
	}
	k.cancel()
	<-k.done
	k.cancel = nil
}
