package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

func TestReportNamesTestsThatDidNotRun(t *testing.T) {
	r, _ := reading(t, "gone")
	end := report{records: []record{{Name: "test", Results: r.all()}}, whole: true, found: sources{tests: []test{
		{name: name{"pass", "TestOne"}, promises: []int{1}},
		{name: name{"pass", "TestTwo"}, promises: []int{2, 5}},
		{name: name{"pass", "FuzzThree"}},
		{name: name{"e2e", "TestOne"}},
	}, problems: []string{"no test carries //promise:7: it flies"}}}
	var out strings.Builder
	if err := end.write(&out); !errors.Is(err, errFailed) {
		t.Errorf("the end is %v", err)
	}
	want := `== the steps
0s  test
== what failed
there are such tests, but they did not run and pass: e2e: TestOne
there are such tests, but they did not run and pass: pass: TestTwo (of promise 2 5)
FAILED: no test carries //promise:7: it flies
6 passed, 3 failed
`
	if got := untimed(out.String()); got != want {
		t.Errorf("it ends with\n%s\nwant\n%s", got, want)
	}
}

func TestReportSumsUpWhatIsSlow(t *testing.T) {
	results := func(seconds ...float64) (all []result) {
		for i, s := range seconds {
			all = append(all, result{name: name{"p", fmt.Sprintf("Test%d", i)}, Outcome: passed, Seconds: s})
		}
		return append(all,
			result{name: name{"p", "Test0/part"}, Outcome: passed, Seconds: 99},
			result{name: name{Package: "p"}, Outcome: passed, Seconds: 99})
	}
	var out strings.Builder
	end := report{records: []record{{Name: "test", Results: results(9.9, 12, 300)}, {Name: "e2e", Results: results(40)}}}
	if err := end.write(&out); err != nil {
		t.Error(err)
	}
	want := `== slow tests: 3 took 10 s or longer, 352 s in all
  300.0s  test: p Test2
   40.0s  e2e: p Test0
   12.0s  test: p Test1
== the steps
`
	if !strings.HasPrefix(out.String(), want) {
		t.Errorf("it ends with\n%s\nwant\n%s...", &out, want)
	}
}

func TestReportIsBounded(t *testing.T) {
	var results []result
	for i := range 50 {
		r := result{name: name{"p", fmt.Sprintf("Test%d", i)}, Outcome: failed}
		for j := range 1000 {
			r.Says.add(fmt.Sprintf("line %d of test %d %s\n", j, i, strings.Repeat("x", j)))
		}
		results = append(results, r)
	}
	var out strings.Builder
	_ = (&report{records: []record{{Name: "test", Failure: "exit status 1", Results: results}}}).write(&out)
	for _, want := range []string{"FAILED: test: p Test49\n", "line 0 of test 0 ", "  ...\n", "line 999 of test 0 "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not tell %q", want)
		}
	}
	if lines := strings.Count(out.String(), "\n"); lines > 220 {
		t.Errorf("it ends with %d lines:\n%s", lines, &out)
	}
}

func TestReportOfNothingIsNoSuccess(t *testing.T) {
	var out strings.Builder
	if err := (&report{}).write(&out); !errors.Is(err, errFailed) {
		t.Errorf("the end is %v", err)
	}
}

func TestSources(t *testing.T) {
	page := "# Safety\n\n1. Not this.\n\n## Promises\n\nWhat is promised.\n\n1. It\n    flies.\n\nMore:\n\n" +
		"2. It swims.\n4. It runs.\n\n## More\n\n5. Nor this.\n"
	s, err := parseSources(fstest.MapFS{
		"go.mod":         {Data: []byte("module example.org/x\n\ngo 1.26\n")},
		"docs/safety.md": {Data: []byte(page)},
		"a/a_test.go": {Data: []byte(`package a

import (
	"testing"

	lab "example.org/x/lab"
)

// TestOne says it.
//
//promise:1
//promise:9
func TestOne(t *testing.T) {}

func Test_2(t *testing.T) {}

func FuzzIt(f *testing.F) {}

//promise:2
func Testify() {}

func TestMain(m *testing.M) {}

func BenchmarkIt(b *testing.B) {}

// promise: 3
func TestThree(t *testing.T) {
	//promise:2
}

type s struct{}

func (s) TestFour() {}
`)},
		"a/testdata/b_test.go": {Data: []byte("not Go")},
		"tools/c_test.go":      {Data: []byte("not Go")},
	}, []string{"a/a_test.go", "a/removed_test.go", "a/testdata/b_test.go", "tools/c_test.go"})
	if err != nil {
		t.Fatal(err)
	}
	var tests []string
	for _, test := range s.tests {
		tests = append(tests, fmt.Sprintf("%s %d", test.name, test.promises))
	}
	same(t, "tests", tests, []string{"a TestOne [1 9]", "a Test_2 []", "a FuzzIt []", "a TestThree []"})
	same(t, "promises", s.promises, []string{"It flies.", "It swims.", "It runs."})
	same(t, "problems", s.problems, []string{
		"docs/safety.md: promise 4 stands where number 3 should",
		`a/a_test.go:19:1: "//promise:2": want //promise:N, right above a test`,
		`a/a_test.go:26:1: "// promise: 3": want //promise:N, right above a test`,
		`a/a_test.go:28:2: "//promise:2": want //promise:N, right above a test`,
		"a TestOne: there is no promise 9 in docs/safety.md",
		"no test carries //promise:2: It swims.",
		"no test carries //promise:3: It runs.",
	})
	for pattern, want := range map[string]bool{"/lab$": true, "/a$": true, "^testing$": true, "/b$": false} {
		if got := s.needs("a", regexp.MustCompile(pattern)); got != want {
			t.Errorf("%s: needs it: %t, want %t", pattern, got, want)
		}
	}
}

// TestSourcesKeepThePromisesOfTheProject compares the marks of our tests with the promises in docs/safety.md.
func TestSourcesKeepThePromisesOfTheProject(t *testing.T) {
	t.Chdir("../..")
	s, err := readSources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range s.problems {
		t.Error(problem)
	}
	if len(s.promises) < 40 || len(s.tests) < 700 {
		t.Errorf("%d promises and %d tests were found", len(s.promises), len(s.tests))
	}
}

// TestSourcesNeedsASecondTryInTheProject reads which packages may have one according to .ci/run, if any.
func TestSourcesNeedsASecondTryInTheProject(t *testing.T) {
	t.Chdir("../..")
	s, err := readSources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(".ci/run")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`-second-try '([^']*)'`).FindSubmatch(script)
	if m == nil {
		return
	}
	pattern, err := regexp.Compile(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{"lab": true, "e2e": true, "probe": false, "remediate": false, "kube": false} {
		if got := s.needs(dir, pattern); got != want {
			t.Errorf("the tests of %s may have a second try: %t, want %t", dir, got, want)
		}
	}
}
