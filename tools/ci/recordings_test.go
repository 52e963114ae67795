package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "record anew what make and go say of testdata/example")

// recordings are what was recorded, of which package and how.
var recordings = []struct{ name, pkg, flags, env string }{
	{"pass", "./pass", "-json", ""},
	{"fail", "./fail", "-json", ""},
	{"again", "./pass ./fail", `-json -run '^TestTable$$/^(bad_\(a\|b\))$$'`, "STEADY=yes"},
	{"skip", "./skip", "-json", ""},
	{"panic", "./crash", "-json", ""},
	{"race", "./race", "-json -race", ""},
	{"timeout", "./slow", "-json -timeout=1s", ""},
	{"build", "./broken", "-json", ""},
	{"outside", "./outside", "-json", ""},
	{"gone", "./pass", "-json -skip=TestTwo", ""},
	{"none", "./pass", "-json -run=Nothing", ""},
	{"both", "./pass ./fail", "-json", ""},
}

func recordingOf(name string) string { return filepath.Join("testdata", "recordings", name+".txt") }

func TestRecordings(t *testing.T) {
	if !*update {
		for _, r := range recordings {
			if _, err := os.Stat(recordingOf(r.name)); err != nil {
				t.Error(err)
			}
		}
		return
	}
	for _, r := range recordings {
		cmd := exec.Command("make", "--no-print-directory", "-C", "testdata/example", "test",
			"PKG="+r.pkg, "TESTFLAGS="+r.flags)
		cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", r.env)
		out, _ := cmd.CombinedOutput() // most of them fail
		if err := os.WriteFile(recordingOf(r.name), out, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// reading reads a recording, and gives what is shown of it.
func reading(t *testing.T, recording string) (*reader, string) {
	t.Helper()
	raw, err := os.ReadFile(recordingOf(recording))
	if err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	r := newReader(&shown, "example")
	for len(raw) > 0 { // as it may come from a pipe
		n := min(len(raw), 1000)
		if _, err := r.Write(raw[:n]); err != nil {
			t.Fatal(err)
		}
		raw = raw[n:]
	}
	r.end()
	return r, untimed(shown.String())
}

// untimed is a text without its times.
func untimed(text string) string {
	text = regexp.MustCompile(`\d+\.\d+s`).ReplaceAllString(text, "0.0s")
	return regexp.MustCompile(`(?m)^ +\d+s  `).ReplaceAllString(text, "0s  ")
}

func TestReaderShows(t *testing.T) {
	for recording, want := range map[string]string{
		"pass": `make says something of its own
go test -count=1 -trimpath -json ./pass
PASS     0.0s  pass TestOne
PASS     0.0s  pass TestTwo
PASS     0.0s  pass FuzzThree
ok       0.0s  pass
`,
		"fail": `make says something of its own
go test -count=1 -trimpath -json ./fail
FAIL     0.0s  fail TestTable
        === RUN   TestTable
        === RUN   TestTable/good
            fail_test.go:13: good is looked at
        --- PASS: TestTable/good (0.0s)
        === RUN   TestTable/bad_(a|b)
            fail_test.go:13: bad (a|b) is looked at
            fail_test.go:15: got 1, want 2
        --- FAIL: TestTable/bad_(a|b) (0.0s)
        === RUN   TestTable/deep
            fail_test.go:13: deep is looked at
        --- PASS: TestTable/deep (0.0s)
        --- FAIL: TestTable (0.0s)
PASS     0.0s  fail TestGood
FAIL     0.0s  fail
        FAIL
        FAIL	example/fail	0.0s
make: *** [Makefile:8: test] Error 1
`,
		"build": `make says something of its own
go test -count=1 -trimpath -json ./broken
# example/broken [example/broken.test]
broken/broken_test.go:6:41: undefined: undefined
FAIL     0.0s  broken
        FAIL	example/broken [build failed]
make: *** [Makefile:8: test] Error 1
`,
		"none": `make says something of its own
go test -count=1 -trimpath -json -run=Nothing ./pass
`,
	} {
		if _, got := reading(t, recording); got != want {
			t.Errorf("of %s is shown\n%s\nwant\n%s", recording, got, want)
		}
	}
}

func TestReaderFinds(t *testing.T) {
	for recording, want := range map[string]struct {
		failed []string // what is told of as failed
		said   []string // what the end shows of it
		passed int      // how many tests passed
		again  []string // what has a second try where all may
	}{
		"pass": {passed: 6},
		"fail": {
			failed: []string{"fail TestTable", "fail TestTable/bad_(a|b)"},
			said:   []string{"fail_test.go:15: got 1, want 2"},
			passed: 3,
			again:  []string{"fail TestTable"},
		},
		"both": {
			failed: []string{"fail TestTable", "fail TestTable/bad_(a|b)"},
			passed: 9,
			again:  []string{"fail TestTable"},
		},
		"skip": {
			failed: []string{
				"a skipped test proves nothing: skip TestSkipped", "a skipped test proves nothing: skip TestPartly/a_part",
			},
			said:   []string{"skip_test.go:6: no broker", "skip_test.go:9: no browser"},
			passed: 1,
		},
		"panic": {
			failed: []string{"crash TestCrash"},
			said:   []string{"panic: assignment to entry in nil map", "example/crash/crash_test.go:8"},
		},
		"race": {
			failed: []string{"race TestRace"},
			said:   []string{"WARNING: DATA RACE", "race detected during execution of test"},
		},
		"timeout": {
			failed: []string{"slow TestHangs did not end", "slow TestHangs/a_part did not end"},
			said:   []string{"slow_test.go:10: waits", "panic: test timed out after 1s"},
			passed: 1,
		},
		"build": {
			failed: []string{"broken, the package as a whole"},
			said:   []string{"broken_test.go:6:41: undefined: undefined"},
		},
		"outside": {failed: []string{"outside, the package as a whole"}, said: []string{"a process is left"}, passed: 1},
	} {
		t.Run(recording, func(t *testing.T) {
			r, _ := reading(t, recording)
			end := report{records: []record{{Name: "s", Results: r.all()}}}
			var out strings.Builder
			if err := end.write(&out); (err != nil) != (len(want.failed) > 0) {
				t.Errorf("the end is %v", err)
			}
			var failed []string
			for _, m := range regexp.MustCompile(`(?m)^FAILED: s: (.*)$`).FindAllStringSubmatch(out.String(), -1) {
				failed = append(failed, m[1])
			}
			same(t, "failed", failed, want.failed)
			if end.passed != want.passed+1 || end.failed != len(want.failed) { // the step passed
				t.Errorf("%d passed and %d failed, want %d and %d", end.passed, end.failed, want.passed+1, len(want.failed))
			}
			for _, said := range want.said {
				if !strings.Contains(out.String(), said) {
					t.Errorf("the end does not show %q:\n%s", said, &out)
				}
			}
			same(t, "a second try", namesOf(r.unlucky(func(string) bool { return true })), want.again)
			if none := r.unlucky(func(string) bool { return false }); len(none) > 0 {
				t.Errorf("%v may have a second try where none may", none)
			}
		})
	}
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s: got\n\t%s\nwant\n\t%s", what, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}
