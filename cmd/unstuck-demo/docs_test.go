package main

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/lab"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// What the README shows of the demo is what the demo prints, so far as that can be told without breaking a node: each
// line goes through what prints it, and the reason for the deletion is what is decided.
func TestDocsSampleInTheReadmeIsWhatTheDemoPrints(t *testing.T) {
	var out bytes.Buffer
	s := newStory(newShow(&out, func(error) {}))
	s.show.title("Wedging the login of %s", "rabbit-1")
	s.show.check(lab.Check{Name: "ping", Took: 2440 * time.Millisecond})
	s.show.check(lab.Check{Name: "check_virtual_hosts", Took: 2560 * time.Millisecond})
	s.ProbeDone(probe.Result{Node: "rabbit-1", Kind: probe.Login, Reason: probe.AwaitTune, Took: 4002 * time.Millisecond, Detail: "no answer in stage tune, 4.002s after connecting"})
	s.ProbeDone(probe.Result{Node: "rabbit-1", Kind: probe.MaybeStuck, Reason: probe.ProcessesStuck, Took: 5620 * time.Millisecond, Detail: "1 connection hangs in its login with a message waiting"})
	s.Reconciled(remediate.Snapshot{Nodes: []remediate.NodeSnapshot{{Decision: confirmedAtHalfPastOne(t)}}})
	s.Deleted(decide.Deletion{Node: "rabbit-1", UID: "eb57e0bf-481c-22bb-eb08-0da76192dba2"})
	s.Settled(decide.Deletion{Node: "rabbit-1", NewUID: "82192559-145b-4570-2ee5-4e2886ba7fda", Outcome: decide.Recovered, Why: "the new node accepts logins"})

	_, sample, _ := strings.Cut(readText(t, projectRoot+"/README.md"), "make demo ARGS=--keep")
	_, sample, _ = strings.Cut(sample, "```\n")
	sample, _, _ = strings.Cut(sample, "```")
	lines := strings.Split(strings.TrimSpace(sample), "\n")
	if len(lines) != 8 {
		t.Errorf("the sample has %d lines", len(lines))
	}
	for _, line := range lines {
		_, text, _ := strings.Cut(line, "s  ")
		if !strings.Contains(withoutFigures(out.String()), "s  "+withoutFigures(text)+"\n") {
			t.Errorf("the demo does not print %q any more:\n%s", text, out.String())
		}
	}
}

// withoutFigures gives a text without what differs from one demo to the next: times, counts and UIDs.
func withoutFigures(text string) string {
	text = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`).ReplaceAllString(text, "UID")
	text = regexp.MustCompile(`\d+(\.\d+)?`).ReplaceAllString(text, "N")
	return strings.NewReplacer("connections hang in their", "connection hangs in its").Replace(text)
}

// confirmedAtHalfPastOne is what is decided of a node whose logins hang and whose processes are stuck.
func confirmedAtHalfPastOne(t *testing.T) decide.Decision {
	t.Helper()
	since := time.Date(2026, 11, 23, 13, 30, 8, 0, time.UTC)
	now := since.Add(2 * time.Minute)
	policy := decide.DefaultPolicy()
	policy.Mode = decide.Remediate
	o := decide.Observation{PausesKnown: true, HistoryKnown: true, View: target.View{At: now, Expected: 3, IsLeader: target.Yes, Operating: target.No}}
	result := func(node string, kind probe.Kind, reason probe.Reason, at time.Time) {
		o.Results = append(o.Results, probe.Result{
			Node: node, UID: node, NodeStarted: since.Add(-time.Hour), Kind: kind, Reason: reason, Started: at,
			Processes: &probe.Processes{StuckReaders: 1, Logins: []probe.Process{{ID: 1, Stack: 1, Mailbox: 1, Awaits: probe.AwaitsLogin}}},
		})
	}
	for _, name := range []string{"rabbit-0", "rabbit-1", "rabbit-2"} {
		o.View.Nodes = append(o.View.Nodes, target.Node{
			Name: name, UID: name, Host: name, Started: since.Add(-time.Hour), Terminating: target.No, RollingOut: target.No, Owned: target.Yes, Disruptable: target.Yes,
		})
		result(name, probe.Login, probe.OK, now.Add(-time.Second))
	}
	o.Results = slices.DeleteFunc(o.Results, func(r probe.Result) bool { return r.Node == "rabbit-1" })
	for _, after := range []time.Duration{0, 40 * time.Second, 110 * time.Second} {
		result("rabbit-1", probe.Login, probe.AwaitTune, since.Add(after))
	}
	result("rabbit-1", probe.MaybeStuck, probe.ProcessesStuck, since.Add(time.Second))
	result("rabbit-1", probe.MaybeStuck, probe.ProcessesStuck, since.Add(time.Minute))
	o.Quorum = map[string]decide.Quorum{"rabbit-1": {UID: "rabbit-1", Started: since.Add(-time.Hour), Critical: target.No, Nodes: decide.Identities(o.View), At: now}}
	o.Refusals = map[string]decide.Refusal{"rabbit-1": {UID: "rabbit-1", Started: since.Add(-time.Hour), OnPurpose: target.No, Nodes: decide.Identities(o.View), At: now}}
	_, decisions := decide.Decide(decide.State{}, o, policy, now)
	if len(decisions) != 3 || decisions[1].Action != decide.Delete {
		t.Fatalf("%+v", decisions)
	}
	return decisions[1]
}
