package cli

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

// interrupted gives a console at which these signals come, one a second, from the fifth second on.
func (s *servedAPI) interrupted(signals []os.Signal, answers ...string) (console, *[]string) {
	c, questions := s.console(answers...)
	c.interrupts = func() (<-chan os.Signal, func()) {
		wishes := make(chan os.Signal, len(signals))
		s.going.Go(func() {
			time.Sleep(4 * time.Second)
			for _, one := range signals {
				time.Sleep(time.Second)
				wishes <- one
			}
		})
		return wishes, func() {}
	}
	return c, questions
}

func TestSessionWatchAsksAtCtrlCWhatIsToEnd(t *testing.T) {
	for name, c := range map[string]struct {
		signals   []os.Signal
		answers   []string
		code      int
		stderr    string
		cancelled bool
	}{
		"watch on":                 {[]os.Signal{os.Interrupt}, []string{""}, 0, "", false},
		"watch on, twice":          {[]os.Signal{os.Interrupt, os.Interrupt}, []string{"", "?"}, 0, "", false},
		"stop watching":            {[]os.Signal{os.Interrupt}, []string{"s"}, 7, "unstuck: not watched any more, and it goes on: unstuck operations op-1 --follow\n", false},
		"there is nobody to ask":   {[]os.Signal{os.Interrupt}, nil, 7, "unstuck: not watched any more, and it goes on: unstuck operations op-1 --follow\n", false},
		"the process is to end":    {[]os.Signal{syscall.SIGTERM}, []string{"c"}, 7, "unstuck: not watched any more, and it goes on: unstuck operations op-1 --follow\n", false},
		"cancel, and see it ended": {[]os.Signal{os.Interrupt}, []string{"c"}, 1, "unstuck: it is asked to stop; it is over when nothing is left half done\n", true},
	} {
		onServedAPI(t, func(t *testing.T, s *servedAPI) {
			console, questions := s.interrupted(c.signals, c.answers...)
			if !c.cancelled {
				s.going.Go(func() {
					time.Sleep(time.Second)
					s.ends(theOperation, 20*time.Second, plan.Succeeded, "done")
				})
			}
			code, stdout, stderr := s.run(t, console, "deploy", "staging", newCommit, "--reason", "x", "--yes")
			op, _ := s.Load(t.Context(), theOperation)
			if code != c.code || stderr != c.stderr || (op.Cancel != nil) != c.cancelled || strings.Contains(stdout, "to be cancelled, says ada") != c.cancelled {
				t.Errorf("%s: exit code %d, stderr %q, cancel %+v\n%s", name, code, stderr, op.Cancel, stdout)
			}
			if asked := c.signals[0] == os.Interrupt && c.answers != nil; asked && (len(*questions) != len(c.answers) || !strings.HasPrefix((*questions)[0], "deploy 9b8a7c6 to staging is under way. Cancel it (c), stop watching")) {
				t.Errorf("%s: asked %q", name, *questions)
			}
		})
	}
}

func TestSessionWatchTakesABrokenStreamUpAgainAndRepeatsNothing(t *testing.T) {
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, _ := s.console()
		s.going.Go(func() {
			time.Sleep(time.Second)
			s.ends(theOperation, 20*time.Second, plan.Succeeded, "done")
		})
		code, stdout, stderr := s.run(t, c, "deploy", "staging", newCommit, "--reason", "x", "--yes")
		if code != 0 || stderr != "" || strings.Count(stdout, "| first line\n") != 1 || strings.Count(stdout, "op-1)\n") != 2 {
			t.Errorf("exit code %d, stderr %q\n%s", code, stderr, stdout)
		}
		streams, known := 0, 0
		for _, r := range s.requests {
			if strings.HasSuffix(r.URL.Path, "/events") {
				streams++
			}
			if r.Header.Get("Last-Event-ID") != "" {
				known++
			}
		}
		if streams < 4 || known != streams-1 {
			t.Errorf("%d streams, %d of which go on from an event", streams, known)
		}
	}, func(s *servedAPI) {
		s.through = func(next http.Handler) http.Handler { // each stream ends after 3 seconds
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/events") {
					ctx, stop := context.WithTimeout(r.Context(), 3*time.Second)
					defer stop()
					r = r.WithContext(ctx)
				}
				next.ServeHTTP(w, r)
			})
		}
	})
}

