package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cjworkbench/unstuck/release/plan"
)

// terminalVariable tells a process of this test that it is the command at the terminal, and which server to ask.
const terminalVariable = "UNSTUCK_TEST_TERMINAL"

// user is a process at a terminal of its own, a real one of the kernel's.
type user struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd
	text   string // that was read
	seen   int    // how much of it until has passed
}

// atTerminal runs this test's binary again, as the command.
func atTerminal(t *testing.T, server string) *user {
	t.Helper()
	descriptor, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours := os.NewFile(uintptr(descriptor), "terminal") // that does not block has deadlines
	t.Cleanup(func() { ours.Close() })
	number, err := unix.IoctlGetInt(descriptor, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(descriptor, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(descriptor, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 100})
	}
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), terminalVariable+"="+server, tokenVariable+"="+clientToken, "TERM=xterm", "NO_COLOR=")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &user{t: t, master: ours, cmd: cmd}
}

// until reads what comes on the terminal, to the end of text and no further.
func (c *user) until(text string) {
	c.t.Helper()
	if err := c.master.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		c.t.Fatal(err)
	}
	for b := make([]byte, 4096); !strings.Contains(c.text[c.seen:], text); {
		n, err := c.master.Read(b)
		c.text += string(b[:n])
		if err != nil {
			_ = c.cmd.Process.Kill()
			c.t.Fatalf("%v, and no %q in %q", err, text, c.text[c.seen:])
		}
	}
	c.seen += strings.Index(c.text[c.seen:], text) + len(text)
}

// types types text.
func (c *user) types(text string) {
	c.t.Helper()
	if _, err := c.master.WriteString(text); err != nil {
		c.t.Fatal(err)
	}
}

// exit gives the exit code, and all that was on the terminal.
func (c *user) exit() (code int, text string) {
	c.t.Helper()
	rest, err := io.ReadAll(c.master)
	if err != nil && !errors.Is(err, syscall.EIO) { // nobody has it open any more
		c.t.Error(err)
	}
	c.text += string(rest)
	if err := c.cmd.Wait(); err != nil {
		exit, ended := errors.AsType[*exec.ExitError](err)
		if !ended {
			c.t.Fatal(err)
		}
		return exit.ExitCode(), c.text
	}
	return 0, c.text
}

func TestTerminalAsksAndCtrlCAsksToo(t *testing.T) {
	if server := os.Getenv(terminalVariable); server != "" {
		os.Exit(Run(testRoot(newConsole()), []string{"deploy", "staging", newCommit, "--server", server, "--reason", "x"}, os.Stdout, os.Stderr))
	}
	s := newServedAPI()
	server := httptest.NewServer(s.api().Handler(nil))
	defer server.Close()
	defer s.going.Wait()

	c := atTerminal(t, server.URL)
	c.until("Go ahead? [y/N] ")
	c.types("\x03") // the terminal makes a signal of it
	if code, text := c.exit(); code != exitUnconfirmed || !strings.Contains(text, "unstuck: nothing was changed: interrupted") || len(s.asked) > 0 {
		t.Errorf("Ctrl-C at the question: exit code %d, asked for %+v\n%s", code, s.asked, text)
	}

	c = atTerminal(t, server.URL)
	c.until("Go ahead? [y/N] ")
	c.types("y\n")
	c.until("░░░ 0 of 1 step  ")
	s.goOn(theOperation, func(op *plan.Operation) {
		op.Phase, op.Steps[0].Phase, op.Steps[0].Started, op.Steps[0].Detail = plan.Running, plan.Running, time.Now(), "1 of 2 pods"
	})
	c.until("1 of 2 pods")
	c.types("\x03")
	c.until("Cancel it (c), stop watching and let it go on (s), or watch on (Enter)? ")
	c.types("\n")
	c.until("1 of 2 pods")
	c.types("\x03")
	c.until("or watch on (Enter)? ")
	c.types("c\n")
	code, text := c.exit()
	if op, _ := s.Load(t.Context(), theOperation); code != ExitFailed || op.Cancel == nil || !strings.Contains(text, "to be cancelled, says ada") || !strings.Contains(text, "cancelled  (op-1)") {
		t.Errorf("exit code %d, cancel %+v\n%q", code, op.Cancel, text)
	}
	if !strings.Contains(text, "A\x1b[J") {
		t.Errorf("nothing is drawn again in %q", text)
	}
}

func TestTerminalTakesAQuestionBackWhenItsOperationHasEnded(t *testing.T) {
	if server := os.Getenv(terminalVariable); server != "" {
		os.Exit(Run(testRoot(newConsole()), []string{"deploy", "staging", newCommit, "--server", server, "--reason", "x", "--yes"}, os.Stdout, os.Stderr))
	}
	s := newServedAPI()
	server := httptest.NewServer(s.api().Handler(nil))
	defer server.Close()
	defer s.going.Wait()
	c := atTerminal(t, server.URL)
	c.until("░░░ 0 of 1 step  ")
	c.types("\x03")
	c.until("or watch on (Enter)? ")
	s.goOn(theOperation, func(op *plan.Operation) {
		op.Phase, op.Outcome, op.Ended, op.Steps[0].Phase = plan.Succeeded, "done", time.Now(), plan.Succeeded
	})
	c.until("succeeded  (op-1)") // and nobody has typed anything
	if code, text := c.exit(); code != 0 || strings.Contains(text, "goes on") {
		t.Errorf("exit code %d\n%q", code, text)
	}
}
