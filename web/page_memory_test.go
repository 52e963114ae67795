package web

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// counted counts what an authority is asked.
type counted struct {
	tokens
	who, reads, rest int
}

func (a *counted) Authenticate(ctx context.Context, token string) (Caller, error) {
	a.who++
	return a.tokens.Authenticate(ctx, token)
}

func (a *counted) Allowed(ctx context.Context, who Caller, act Act) (Verdict, error) {
	if act.Verb == ToRead {
		a.reads++
	} else {
		a.rest++
	}
	return a.tokens.Allowed(ctx, who, act)
}

func TestAPageThatShowsItselfAnewAsksAgainWhoCallsAfterFiveSecondsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		a := &counted{tokens: tokens{"ada": {{Verbs(), "*", "*"}}, "bob": nil}}
		s.Identity, s.Access = a, a
		s.build()
		refresh := func(who string) int { return s.page(who, "/status/brokers/orders", "Unstuck-Refresh", "1").Code }
		for range 3 {
			if got := refresh("ada"); got != 200 {
				t.Fatalf("status %d", got)
			}
		}
		if a.who != 1 || a.reads != 1 || a.rest != 0 {
			t.Errorf("asked %d times who, %d times about reading, %d about the rest", a.who, a.reads, a.rest)
		}
		delete(a.tokens, "ada") // the token is taken back
		time.Sleep(memoryLife)
		if got := refresh("ada"); got != 303 {
			t.Errorf("with a token that was taken back %s ago: %d, want to be asked to sign in", memoryLife, got)
		}
		before := *a
		for range 3 {
			refresh("bob")
			refresh("eve")
		}
		if a.who-before.who != 4 || a.reads-before.reads != 3 {
			t.Errorf("refusals are not remembered: asked %d times who, %d times about reading", a.who-before.who, a.reads-before.reads)
		}
	})
}

func TestWhatChangesSomethingIsNeverDoneFromMemory(t *testing.T) {
	s := newSite()
	known := tokens{"ada": nil}
	s.Identity, s.Access = known, tokens{"ada": {{Verbs(), "*", "*"}}} // an account outlives its token
	s.build()
	cookies := s.signedIn(t, "ada", "localhost")
	if w := s.ask(s.get(cookies, "/status/pause")); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	delete(known, "ada")
	w := s.fill(cookies, "localhost", "/status/pause", map[string][]string{"for": {"1h"}, "reason": {"x"}})
	if w.Code != 401 || len(s.keeper.pauses) != 1 {
		t.Errorf("with a token that was just taken back: %d, and %d pauses, want the one that there was", w.Code, len(s.keeper.pauses))
	}
}

func TestTheMemoryIsBounded(t *testing.T) {
	m, _ := newSite().remembering().Identity.(*remembers)
	for i := range 3 * maxMemories {
		keep(m, m.verdicts, strings.Repeat("x", i), Verdict{Allowed: true})
	}
	if len(m.verdicts) > maxMemories {
		t.Errorf("%d are remembered", len(m.verdicts))
	}
}
