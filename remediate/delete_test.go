package remediate

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

func guardWhy(w *fakeWorld, g decide.Guard) string {
	for _, s := range w.loop.Snapshot().Nodes[1].Decision.Guards {
		if s.Guard == g {
			return fmt.Sprintf("open=%t %s", s.Open, s.Why)
		}
	}
	return ""
}

// A delete that comes to nothing again and again for another reason than ErrRefused is never escalated.
func TestLoopEscalatesADeleteThatComesToNothing(t *testing.T) {
	for name, set := range map[string]func(w *fakeWorld){
		"409, and the pod stays the same": func(w *fakeWorld) { w.deleteErr = fmt.Errorf("delete: %w", target.ErrChanged) },
		"404, and the pod stays":          func(w *fakeWorld) { w.deleteErr = fmt.Errorf("delete: %w", target.ErrGone) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld()
				w.wedge()
				set(w)
				w.play(t, 5*time.Hour, nil)
				aborted, failed := 0, 0
				for _, a := range w.deletions {
					switch a.Outcome {
					case decide.Aborted:
						aborted++
					case decide.Failed, decide.Escalated:
						failed++
					}
				}
				if w.did("acted") == 0 && (failed == 0 || len(w.deletions) > 30) {
					t.Errorf("%d deletions, %d aborted, %d failed; %s", len(w.deletions), aborted, failed, w.loop.Snapshot().Nodes[1].Decision.Reason)
				}
			})
		})
	}
}

// A delete that is answered with 403 or 500 has not happened, the node is still there; once it is allowed it is cured.
func TestLoopTriesAFailedDeleteAgainOnceItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		w.deleteErr = errors.New("delete pod rabbit-1: the server has answered 500")
		w.play(t, 8*time.Hour, func(since time.Duration) {
			if since > 10*time.Minute {
				w.deleteErr = nil
			}
		})
		if w.did("acted on uid-of-rabbit-1") != 1 {
			t.Errorf("8 h later: %s: budget %s; startup-grace %s", w.loop.Snapshot().Nodes[1].Decision.Reason, guardWhy(w, decide.GuardBudget), guardWhy(w, decide.GuardStartupGrace))
		}
	})
}

func TestLoopFailsADeletionThatIsRefusedAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		w.deleteErr = fmt.Errorf("delete pod rabbit-1: %w: %s", target.ErrRefused, strings.Repeat("cannot patch resource pods ", 100))
		w.play(t, 23*time.Hour, nil)
		data, err := json.Marshal(w.deletions)
		if err != nil {
			t.Fatal(err)
		}
		if n := w.did("delete"); n < 3 || n > 30 || len(data) > 30<<10 {
			t.Errorf("asked for %d times, %d bytes of deletions", n, len(data))
		}
		failed := slices.IndexFunc(w.deletions, func(a decide.Deletion) bool { return a.Outcome == decide.Failed && a.NothingDeleted() })
		if failed != 2 || w.did("settled uid-of-rabbit-1: failed") == 0 {
			t.Errorf("the first that has failed is number %d of %d, settled %d times", failed, len(w.deletions), w.did("settled"))
		}
		d := w.loop.Snapshot().Nodes[1].Decision
		if !strings.Contains(d.Reason, "a person must look") || slices.Contains(d.Closed(), decide.GuardBudget) {
			t.Errorf("%s, closed %v", d.Reason, d.Closed())
		}
		w.deleteErr = nil // somebody grants the permission
	})
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		w.deleteErr = fmt.Errorf("delete pod rabbit-1: %w: forbidden", target.ErrRefused)
		w.play(t, 4*time.Hour, func(since time.Duration) {
			if since > 2*time.Hour {
				w.deleteErr = nil
			}
		})
		if w.did("acted on uid-of-rabbit-1") != 1 {
			t.Errorf("it is not cured once that is allowed: %q", w.journal[max(0, len(w.journal)-5):])
		}
	})
}

func TestCauseOfIsOnlyOfWhatIsCertain(t *testing.T) {
	for _, c := range []struct {
		err    error
		cause  target.Cause
		about  string
		detail string
	}{
		{&target.RefusedError{Cause: target.CausePeers, About: "b", Err: errors.New("pod b is gone")}, target.CausePeers, "b", "pod b is gone"},
		{&target.RefusedError{Cause: target.CauseEnded}, target.CauseEnded, "", ""},
		{target.ErrGone, target.CauseGone, "", ""},
		{target.ErrChanged, target.CauseChanged, "", ""},
		{target.ErrRefused, target.CauseLastLook, "", target.ErrRefused.Error()},
		{errStale, target.CauseLate, "", ""},
		{target.ErrConflict, target.CauseOvertaken, "", target.ErrConflict.Error()},
		{errors.New("the server has answered 500"), "", "", ""},
		{nil, "", "", ""},
	} {
		cause, about, detail := causeOf(c.err)
		if cause != c.cause || about != c.about || detail != c.detail {
			t.Errorf("%v: %q, %q, %q; want %q, %q, %q", c.err, cause, about, detail, c.cause, c.about, c.detail)
		}
		if c.err == nil {
			continue
		}
		if cause, _, _ = causeOf(fmt.Errorf("delete: %w", c.err)); cause != c.cause {
			t.Errorf("wrapped, %v: %q, want %q", c.err, cause, c.cause)
		}
	}
}

// What the supplier finds at its last look closes the guard that it is about, and who asked is told so. The next
// reconcile asks the guard anew.
func TestDeleteIsHeldBackByTheGuardThatTheLastLookIsAbout(t *testing.T) {
	for cause, guard := range map[target.Cause]decide.Guard{
		target.CausePeers: decide.GuardPeers, target.CauseOperation: decide.GuardOperation, target.CauseNoController: decide.GuardNoController,
		target.CauseDisruptionBudget: decide.GuardDisruptionBudget, target.CauseNotLeader: decide.GuardNotLeader,
		target.CauseRestarted: decide.GuardRollout, target.CauseNotAllowed: "", target.CauseRejected: "", "of_another_version": "",
	} {
		t.Run(string(cause), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld()
				w.wedge()
				w.deleteErr = fmt.Errorf("delete: %w", &target.RefusedError{Cause: cause, Err: errors.New("so it is")})
				var got *outcome
				w.play(t, 2*time.Minute, after(30*time.Second, func() { got = w.give(t, "rabbit-1", everyGuard()...) }))
				held, ok := errors.AsType[*decide.HeldError](got.err)
				if refused, _ := errors.AsType[*target.RefusedError](got.err); ok != (guard != "") || (!ok && (refused == nil || refused.Cause != cause)) {
					t.Fatalf("%v", got.err)
				}
				if ok && (held.Closed[0].Guard != guard || !slices.Equal(held.Fixed, []decide.Guard{guard}) || held.Closed[0].Why != cause.Sentence("so it is")) {
					t.Errorf("%+v", held)
				}
				a := w.deletions[0]
				if cause.Known() && (a.Cause != cause || a.Outcome != decide.Aborted) {
					t.Errorf("deletions are %+v", w.deletions)
				}
				if !cause.Known() && (a.Cause != "" || a.Outcome != decide.Pending || a.RequestError == "") { // it is awaited
					t.Errorf("deletions are %+v", w.deletions)
				}
				if why := guardWhy(w, guard); strings.Contains(why, "so it is") {
					t.Errorf("two minutes later %s says %s", guard, why)
				}
			})
		})
	}
}
