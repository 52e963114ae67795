// Command ci runs the steps of .ci/run, reads what `go test -json` says in them, and tells in the end what failed.
//
//	ci step [flags] NAME LIMIT COMMAND...   runs a command
//	ci tests [flags] NAME LIMIT COMMAND...  runs a `make` of tests, to which it adds TESTFLAGS
//	ci report -results DIR                  tells of all the steps that were kept in that directory
//
// A step with -results is kept there, and its failure is told by the report alone: the steps after it run too. Without,
// it tells by itself. Files and tests are those of the checkout that it is called in.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

var errFailed = errors.New("something failed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Stdout, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, errFailed):
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "ci:", err)
		os.Exit(2)
	}
}

// command gives errFailed if something failed, and another error if it could not tell.
func command(ctx context.Context, out io.Writer, args []string) error {
	if err := enterProject(ctx); err != nil {
		return err
	}
	if len(args) == 0 {
		return errors.New("want one of step, tests and report")
	}
	set := flag.NewFlagSet(args[0], flag.ContinueOnError)
	results := set.String("results", "", "the `directory` that steps are kept in")
	var s stepOptions
	switch args[0] {
	case "step":
		set.Func("want", "a `regexp`: it fails if no line of the output matches", regexpInto(&s.want))
	case "tests":
		s.tests = true
		set.StringVar(&s.flags, "flags", "", "more `flags` for go test")
		set.Func("second-try", "a `regexp`: one or two tests that fail are tried again by themselves, if the path of their "+
			"package or one that its tests import matches", regexpInto(&s.secondTry))
	case "report":
		if err := set.Parse(args[1:]); err != nil {
			return err
		}
		return tell(ctx, out, *results)
	default:
		return fmt.Errorf("%q: want one of step, tests and report", args[0])
	}
	if err := set.Parse(args[1:]); err != nil {
		return err
	}
	if set.NArg() < 3 {
		return errors.New("want a name, a limit and a command")
	}
	var err error
	s.name, s.command = set.Arg(0), set.Args()[2:]
	if s.limit, err = time.ParseDuration(set.Arg(1)); err != nil {
		return err
	}
	return runStep(ctx, out, s, *results)
}

func regexpInto(to **regexp.Regexp) func(string) error {
	return func(text string) (err error) {
		*to, err = regexp.Compile(text)
		return err
	}
}

// runStep runs the step, and keeps what came of it, or tells.
func runStep(ctx context.Context, out io.Writer, s stepOptions, results string) error {
	found, err := readSources(ctx)
	if err != nil {
		return err
	}
	s.found = found
	if results == "" {
		r := report{records: []record{s.run(ctx, out)}}
		return r.write(out)
	}
	// Should we be killed, this is what the report finds.
	if err := keep(results, record{Name: s.name, Started: time.Now(), Failure: "did not end"}); err != nil {
		return err
	}
	rec := s.run(ctx, out)
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", s.name, context.Cause(ctx)) // nothing comes after it
	}
	return keep(results, rec)
}

// tell tells of all the steps that are kept in the directory.
func tell(ctx context.Context, out io.Writer, results string) error {
	found, err := readSources(ctx)
	if err != nil {
		return err
	}
	records, err := kept(results)
	if err != nil {
		return err
	}
	r := report{records: records, found: found, whole: true}
	return r.write(out)
}

// enterProject goes to the root of the checkout.
func enterProject(ctx context.Context) error {
	root, err := exec.CommandContext(ctx, "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return fmt.Errorf("find the checkout: %w", err)
	}
	return os.Chdir(strings.TrimSuffix(string(root), "\n"))
}
