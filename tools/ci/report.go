package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	slow         = 10.0 // seconds, from which on a test is slow
	slowLimit    = 25   // how many of them are named
	missingLimit = 25   // how many tests of a package that did not run are named, those that keep a promise first
	detailLimit  = 120  // lines of what the failing tests of a step said
)

// report tells of steps.
type report struct {
	records []record
	found   sources
	whole   bool // these are all of the steps: every test has run

	passed, failed int
	out            io.Writer
}

// write writes the report. What matters most stands last, for some see no more than the end.
func (r *report) write(out io.Writer) error {
	r.out = out
	r.writeSlow()
	r.writeTimes()
	var failures strings.Builder
	r.out = &failures
	r.count()
	r.out = out
	if r.failed > 0 {
		fmt.Fprintf(out, "== what failed\n%s", failures.String())
		for _, rec := range r.records {
			r.writeDetails(rec)
		}
	}
	r.writeAtFirst()
	fmt.Fprintf(out, "%d passed, %d failed\n", r.passed, r.failed)
	if r.failed > 0 || r.passed == 0 {
		return errFailed
	}
	return nil
}

// writeSlow writes which tests took long, the longest first.
func (r *report) writeSlow() {
	var tests []result
	sum := 0.0
	for _, rec := range r.records {
		for _, res := range rec.Results {
			if res.Test != "" && res.name == res.top() && res.Seconds >= slow {
				res.Package = rec.Name + ": " + res.Package
				tests = append(tests, res)
				sum += res.Seconds
			}
		}
	}
	if len(tests) == 0 {
		return
	}
	slices.SortStableFunc(tests, func(a, b result) int { return cmp.Compare(b.Seconds, a.Seconds) })
	fmt.Fprintf(r.out, "== slow tests: %d took %.0f s or longer, %.0f s in all\n", len(tests), slow, sum)
	for i, t := range tests {
		if i == slowLimit {
			fmt.Fprintf(r.out, "        and %d more\n", len(tests)-slowLimit)
			break
		}
		fmt.Fprintf(r.out, "%7.1fs  %s\n", t.Seconds, t.name)
	}
}

// writeTimes writes how long each step took.
func (r *report) writeTimes() {
	fmt.Fprintln(r.out, "== the steps")
	for _, rec := range r.records {
		fmt.Fprintf(r.out, "%6.0fs  %s\n", rec.Took.Round(time.Second).Seconds(), rec.Name)
	}
}

// count counts the steps and the tests, and writes a line for each that failed.
func (r *report) count() {
	if r.whole {
		r.countMissing()
	}
	for _, rec := range r.records {
		if rec.Failure == "" {
			r.passed++
		} else {
			r.failf("%s: %s", rec.Name, rec.Failure)
		}
		for _, res := range rec.Results {
			switch {
			case res.Test != "" && res.Outcome == passed:
				r.passed++
			case res.Test != "" && res.Outcome == skipped:
				r.failf("%s: a skipped test proves nothing: %s", rec.Name, res.name)
			case isFailure(rec, res):
				r.failf("%s: %s", rec.Name, told(res))
			}
		}
	}
}

// told names what failed, and how if that is not plain.
func told(res result) string {
	switch {
	case res.Outcome == "":
		return res.String() + " did not end"
	case res.Test == "":
		return res.String() + ", the package as a whole"
	}
	return res.String()
}

// isFailure is of a test that failed or did not end, and of a package that failed though none of its tests did.
func isFailure(rec record, res result) bool {
	if res.Test != "" {
		return res.Outcome == failed || res.Outcome == ""
	}
	ofATest := func(t result) bool { return t.Test != "" && t.Package == res.Package && isFailure(rec, t) }
	return (res.Outcome == failed || res.Outcome == "") && !slices.ContainsFunc(rec.Results, ofATest)
}

// countMissing tells of the tests that stand in the sources and did not run and pass, with the promises that they keep,
// and of promises that no test keeps.
func (r *report) countMissing() {
	ran := map[name]bool{}
	for _, rec := range r.records {
		for _, res := range rec.Results {
			ran[res.name] = ran[res.name] || res.Outcome == passed
		}
	}
	missing := map[string][]string{}
	for _, t := range r.found.tests {
		if ran[t.name] {
			continue
		}
		r.failed++
		text := t.Test
		if len(t.promises) > 0 {
			text += fmt.Sprintf(" (of promise %s)", strings.Trim(fmt.Sprint(t.promises), "[]"))
		}
		if len(t.promises) > 0 {
			missing[t.Package] = slices.Insert(missing[t.Package], 0, text)
		} else {
			missing[t.Package] = append(missing[t.Package], text)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(missing)) {
		tests := missing[dir]
		if more := len(tests) - missingLimit; more > 0 {
			tests = append(tests[:missingLimit], fmt.Sprintf("and %d more", more))
		}
		fmt.Fprintf(r.out, "there are such tests, but they did not run and pass: %s: %s\n", dir, strings.Join(tests, ", "))
	}
	for _, problem := range r.found.problems {
		r.failf("%s", problem)
	}
}

func (r *report) failf(format string, args ...any) {
	r.failed++
	fmt.Fprintf(r.out, "FAILED: "+format+"\n", args...)
}

// writeDetails writes what was said by what failed in a step: the first and the last of each.
func (r *report) writeDetails(rec record) {
	left := detailLimit
	for _, res := range rec.Results {
		if !isFailure(rec, res) && (res.Test == "" || res.Outcome != skipped) {
			continue
		}
		if left > 0 && len(res.Says.lines()) > 0 {
			left -= r.writeSaid(rec.Name+": "+told(res), res.Says)
		}
	}
	if rec.Failure != "" && left == detailLimit {
		r.writeSaid(rec.Name+": "+rec.Failure, rec.Says)
	}
}

// writeSaid gives how many lines it wrote.
func (r *report) writeSaid(who string, said excerpt) int {
	lines := said.lines()
	fmt.Fprintf(r.out, "--- %s\n", who)
	for _, line := range lines {
		fmt.Fprintf(r.out, "        %s\n", line)
	}
	return 1 + len(lines)
}

// writeAtFirst names what had a second try, whatever came of that.
func (r *report) writeAtFirst() {
	titled := false
	for _, rec := range r.records {
		for _, res := range rec.AtFirst {
			if !titled {
				fmt.Fprintln(r.out, "== passed only at the second try, or not even then: mend these")
				titled = true
			}
			r.writeSaid(rec.Name+": "+res.String()+" at first", res.Says)
		}
	}
}
