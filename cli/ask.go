package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/cjworkbench/unstuck/kube"
)

// console is who sits at the terminal, if anybody, and how patient we are.
type console struct {
	// ask asks a question and gives the answer, without blanks around it; errNobody if there is nobody to ask.
	ask func(ctx context.Context, question string) (string, error)
	// interrupts gives the wishes to stop, Ctrl-C for instance, until stop is called.
	interrupts func() (wishes <-chan os.Signal, stop func())
	// patience is for how long a server that is not there is waited for, while something is watched.
	patience time.Duration
	// dial, if not nil, is how every server is reached.
	dial dialer
	// enter gives the way to the Unstuck in a cluster.
	enter func(kube.ForwardOptions) (cluster, error)
}

// errNobody says that nobody could be asked.
var errNobody = errors.New("there is nobody to ask: this is no terminal")

// newConsole gives the console of this process.
func newConsole() console {
	return console{ask: askTerminal, interrupts: interrupts, patience: 5 * time.Minute, enter: enterCluster}
}

func enterCluster(o kube.ForwardOptions) (cluster, error) {
	return kube.NewForward(o, slog.New(slog.DiscardHandler))
}

func interrupts() (wishes <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	return c, func() { signal.Stop(c) }
}

// askTerminal asks on the terminal itself, so that the output may go elsewhere. It is not asked where the input comes
// from elsewhere: `yes | unstuck deploy` is nobody's consent. Ctrl-C ends the question with an error.
func askTerminal(ctx context.Context, question string) (string, error) {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", errNobody
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", errNobody
	}
	defer tty.Close()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, func() { _ = tty.SetReadDeadline(time.Unix(1, 0)) })()
	if _, err := fmt.Fprint(tty, question); err != nil {
		return "", fmt.Errorf("ask on the terminal: %w", err)
	}
	line, err := bufio.NewReader(tty).ReadString('\n')
	if ctx.Err() != nil {
		fmt.Fprintln(tty)
		return "", fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	if err != nil { // Ctrl-D
		fmt.Fprintln(tty)
	}
	return strings.TrimSpace(line), nil
}

// approve asks whether to go ahead, and gives an error if the answer is anything but yes.
func (c console) approve(ctx context.Context, question string) error {
	answer, err := c.ask(ctx, clean(question)+" [y/N] ")
	switch {
	case errors.Is(err, errNobody):
		return &ExitError{
			Code: exitUnconfirmed, Err: fmt.Errorf("%w; give --yes to go ahead all the same, after a look at --dry-run", err),
		}
	case err != nil:
		return &ExitError{Code: exitUnconfirmed, Err: fmt.Errorf("nothing was changed: %w", err)}
	case strings.EqualFold(answer, "y"), strings.EqualFold(answer, "yes"):
		return nil
	}
	return &ExitError{Code: exitUnconfirmed, Err: errors.New("nothing was changed")}
}

// reasons are what is recorded with a change.
type reasons struct{ reason, bugReport string }

// complete asks for what was not given: the reason, and the bug report if that is wanted. Only a reason is required.
func (r *reasons) complete(ctx context.Context, c console, mayAsk, wantsReport bool) error {
	ask := func(what *string, question string) error {
		if strings.TrimSpace(*what) != "" || !mayAsk {
			return nil
		}
		answer, err := c.ask(ctx, question)
		if err != nil && !errors.Is(err, errNobody) {
			return &ExitError{Code: exitUnconfirmed, Err: fmt.Errorf("nothing was changed: %w", err)}
		}
		*what = answer
		return nil
	}
	if err := ask(&r.reason, "Why? (for the record) "); err != nil {
		return err
	}
	if strings.TrimSpace(r.reason) == "" {
		return UsageError("a reason is required, for the record: give --reason")
	}
	if !wantsReport {
		return nil
	}
	return ask(&r.bugReport, "Is there a bug report? Its address, or nothing: ")
}
