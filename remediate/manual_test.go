package remediate

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// follower makes the view that of a replica that does not lead.
func follower(v *target.View) { v.IsLeader, v.LeaderSince = target.No, time.Time{} }

// outcome is what came of a delete request.
type outcome struct {
	DeleteResult
	err  error
	took time.Duration
	done bool
}

// give has a person ask for the deletion of a node, at once; what came of it is there once the loop has carried it out.
func (w *fakeWorld) give(t *testing.T, node string, override ...decide.Guard) *outcome {
	return w.request(t, decide.DeleteRequest{Node: node, UID: "uid-of-" + node, Override: override, Reason: "clients hang", By: "ada", From: "10.0.0.9"})
}

func (w *fakeWorld) request(t *testing.T, o decide.DeleteRequest) *outcome {
	got := &outcome{}
	loop := w.loop
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		done, err := loop.Delete(ctx, o)
		w.mu.Lock()
		defer w.mu.Unlock()
		*got = outcome{DeleteResult: done, err: err, took: time.Since(began), done: true}
	}()
	return got
}

// after calls f once, at the first login after so long.
func after(d time.Duration, f func()) func(time.Duration) {
	done := false
	return func(since time.Duration) {
		if since >= d && !done {
			done = true
			f()
		}
	}
}

func TestLoopDeleteIsLikeAnyOtherAndTheIncidentSaysByWhom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		l := withLock(w)
		var got *outcome
		w.play(t, 5*time.Minute, after(time.Minute, func() { got = w.give(t, "rabbit-1", decide.GuardUnconfirmed, decide.GuardMaintenanceWindow) }))
		if got.err != nil || got.took > 10*time.Second {
			t.Fatalf("%v after %s; the journal is %q", got.err, got.took, w.journal)
		}
		at := func(what string) int { return slices.Index(w.journal, what) }
		captured, lock, intent := at("incident incident captured"), w.at("lock"), at(`deletion uid-of-rabbit-1 is ""`)
		deleted, settled := at("delete uid-of-rabbit-1 with grace 30s"), at("settled uid-of-rabbit-1: recovered")
		if captured < 0 || captured > lock || lock > intent || intent > deleted || deleted > settled || settled > w.at("unlock") {
			t.Errorf("captured %d, locked %d, intent %d, deleted %d, settled %d in %q: want that order", captured, lock, intent, deleted, settled, w.journal)
		}
		if w.did("delete") != 1 || l.holder != "" {
			t.Errorf("%q, and the lock is held by %q", w.journal, l.holder)
		}
		want := &decide.Manual{By: "ada", From: "10.0.0.9", Reason: "clients hang", Override: []decide.Guard{decide.GuardUnconfirmed}}
		if diff := cmp.Diff(want, w.deletions[0].Manual); diff != "" {
			t.Errorf("the deletion (-want +got):\n%s", diff)
		}
		c := w.onlyIncident(t)
		if c.ID != got.Incident || c.Outcome != string(decide.Recovered) || c.Closed.IsZero() || c.Deletion.Manual == nil || len(c.Logs) == 0 || len(c.Results) == 0 || c.Cluster == "" {
			t.Errorf("the incident is %s", text(c))
		}
		says := "manual deletion, asked for by ada from 10.0.0.9: clients hang; overridden: unconfirmed"
		if c.Events[0].Text != says || c.Decision.Reason != says {
			t.Errorf("the incident begins with %q, and its decision is %q", c.Events[0].Text, c.Decision.Reason)
		}
		if !slices.Equal(got.Overridden, []decide.Guard{decide.GuardUnconfirmed}) || len(got.Guards) != len(decide.Guards()) {
			t.Errorf("overridden were %v, of %d guards", got.Overridden, len(got.Guards))
		}
	})
}

// at is where the first line of the journal stands that begins so.
func (w *fakeWorld) at(prefix string) int {
	return slices.IndexFunc(w.journal, func(line string) bool { return strings.HasPrefix(line, prefix) })
}

