package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cjworkbench/unstuck/probe"
)

// The exit codes of every command. Those of probe and diagnose are what monitoring plugins use, with "stuck" as critical. None of
// them is that of a crash: see crashBySignal.
const (
	exitOK      = 0
	exitFailed  = 1 // probe: faulty
	exitStuck   = 2 // only of probe and diagnose
	exitUnknown = 3 // the command line is wrong; of probe and diagnose also: it could not tell
)

// exitError ends the command with a code of its own.
type exitError struct {
	code int
	err  error // nil: all has been said already
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usageError is an error in the command line itself. What it says must not repeat what was typed, except for names of
// flags and words that can be nothing else: any argument may be a URL with a password in the wrong place.
func usageError(format string, args ...any) error {
	return &exitError{exitUnknown, fmt.Errorf(format, args...)}
}

// execute runs root with args and gives the exit code. An error is one line on stderr.
func execute(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.InitDefaultCompletionCmd(args...) // only now: it keeps the output that root has
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			wantsShell(cmd)
		}
	}
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if missing := cmd.ValidateRequiredFlags(); missing != nil { // cobra's own error has no type
		err = usageError("%w: see %q", missing, cmd.CommandPath()+" --help")
	}
	exit := &exitError{exitFailed, err}
	errors.As(err, &exit)
	if exit.err != nil {
		fmt.Fprintf(stderr, "unstuck: %v\n", err)
	}
	return exit.code
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "unstuck",
		Short: "Find RabbitMQ nodes that look alive but accept no logins",
		Long: `Unstuck finds RabbitMQ nodes that look alive but accept no logins, proves it, and has them started afresh.

At 3 a.m., begin with "unstuck probe": it needs no configuration, and says whether a node accepts logins.`,
		Example: `  unstuck probe amqp://monitor@10.0.0.7 --password-file /run/secrets/amqp
  unstuck check-config unstuck.yaml && unstuck run --config unstuck.yaml`,
		Args:          wantsCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Version:       currentVersion().String(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(newRunCommand(), newProbeCommand(probe.NewLogin), newDiagnoseCommand(), newDemoCommand(), newCheckConfigCommand(), newTokenCommand(), newVersionCommand())
	root.AddCommand(newClientCommands(newConsole())...)
	return root
}

// wantsShell makes it an error to ask for completion without the name of a shell, or with one that is not known:
// cobra's own command shows its help and succeeds, which a script would then take for completions.
func wantsShell(completion *cobra.Command) {
	var shells []string
	for _, shell := range completion.Commands() {
		shells = append(shells, shell.Name())
		shell.Args = exactly(0, "no argument")
	}
	completion.Use = "completion SHELL"
	completion.Example = "  source <(unstuck completion bash)"
	completion.Args = func(*cobra.Command, []string) error {
		return usageError(`want a shell, one of %s: see "unstuck completion --help"`, strings.Join(shells, ", "))
	}
	completion.RunE = func(*cobra.Command, []string) error { return nil } // never reached: each shell has its command
}

// plainWord is an argument that can be a mistyped command, and hardly a secret.
var plainWord = regexp.MustCompile(`^[a-z][a-z-]{0,15}$`)

// wantsCommand refuses arguments of the root command: they are commands that do not exist.
func wantsCommand(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case !plainWord.MatchString(args[0]):
		return usageError(`want a command before the arguments, such as "unstuck probe amqp://user@host": see "unstuck --help"`)
	}
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		return usageError("there is no command %q: did you mean %q?", args[0], like[0])
	}
	return usageError(`there is no command %q: see "unstuck --help"`, args[0])
}

// flagError says what is wrong with a flag, without the value: that may be a secret.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	see := fmt.Sprintf("see %q", cmd.CommandPath()+" --help")
	switch {
	case errors.As(err, &invalid):
		return usageError("flag --%s: want a %s: %s", invalid.GetFlag().Name, invalid.GetFlag().Value.Type(), see)
	case errors.As(err, &missing):
		return usageError("flag --%s wants a value: %s", missing.GetFlag().Name, see)
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "" && plainWord.MatchString(unknown.GetSpecifiedName()):
		return usageError("there is no flag --%s: %s", unknown.GetSpecifiedName(), see)
	}
	return usageError("there is no such flag: %s", see)
}

// exactly and atLeast are cobra's checks of the number of arguments, as usage errors that repeat none of them.
func exactly(number int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != number {
			return usageError("want %s, got %s: see %q", what, count(len(args), "argument"), cmd.CommandPath()+" --help")
		}
		return nil
	}
}

func atLeast(count int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < count {
			return usageError("want %s: see %q", what, cmd.CommandPath()+" --help")
		}
		return nil
	}
}