func TestSessionWatchWaitsForAServerThatIsAwayButNotForEver(t *testing.T) {
	for away, want := range map[time.Duration]int{30 * time.Second: 0, 10 * time.Minute: 7} {
		var began time.Time
		onServedAPI(t, func(t *testing.T, s *servedAPI) {
			c, _ := s.console()
			s.going.Go(func() {
				time.Sleep(time.Second)
				s.ends(theOperation, 20*time.Second, plan.Succeeded, "done")
			})
			began = time.Now()
			code, stdout, stderr := s.run(t, c, "deploy", "staging", newCommit, "--reason", "x", "--yes")
			if code != want || !strings.Contains(stdout, "the server does not answer, trying again: ") {
				t.Errorf("away for %s: exit code %d, want %d, stderr %q\n%s", away, code, want, stderr, stdout)
			}
			if back := strings.Contains(stdout, "the server is back\n"); back != (want == 0) {
				t.Errorf("away for %s: it is back: %t\n%s", away, back, stdout)
			}
			if took := time.Since(began); want == 7 && (took < time.Minute || took > 90*time.Second || !strings.Contains(stderr, "it goes on: unstuck operations op-1 --follow")) {
				t.Errorf("given up after %s: %q", took, stderr)
			}
		}, func(s *servedAPI) {
			s.through = func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodGet && time.Since(began) < away {
						http.Error(w, "no upstream", http.StatusBadGateway)
						return
					}
					next.ServeHTTP(w, r)
				})
			}
		})
	}
}

func TestSessionWatchLeavesAStreamThatFallsSilent(t *testing.T) {
	var streams int
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, _ := s.console()
		s.going.Go(func() {
			time.Sleep(time.Second)
			s.ends(theOperation, 5*time.Second, plan.Succeeded, "done")
		})
		began := time.Now()
		code, stdout, _ := s.run(t, c, "deploy", "staging", newCommit, "--reason", "x", "--yes")
		if code != 0 || streams != 2 || time.Since(began) != streamIdle+2*time.Second || !strings.Contains(stdout, "trying again: the server has fallen silent\n") {
			t.Errorf("exit code %d, %d streams\n%s", code, streams, stdout)
		}
	}, func(s *servedAPI) {
		s.through = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasSuffix(r.URL.Path, "/events") {
					next.ServeHTTP(w, r)
					return
				}
				if streams++; streams > 1 {
					next.ServeHTTP(w, r)
					return
				}
				w.Header().Set("Content-Type", "text/event-stream")
				w.WriteHeader(http.StatusOK)
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			})
		}
	})
}

func TestSessionWatchShowsTheEndOfWhatIsOverAtOnce(t *testing.T) {
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, _ := s.console("wrong commit")
		if code, stdout, _ := s.run(t, c, "deploy", "staging", newCommit, "--reason", "x", "--yes", "--no-wait"); code != 0 || stdout != "op-1\n" {
			t.Errorf("exit code %d, %q", code, stdout)
		}
		code, stdout, stderr := s.run(t, c, "operations", "op-1", "--cancel", "--follow", "-o", "json")
		var op plan.Operation
		if err := json.Unmarshal([]byte(stdout), &op); code != 1 || err != nil || op.Phase != plan.Cancelled || op.Cancel.Reason != "wrong commit" || stderr != "" {
			t.Errorf("exit code %d, %v, stderr %q: %s", code, err, stderr, stdout)
		}
		if code, stdout, _ = s.run(t, c, "operations", "op-1", "--follow"); code != 1 || !strings.Contains(stdout, "deploy 9b8a7c6 to staging: cancelled  (op-1)\n") {
			t.Errorf("exit code %d\n%s", code, stdout)
		}
	})
}

