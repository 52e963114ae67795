package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

func TestWatchedNoteLoginCountsForTheContainerThatItWasMadeTo(t *testing.T) {
	w := &watched{logins: make(map[string]goodLogin)}
	at := time.Unix(1_000_000_000, 0)
	started := at.Add(-time.Hour)
	for _, r := range []probe.Result{
		{Kind: probe.Login, Reason: probe.OK, Started: at},
		{Kind: probe.Login, Reason: probe.AwaitTune, Started: at.Add(time.Minute)},
		{Kind: probe.MaybeStuck, Reason: probe.OK, Started: at.Add(time.Minute)},
	} {
		r.Node, r.UID, r.NodeStarted = "a", "1", started
		w.noteLogin(r)
	}
	for n, want := range map[target.Node]time.Time{
		{Name: "a", UID: "1", Started: started}:                  at,
		{Name: "a", UID: "1", Started: started.Add(time.Minute)}: {}, // it started again in the same pod
		{Name: "a", UID: "2", Started: started}:                  {},
		{Name: "b", UID: "1", Started: started}:                  {},
	} {
		if got := w.lastLogin(n); !got.Equal(want) {
			t.Errorf("%s with UID %s, started %v: %v, want %v", n.Name, n.UID, n.Started, got, want)
		}
	}
}

func TestWatchedNoteLoginForgetsPodsThatAreGone(t *testing.T) {
	w := &watched{logins: make(map[string]goodLogin)}
	for i := range 1000 {
		w.noteLogin(probe.Result{Node: fmt.Sprint("rabbit-", i%3), UID: fmt.Sprint(i), Kind: probe.Login, Reason: probe.OK})
	}
	if len(w.logins) != 3 {
		t.Errorf("3 nodes, and %d logins are remembered", len(w.logins))
	}
}

func TestAppWatchTellsALoopWhyNobodyCanLogInAndWhatElseIsWatched(t *testing.T) {
	var unreadable error
	d := newApp(nil, slog.New(slog.DiscardHandler))
	b := config.DefaultBroker()
	own := errors.New("read secret a/b: it has no key c")
	for name, fault := range map[string]func() error{"files": nil, "secret": func() error { return own }} {
		b.Name = name
		d.watch(b, Supplier{loginErr: fault, Credentials: func(context.Context) (target.Credentials, error) { return target.Credentials{}, unreadable }})
	}
	for _, w := range d.fleet.all() {
		if w.loop.Target == "secret" && !errors.Is(w.loop.LoginError(), own) {
			t.Errorf("of the Secret: %v", w.loop.LoginError())
		}
		if got := w.loop.Targets(); len(got) != 2 || got[0] == got[1] {
			t.Errorf("it is told that there are %q", got)
		}
	}
	c := &credentials{read: func(context.Context) (target.Credentials, error) { return target.Credentials{}, unreadable }}
	for _, want := range []error{nil, errors.New("no such file"), nil} {
		unreadable = want
		if _, err := c.get(t.Context()); !errors.Is(err, want) || !errors.Is(c.err(), want) {
			t.Errorf("%v, and then the fault %v: want %v", err, c.err(), want)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	unreadable = context.Canceled
	if _, err := c.get(ended); err == nil || c.err() != nil {
		t.Errorf("when we stop: %v, and the fault %v", err, c.err())
	}
}