func TestLoopDeleteWritesNothingIfItIsHeldBackOrADryRun(t *testing.T) {
	dry := decide.DeleteRequest{Node: "rabbit-1", UID: "uid-of-rabbit-1", DryRun: true, Override: []decide.Guard{decide.GuardUnconfirmed}}
	stale, gone, plain := dry, dry, dry
	stale.UID, gone.Node, plain.Override = "old", "rabbit-7", nil
	stale.DryRun, gone.DryRun, plain.DryRun = false, false, false
	plainly := dry
	plainly.DryRun = false
	for name, tc := range map[string]struct {
		request decide.DeleteRequest
		spoil   func(*fakeWorld)
		want    error
		held    []decide.Guard
		fixed   bool
	}{
		"a dry run":                {request: dry},
		"not overridden":           {request: plain, held: []decide.Guard{decide.GuardUnconfirmed}},
		"another of its name":      {request: stale, want: target.ErrChanged},
		"no such node":             {request: gone, want: target.ErrGone},
		"another replica leads":    {request: plainly, want: ErrNotLeader, spoil: func(w *fakeWorld) { w.onView = follower }},
		"nobody knows who leads":   {request: plainly, held: []decide.Guard{decide.GuardNotLeader}, fixed: true, spoil: func(w *fakeWorld) { w.onView = func(v *target.View) { v.IsLeader = target.CannotTell } }},
		"the history is not known": {request: plainly, held: []decide.Guard{decide.GuardInFlight, decide.GuardBudget}, fixed: true, spoil: func(w *fakeWorld) { w.deletionsErr = errors.New("away") }},
		"it is terminating":        {request: plainly, held: []decide.Guard{decide.GuardRollout}, fixed: true, spoil: func(w *fakeWorld) { w.nodes[1].Terminating = target.Yes }},
		"the peers say no": {request: plainly, held: []decide.Guard{decide.GuardQuorumCritical}, spoil: func(w *fakeWorld) {
			w.exec = func(target.Node, string) (int, string) { return 69, "queues without a majority: q1" }
		}},
		"a dry run, and the peers say no": {request: dry, held: []decide.Guard{decide.GuardQuorumCritical}, spoil: func(w *fakeWorld) {
			w.exec = func(target.Node, string) (int, string) { return 69, "queues without a majority: q1" }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld()
				withLock(w)
				if tc.spoil != nil {
					tc.spoil(w)
				}
				var got *outcome
				w.play(t, 3*time.Minute, after(time.Minute, func() { got = w.request(t, tc.request) }))
				if w.did("incident")+w.did("deletion")+w.did("lock")+w.did("delete") > 0 {
					t.Errorf("the journal is %q", w.journal)
				}
				if tc.held == nil {
					if !got.done || !errors.Is(got.err, tc.want) || (tc.want == nil && len(got.Guards) != len(decide.Guards())) {
						t.Errorf("%v, want %v; %d guards", got.err, tc.want, len(got.Guards))
					}
					return
				}
				held, ok := errors.AsType[*decide.HeldError](got.err)
				if !ok {
					t.Fatalf("%v, want it to be held back", got.err)
				}
				for _, g := range tc.held {
					if !slices.ContainsFunc(held.Closed, func(s decide.GuardState) bool { return s.Guard == g && s.Why != "" }) {
						t.Errorf("closed are %+v, want %s", held.Closed, g)
					}
				}
				if (len(held.Fixed) > 0) != tc.fixed {
					t.Errorf("fixed are %v, want any: %v", held.Fixed, tc.fixed)
				}
			})
		})
	}
}

// What goes wrong after the incident was stored: nothing is deleted, or it is not known, and the incident says so.
func TestLoopDeleteTellsInItsIncidentWhatCameOfIt(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil   func(*fakeWorld)
		held    decide.Guard
		says    string
		deleted int
		open    bool
	}{
		"the intent cannot be written": {func(w *fakeWorld) { w.saveDeletionsErr = errors.New("disk full") }, "", "disk full", 0, false},
		"it terminates by now": {func(w *fakeWorld) {
			w.onSave = func(store.Incident) { w.mu.Lock(); w.nodes[1].Terminating = target.Yes; w.mu.Unlock() }
		}, decide.GuardRollout, "", 0, false},
		"a deploy has begun":   {func(w *fakeWorld) { w.locks.others = "eve" }, decide.GuardOperation, "eve", 0, false},
		"the last look":        {func(w *fakeWorld) { w.deleteErr = target.ErrRefused }, decide.GuardRollout, "a last look forbade it", 1, false},
		"it is another by now": {func(w *fakeWorld) { w.deleteErr = target.ErrChanged }, "", "has been replaced", 1, false},
		"nobody answers":       {func(w *fakeWorld) { w.deleteErr = errors.New("timeout") }, "", "timeout", 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld()
				withLock(w)
				tc.spoil(w)
				var got *outcome
				w.play(t, 2*time.Minute, after(time.Minute, func() { got = w.give(t, "rabbit-1", decide.GuardUnconfirmed) }))
				held, ok := errors.AsType[*decide.HeldError](got.err)
				if got.err == nil || ok != (tc.held != "") || (ok && held.Closed[0].Guard != tc.held) || !strings.Contains(text(held)+got.err.Error(), tc.says) {
					t.Errorf("%v: %s", got.err, text(held))
				}
				if w.did("delete") != tc.deleted {
					t.Errorf("asked for %d deletions: %q", w.did("delete"), w.journal)
				}
				c := w.onlyIncident(t)
				if c.Closed.IsZero() != tc.open || !strings.Contains(text(c.Events), tc.says) {
					t.Errorf("the incident is %q: %s", c.Outcome, text(c.Events))
				}
				if !tc.open && c.Outcome != store.NotDone {
					t.Errorf("its outcome is %q", c.Outcome)
				}
			})
		})
	}
}

