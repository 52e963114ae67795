package main

import (
	"regexp"
	"slices"
	"strings"
)

// unlucky gives the tests that have a second try: one or two that failed, in packages that may. It gives none if
// anything else went wrong: a race, a panic, a package that did not build or end, or one that failed besides its tests.
func (r *reader) unlucky(may func(dir string) bool) []name {
	if r.never {
		return nil
	}
	var tests []name
	failing := map[string]bool{}
	for _, res := range r.all() {
		switch {
		case res.Outcome == "":
			return nil
		case res.Test != "" && res.Outcome == failed && res.name == res.top():
			tests = append(tests, res.name)
			failing[res.Package] = true
		}
	}
	for _, res := range r.all() {
		excused := failing[res.Package] && may(res.Package)
		if res.Test == "" && res.Outcome == failed && !excused {
			return nil
		}
	}
	if len(tests) > 2 {
		return nil
	}
	return tests
}

// failing gives all that failed, the parts of tests included.
func (r *reader) failing() []result {
	return slices.DeleteFunc(r.all(), func(res result) bool { return res.Test == "" || res.Outcome != failed })
}

// pattern is what `go test -run` takes to try these tests again, as make takes it. Of a single one it names the parts
// that failed, if they are parts of the same: the table of faults takes minutes.
func (r *reader) pattern(tests []name) string {
	var names []string
	for _, t := range tests {
		names = append(names, t.Test)
	}
	pattern := "^" + alternatives(names) + "$"
	if len(tests) == 1 {
		if parts := r.partsPattern(tests[0]); parts != "" {
			pattern = parts
		}
	}
	return strings.ReplaceAll(pattern, "$", "$$")
}

// partsPattern is "" if the parts that failed are not parts of the same, or cannot be said in a line of make's.
func (r *reader) partsPattern(test name) string {
	var paths, leaves []string
	for _, res := range r.failing() {
		if res.top() == test {
			paths = append(paths, res.Test)
		}
	}
	parents := map[string]bool{}
	for _, path := range paths {
		within := func(other string) bool { return strings.HasPrefix(other, path+"/") }
		if slices.ContainsFunc(paths, within) {
			continue
		}
		at := strings.LastIndex(path, "/")
		if at < 0 || strings.ContainsAny(path, "'\"\\`") {
			return ""
		}
		parents[path[:at]] = true
		leaves = append(leaves, path[at+1:])
	}
	if len(parents) != 1 {
		return ""
	}
	var pattern strings.Builder
	for parent := range parents {
		for element := range strings.SplitSeq(parent, "/") {
			pattern.WriteString("^" + regexp.QuoteMeta(element) + "$/")
		}
	}
	return pattern.String() + "^" + alternatives(leaves) + "$"
}

func alternatives(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = regexp.QuoteMeta(n)
	}
	return "(" + strings.Join(quoted, "|") + ")"
}

func namesOf(tests []name) []string {
	var names []string
	for _, t := range tests {
		names = append(names, t.String())
	}
	return names
}