func TestReadEventsReadsAsTheStandardSays(t *testing.T) {
	var all []event
	lines := 0
	retry, err := readEvents(strings.NewReader(": hello\nretry: 1500\n\nid: 1\nevent: operation\ndata: a\ndata:b\n\nid: 2\n\ndata: c\nunknown: x\n\ndata: cut off"),
		func() { lines++ }, func(e event) error { all = append(all, e); return nil })
	want := []event{{"1", "operation", "a\nb"}, {"2", "", "c"}}
	if err != nil || retry != 1500*time.Millisecond || lines != 14 || len(all) != 2 || all[0] != want[0] || all[1].data != "c" {
		t.Errorf("%+v, %s, %d lines, %v", all, retry, lines, err)
	}
	stop := errors.New("enough")
	if _, err := readEvents(strings.NewReader("data: a\n\ndata: b\n\n"), func() {}, func(event) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
	if _, err := readEvents(strings.NewReader("data: "+strings.Repeat("x", maxEvent)+"\n\n"), func() {}, func(event) error { return nil }); err == nil {
		t.Error("an event without end is read")
	}
}

func TestProgressDrawnShowsABarAndWhatRuns(t *testing.T) {
	begun := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	var out strings.Builder
	p := newProgress(&out)
	p.Terminal, p.Width = true, 60
	op := plan.Operation{Created: begun, Phase: plan.Running, Steps: []plan.StepRun{
		{Step: plan.Step{ID: "job migrate"}, Phase: plan.Succeeded, Started: begun, Ended: begun.Add(time.Second)},
		{Step: plan.Step{ID: "roll frontend"}, Phase: plan.Running, Started: begun.Add(time.Second), Detail: "1 of 4 pods\x1b[31m " + strings.Repeat("long ", 20)},
		{Step: plan.Step{ID: "roll cron"}},
	}}
	got := strings.Join(p.drawn(op, begun.Add(90*time.Second)), "\n")
	if want := "██████░░░░░░░░░░░░░░ 1 of 3 steps  1m30s  running\n  roll frontend              1m29s  1 of 4 pods"; !strings.HasPrefix(got, want) {
		t.Errorf("drawn:\n%s", got)
	}
	p.state(op)
	p.Close()
	for line := range strings.Lines(out.String()) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 60+len("\x1b[3A\x1b[J") && strings.Contains(line, "long") {
			t.Errorf("a line of %d characters: %q", n, line)
		}
	}
	if text := out.String(); strings.Contains(text, "\x1b[31m") || !strings.HasSuffix(text, "A\x1b[J") {
		t.Errorf("written: %q", text)
	}
}

// Where nobody watches a screen, in CI say, it is a line for each new reason.
func TestProgressStateSaysOnceWhyAStepWaits(t *testing.T) {
	var out strings.Builder
	p := newProgress(&out)
	say := func(phase plan.Phase, why workload.Trouble) {
		s := plan.StepRun{Step: plan.Step{ID: "roll web"}, Phase: phase, Detail: "0 of 1 new pods available: " + string(why)}
		if why != "" {
			s.Diagnosis = &workload.Diagnosis{Why: why}
		}
		p.state(plan.Operation{Phase: plan.Running, Steps: []plan.StepRun{s}})
	}
	for _, why := range []workload.Trouble{"", workload.Starting, workload.ImagePull, workload.ImagePull, workload.Crash} {
		say(plan.Running, why)
	}
	p.Close()
	for text, want := range map[string]int{"roll web waits: 0 of 1 new pods available: image_pull\n": 1, "waits: 0 of 1 new pods available: crash": 1, "waits: ": 2} {
		if got := strings.Count(out.String(), text); got != want {
			t.Errorf("%q stands there %d times, want %d:\n%s", text, got, want, out.String())
		}
	}
}
