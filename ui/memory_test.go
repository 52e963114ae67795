package ui

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

// counted counts what an authority is asked.
type counted struct {
	apitest.Tokens
	who, reads, rest int
}

func (a *counted) Authenticate(ctx context.Context, token string) (auth.Caller, error) {
	a.who++
	return a.Tokens.Authenticate(ctx, token)
}

func (a *counted) Allowed(ctx context.Context, who auth.Caller, action auth.Action) (auth.Grant, error) {
	if action.Verb == auth.Read {
		a.reads++
	} else {
		a.rest++
	}
	return a.Tokens.Allowed(ctx, who, action)
}

func TestRemembersAsksOnlyEveryFiveSecondsWhatAReaderMaySee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		a := &counted{Tokens: apitest.Tokens{"ada": {{Verbs: auth.Verbs(), Environments: "*", Brokers: "*"}}, "bob": nil}}
		s.Identity, s.Access = a, a
		s.build()
		refresh := func(who string) int {
			return s.page(who, "/status/targets/orders", "Unstuck-Refresh", "1").Code
		}
		for range 3 {
			if got := refresh("ada"); got != 200 {
				t.Fatalf("status %d", got)
			}
		}
		if a.who != 3 || a.reads != 1 || a.rest != 0 {
			t.Errorf("asked %d times who, %d times about reading, %d about the rest", a.who, a.reads, a.rest)
		}
		a.Tokens["ada"] = nil // the right is taken back
		time.Sleep(memoryLife)
		if got := refresh("ada"); got != 403 {
			t.Errorf("%s after the right was taken back: %d", memoryLife, got)
		}
		delete(a.Tokens, "ada") // and now the token
		if got := refresh("ada"); got != 303 {
			t.Errorf("with a token that was taken back: %d, want to be asked to sign in at once", got)
		}
		before := a.reads
		for range 3 {
			refresh("bob")
		}
		if a.reads-before != 3 {
			t.Errorf("a refusal was remembered: asked %d times", a.reads-before)
		}
	})
}

func TestRemembersIsBoundedAndTellsCallersApart(t *testing.T) {
	m, _ := remembering(newSite().Access).(*remembers)
	for i := range 3 * maxMemories {
		m.keep(strings.Repeat("x", i))
	}
	if len(m.allowed) > maxMemories {
		t.Errorf("%d are remembered", len(m.allowed))
	}
	read := auth.Action{Verb: auth.Read, Target: "orders"}
	ada, bob := auth.Caller{Name: "ada", Authority: "tokens"}, auth.Caller{Name: "bob", Authority: "tokens"}
	for _, c := range []struct {
		who  auth.Caller
		want bool
	}{{ada, true}, {bob, false}, {auth.Caller{Name: "ada", Authority: "elsewhere"}, false}, {ada, true}} {
		if v, err := m.Allowed(t.Context(), c.who, read); err != nil || v.Allowed != c.want {
			t.Errorf("%+v: %+v %v, want %t", c.who, v, err, c.want)
		}
	}
	// One name that reads like two fields is another name.
	for i, action := range []auth.Action{{Verb: auth.Read, Service: "a Pod:b"}, {Verb: auth.Read, Service: "a", Pod: "b Pod:"}} {
		before := len(m.allowed)
		if _, err := m.Allowed(t.Context(), ada, action); err != nil || len(m.allowed) != before+1 {
			t.Errorf("%d: %v, %d are remembered, want %d", i, err, len(m.allowed), before+1)
		}
	}
}
