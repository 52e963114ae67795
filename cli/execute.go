package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cjworkbench/unstuck/terminal"
)

// The exit codes of every command. Those of probe and diagnose are what monitoring plugins use, with "stuck" as
// critical. None of them is that of a crash: see crashBySignal in cmd/unstuck.
const (
	ExitOK      = 0
	ExitFailed  = 1 // probe: faulty
	ExitStuck   = 2 // only of probe and diagnose
	ExitUnknown = 3 // the command line is wrong; of probe and diagnose also: it could not tell
)

// ExitError ends the command with a code of its own.
type ExitError struct {
	Code int
	Err  error // nil: all has been said already
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

// UsageError is an error in the command line itself. What it says must not repeat what was typed, except for names of
// flags and words that can be nothing else: any argument may be a URL with a password in the wrong place.
func UsageError(format string, args ...any) error {
	return &ExitError{Code: ExitUnknown, Err: fmt.Errorf(format, args...)}
}

// Run runs a command line until it is done or interrupted, and gives the exit code.
func Run(root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return Execute(ctx, root, args, stdout, stderr)
}

// Execute runs root with args and gives the exit code. An error is one line on stderr.
func Execute(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(flagError)
	if root.HasSubCommands() {
		root.Args = wantsCommand
	} else {
		root.CompletionOptions.DisableDefaultCmd = true
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.InitDefaultCompletionCmd(args...) // only now: it keeps the output that root has
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			wantsShell(cmd)
		}
	}
	respell(root)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitOK
	}
	if missing := cmd.ValidateRequiredFlags(); missing != nil { // cobra's own error has no type
		err = UsageError("%w: see %q", missing, cmd.CommandPath()+" --help")
	}
	exit := &ExitError{Code: ExitFailed, Err: err}
	errors.As(err, &exit)
	if exit.Err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", root.Name(), err)
	}
	return exit.Code
}

// wantsShell makes it an error to ask for completion without the name of a shell, or with one that is not known:
// cobra's own command shows its help and succeeds, which a script would then take for completions.
func wantsShell(completion *cobra.Command) {
	var shells []string
	for _, shell := range completion.Commands() {
		shells = append(shells, shell.Name())
		shell.Args = Exactly(0, "no argument")
	}
	completion.Use = "completion SHELL"
	completion.Example = "  source <(unstuck completion bash)"
	completion.Args = func(*cobra.Command, []string) error {
		return UsageError("want a shell, one of %s: see %q", strings.Join(shells, ", "), completion.CommandPath()+" --help")
	}
	completion.RunE = func(*cobra.Command, []string) error { return nil } // never reached: each shell has its command
}

// plainWord is an argument that can be a mistyped command, and hardly a secret.
var plainWord = regexp.MustCompile(`^[a-z][a-z-]{0,15}$`)

// flagWord is likewise a mistyped flag: some have long names.
var flagWord = regexp.MustCompile(`^[a-z][a-z-]{0,23}$`)

// loneLetter is a flag of one letter, by itself or before the sign of its value. Of more letters, as in -psecret, the
// rest may be a secret, and the first one of it.
var loneLetter = regexp.MustCompile(`^[A-Za-z0-9?](=|$)`)

// wantsCommand refuses arguments of the root command: they are commands that do not exist.
func wantsCommand(cmd *cobra.Command, args []string) error {
	program := cmd.CommandPath()
	switch {
	case len(args) == 0:
		return nil
	case !plainWord.MatchString(args[0]):
		return UsageError("want a command before the arguments, such as %q: see %q", program+" probe amqp://user@host",
			program+" --help")
	}
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		return UsageError("there is no command %q: did you mean %q?", args[0], like[0])
	}
	return UsageError("there is no command %q: see %q", args[0], program+" --help")
}

// flagError says what is wrong with a flag, without the value: that may be a secret.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	see := fmt.Sprintf("see %q", cmd.CommandPath()+" --help")
	switch {
	case errors.As(err, &invalid):
		return UsageError("flag --%s: want a %s: %s", invalid.GetFlag().Name, invalid.GetFlag().Value.Type(), see)
	case errors.As(err, &missing):
		return UsageError("flag --%s wants a value: %s", missing.GetFlag().Name, see)
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "" &&
		flagWord.MatchString(unknown.GetSpecifiedName()):
		return UsageError("there is no flag --%s: %s", unknown.GetSpecifiedName(), see)
	case errors.As(err, &unknown) && loneLetter.MatchString(unknown.GetSpecifiedShortnames()):
		return UsageError("there is no flag -%s: %s", unknown.GetSpecifiedName(), see)
	}
	return UsageError("there is no such flag: %s", see)
}

// Exactly is cobra's check of the number of arguments, as a usage error that repeats none of them.
func Exactly(number int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != number {
			return UsageError("want %s, got %s: see %q", what, terminal.Count(len(args), "argument"),
				cmd.CommandPath()+" --help")
		}
		return nil
	}
}

// AtLeast is likewise for a number of arguments or more.
func AtLeast(count int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < count {
			return UsageError("want %s: see %q", what, cmd.CommandPath()+" --help")
		}
		return nil
	}
}
