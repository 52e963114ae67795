package remediate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/remediate/decide"
)

// lockWorld is a fakeWorld with a lock, which somebody else may hold.
type lockWorld struct {
	*fakeWorld

	mu        sync.Mutex
	others    string // who else holds it
	holder    string // us
	until     time.Time
	gap       time.Duration // the longest time between two renewals
	renewed   time.Time
	unlockErr error
}

func withLock(w *fakeWorld) *lockWorld {
	w.locks = &lockWorld{fakeWorld: w}
	return w.locks
}

func (l *lockWorld) say(format string, args ...any) {
	l.fakeWorld.mu.Lock()
	defer l.fakeWorld.mu.Unlock()
	l.note(format, args...)
}

func (l *lockWorld) Lock(_ context.Context, id, reason string, ttl time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.others != "":
		return fmt.Errorf("locked by %s", l.others)
	case l.holder == id:
		l.gap = max(l.gap, time.Since(l.renewed))
	case l.holder != "" && time.Now().Before(l.until):
		return fmt.Errorf("locked by our own deletion %s", l.holder)
	default:
		what, _, _ := strings.Cut(reason, ",")
		l.say("lock for the %s", what)
	}
	l.holder, l.renewed, l.until = id, time.Now(), time.Now().Add(ttl)
	return nil
}

func (l *lockWorld) Unlock(_ context.Context, id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unlockErr != nil {
		return l.unlockErr
	}
	if l.holder == id {
		l.say("unlock")
		l.holder = ""
	}
	return nil
}

func TestLoopLockIsHeldFromBeforeTheIntentUntilTheDeletionIsSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		l := withLock(w)
		w.wedge()
		w.reason["new"] = "unreachable"
		w.play(t, 7*time.Minute, func(since time.Duration) {
			if since > 5*time.Minute {
				delete(w.reason, "new")
			}
		})
		at := func(what string) int { return slices.Index(w.journal, what) }
		captured, lock, intent, unlock := at("incident incident captured"), at("lock for the deletion of node rabbit-1 of rabbit"), at(`deletion uid-of-rabbit-1 is ""`), at("unlock")
		if captured < 0 || captured > lock || lock > intent || intent > at("settled uid-of-rabbit-1: recovered") || at("settled uid-of-rabbit-1: recovered") > unlock {
			t.Errorf("captured %d, lock %d, intent %d, unlock %d in %q: want that order", captured, lock, intent, unlock, w.journal)
		}
		if w.did("lock") != 1 || w.did("unlock") != 1 || l.holder != "" || l.gap == 0 || l.gap > lockTTL/2 {
			t.Errorf("locked %d times, given back %d times, renewed after up to %s", w.did("lock"), w.did("unlock"), l.gap)
		}
	})
}

func TestLoopLockHasADeletionWaitForWhoeverHoldsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		l := withLock(w)
		w.wedge()
		l.others = "ada: deploy of abc"
		var guard decide.GuardState
		var reason string
		w.play(t, 10*time.Minute, func(since time.Duration) {
			if since < 6*time.Minute {
				if s := w.loop.Snapshot(); len(s.Nodes) == 3 && s.Nodes[1].Decision.Phase == decide.PhaseConfirmed {
					d := s.Nodes[1].Decision
					reason, guard = d.Reason, d.Guards[slices.IndexFunc(d.Guards, func(g decide.GuardState) bool { return g.Guard == decide.GuardOperation })]
				}
				if w.did("deletion") > 0 || w.did("delete") > 0 {
					t.Fatalf("the journal is %q while ada has the lock", w.journal)
				}
				return
			}
			l.mu.Lock()
			l.others = ""
			l.mu.Unlock()
		})
		if guard.Open || !strings.Contains(guard.Why, "ada: deploy of abc") || !strings.Contains(reason, "held back by operation-in-progress") {
			t.Errorf("the guard says %+v, the reason is %q", guard, reason)
		}
		if w.did("delete uid-of-rabbit-1") != 1 {
			t.Errorf("nobody has the lock any more: %q", w.journal)
		}
	})
}

func TestLoopUnlockGivesBackWhenNothingIsDeletedAndRetries(t *testing.T) {
	for name, spoil := range map[string]func(*lockWorld){
		"the intent cannot be written": func(l *lockWorld) { l.saveDeletionsErr = errors.New("disk full") },
		"the delete is refused":        func(l *lockWorld) { l.deleteErr = errStale },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld()
				l := withLock(w)
				w.wedge()
				spoil(l)
				l.unlockErr = errors.New("away")
				w.play(t, 4*time.Minute, func(since time.Duration) {
					l.mu.Lock()
					defer l.mu.Unlock()
					if l.holder != "" && since > 3*time.Minute {
						l.unlockErr = nil
					}
				})
				if w.did("lock") == 0 || w.did("unlock") == 0 {
					t.Errorf("the journal is %q", w.journal)
				}
			})
		})
	}
}

func TestLoopKeepLockHoldsThatOfTheDeletionItGoesOnWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		l := withLock(w)
		w.wedge()
		w.reason["new"] = "unreachable"
		w.play(t, 4*time.Minute, nil)
		deletion := w.deletions[0]
		if deletion.Outcome != decide.Pending || l.holder != deletion.ID {
			t.Fatalf("the deletion is %q, the lock is held by %q", deletion.Outcome, l.holder)
		}
		l.gap = 0
		w.play(t, 3*time.Minute, nil)
		if l.holder != deletion.ID || l.gap == 0 || time.Now().After(l.until) {
			t.Errorf("the lock is held by %q until %s, renewed after up to %s", l.holder, l.until, l.gap)
		}
		delete(w.reason, "new")
		w.play(t, time.Minute, nil)
		if w.did("unlock") != 1 || w.deletions[0].Outcome != decide.Recovered {
			t.Errorf("the deletion is %q, and the journal %q", w.deletions[0].Outcome, w.journal)
		}
	})
}

func TestLoopKeepLockLeavesTheLockToTheSuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		l := withLock(w)
		w.wedge()
		w.reason["new"] = "unreachable"
		w.play(t, 6*time.Minute, func(since time.Duration) {
			if w.did("acted") == 1 {
				w.onView = follower
				l.mu.Lock()
				l.gap = 0
				l.mu.Unlock()
			}
		})
		if w.did("lock") != 1 || w.did("unlock") != 0 || l.gap > 0 {
			t.Errorf("the journal is %q, renewed after %s", w.journal, l.gap)
		}
	})
}
