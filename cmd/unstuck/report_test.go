package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/terminal"
)

var update = flag.Bool("update", false, "write testdata/*.txt and the flags in docs/cli.md anew")

const ms = time.Millisecond

// result is a login that came as far as stage, with the times of the stages from tcp on.
func result(reason probe.Reason, stage probe.Stage, took time.Duration, times ...time.Duration) probe.Result {
	r := probe.Result{
		Kind: probe.Login, Reason: reason, Stage: stage, Took: took, Started: time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC),
	}
	plain := []probe.Stage{
		probe.StageTCP, probe.StageStart, probe.StageTune, probe.StageOpen, probe.StageChannel, probe.StageDeclare, probe.StagePublish,
		probe.StageConsume, probe.StageClose,
	}
	for i, d := range times {
		r.Stages[plain[i]] = d
	}
	return r
}

func healthy() probe.Result {
	r := result(probe.OK, probe.StageClose, 6300*time.Microsecond, 400*time.Microsecond, 3100*time.Microsecond, ms, 900*time.Microsecond)
	r.Stages[probe.StageClose] = 800 * time.Microsecond
	return r
}

func wedged() probe.Result {
	r := result(probe.AwaitTune, probe.StageTune, 12*time.Second+3*ms, 400*time.Microsecond, 3100*time.Microsecond)
	r.Detail = "no answer in stage tune, 12.003s after connecting"
	return r
}

// golden compares got with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("not what %s holds (go test ./cmd/unstuck -update writes it):\n%s", file, diff)
	}
}

func TestTextReporterDrawsAResultAsAFlameWithItsVerdict(t *testing.T) {
	refused := result(probe.Refused, probe.StageTCP, 200*time.Microsecond)
	nameless := result(probe.Unreachable, probe.StageTCP, 1100*time.Microsecond)
	nameless.Detail = "no such name: lookup mq.invalid: no such host"
	slow := result(probe.Slow, probe.StageOpen, 10*time.Second, 400*time.Microsecond, 6*time.Second, 3900*ms)
	roundtrip := result(probe.OK, probe.StageClose, 21*ms, ms, 3*ms, ms, ms, ms, 4*ms, 5*ms, 4*ms, ms)
	secure := healthy()
	secure.Stages[probe.StageTLS], secure.Took = 9*ms, secure.Took+9*ms
	hostile := result(probe.NotAllowed, probe.StageOpen, 8*ms, ms, 3*ms, 3*ms)
	hostile.Detail = "530 \x1b[2J\x1b[31mNOT_ALLOWED\r\nfaked line \u202e " + strings.Repeat("x", 2000)
	for name, c := range map[string]struct {
		result probe.Result
		width  int
		colour bool
	}{
		"healthy":        {healthy(), 80, false},
		"healthy-colour": {healthy(), 80, true},
		"healthy-tls":    {secure, 100, false},
		"roundtrip":      {roundtrip, 80, false},
		"wedged":         {wedged(), 80, false},
		"wedged-colour":  {wedged(), 80, true},
		"wedged-narrow":  {wedged(), 20, false},
		"refused":        {refused, 80, false},
		"no-such-name":   {nameless, 80, false},
		"slow":           {slow, 80, false},
		"hostile":        {hostile, 80, true},
		"not-run":        {probe.Result{Reason: probe.NotRun, Detail: "credentials: none"}, 80, false},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			text := &textReporter{out: &out, level: probe.Login, look: terminal.Look{Width: c.width, Colour: c.colour}}
			to := endpoint{address: "10.0.0.7:5672", username: "ada", password: "MARKER", vhost: "/"}
			if err := text.report(to, c.result); err != nil {
				t.Fatal(err)
			}
			golden(t, name, out.String())
			if esc := strings.Contains(out.String(), "\x1b"); esc != c.colour {
				t.Errorf("escape sequences in the output: %t, want %t", esc, c.colour)
			}
			if strings.Contains(out.String(), "\x1b[2J") || strings.Contains(out.String(), "MARKER") {
				t.Errorf("the output has what it must not have: %q", out.String())
			}
		})
	}
}

func TestTextReporterFlameHasBarsToScaleThatFitTheLine(t *testing.T) {
	const width = 100
	text := &textReporter{look: terminal.Look{Width: width}}
	for _, r := range []probe.Result{
		healthy(), wedged(), result(probe.AwaitStart, probe.StageStart, 12*time.Second, 12*time.Second-1),
		result(probe.OK, probe.StageClose, ms, ms, 1, 1, 1), result(probe.OK, probe.StageClose, 0, 1, 1, 1, 1), // the clock was set back
		result(probe.Refused, probe.StageTCP, 0), result(probe.AwaitTune, probe.StageTune, 2*time.Hour, ms, ms),
	} {
		for line := range strings.Lines(text.flame(r)) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("a line of %d characters, want at most %d: %s", n, width, line)
			}
		}
	}
	// Half of the time is half of the axis: 40 characters of 80, and a quarter begins where the half ends.
	text.look.Width = leftWidth + 80
	lines := strings.Split(text.flame(result(probe.OK, probe.StageClose, 8*ms, 4*ms, 2*ms, 2*ms)), "\n")
	for i, want := range []string{
		strings.Repeat("█", 40), strings.Repeat(" ", 40) + strings.Repeat("█", 20), strings.Repeat(" ", 60) + strings.Repeat("█", 20),
	} {
		if got := lines[i][leftWidth:]; got != want {
			t.Errorf("bar %d is %q, want %q", i, got, want)
		}
	}
}

func TestTextReporterTellsInFullOnlyWhatHasChanged(t *testing.T) {
	var out bytes.Buffer
	text := &textReporter{out: &out, level: probe.Login, watching: true, look: terminal.Look{Width: 80}, before: make(map[string]probe.Reason)}
	a, b := endpoint{address: "a:5672", vhost: "/"}, endpoint{address: "b:5672", vhost: "/"}
	for _, c := range []struct {
		target endpoint
		result probe.Result
	}{{a, healthy()}, {b, healthy()}, {a, healthy()}, {b, wedged()}, {a, healthy()}, {b, wedged()}, {b, healthy()}} {
		if err := text.report(c.target, c.result); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "watch", out.String())
}

func TestJsonReporterWritesOneObjectALineWithEveryField(t *testing.T) {
	var out bytes.Buffer
	secret := endpoint{address: "10.0.0.7:5672", username: "ada", password: "MARKER", inURL: true, vhost: "/"}
	for _, r := range []probe.Result{healthy(), wedged(), {Reason: probe.NotRun}} {
		if err := (jsonReporter{&out}).report(secret, r); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "json", out.String())
	for line := range strings.Lines(out.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		for _, want := range []string{"target", "status", "reason", "stage", "started", "took_seconds", "stages", "detail"} {
			if _, ok := fields[want]; !ok || len(fields) != 8 {
				t.Errorf("no field %q, or others than wanted, in %s", want, line)
			}
		}
	}
	if strings.Contains(out.String(), "MARKER") {
		t.Errorf("the password is in %s", out.String())
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestReporterReportsWhatCannotBePrinted(t *testing.T) {
	for name, out := range map[string]reporter{
		"text": &textReporter{out: brokenWriter{}, look: terminal.Look{Width: 80}}, "json": jsonReporter{brokenWriter{}},
	} {
		if err := out.report(endpoint{}, healthy()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