func TestLoopDeleteOfAConfirmedNodeIsWrittenIntoTheOpenIncident(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		w.nodes[2].Host = ""                               // and so the loop does not see which peers... but rabbit-1's own host is known
		w.onView = func(v *target.View) { v.Expected = 4 } // peers is closed
		var got *outcome
		w.play(t, 7*time.Minute, after(4*time.Minute, func() { got = w.give(t, "rabbit-1", decide.GuardPeers, decide.GuardQuorumCritical) }))
		if got.err != nil || w.did("delete") != 1 {
			t.Fatalf("%v: %q", got.err, w.journal)
		}
		c := w.onlyIncident(t)
		if c.ID != got.Incident || !strings.Contains(text(c.Events), "overridden: peers") || !strings.Contains(c.Events[0].Text, "first stuck") {
			t.Errorf("the incident is %s", text(c.Events))
		}
	})
}

func TestLoopDeleteGoesAheadOnlyAsTheFirstOfSeveralDeletions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		var one, two *outcome
		w.play(t, 5*time.Minute, after(time.Minute, func() {
			one, two = w.give(t, "rabbit-1", everyGuard()...), w.give(t, "rabbit-2", everyGuard()...)
		}))
		if one.err != nil {
			one, two = two, one
		}
		held, ok := errors.AsType[*decide.HeldError](two.err)
		if one.err != nil || !ok || !slices.Contains(held.Fixed, decide.GuardInFlight) || w.did("delete") != 1 {
			t.Errorf("%v, %v: %q", one.err, two.err, w.journal)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		w.reason["new"] = probe.Unreachable // it stays under way
		var got *outcome
		w.play(t, 5*time.Minute, func(time.Duration) {
			if got == nil && w.did("acted") == 1 {
				got = w.give(t, "rabbit-0", everyGuard()...)
			}
		})
		if held, ok := errors.AsType[*decide.HeldError](got.err); !ok || !slices.Contains(held.Fixed, decide.GuardInFlight) || w.did("delete") != 1 {
			t.Errorf("%v: %q", got.err, w.journal)
		}
	})
}

func TestLoopDeleteAsksThePeersUnlessTheirAnswerDoesNotMatter(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil    func(*fakeWorld)
		override []decide.Guard
		asked    bool
	}{
		"nothing else is closed":       {nil, []decide.Guard{decide.GuardUnconfirmed}, true},
		"something else is closed too": {nil, nil, true},
		"it is overridden":             {nil, []decide.Guard{decide.GuardUnconfirmed, decide.GuardQuorumCritical, decide.GuardAlarm}, false},
		"it is held back for good":     {func(w *fakeWorld) { w.nodes[1].Owned = target.No }, []decide.Guard{decide.GuardUnconfirmed}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld()
				asked := false
				w.exec = func(_ target.Node, command string) (int, string) {
					asked = asked || strings.Contains(command, "quorum_critical")
					return 0, answered(command)
				}
				if tc.spoil != nil {
					tc.spoil(w)
				}
				w.play(t, 2*time.Minute, after(time.Minute, func() { w.give(t, "rabbit-1", tc.override...) }))
				if asked != tc.asked {
					t.Errorf("asked %v, want %v", asked, tc.asked)
				}
			})
		})
	}
}

