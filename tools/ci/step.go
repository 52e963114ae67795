package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// grace is how long a command has to end after its time is up.
const grace = 30 * time.Second

// record is what is kept of a step.
type record struct {
	Name    string
	Command string
	Started time.Time
	Took    time.Duration
	Failure string   // why it failed, or ""
	Says    excerpt  // what it said besides its tests
	Results []result // of its tests and their packages
	AtFirst []result // of the tests that had a second try: what came of the first
}

// stepOptions is a step as it is asked for.
type stepOptions struct {
	name      string
	limit     time.Duration
	command   []string
	want      *regexp.Regexp // what a line of the output must match, or nil
	tests     bool           // the command is a `make` of tests
	flags     string         // for go test
	secondTry *regexp.Regexp // tests of which packages have a second try, or nil
	found     sources
}

// run runs the step, and shows how it goes.
func (s stepOptions) run(ctx context.Context, out io.Writer) record {
	started := time.Now()
	rec := record{Name: s.name, Command: strings.Join(s.command, " "), Started: started}
	if s.tests {
		s.runTests(ctx, out, &rec)
	} else {
		r := s.attempt(ctx, out, s.command)
		rec.Says, rec.Failure = r.says, r.failure
		if rec.Failure == "" && s.want != nil && !r.wanted {
			rec.Failure = fmt.Sprintf("no line of its output matches %s", s.want)
		}
	}
	rec.Took = time.Since(started)
	fmt.Fprintf(out, "== %s took %s\n", s.name, rec.Took.Round(time.Second))
	if rec.Failure != "" {
		fmt.Fprintf(out, "FAILED: %s: %s\n", s.name, rec.Failure)
	}
	return rec
}

// runTests runs the tests of the step. One or two that need real parts, and that failed, have a second try by
// themselves, if that is asked for; see unlucky. They are told of all the same, for each is a fault of ours, in the
// test at least.
func (s stepOptions) runTests(ctx context.Context, out io.Writer, rec *record) {
	flags := strings.TrimSpace("-json " + s.flags)
	r := s.attempt(ctx, out, append(slices.Clone(s.command), "TESTFLAGS="+flags))
	rec.Says, rec.Failure, rec.Results = r.says, r.failure, r.all()
	if rec.Failure == "" && !slices.ContainsFunc(rec.Results, func(r result) bool { return r.Test != "" }) {
		rec.Failure = "no test ran"
	}
	if rec.Failure == "" || s.secondTry == nil || r.cut {
		return
	}
	unlucky := r.unlucky(func(dir string) bool { return s.found.needs(dir, s.secondTry) })
	if len(unlucky) == 0 {
		return
	}
	fmt.Fprintf(out, "== %s: a second try of %s\n", s.name, strings.Join(namesOf(unlucky), " and "))
	again := s.attempt(ctx, out, append(slices.Clone(s.command), "TESTFLAGS="+flags+" -run '"+r.pattern(unlucky)+"'"))
	rec.AtFirst = r.failing()
	rec.Says, rec.Failure = again.says, again.failure
	if rec.Failure != "" {
		rec.Failure += ", at the second try too"
	}
	rec.Results = merge(rec.Results, again.all())
}

// merge gives what came of the second try for whatever had one, and of the first for the others. What failed at first
// and did not run again is left out: it is a part of what did.
func merge(first, second []result) []result {
	again := map[name]bool{}
	for _, r := range second {
		again[r.name] = true
	}
	merged := slices.DeleteFunc(slices.Clone(first), func(r result) bool { return again[r.name] || r.Outcome != passed })
	return append(merged, second...)
}

// attempt runs the command and reads its output.
func (s stepOptions) attempt(ctx context.Context, out io.Writer, command []string) *reader {
	fmt.Fprintf(out, "== %s: %s\n", s.name, strings.Join(command, " "))
	r := newReader(out, s.found.module)
	r.want = s.want
	stop := r.tellWhatRuns(ctx)
	defer stop()
	if err := run(ctx, s.limit, r, command); err != nil {
		r.failure = err.Error()
		var exit *exec.ExitError
		r.cut = !errors.As(err, &exit)
	}
	r.end()
	return r
}

// run runs a command in a process group of its own, and writes both of its outputs to out. The group is asked to end
// when the limit is over, and killed if it has not a while later.
func run(ctx context.Context, limit time.Duration, out io.Writer, command []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("took longer than %s", limit))
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	killed := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var killer *time.Timer
	cmd.Cancel = func() error {
		killer = time.AfterFunc(grace, killed)
		return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
	}
	cmd.WaitDelay = grace + time.Second
	err := cmd.Run()
	if killer != nil {
		killer.Stop()
		return context.Cause(ctx)
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		killed()
		return errors.New("it ended, but left a process that holds its output")
	}
	return err
}

// keep writes what came of a step to the directory; kept reads them all, in the order in which they began.
func keep(dir string, r record) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, r.Name+".json"), raw, 0o600)
}

func kept(dir string) ([]record, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var records []record
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var r record
		if err := json.Unmarshal(raw, &r); err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b record) int {
		return cmp.Or(a.Started.Compare(b.Started), strings.Compare(a.Name, b.Name))
	})
	return records, nil
}
