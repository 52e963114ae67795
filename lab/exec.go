package lab

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/target"
)

// Exec runs a command beside a node, with the environment that RabbitMQ's command-line tools need to reach it; they
// are found first, then what is on the PATH. It returns the exit code. It returns an error if the command could not
// be started, was killed, or had not ended when ctx or the node's process did (exec'd commands die with their
// container); the command's whole process group is killed then.
func (l *Lab) Exec(ctx context.Context, pn target.Node, argv []string, stdout, stderr io.Writer) (int, error) {
	if len(argv) == 0 {
		return -1, errors.New("run a command: none given")
	}
	n, err := l.current(pn)
	if err != nil {
		return -1, fmt.Errorf("run %s: %w", argv[0], err)
	}
	return n.run(ctx, argv, nil, stdout, stderr)
}

func (n *node) run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	fail := func(err error) (int, error) { return -1, fmt.Errorf("run %s on %s: %w", argv[0], n.name, err) }
	p, err := n.process()
	if err != nil {
		return fail(err)
	}
	path, err := find(n.lab.opts.Root, n.lab.bin, argv[0])
	if err != nil {
		return fail(err)
	}
	if err := n.lab.begin(); err != nil {
		return fail(err)
	}
	defer n.lab.wg.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.ctx, func() { cancel(errors.New("the node's process ended")) })()

	cmd := n.lab.command(ctx, n.dir, n.env(), path, argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	cmd.WaitDelay = time.Second // a helper process may hold the pipes a little longer
	if err := n.lab.spawner.start(cmd); err != nil {
		return fail(err)
	}
	err = cmd.Wait()
	switch {
	case cmd.ProcessState != nil && cmd.ProcessState.Exited():
		return cmd.ProcessState.ExitCode(), nil
	case ctx.Err() != nil:
		return fail(context.Cause(ctx))
	default:
		return fail(err)
	}
}

// command makes a command that runs inside Options.Root, to be started by the spawner; path, dir and env are its own.
// It is killed with its whole group when ctx ends.
func (l *Lab) command(ctx context.Context, dir string, env []string, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	if l.opts.Root != "" {
		// RabbitMQ learns from /proc how much memory there is. Mounted in the child's own namespace it goes with the child.
		mount := []string{"-c", `mount -t proc proc /proc && exec "$@"`, "sh", path}
		cmd = exec.CommandContext(ctx, "/bin/sh", append(mount, args...)...)
	}
	cmd.SysProcAttr, cmd.Dir, cmd.Env = newAttr(l.opts.Root), l.inside(dir), env
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	return cmd
}

// ctlTimeout bounds one command of ours. `rabbitmq-upgrade drain` is the slowest, with a few seconds.
const ctlTimeout = time.Minute

// ctl runs one of RabbitMQ's tools on the node and gives what it printed. A non-zero exit code is an error. The
// error names the tool and its first argument only, and shows the last line: arguments may be secrets.
func (n *node) ctl(ctx context.Context, stdin string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, ctlTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	exit, err := n.run(ctx, argv, strings.NewReader(stdin), &stdout, &stderr)
	if err != nil {
		return "", err
	}
	if exit != 0 {
		return "", fmt.Errorf("%s %s on %s: exit code %d: %s", argv[0], argv[1], n.name, exit, oneLine(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// eval runs an Erlang expression inside the node and gives its value as Erlang writes it, on one line; of {text, T} it
// gives the text T. It does so by erl_call, for tests do it all the time and `rabbitmqctl eval` takes a second of CPU.
func (n *node) eval(ctx context.Context, erlang string) (string, error) {
	// In base64 nothing in the value can be taken for a part of erl_call's answer.
	question := fmt.Sprintf(`base64:encode_to_string(unicode:characters_to_binary(case begin %s end of
		{text, Text} -> Text;
		Value -> io_lib:format("~0tp", [Value])
	end)).`+"\n", strings.TrimSuffix(strings.TrimSpace(erlang), "."))
	out, err := n.ctl(ctx, question, "erl_call", "-r", "-n", n.erlang(), "-e")
	if err != nil {
		return "", err
	}
	if out == "{ok, []}" { // how erl_call writes an empty text
		return "", nil
	}
	coded, ok := strings.CutPrefix(out, `{ok, "`)
	value, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(coded, `"}`))
	if !ok || err != nil {
		return "", fmt.Errorf("run Erlang on %s: %s", n.name, oneLine(out))
	}
	return strings.TrimSpace(string(value)), nil
}

// oneLine puts the beginning of what a command printed on one line.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return s[:min(len(s), 200)]
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// Check is the outcome of one of RabbitMQ's own health checks.
type Check struct {
	Name   string
	Exit   int // 0: passed
	Took   time.Duration
	Output string // the last line that it printed
	Err    error  // why it could not be run to its end
}

// officialChecks are the stages of health checks that RabbitMQ's documentation recommends
// (https://www.rabbitmq.com/docs/monitoring#health-checks).
var officialChecks = []string{
	"ping", "check_running", "check_local_alarms", "check_port_connectivity", "check_virtual_hosts",
}

// Checks runs RabbitMQ's own health checks on a node, all at once. That takes about 2 s, and 15 s on a frozen node.
func (l *Lab) Checks(ctx context.Context, pn target.Node) []Check {
	checks := make([]Check, len(officialChecks))
	var wg sync.WaitGroup
	for i, name := range officialChecks {
		wg.Go(func() {
			var out bytes.Buffer
			began := time.Now()
			exit, err := l.Exec(ctx, pn, []string{"rabbitmq-diagnostics", "--quiet", name}, &out, &out)
			checks[i] = Check{Name: name, Exit: exit, Took: time.Since(began), Output: lastLine(out.String()), Err: err}
		})
	}
	wg.Wait()
	return checks
}