// Somebody who asks again right after "cannot tell" need not wait for the answer to grow old. What was answered is not
// asked for twice.
func TestLoopDeleteAsksTheBrokerAgainAtOnceIfItCouldNotTell(t *testing.T) {
	for name, tc := range map[string]struct {
		about   string // the question that is answered otherwise at first
		exit    int
		out     string
		guard   decide.Guard
		deleted int
	}{
		"the quorum question was cut off": {"check_if_node_is_quorum_critical", 75, "operation timed out", decide.GuardQuorumCritical, 1},
		"the limits could not be read":    {"unstuck limits end", 69, "attempted to contact", decide.GuardAlarm, 1},
		"queues depend on it":             {"check_if_node_is_quorum_critical", 69, "queue 'q' in vhost '/' would lose quorum if node rabbit@rabbit-1 is stopped", decide.GuardQuorumCritical, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld()
				mended := false
				w.exec = func(_ target.Node, command string) (int, string) {
					if !mended && (strings.Contains(command, tc.about) || strings.Contains(command, "unstuck quorum")) {
						return tc.exit, tc.out
					}
					return 0, answered(command)
				}
				var first, second *outcome
				one := after(time.Minute, func() { first = w.give(t, "rabbit-1", decide.GuardUnconfirmed) })
				two := after(time.Minute+2*time.Second, func() {
					mended = true
					second = w.give(t, "rabbit-1", decide.GuardUnconfirmed)
				})
				w.play(t, 3*time.Minute, func(since time.Duration) { one(since); two(since) })
				for i, o := range []*outcome{first, second} {
					held, ok := errors.AsType[*decide.HeldError](o.err)
					want := i == 0 || tc.deleted == 0
					if !o.done || ok != want || ok && (len(held.Closed) != 1 || held.Closed[0].Guard != tc.guard) {
						t.Errorf("request %d: %v, want it held back %t by %s alone", i+1, o.err, want, tc.guard)
					}
				}
				if w.did("delete") != tc.deleted {
					t.Errorf("deleted %d times, want %d: %q", w.did("delete"), tc.deleted, w.journal)
				}
			})
		})
	}
}

// A dry run has the broker asked. What it answered then may be too old by the time that the incident is captured.
func TestLoopDeleteAsksTheBrokerAgainWhenItsAnswersGetOld(t *testing.T) {
	for _, between := range []time.Duration{15 * time.Second, 30 * time.Second, 45 * time.Second, time.Minute} {
		t.Run(between.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld()
				w.logTakes = 19 * time.Second
				request := decide.DeleteRequest{Node: "rabbit-1", UID: "uid-of-rabbit-1", Override: []decide.Guard{decide.GuardUnconfirmed}, By: "ada"}
				dry := request
				dry.DryRun = true
				var looked, got *outcome
				first := after(time.Minute, func() { looked = w.request(t, dry) })
				second := after(time.Minute+between, func() { got = w.request(t, request) })
				w.play(t, 5*time.Minute, func(since time.Duration) { first(since); second(since) })
				if looked.err != nil || got.err != nil || w.did("delete") != 1 {
					t.Errorf("the dry run: %v; the deletion: %v; the journal is %q", looked.err, got.err, w.journal)
				}
			})
		})
	}
}

func TestLoopDeleteIsGivenUpWhenNobodyWaitsAnyMoreOrTheLoopEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.exec = func(_ target.Node, command string) (int, string) {
			w.mu.Unlock()
			time.Sleep(15 * time.Second)
			w.mu.Lock()
			return 0, answered(command)
		}
		var err error
		w.play(t, 5*time.Minute, after(time.Minute, func() {
			loop := w.loop
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // the capture takes longer
				defer cancel()
				_, err = loop.Delete(ctx, decide.DeleteRequest{Node: "rabbit-1", UID: "uid-of-rabbit-1", Override: []decide.Guard{decide.GuardUnconfirmed, decide.GuardQuorumCritical}, By: "ada", Reason: "r"})
				cancel()
			}()
		}))
		if !errors.Is(err, context.DeadlineExceeded) || w.did("incident")+w.did("deletion")+w.did("delete") > 0 {
			t.Errorf("%v: %q", err, w.journal)
		}
		if _, err := w.loop.Delete(t.Context(), decide.DeleteRequest{Node: "rabbit-1"}); !errors.Is(err, errEnded) {
			t.Errorf("after the end: %v", err)
		}
	})
}
