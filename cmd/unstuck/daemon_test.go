package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/probe"
)

func TestAGoodLoginCountsForThePodThatItWasMadeTo(t *testing.T) {
	w := &watched{logins: make(map[string]goodLogin)}
	at := time.Unix(1_000_000_000, 0)
	w.noteLogin(probe.Result{Node: "a", UID: "1", Kind: probe.Login, Reason: probe.OK, Started: at})
	w.noteLogin(probe.Result{Node: "a", UID: "1", Kind: probe.Login, Reason: probe.AwaitTune, Started: at.Add(time.Minute)})
	w.noteLogin(probe.Result{Node: "a", UID: "1", Kind: probe.MaybeStuck, Reason: probe.OK, Started: at.Add(time.Minute)})
	for n, want := range map[probe.Node]time.Time{
		{Name: "a", UID: "1"}: at, {Name: "a", UID: "2"}: {}, {Name: "b", UID: "1"}: {},
	} {
		if got := w.lastLogin(n); !got.Equal(want) {
			t.Errorf("%s with UID %s: %v, want %v", n.Name, n.UID, got, want)
		}
	}
}

func TestLoginsToPodsThatAreGoneAreForgotten(t *testing.T) {
	w := &watched{logins: make(map[string]goodLogin)}
	for i := range 1000 {
		w.noteLogin(probe.Result{Node: fmt.Sprint("rabbit-", i%3), UID: fmt.Sprint(i), Kind: probe.Login, Reason: probe.OK})
	}
	if len(w.logins) != 3 {
		t.Errorf("3 nodes, and %d logins are remembered", len(w.logins))
	}
}
