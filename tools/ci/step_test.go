package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// playing is a step whose first try prints one recording, and its second another.
func playing(first, second string) stepOptions {
	return stepOptions{
		name: "test", limit: time.Minute, tests: true, flags: "-count=1", found: sources{module: "example"},
		command:   []string{"sh", "testdata/replay.sh", recordingOf(first), recordingOf(second)},
		secondTry: regexp.MustCompile(`/(fail|slow|crash|race|broken|outside)$`),
	}
}

// toldOf runs a step, and gives what of it is kept and told.
func toldOf(t *testing.T, s stepOptions) (rec record, shown, end string) {
	t.Helper()
	var out strings.Builder
	rec = s.run(t.Context(), &out)
	shown = untimed(out.String())
	out.Reset()
	_ = (&report{records: []record{rec}}).write(&out)
	return rec, shown, untimed(out.String())
}

func TestStepSecondTryPasses(t *testing.T) {
	_, shown, end := toldOf(t, playing("both", "again"))
	command := "== test: sh testdata/replay.sh " + recordingOf("both") + " " + recordingOf("again") +
		" TESTFLAGS=-json -count=1"
	for _, want := range []string{
		command + "\n",
		"== test: a second try of fail TestTable\n",
		command + ` -run '^TestTable$$/^(bad_\(a\|b\))$$'` + "\n",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("it does not show %q:\n%s", want, shown)
		}
	}
	want := `== the steps
0s  test
== passed only at the second try, or not even then: mend these
--- test: fail TestTable at first
--- test: fail TestTable/bad_(a|b) at first
            fail_test.go:13: bad (a|b) is looked at
            fail_test.go:15: got 1, want 2
12 passed, 0 failed
`
	if end != want {
		t.Errorf("it ends with\n%s\nwant\n%s", end, want)
	}
}

func TestStepSecondTryFails(t *testing.T) {
	rec, _, end := toldOf(t, playing("both", "fail"))
	if rec.Failure != "exit status 1, at the second try too" || len(rec.AtFirst) != 2 {
		t.Errorf("it failed with %q, at first in %v", rec.Failure, rec.AtFirst)
	}
	if !strings.Contains(end, "FAILED: test: fail TestTable\n") || !strings.HasSuffix(end, "9 passed, 3 failed\n") {
		t.Errorf("it ends with\n%s", end)
	}
}

func TestStepSecondTryIsNotForAll(t *testing.T) {
	for why, s := range map[string]stepOptions{
		"a panic":                  playing("panic", "pass"),
		"a race":                   playing("race", "pass"),
		"a test that does not end": playing("timeout", "pass"),
		"a failed build":           playing("build", "pass"),
		"a package":                playing("outside", "pass"),
		"a package that may not": func() stepOptions {
			s := playing("fail", "again")
			s.secondTry = regexp.MustCompile("/pass$")
			return s
		}(),
		"no second try": func() stepOptions { s := playing("fail", "again"); s.secondTry = nil; return s }(),
	} {
		rec, shown, _ := toldOf(t, s)
		if rec.Failure != "exit status 1" || rec.AtFirst != nil || strings.Contains(shown, "second try") {
			t.Errorf("%s: it failed with %q, at first in %v:\n%s", why, rec.Failure, rec.AtFirst, shown)
		}
	}
}

func TestStepSecondTryIsForPackagesThatImportWhatMatches(t *testing.T) {
	s := playing("fail", "again")
	s.secondTry = regexp.MustCompile(`/lab$`)
	s.found.imports = map[string][]string{"fail": {"testing", "example/lab"}}
	if rec, _, _ := toldOf(t, s); rec.Failure != "" || len(rec.AtFirst) != 2 {
		t.Errorf("it failed with %q, at first in %v", rec.Failure, rec.AtFirst)
	}
}

// reads gives a reader of tests of one package that failed.
func reads(tests ...string) *reader {
	r := newReader(io.Discard, "example")
	for _, test := range tests {
		r.read(`{"Action":"run","Package":"example/p","Test":` + strconv.Quote(test) + "}\n")
		r.read(`{"Action":"fail","Package":"example/p","Test":` + strconv.Quote(test) + "}\n")
	}
	r.read(`{"Action":"fail","Package":"example/p"}` + "\n")
	return r
}

