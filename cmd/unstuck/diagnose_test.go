package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/cli"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/probe/stuck"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

const recordings = "../../probe/stuck/testdata/maybe_stuck/"

// written writes a text to a file of its own, with old and new in turn replaced in it.
func written(t *testing.T, text string, replace ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "look.txt")
	if err := os.WriteFile(file, []byte(strings.NewReplacer(replace...).Replace(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func recorded(t *testing.T, name string) string { t.Helper(); return readText(t, recordings+name) }

// A minute later, and with other processes.
var (
	minuteLater = []string{"2026-11-23 02:21", "2026-11-23 02:22", "2026-11-23 02:24", "2026-11-23 02:25", "2026-11-23 02:23", "2026-11-23 02:24"}
	othersLater = append([]string{"12060.5", "12060.15", "12060.9", "12060.19"}, minuteLater...)
)

func TestDiagnoseSaysWhatRecordingsProve(t *testing.T) {
	wedged, slow, queues := recorded(t, "login-wedged.txt"), recorded(t, "slow-login.txt"), recorded(t, "queues-wedged.txt")
	first, later := recordings+"login-wedged.txt", written(t, wedged, minuteLater...)
	const field, versions = recordings + "field/", "../../probe/testdata/recordings/"
	for name, c := range map[string]struct {
		files      []string
		code       int
		reason     probe.Reason
		proved     bool
		persisting int
	}{
		"healthy":                     {[]string{recordings + "healthy.txt"}, 0, probe.OK, false, 0},
		"healthy, 4.0":                {[]string{recordings + "healthy-4.0.txt"}, 0, probe.OK, false, 0},
		"a wedge":                     {[]string{first, later}, 2, probe.ProcessesStuck, true, 4},
		"a wedge, once":               {[]string{first}, 2, probe.ProcessesStuck, false, 0},
		"a wedge, and CR LF":          {[]string{first, written(t, wedged, append([]string{"\n", "\r\n"}, minuteLater...)...)}, 2, probe.ProcessesStuck, true, 4},
		"a wedge, and a mark":         {[]string{first, written(t, "\ufeff"+wedged[max(0, strings.Index(wedged, "2026")):], minuteLater...)}, 2, probe.ProcessesStuck, true, 4},
		"a wedge, with noise":         {[]string{first, written(t, "warning: \x1b[31mlatin1\n"+wedged+"\nDefaulted container\n", minuteLater...)}, 2, probe.ProcessesStuck, true, 4},
		"a wedge asked from afar":     {[]string{first, written(t, wedged, append([]string{"12060.", "77."}, minuteLater...)...)}, 2, probe.ProcessesStuck, true, 4},
		"a wedge, too soon":           {[]string{first, written(t, wedged, "02:21:19", "02:21:49")}, 2, probe.ProcessesStuck, false, 4},
		"the same file twice":         {[]string{first, first}, 2, probe.ProcessesStuck, false, 0},
		"the wrong order":             {[]string{later, first}, 2, probe.ProcessesStuck, false, 0},
		"slow":                        {[]string{recordings + "slow-login.txt", written(t, slow, othersLater...)}, 3, probe.ProcessesMove, false, 0},
		"a wedge that is over":        {[]string{recordings + "login-wedged.txt", written(t, recorded(t, "healthy.txt"), "02:20", "02:29")}, 0, probe.OK, false, 0},
		"queues":                      {[]string{recordings + "queues-wedged.txt", written(t, queues, minuteLater...)}, 3, probe.WorkWaits, false, 20},
		"locked metadata":             {[]string{recordings + "metadata-locked.txt"}, 3, probe.MetadataAwaited, false, 0},
		"one waits for nobody knows":  {[]string{versions + "3.8/maybe_stuck-healthy.txt"}, 0, probe.OK, false, 0},
		"cut":                         {[]string{written(t, wedged[:5000])}, 3, probe.ExecFailed, false, 0},
		"cut, after a whole one":      {[]string{first, written(t, wedged[:5000], minuteLater...)}, 3, probe.ExecFailed, false, 0},
		"cut, before a whole one":     {[]string{written(t, wedged[:5000]), later}, 3, probe.ExecFailed, false, 0},
		"both in one file":            {[]string{written(t, wedged+wedged)}, 3, probe.ExecFailed, false, 0},
		"tls-half-open":               {[]string{field + "tls-half-open.txt"}, 0, probe.OK, false, 0},
		"readers-await-descriptors":   {[]string{field + "readers-await-descriptors.txt"}, 1, probe.Full, false, 0},
		"channels-await-other-node":   {[]string{field + "channels-await-other-node.txt"}, 3, probe.WorkWaits, false, 0},
		"one-queue-stuck":             {[]string{field + "one-queue-stuck.txt"}, 3, probe.WorkWaits, false, 0},
		"supervisors-await-children":  {[]string{field + "supervisors-await-children.txt"}, 3, probe.WorkWaits, false, 0},
		"ldap-pool-busy":              {[]string{field + "ldap-pool-busy.txt"}, 1, probe.BackendAwaited, false, 0},
		"http-backend-down":           {[]string{field + "http-backend-down.txt"}, 1, probe.BackendAwaited, false, 0},
		"http-backend-down, for days": {[]string{field + "http-backend-down.txt", written(t, recorded(t, "field/http-backend-down.txt"), "2026-11-29", "2026-11-30")}, 1, probe.BackendAwaited, false, 30},
		"oauth2-lock":                 {[]string{field + "oauth2-lock.txt"}, 1, probe.BackendAwaited, false, 0},
		"khepri-minority":             {[]string{field + "khepri-minority.txt"}, 3, probe.MetadataAwaited, false, 0},
	} {
		code, stdout, stderr := try(t, nil, append([]string{"diagnose", "--json"}, c.files...)...)
		var got struct {
			Status     probe.Status
			Reason     probe.Reason
			Proved     bool
			Persisting int
			Suspicious int
			Waiting    map[string]int
			Detail     string
			Same       []struct{ PID, Awaits string } `json:"persisting_processes"`
		}
		if err := json.Unmarshal([]byte(stdout), &got); err != nil || strings.Count(stdout, "\n") != 1 || stderr != "" {
			t.Errorf("%s: %v: %q, stderr %q", name, err, stdout, stderr)
		}
		if code != c.code || got.Reason != c.reason || got.Status != c.reason.Status() || got.Proved != c.proved || got.Persisting != c.persisting ||
			len(got.Same) != c.persisting || got.Detail == "" {
			t.Errorf("%s: exit code %d, want %d with %s, proved %t, %d persisting:\n%s", name, code, c.code, c.reason, c.proved, c.persisting, stdout)
		}
		waiting := 0
		for _, n := range got.Waiting {
			waiting += n
		}
		if waiting != got.Suspicious || waiting == 0 {
			t.Errorf("%s: %d wait of %d suspicious: %v", name, waiting, got.Suspicious, got.Waiting)
		}
		for awaits := range got.Waiting {
			if !slices.ContainsFunc(probe.Awaits(), func(a probe.Await) bool { return a.String() == awaits }) {
				t.Errorf("%s: somebody waits for %q", name, awaits)
			}
		}
		textCode, text, stderr := try(t, nil, append([]string{"diagnose"}, c.files...)...)
		first, _, _ := strings.Cut(text, "\n")
		if textCode != c.code || stderr != "" || !strings.HasPrefix(text, got.Status.String()) || strings.Contains(first, ", proved by") != c.proved ||
			strings.Contains(first, "not proved") != (c.reason == probe.ProcessesStuck && !c.proved) || strings.ContainsAny(text, "\x1b\r") {
			t.Errorf("%s: exit code %d, stderr %q:\n%s", name, textCode, stderr, text)
		}
	}
}

func TestDiagnoseDrawsForPeopleAndWritesJSON(t *testing.T) {
	later := written(t, recorded(t, "login-wedged.txt"), minuteLater...)
	_, text, _ := try(t, nil, "diagnose", recordings+"login-wedged.txt", later)
	golden(t, "diagnose", text)
	_, line, _ := try(t, nil, "diagnose", "--json", recordings+"login-wedged.txt", later)
	golden(t, "diagnose-json", line)
	doc := readText(t, cliDoc)
	for what, sample := range map[string]string{"text": text, "JSON": line} {
		if !strings.Contains(doc, sample) {
			t.Errorf("the sample of %s in docs/cli.md is not what is printed:\n%s", what, sample)
		}
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		t.Fatal(err)
	}
	for name := range fields {
		if !strings.Contains(doc, "| `"+name+"` |") {
			t.Errorf("docs/cli.md has no row for the field %s of unstuck diagnose", name)
		}
	}
}

func TestDiagnosePrintsNothingOfAFileThatMovesTheCursor(t *testing.T) {
	file := written(t, recorded(t, "login-wedged.txt"), "auth_phase", "'au\x1b[2J\u009b31m\u202eth'", "rabbit-1@", "rabbit\x1b[2J@")
	for _, flag := range []string{"--json=false", "--json"} {
		_, stdout, _ := try(t, nil, "diagnose", flag, file)
		if strings.ContainsAny(stdout, "\x1b\u009b\u202e") || !strings.Contains(stdout, "'au") {
			t.Errorf("%q", stdout)
		}
	}
}

func TestDiagnoseReadsStandardInputForEitherFile(t *testing.T) {
	first := recordings + "login-wedged.txt"
	early, later := recorded(t, "login-wedged.txt"), recorded(t, "login-wedged.txt")
	later = strings.NewReplacer(minuteLater...).Replace(later)
	for name, c := range map[string]struct {
		args  []string
		input string
		code  int
		want  string
	}{
		"alone":  {[]string{"-"}, early, 2, "not proved"},
		"later":  {[]string{first, "-"}, later, 2, "proved by two looks 60 s apart"},
		"first":  {[]string{"-", written(t, later)}, early, 2, "proved by two looks 60 s apart"},
		"both":   {[]string{"-", "-"}, early, 3, "unstuck: only one of the two files can be -"},
		"empty":  {[]string{"-"}, "", 3, "unstuck: stdin: it is empty: did the command fail? Its exit code says why: 69"},
		"a text": {[]string{first, "-"}, "hello\n", 3, "unstuck: stdin: it is something else"},
	} {
		root := newRootCommand()
		root.SetIn(strings.NewReader(c.input))
		var out bytes.Buffer
		if code := cli.Execute(t.Context(), root, append([]string{"diagnose"}, c.args...), &out, &out); code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: exit code %d, %q: want %d, %q", name, code, out.String(), c.code, c.want)
		}
	}
}

func TestDiagnoseNamesTheFileInOneLineWhenItCannotTell(t *testing.T) {
	missing, odd := filepath.Join(t.TempDir(), "missing.txt"), "no\x1b[2Jsuch"
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no file":           {nil, `want a file with what maybe_stuck printed, or two, got 0 arguments: see "unstuck diagnose --help"`},
		"three":             {[]string{"a", "b", "c"}, "want a file with what maybe_stuck printed, or two, got 3 arguments"},
		"a URL":             {[]string{"amqp://ada:" + marker + "@h"}, "argument 1 is a URL: want a file"},
		"missing":           {[]string{missing}, "open " + missing + ": no such file or directory"},
		"an odd name":       {[]string{odd}, "open no [2Jsuch: no such file"},
		"a directory":       {[]string{"testdata"}, "testdata: cannot read it: is a directory"},
		"an error":          {[]string{recordings + "app-stopped.txt"}, recordings + "app-stopped.txt: it is something else"},
		"diagnostics":       {[]string{recordings + "frozen.txt"}, `want what "rabbitmq-diagnostics maybe_stuck" prints: a line "DATE TIME There are N processes."`},
		"cut before Found":  {[]string{recordings + "own-timeout.txt"}, recordings + "own-timeout.txt: it is cut before its list, as where the command runs into its -t"},
		"the second is bad": {[]string{recordings + "healthy.txt", missing}, "open " + missing},
		"UTF-16":            {[]string{written(t, "\xff\xfe2\x000\x00")}, "UTF-16"},
		"a password":        {[]string{written(t, marker+"\n")}, "it is something else, or its beginning is missing, in "},
	} {
		code, stdout, stderr := try(t, nil, append([]string{"diagnose", "--json"}, c.args...)...)
		if code != 3 || stdout != "" || !strings.HasPrefix(stderr, "unstuck: ") || !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1 ||
			strings.Contains(stderr, marker) || strings.Contains(stderr, "\x1b") {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q, want %q", name, code, stdout, stderr, c.want)
		}
	}
}

// repeated gives text again and again until it has given so many bytes.
type repeated struct {
	text       string
	next, left int
}

func (r *repeated) Read(b []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.EOF
	}
	n := copy(b, r.text[r.next:])
	r.next, r.left = (r.next+n)%len(r.text), r.left-n
	return n, nil
}

