package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A request to the first process is one line of JSON, with the files that belong to it; the answer is one too.
type request struct {
	Op      string
	Name    string   `json:",omitempty"` // of a process
	Address string   `json:",omitempty"` // host:port in the sandbox
	Argv    []string `json:",omitempty"`
}

const (
	opStart   = "start"   // start the named process, if it was stopped
	opStop    = "stop"    // kill it, and do not start it again
	opRun     = "run"     // run a command; the files are its input, output and errors
	opDial    = "dial"    // connect to the address; what follows the answer is that connection
	opForward = "forward" // the file is a listening socket; connect whom it accepts to the address
)

type answer struct {
	Error string `json:",omitempty"`
	Exit  int    // of a command
}

// StopProcess kills a process of the Spec and returns when it has ended. StartProcess starts it again.
func (s *Sandbox) StopProcess(ctx context.Context, name string) error {
	_, err := s.ask(ctx, request{Op: opStop, Name: name})
	return err
}

// StartProcess starts a process of the Spec that was stopped.
func (s *Sandbox) StartProcess(ctx context.Context, name string) error {
	_, err := s.ask(ctx, request{Op: opStart, Name: name})
	return err
}

// Run runs a command in the sandbox and gives what it printed. A non-zero exit code is an error with the end of what
// it complained about. A command that has not ended when ctx does goes on.
func (s *Sandbox) Run(ctx context.Context, stdin string, argv ...string) (string, error) {
	if len(argv) == 0 {
		return "", errors.New("run a command: none given")
	}
	in, err := memoryFile("stdin", stdin)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := memoryFile("stdout", "")
	if err != nil {
		return "", err
	}
	defer out.Close()
	complaints, err := memoryFile("stderr", "")
	if err != nil {
		return "", err
	}
	defer complaints.Close()
	a, err := s.ask(ctx, request{Op: opRun, Argv: argv}, in, out, complaints)
	if err != nil {
		return "", err
	}
	printed, err := content(out)
	if err != nil {
		return "", err
	}
	if a.Exit != 0 {
		why, err := content(complaints)
		why = strings.TrimSpace(why)
		return printed, errors.Join(
			fmt.Errorf("run %s in the sandbox: exit code %d: %s", argv[0], a.Exit, why[max(0, len(why)-300):]), err)
	}
	return printed, nil
}

// memoryFile makes a file without a name: unlike a pipe it needs nobody to read it while it is written.
func memoryFile(name, text string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func content(f *os.File) (string, error) {
	raw, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
	return string(raw), err
}

// Dial connects to a TCP address inside the sandbox.
func (s *Sandbox) Dial(ctx context.Context, address string) (net.Conn, error) {
	conn, _, err := s.open(ctx, request{Op: opDial, Address: address})
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// Forward listens on an address of this machine and connects who comes to the address inside the sandbox, for as
// long as the sandbox lives. With port 0 the kernel chooses one; the address that it became is returned.
func (s *Sandbox) Forward(ctx context.Context, listen, address string) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", listen)
	if err != nil {
		return "", err
	}
	defer l.Close() // the sandbox has its own copy
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := s.ask(ctx, request{Op: opForward, Address: address}, f); err != nil {
		return "", err
	}
	return l.Addr().String(), nil
}

func (s *Sandbox) ask(ctx context.Context, r request, files ...*os.File) (answer, error) {
	conn, a, err := s.open(ctx, r, files...)
	if err != nil {
		return a, err
	}
	return a, conn.Close()
}

// open sends a request and reads the answer.
func (s *Sandbox) open(ctx context.Context, r request, files ...*os.File) (net.Conn, answer, error) {
	fail := func(err error) (net.Conn, answer, error) {
		return nil, answer{}, fmt.Errorf("%s %s%s in the sandbox: %w", r.Op, r.Name, r.Address, err)
	}
	conn, err := s.dialControl(ctx)
	if err != nil {
		return fail(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	a, err := exchange(conn, r, files)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	if err != nil {
		_ = conn.Close()
		return fail(err)
	}
	return conn, a, nil
}

func exchange(conn *net.UnixConn, r request, files []*os.File) (answer, error) {
	var a answer
	line, err := json.Marshal(r)
	if err != nil {
		return a, err
	}
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if _, _, err := conn.WriteMsgUnix(append(line, '\n'), rights, nil); err != nil {
		return a, err
	}
	var got []byte
	for b := make([]byte, 1); !bytes.HasSuffix(got, []byte("\n")); { // a byte at a time: what follows is not ours
		if _, err := conn.Read(b); err != nil {
			return a, err
		}
		got = append(got, b[0])
	}
	return a, json.Unmarshal(got, &a)
}

// serve answers requests for as long as the first process lives.
func (n *nursery) serve(l *net.UnixListener) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			fmt.Fprintln(os.Stderr, "accept a request:", err)
			return
		}
		go func() {
			defer conn.Close()
			if err := n.answer(conn); err != nil {
				fmt.Fprintln(os.Stderr, "answer a request:", err)
			}
		}()
	}
}