func TestReaderPattern(t *testing.T) {
	for _, c := range []struct {
		failed []string
		want   string
	}{
		{[]string{"TestA"}, "^(TestA)$$"},
		{[]string{"TestA", "TestB"}, "^(TestA|TestB)$$"},
		{[]string{"TestA", "TestA/x", "TestB"}, "^(TestA|TestB)$$"},
		{[]string{"TestA/x/b.c", "TestA/x/d", "TestA/x", "TestA"}, `^TestA$$/^x$$/^(b\.c|d)$$`},
		{[]string{"TestA/x/b", "TestA/x", "TestA/d", "TestA"}, "^(TestA)$$"}, // parts of different ones
		{[]string{"TestA/it's", "TestA"}, "^(TestA)$$"},                      // make's shell has its own quotes
		{[]string{"TestA/$5", "TestA"}, `^TestA$$/^(\$$5)$$`},
		{[]string{"TestA", "TestB", "TestC"}, ""}, // too many
	} {
		r, got := reads(c.failed...), ""
		if tests := r.unlucky(func(string) bool { return true }); len(tests) > 0 {
			got = r.pattern(tests)
		}
		if got != c.want {
			t.Errorf("of %q the pattern is %q, want %q", c.failed, got, c.want)
		}
	}
}

func TestStep(t *testing.T) {
	for _, c := range []struct{ script, want, failure string }{
		{"echo BenchmarkA 1", "^Benchmark", ""},
		{"printf BenchmarkA", "^Benchmark", ""}, // without an end of the line
		{"echo no benchmark", "^Benchmark", "no line of its output matches ^Benchmark"},
		{"true", "", ""},
		{"echo sad >&2; exit 3", "", "exit status 3"},
	} {
		s := stepOptions{name: "bench", limit: time.Minute, command: []string{"sh", "-c", c.script}}
		if c.want != "" {
			s.want = regexp.MustCompile(c.want)
		}
		rec, _, end := toldOf(t, s)
		if rec.Failure != c.failure {
			t.Errorf("%s: it failed with %q, want %q", c.script, rec.Failure, c.failure)
		}
		want := "--- bench: exit status 3\n        sad\n0 passed, 1 failed\n"
		if c.failure == "exit status 3" && !strings.HasSuffix(end, want) {
			t.Errorf("it ends with\n%s", end)
		}
	}
}

func TestStepWithoutTests(t *testing.T) {
	if rec, _, _ := toldOf(t, playing("none", "none")); rec.Failure != "no test ran" {
		t.Errorf("it failed with %q", rec.Failure)
	}
}

func TestRunEndsTheWholeGroupAtItsLimit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := run(ctx, 300*time.Millisecond, io.Discard, []string{"sh", "-c", `sleep 60 & echo $! >"$0"; wait`, file})
	if err == nil || err.Error() != "took longer than 300ms" {
		t.Errorf("it ended with %v", err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	for ctx.Err() == nil {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d is left", pid)
}

func TestReaderTellWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		r := newReader(&out, "example")
		stop := r.tellWhatRuns(t.Context())
		defer stop()
		for _, event := range []string{
			`"run","Test":"TestA"`, `"run","Test":"TestA/part"`, `"run","Test":"TestB"`, `"pause","Test":"TestB"`,
		} {
			_, _ = r.Write([]byte(`{"Package":"example/p","Action":` + event + "}\n"))
		}
		time.Sleep(59 * time.Second)
		if out.Len() > 0 {
			t.Errorf("too early: %s", &out)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := out.String(); got != "...still running: p TestA for 1m0s\n" {
			t.Errorf("after a minute: %q", got)
		}
	})
}

func TestKept(t *testing.T) {
	dir := t.TempDir()
	second := record{
		Name: "a second", Started: time.Now(), Took: time.Second, Says: excerpt{First: "x"},
		Results: []result{{name: name{"p", "TestA"}, Outcome: passed}},
	}
	first := record{Name: "first", Failure: "did not end"}
	for _, r := range []record{second, first} {
		if err := keep(dir, r); err != nil {
			t.Fatal(err)
		}
	}
	records, err := kept(dir)
	if err != nil || len(records) != 2 || records[0].Name != "first" || records[1].Results[0].String() != "p TestA" {
		t.Fatalf("%+v, %v", records, err)
	}
	end := report{records: records}
	if err := end.write(io.Discard); !errors.Is(err, errFailed) || end.passed != 2 || end.failed != 1 {
		t.Errorf("a step that did not end: %v, %d passed, %d failed", err, end.passed, end.failed)
	}
}