func TestParseLookReadsEightyMegabytesInBoundedMemory(t *testing.T) {
	wedged := recorded(t, "login-wedged.txt")
	head, records, _ := strings.Cut(wedged, "2026-11-23 02:21:24 [{pid")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p, err := parseLook(io.MultiReader(strings.NewReader(head), &repeated{text: "2026-11-23 02:21:24 [{pid" + records, left: 80_000_000}))
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapSys) - int64(before.HeapSys); err != nil || !p.Truncated || p.Suspicious < 50_000 || grown > 16<<20 {
		t.Errorf("%d suspicious, truncated %t, %d MiB more: %v", p.Suspicious, p.Truncated, grown>>20, err)
	}
}

func TestDiagnoseReportsWhatCannotBePrinted(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		err := diagnose(t.Context(), nil, brokenWriter{}, asJSON, []string{recordings + "healthy.txt"})
		if err == nil || err.Error() != "broken pipe" {
			t.Errorf("json %t: %v", asJSON, err)
		}
	}
}

func TestDiagnoseLooksLieAsFarApartAsThoseOfADeletion(t *testing.T) {
	apart := decide.DefaultPolicy().RecheckAfter
	if stuck.LooksApart != apart {
		t.Errorf("%s, and %s for a deletion", stuck.LooksApart, apart)
	}
	if said := fmt.Sprintf("%.0f s", apart.Seconds()); !strings.Contains(diagnoseLong, said) {
		t.Errorf("the help does not say %s", said)
	}
}

func TestDiagnoseCompletesTwoFiles(t *testing.T) {
	for args, want := range map[string]string{"diagnose ": ":0\n", "diagnose a.txt ": ":0\n", "diagnose a.txt b.txt ": ":4\n"} {
		if code, stdout, _ := try(t, nil, append([]string{cobra.ShellCompNoDescRequestCmd}, strings.Split(args, " ")...)...); code != 0 || stdout != want {
			t.Errorf("%q: exit code %d, completions %q, want %q", args, code, stdout, want)
		}
	}
}

func TestDiagnoseEndsWhenItIsInterrupted(t *testing.T) {
	in, writer := io.Pipe() // that nobody writes to
	defer writer.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := diagnose(ctx, in, io.Discard, false, []string{"-"}); err == nil || err.Error() != "stdin: interrupted" {
		t.Errorf("%v", err)
	}
}
