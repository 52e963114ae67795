package remediate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// written is a log that is read while somebody writes it.
type written struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func (w *written) Len() int { return len(w.String()) }

// doubted runs a loop on w and gives it with its log, which is that of warnings alone unless level says otherwise.
func doubted(t *testing.T, w *fakeWorld, level slog.Level, change func(*Options)) (*Loop, *written) {
	t.Helper()
	log := &written{}
	o := Options{
		Target: "rabbit", Policy: decide.DefaultPolicy(), World: w, Runner: w, Store: w, Exec: w, Logs: w, Recorder: w,
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level})),
	}
	if change != nil {
		change(&o)
	}
	w.loop = NewLoop(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.loop.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w.loop, log
}

// passes lets d pass, and then all goroutines come to rest.
func passes(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *fakeWorld) with(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func TestLoopTakesABrokerThatNoPodFitsForAFaultAsLongAsThatLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		const problem = "no pod in namespace a fits the selector b"
		none := func(v *target.View) {
			v.Nodes, v.Problems = nil, []target.Problem{{Kind: target.ProblemNoPod, Text: problem}}
		}
		w.onView = none
		l, log := doubted(t, w, slog.LevelInfo, nil)
		passes(9 * time.Second)
		if got := l.Snapshot().Error; got != "" || log.Len() > 0 {
			t.Errorf("in the first seconds: fault %q, log %s", got, log)
		}
		passes(time.Minute)
		if got := l.Snapshot().Error; got != problem {
			t.Errorf("the fault is %q", got)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), problem) {
			t.Errorf("%d warnings, want one:\n%s", n, log)
		}
		w.with(func() { w.onView = nil })
		passes(time.Minute)
		w.with(func() { w.onView = none }) // as when the only pod is being replaced
		passes(8 * time.Second)
		w.with(func() { w.onView = nil })
		passes(time.Minute)
		if got := l.Snapshot().Error; got != "" || strings.Count(log.String(), "level=WARN") != 1 || strings.Count(log.String(), "can see and write down everything again") != 1 {
			t.Errorf("when there are pods: fault %q, log\n%s", got, log)
		}
	})
}

// A problem whose words change at each look, because they name another pod or count something, is still the same.
func TestDoubtCountsAProblemByItsKindAndNotByItsWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		kinds := []target.ProblemKind{target.ProblemNoContainer}
		looks := 0
		w.onView = func(v *target.View) {
			looks++
			v.Problems = []target.Problem{{Kind: kinds[looks%len(kinds)], Text: fmt.Sprintf("look %d", looks)}}
		}
		l, log := doubted(t, w, slog.LevelWarn, nil)
		passes(time.Minute)
		if got := l.Snapshot().Error; !strings.HasPrefix(got, "look ") || strings.Count(log.String(), "level=WARN") != 1 {
			t.Errorf("other words each time: %q, the log\n%s", got, log)
		}
		w.with(func() { kinds = []target.ProblemKind{target.ProblemNoPod, target.ProblemNoNode} })
		passes(time.Minute)
		if got := l.Snapshot().Error; got != "" {
			t.Errorf("another kind each time, none of which lasts: %q", got)
		}
	})
}

func TestLoopTakesUnreadableCredentialsForAFaultUntilTheyCanBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		missing := errors.New("read secret rabbitmq/unstuck-user: it has no key password")
		l, log := doubted(t, w, slog.LevelWarn, func(o *Options) {
			o.LoginError = func() error { w.mu.Lock(); defer w.mu.Unlock(); return missing }
		})
		passes(time.Minute)
		if got := l.Snapshot().Error; !strings.Contains(got, missing.Error()) || strings.Count(log.String(), missing.Error()) != 1 {
			t.Errorf("the fault is %q, the log\n%s", got, log)
		}
		w.with(func() { missing = nil })
		passes(10 * time.Second)
		if got := l.Snapshot().Error; got != "" {
			t.Errorf("the fault is still %q", got)
		}
	})
}

