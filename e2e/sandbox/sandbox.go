// Package sandbox keeps programs that want a whole machine apart from this one. They run in namespaces of their own
// for processes, mounts, network and names, so that what they mount, route, filter or write to /run is theirs alone.
// The first process of those namespaces is the program cmd/init, which calls Init; when it ends, for whatever reason,
// the kernel ends all others and takes the network and the mounts away. What the kernel leaves are cgroups and the
// sandbox's directory, and Remove removes those from the directory alone.
//
// It needs root, and iproute2 for its network.
package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Spec is what a sandbox consists of. Paths are those of this machine: but for Mounts the sandbox sees its files.
type Spec struct {
	Hostname  string
	Address   string            // of the sandbox, in its own network: an IPv4 address, which its loopback device has too
	Mounts    []Mount           // in this order, after /proc and an empty /run were mounted
	Sysctls   map[string]string // of the network, by their path below /proc/sys/net
	Processes []Process         // all started at once; one that ends is started again, so no order is needed
}

// Mount shows a file or directory of this machine at another place in the sandbox; both must exist.
type Mount struct{ From, To string }

// Process is a program that runs for as long as the sandbox does, or until StopProcess.
type Process struct {
	Name string
	Argv []string
	Env  []string
	Log  string // the file to which its output is added
}

// Sandbox is a running sandbox. Its methods may be called from several goroutines at once.
type Sandbox struct {
	dir      string
	lifeline *os.File // open for as long as the sandbox shall live; nil if it outlives us
}

// The files in a sandbox's directory.
const (
	specFile    = "spec.json"
	stateFile   = "state.json"
	controlFile = "control"
	initLog     = "init.log"
)

// state says which process is the sandbox's first, and what it leaves behind.
type state struct {
	Dir    string // the sandbox's
	PID    int
	Start  string // when it started, in clock ticks since boot: a process ID may be used again
	Cgroup string
}

// hidden are the places of this machine that the sandbox does not see.
var hidden = []string{"/run", "/proc", "/var/lib", "/var/log"}

// maxSocketPath is the longest path of a socket, less the zero at its end (unix(7)).
const maxSocketPath = 107

// Claim makes dir the directory of a sandbox, so that Remove removes it from then on, whatever else is put there. It
// must not exist.
func Claim(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("make a sandbox's directory: %w", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("make a sandbox's directory: %w", err)
	}
	return writeJSON(filepath.Join(dir, stateFile), state{Dir: dir, Cgroup: CgroupName(dir)})
}

// Start starts a sandbox in a directory that was claimed; init is the program that calls Init. If attached, the sandbox
// ends when this process does. If Start fails nothing remains but the directory, for its logs.
func Start(ctx context.Context, dir, init string, attached bool, spec Spec) (*Sandbox, error) {
	if len(filepath.Join(dir, controlFile)) > maxSocketPath {
		return nil, fmt.Errorf("start a sandbox: the directory's path is too long for a socket: %s", dir)
	}
	for _, place := range hidden {
		if dir == place || strings.HasPrefix(dir, place+"/") {
			return nil, fmt.Errorf("start a sandbox: %s is not seen inside of it: choose a directory not below %s", dir, place)
		}
	}
	s := &Sandbox{dir: dir}
	st := state{Dir: dir, Cgroup: CgroupName(dir)}
	if err := makeCgroups(st.Cgroup); err != nil {
		return nil, fmt.Errorf("start a sandbox: %w", err)
	}
	if err := writeJSON(filepath.Join(dir, specFile), spec); err != nil {
		return nil, fmt.Errorf("start a sandbox: %w", err)
	}
	if err := s.launch(ctx, init, attached, &st); err != nil {
		return nil, errors.Join(fmt.Errorf("start a sandbox: %w", err), s.end(st))
	}
	return s, nil
}

// launch starts the first process and waits until it says that it is ready.
func (s *Sandbox) launch(ctx context.Context, init string, attached bool, st *state) error {
	log, err := os.OpenFile(filepath.Join(s.dir, initLog), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	ready, readyW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	lifeline, lifelineW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer lifeline.Close()

	cmd := exec.Command(init, s.dir) // not CommandContext: it outlives ctx
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{readyW, lifeline}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET |
			syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	err = cmd.Start()
	_ = readyW.Close()
	if err != nil {
		_ = lifelineW.Close()
		return err
	}
	go func() { _ = cmd.Wait() }() // or it would remain as a zombie; ends with the sandbox, or with us
	st.PID = cmd.Process.Pid
	if st.Start, err = startTime(st.PID); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(s.dir, stateFile), st); err != nil {
		return err
	}
	// Not before it stands written who it is does the first process begin; and it ends if we end before.
	if err := s.release(lifelineW, attached); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Now()) })()
	word, err := io.ReadAll(ready)
	if err != nil {
		return fmt.Errorf("wait for the first process: %w", err)
	}
	if string(word) != "ready" {
		return fmt.Errorf("the first process ended; the end of %s: %s", log.Name(), tail(log.Name(), 300))
	}
	return nil
}

