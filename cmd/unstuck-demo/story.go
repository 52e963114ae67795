package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/terminal"
)

// story tells what the daemon does on a screen, as it happens, and notes when each step came.
type story struct {
	show *show

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced whenever something happens
	broken   time.Time     // when the node was broken
	last     map[string]decide.Decision
	snap     remediate.Snapshot
	steps    []step
	deletion *decide.Deletion // the one that is settled
}

// step is something that happened, once.
type step struct {
	name string
	at   time.Time
}

func newStory(s *show) *story {
	return &story{show: s, changed: make(chan struct{}), last: make(map[string]decide.Decision)}
}

// begin says that the node is broken from now on.
func (t *story) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.broken = time.Now()
}

// wait waits until done, which is asked with the lock held, says so.
func (t *story) wait(ctx context.Context, what string, done func() bool) error {
	for {
		t.mu.Lock()
		ok, changed := done(), t.changed
		t.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, context.Cause(ctx))
		}
	}
}

func (t *story) allHealthy() bool {
	for _, n := range t.snap.Nodes {
		if n.Decision.Phase != decide.PhaseHealthy ||
			slices.Contains(n.Decision.Closed(), decide.GuardStartupGrace) {
			return false
		}
	}
	return len(t.snap.Nodes) > 0
}

func (t *story) isSettled() bool { return t.deletion != nil }

// note notes a step the first time that it comes, once the node is broken.
func (t *story) note(name string, at time.Time) bool {
	if t.broken.IsZero() {
		return false
	}
	for _, s := range t.steps {
		if s.name == name {
			return false
		}
	}
	t.steps = append(t.steps, step{name, at})
	return true
}

// ProbeDone shows a probe's verdict.
func (t *story) ProbeDone(r probe.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.show.result(r)
	if r.Kind == probe.Login && r.Status() == probe.Stuck {
		t.note("first login seen stuck", r.Ended())
	}
}

// Reconciled shows what has changed since the last reconcile.
func (t *story) Reconciled(s remediate.Snapshot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.snap = s
	for _, n := range s.Nodes {
		d, last := n.Decision, t.last[n.Name]
		t.last[n.Name] = d
		if d.Phase == last.Phase && d.Reason == last.Reason {
			continue
		}
		t.show.decision(d)
		if d.Phase == decide.PhaseConfirmed && t.note("confirmed and corroborated", d.At) {
			t.show.guards(d)
		}
	}
	t.show.nodes(s)
	close(t.changed)
	t.changed = make(chan struct{})
}

// Deleted shows a deletion.
func (t *story) Deleted(a decide.Deletion) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.note("incident captured, decided again, intent written", a.At)
	t.note("deleted", time.Now())
	t.show.say("incident %s captured, decided again, intent written down", a.Incident)
	t.show.bad("deleted %s, the node with the UID %s and no other", a.Node, a.UID)
}

// Settled shows what became of a deletion.
func (t *story) Settled(a decide.Deletion) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deletion = &a
	t.note("the new node accepts logins", a.Settled)
	if a.Outcome == decide.Recovered {
		t.show.good("%s: %s (UID %s)", a.Node, a.Why, a.NewUID)
	} else {
		t.show.bad("%s: %s: %s", a.Node, a.Outcome, a.Why)
	}
}

// times shows how long each step took.
func (t *story) times() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.show.title("How long it took, from the moment that the node was wedged")
	before := t.broken
	for _, s := range t.steps {
		t.show.Line("", fmt.Sprintf("  %8s  (+%8s)  %s", terminal.Brief(s.at.Sub(t.broken)), terminal.Brief(s.at.Sub(before)),
			s.name))
		before = s.at
	}
}

// showIncident shows the timeline of the incident, as a person would read it afterwards.
func (t *story) showIncident(ctx context.Context, dataDir string) error {
	dir, err := store.NewDir(dataDir)
	if err != nil {
		return err
	}
	incidents, err := store.New(dir).Incidents(ctx)
	if err != nil {
		return err
	}
	if len(incidents) != 1 || incidents[0].Outcome != string(decide.Recovered) {
		return fmt.Errorf("want one incident with the outcome %s, got %d", decide.Recovered, len(incidents))
	}
	c := incidents[0]
	t.show.title("The incident that is kept: %s", c.ID)
	for _, e := range c.Events {
		t.show.Line("", fmt.Sprintf("  %s  %s", e.At.Format("15:04:05"), e.Text))
	}
	t.show.Line("", fmt.Sprintf("  with %d results, %d log lines, and the cluster as %s saw it", len(c.Results),
		len(c.Logs), c.Peer))
	for _, m := range c.Missing {
		t.show.Line("", "  missing: "+m)
	}
	return nil
}