func TestLoopHoldsAllForAPauseOfAnUnknownBrokerWhichIsAFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.pauses = []decide.Pause{
			{Target: "rabitt", By: "ada", Reason: "moving disks", Until: time.Now().Add(time.Hour)},
			{Target: "orders", By: "eve", Until: time.Now().Add(time.Hour)},
			{Target: "typo", By: "eve", Until: time.Now().Add(-time.Hour)},
		}
		l, log := doubted(t, w, slog.LevelWarn, func(o *Options) { o.Targets = func() []string { return []string{"orders", "rabbit"} } })
		passes(time.Minute)
		s := l.Snapshot()
		const want = `a pause by ada names the broker "rabitt", which is not watched (these are: orders, rabbit)`
		if s.Error != want || len(s.Pauses) != 1 || s.Pauses[0].Target != "rabitt" || strings.Count(log.String(), "level=WARN") != 1 {
			t.Errorf("the fault is %q, the pauses are %+v, the log\n%s", s.Error, s.Pauses, log)
		}
		for _, n := range s.Nodes {
			i := slices.IndexFunc(n.Decision.Guards, func(g decide.GuardState) bool { return g.Guard == decide.GuardPaused })
			if g := n.Decision.Guards[i]; g.Open || g.Why != want+", and may be meant for this one" || !g.Until.Equal(s.Pauses[0].Until) {
				t.Errorf("%s: %+v", n.Name, g)
			}
		}
		passes(time.Hour)
		if s := l.Snapshot(); s.Error != "" || len(s.Pauses) > 0 || slices.Contains(s.Nodes[0].Decision.Closed(), decide.GuardPaused) {
			t.Errorf("when it has ended: fault %q, pauses %+v, closed %v", s.Error, s.Pauses, s.Nodes[0].Decision.Closed())
		}
	})
}

func TestLoopWarnsOfNothingThatIsNotYetKnownAtAHealthyStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.viewErr = errors.New("the API server has not been asked yet")
		l, log := doubted(t, w, slog.LevelInfo, nil)
		passes(3 * time.Second)
		if !strings.Contains(l.Snapshot().Error, "not been asked yet") || log.Len() > 0 {
			t.Errorf("fault %q, log %s", l.Snapshot().Error, log)
		}
		w.with(func() { w.viewErr = nil })
		passes(time.Minute)
		if log.Len() > 0 {
			t.Errorf("the log of a healthy start: %s", log)
		}
		w.with(func() { w.viewErr = errors.New("gone") })
		passes(6 * time.Second)
		if !strings.Contains(log.String(), "level=WARN") {
			t.Errorf("later it is one at once: %s", log)
		}
	})
}

func TestLoopWarnsOfANodeOnlyWhereItLeads(t *testing.T) {
	for leading, want := range map[target.Answer]bool{target.Yes: true, target.No: false, target.CannotTell: true} {
		synctest.Test(t, func(t *testing.T) {
			w := newFakeWorld()
			w.onView = func(v *target.View) { v.IsLeader = leading }
			_, log := doubted(t, w, slog.LevelInfo, nil)
			passes(time.Minute)
			w.logins()
			passes(time.Second)
			if !strings.Contains(log.String(), `level=INFO msg="the node accepts logins"`) {
				t.Errorf("leading %s: a node that is healthy:\n%s", leading, log)
			}
			w.with(func() { w.reason["uid-of-rabbit-1"] = probe.AccessRefused })
			w.logins()
			passes(time.Second)
			if got := strings.Contains(log.String(), `level=WARN msg="node changed"`); got != want || !strings.Contains(log.String(), "to=faulty") {
				t.Errorf("leading %s: it warns: %t\n%s", leading, got, log)
			}
		})
	}
}

func TestLoopWarnsOfADeletionAndSaysHowLongItTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		_, log := doubted(t, w, slog.LevelInfo, func(o *Options) { o.Policy.Mode = decide.Remediate })
		for range 40 {
			w.logins()
			passes(15 * time.Second)
		}
		for _, want := range []string{`level=WARN msg="deleting node"`, `msg="a deletion is settled"`, " took_seconds=", " outcome=recovered "} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("no %s in the log:\n%s", want, log)
			}
		}
	})
}
