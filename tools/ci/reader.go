package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// What came of a test. One without any did not end.
const (
	passed  = "pass"
	failed  = "fail"
	skipped = "skip"
)

// name is of a test, or of a package, which has no Test. Package is its directory in the project.
type name struct{ Package, Test string }

func (n name) String() string { return strings.TrimSuffix(n.Package+" "+n.Test, " ") }

// top is the test that n is a part of, or is.
func (n name) top() name {
	n.Test, _, _ = strings.Cut(n.Test, "/")
	return n
}

// result is what came of a test, or of a package as a whole.
type result struct {
	name
	Outcome string
	Seconds float64
	Says    excerpt
}

// event is a line of `go test -json`; see `go doc test2json` and `go help buildjson`.
type event struct {
	Action, Package, ImportPath, Test, Output, FailedBuild string
	Elapsed                                                float64
}

// reader reads the output of a step that is written to it, and shows what people can read. Lines that are no events
// are shown as they are.
type reader struct {
	module string
	want   *regexp.Regexp

	mu      sync.Mutex
	out     io.Writer
	line    []byte // one that has not ended
	results map[name]*result
	order   []name
	logs    map[name]*bytes.Buffer // of what runs, all that each test and its parts said
	builds  map[string]*excerpt
	shown   time.Time
	started map[name]time.Time

	says    excerpt
	wanted  bool // a line matched want
	never   bool // it holds what no second try forgives
	failure string
	cut     bool // the command did not end by itself
}

func newReader(out io.Writer, module string) *reader {
	return &reader{
		module: module, out: out, shown: time.Now(), results: map[name]*result{}, started: map[name]time.Time{},
		logs: map[name]*bytes.Buffer{}, builds: map[string]*excerpt{},
	}
}

func (r *reader) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.line = append(r.line, p...)
	for {
		line, rest, ended := bytes.Cut(r.line, []byte("\n"))
		if !ended {
			return len(p), nil
		}
		r.read(string(line) + "\n")
		r.line = rest
	}
}

// end reads what stands after the last end of a line.
func (r *reader) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.line) > 0 {
		r.read(string(r.line) + "\n")
		r.line = nil
	}
}

// all gives the results in the order in which the tests began.
func (r *reader) all() []result {
	var all []result
	for _, n := range r.order {
		all = append(all, *r.results[n])
	}
	return all
}

func (r *reader) read(line string) {
	var e event
	if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &e) != nil || e.Action == "" {
		r.says.add(line)
		r.wanted = r.wanted || r.want != nil && r.want.MatchString(strings.TrimSuffix(line, "\n"))
		r.show("%s", line)
		return
	}
	n := name{strings.TrimPrefix(strings.TrimPrefix(e.Package, r.module), "/"), e.Test}
	if e.Package == r.module {
		n.Package = "."
	}
	switch e.Action {
	case "build-output":
		if r.builds[e.ImportPath] == nil {
			r.builds[e.ImportPath] = &excerpt{}
		}
		r.builds[e.ImportPath].add(e.Output)
		r.show("%s", e.Output)
	case "build-fail":
		r.never = true
	case "start", "run", "cont":
		r.of(n)
		r.started[n] = time.Now()
	case "pause": // until other tests have ended
		delete(r.started, n)
	case "output":
		r.output(n, e.Output)
	case passed, failed, skipped:
		r.ended(n, e)
	}
}

// of gives what is known of a test or a package.
func (r *reader) of(n name) *result {
	if r.results[n] == nil {
		r.results[n] = &result{name: n}
		r.order = append(r.order, n)
	}
	return r.results[n]
}

var (
	// What says no more than its event, what no second try forgives, and what is said of a package without tests.
	marker     = regexp.MustCompile(`^(=== (RUN|NAME|CONT|PAUSE) | *--- (PASS|FAIL|SKIP): |(PASS|FAIL)\n?$|(ok|FAIL) *\t)`)
	unforgiven = regexp.MustCompile(
		`^panic: |^fatal error: |DATA RACE|race detected|test timed out|\[(build|setup) failed\]`)
	noTests = regexp.MustCompile(`\[no test(s to run| files)\]`)
)

func (r *reader) output(n name, text string) {
	r.never = r.never || unforgiven.MatchString(text)
	top := n.top()
	if r.logs[top] == nil {
		r.logs[top] = &bytes.Buffer{}
	}
	r.logs[top].WriteString(text)
	if !marker.MatchString(text) {
		r.of(n).Says.add(text)
	}
}

// ended shows what came of a test, and all that it said if it failed.
func (r *reader) ended(n name, e event) {
	res := r.of(n)
	res.Outcome, res.Seconds = e.Action, e.Elapsed
	delete(r.started, n)
	if n.Test == "" {
		r.endedPackage(res, e)
		return
	}
	if n != n.top() {
		return
	}
	r.show("%s %7.1fs  %s\n", strings.ToUpper(res.Outcome), res.Seconds, n)
	if res.Outcome != passed {
		r.showLog(n)
	}
	delete(r.logs, n)
}

// endedPackage also shows what was said by those of its tests that did not end.
func (r *reader) endedPackage(res *result, e event) {
	n := res.name
	if b := r.builds[e.FailedBuild]; b != nil {
		res.Says = *b
	}
	for _, t := range r.order {
		if t.Package == n.Package && t != n && r.results[t].Outcome == "" {
			delete(r.started, t)
			if t == t.top() {
				r.show("FAIL           %s did not end\n", t)
				r.showLog(t)
			}
		}
	}
	if res.Outcome == failed {
		r.show("FAIL %7.1fs  %s\n", res.Seconds, n)
		r.showLog(n)
	} else if log := r.logs[n]; log != nil && !noTests.Match(log.Bytes()) {
		r.show("ok   %7.1fs  %s\n", res.Seconds, n)
	}
	delete(r.logs, n)
}

func (r *reader) showLog(n name) {
	if log := r.logs[n]; log != nil {
		for line := range strings.Lines(log.String()) {
			r.show("        %s\n", strings.TrimSuffix(line, "\n"))
		}
	}
}

func (r *reader) show(format string, args ...any) {
	fmt.Fprintf(r.out, format, args...)
	r.shown = time.Now()
}

// tellWhatRuns says once a minute what is waited for, unless there is something else to see. It does so until the
// function is called that it gives.
func (r *reader) tellWhatRuns(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticks := time.NewTicker(5 * time.Second)
		defer ticks.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticks.C:
				r.tellIfQuiet()
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

func (r *reader) tellIfQuiet() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.shown) < time.Minute {
		return
	}
	var running []string
	for _, n := range slices.Backward(r.order) {
		if since, ok := r.started[n]; ok && n.Test != "" && n == n.top() && len(running) < 8 {
			running = append(running, fmt.Sprintf("%s for %s", n, time.Since(since).Round(time.Second)))
		}
	}
	if len(running) > 0 {
		slices.Reverse(running)
		r.show("...still running: %s\n", strings.Join(running, ", "))
	}
}