func (n *nursery) answer(conn *net.UnixConn) error {
	r, files, err := receive(conn)
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	if err != nil {
		return err
	}
	var a answer
	var target net.Conn
	switch r.Op {
	case opStart, opStop:
		err = n.control(r)
	case opRun:
		var status <-chan syscall.WaitStatus
		if status, err = n.run(r.Argv, nil, files); err == nil {
			a.Exit = exitCode(<-status)
		}
	case opDial:
		target, err = dial(r.Address)
	case opForward:
		err = forward(files, r.Address)
	default:
		err = fmt.Errorf("no such operation: %q", r.Op)
	}
	if err != nil {
		a.Error = err.Error()
	}
	line, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return err
	}
	if target != nil {
		join(conn, target.(*net.TCPConn))
	}
	return nil
}

func (n *nursery) control(r request) error {
	k := n.keepers[r.Name]
	if k == nil {
		return fmt.Errorf("no process %q", r.Name)
	}
	if r.Op == opStop {
		k.stop()
		return nil
	}
	return k.start()
}

// exitCode is what a shell makes of a status.
func exitCode(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}

func receive(conn *net.UnixConn) (request, []*os.File, error) {
	var r request
	var line []byte
	var files []*os.File
	for buf, oob := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(3*4)); !bytes.HasSuffix(line, []byte("\n")); {
		n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return r, files, err
		}
		line = append(line, buf[:n]...)
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			return r, files, err
		}
		for _, m := range messages {
			fds, err := unix.ParseUnixRights(&m)
			if err != nil {
				return r, files, err
			}
			for _, fd := range fds {
				unix.CloseOnExec(fd)
				files = append(files, os.NewFile(uintptr(fd), "received"))
			}
		}
		if n == 0 {
			return r, files, io.ErrUnexpectedEOF
		}
	}
	return r, files, json.Unmarshal(line, &r)
}

// dialTimeout is ample for a connection that does not leave the machine.
const dialTimeout = 10 * time.Second

func dial(address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	return d.Dial("tcp", address)
}

func forward(files []*os.File, address string) error {
	if len(files) != 1 {
		return fmt.Errorf("forward: %d sockets: want one", len(files))
	}
	l, err := net.FileListener(files[0])
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				fmt.Fprintf(os.Stderr, "forward to %s: %v\n", address, err)
				return
			}
			go func() {
				defer conn.Close()
				target, err := dial(address)
				if err != nil {
					return // the caller sees its connection end
				}
				join(conn.(*net.TCPConn), target.(*net.TCPConn))
			}()
		}
	}()
	return nil
}

// halfConn is a connection whose two directions end separately.
type halfConn interface {
	net.Conn
	CloseWrite() error
}

// join copies both ways until both directions have ended.
func join(a, b halfConn) {
	defer b.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(b, a)
		_ = b.CloseWrite()
	}()
	_, _ = io.Copy(a, b)
	_ = a.CloseWrite()
	<-done
}