// release lets the first process begin, and leaves its lifeline open if it is to end with us.
func (s *Sandbox) release(lifeline *os.File, attached bool) error {
	if attached {
		s.lifeline = lifeline
		_, err := lifeline.Write([]byte{modeAttached})
		return err
	}
	_, err := lifeline.Write([]byte{modeDetached})
	return errors.Join(err, lifeline.Close())
}

// Open gives the sandbox that runs with its files in dir. The error is fs.ErrNotExist if none does.
func Open(dir string) (*Sandbox, error) {
	st, err := readState(dir)
	if err != nil {
		return nil, fmt.Errorf("open the sandbox: %w", err)
	}
	if !st.runs() {
		return nil, fmt.Errorf("open the sandbox in %s: its process has ended: %w", dir, fs.ErrNotExist)
	}
	return &Sandbox{dir: dir}, nil
}

// Stop ends all processes of the sandbox and removes its directory.
func (s *Sandbox) Stop() error { return errors.Join(s.End(), Remove(s.dir)) }

// End ends all processes of the sandbox and leaves its directory, for the logs.
func (s *Sandbox) End() error {
	if s.lifeline != nil {
		defer s.lifeline.Close()
	}
	st, err := readState(s.dir)
	if errors.Is(err, fs.ErrNotExist) { // it was removed
		return nil
	}
	if err != nil {
		return fmt.Errorf("end the sandbox: %w", err)
	}
	return s.end(st)
}

// Remove ends the sandbox whose files are in dir, if it still runs, and removes all that it left, dir included. It is
// no error if there is none. A directory that is not a sandbox's is left alone.
func Remove(dir string) error {
	st, err := readState(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("remove the sandbox in %s: there is none, the directory is another's", dir)
	}
	if err != nil {
		return fmt.Errorf("remove the sandbox: %w", err)
	}
	if err := errors.Join((&Sandbox{dir: dir}).end(st), os.RemoveAll(dir)); err != nil {
		return fmt.Errorf("remove the sandbox: %w", err)
	}
	return nil
}

// end ends all processes and removes the cgroups. The first process takes the others with it, and the kernel lets
// nobody see it end before they have.
func (s *Sandbox) end(st state) error {
	if st.PID != 0 {
		if err := kill(st); err != nil {
			return err
		}
	}
	return removeCgroups(st.Cgroup)
}

// kill ends the process, if it is still the one that was started, and waits for its end.
func kill(st state) error {
	fd, err := unix.PidfdOpen(st.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", st.PID, err)
	}
	defer unix.Close(fd)
	if !st.runs() { // after the open: from here on fd means this very process
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", st.PID, err)
	}
	deadline := time.Now().Add(endTimeout)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("process %d has not ended %v after SIGKILL", st.PID, endTimeout)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process %d: %w", st.PID, err)
		}
		if n > 0 {
			return nil
		}
	}
}

// endTimeout is how long processes may take to end when they are killed: those that write to a slow disk need a while.
const endTimeout = time.Minute

func (st state) runs() bool {
	start, err := startTime(st.PID)
	return err == nil && start == st.Start
}

// startTime gives field 22 of /proc/PID/stat. The second field, the name, may hold anything. A zombie runs no more.
func startTime(pid int) (string, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields)+2)
	}
	if fields[0] == "Z" {
		return "", fmt.Errorf("process %d is a zombie", pid)
	}
	return fields[19], nil
}

func readState(dir string) (state, error) {
	var st state
	raw, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal(raw, &st); err != nil {
		return st, fmt.Errorf("%s: %w", filepath.Join(dir, stateFile), err)
	}
	if st.copied(dir) { // what runs is the other's
		return state{Dir: dir, Cgroup: CgroupName(dir)}, nil
	}
	return st, nil
}

// copied says whether dir is a copy of a sandbox's directory that is still there: somebody copied the whole checkout.
// One that was moved, or is reached by another path, is no copy.
func (st state) copied(dir string) bool {
	own, err := os.Stat(st.Dir)
	if err != nil {
		return false
	}
	here, err := os.Stat(dir)
	return err == nil && !os.SameFile(own, here)
}

// writeJSON replaces the file as a whole: who is killed meanwhile leaves the old one.
func writeJSON(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// tail gives the last bytes of a file, on one line.
func tail(path string, size int) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(string(raw[max(0, len(raw)-size):])), " ")
}

// network is what a connection to the sandbox's control socket is.
const network = "unix"

func (s *Sandbox) dialControl(ctx context.Context) (*net.UnixConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, filepath.Join(s.dir, controlFile))
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}
