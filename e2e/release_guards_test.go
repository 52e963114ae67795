package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/e2e/cluster"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
)

// What people do to a namespace and what the daemon does to a broker in it keep out of each other's way.
//
//promise:32
func TestReleaseGuardsHaveDeploysPausesAndDeletionsWaitForEachOther(t *testing.T) {
	t.Parallel()
	b := startBroker(t, cluster.BrokerOptions{Namespace: "busy", Replicas: 1, HandshakeTimeout: quickHandshake})
	i, err := install(within(t, 5*time.Minute), "unstuck-busy", config(b, "remediate", quick+"      single_node: true\n"), []string{"busy"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	watch := &site{t: t, Broker: b, daemon: i.Unstuck}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		if t.Failed() {
			watch.explain(ctx)
		}
		if err := i.Remove(ctx); err != nil {
			t.Error(err)
		}
	})
	s := stage(t, i, "busy")
	s.ready()
	watch.wait(2*time.Minute, "the node is healthy", watch.allHealthy)
	node, before := b.Pods()[0], watch.uids()
	const pauses = "/api/v1/targets/rabbitmq/pauses"

	// A pause holds a wedged node.
	var list brokers.PauseList
	if p := s.ask(http.MethodPost, pauses, body{"reason": "we look at it ourselves", "for": "10m"}, &list); p != nil {
		t.Fatal(p)
	}
	if len(list.Pauses) != 1 || list.Pauses[0].By != "oncall" {
		t.Errorf("the pauses are %+v", list.Pauses)
	}
	if err := b.WedgeLogin(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	watch.wait(2*time.Minute, "held back by the pause", heldBack(node, decide.GuardPaused))

	// Without it a deploy that is under way does.
	if err := s.Hold(); err != nil {
		t.Fatal(err)
	}
	op := s.deploy(commitTwo)
	s.follow(op.ID, time.Minute, migrating)
	if p := s.ask(http.MethodDelete, pauses, body{"reason": "we have looked"}, &list); p != nil || len(list.Pauses) != 0 {
		t.Fatalf("%v; the pauses are %+v", p, list.Pauses)
	}
	watch.wait(time.Minute, "held back by the deploy alone", func(v brokers.Target) error {
		if len(v.Nodes) == 1 && slices.Equal(v.Nodes[0].Closed, []decide.Guard{decide.GuardOperation}) {
			return nil
		}
		return fmt.Errorf("the nodes are %+v", v.Nodes)
	})
	pause(t.Context(), 5*time.Second) // a few reconciles of its loop
	watch.untouched(before, 0)
	if err := s.LetGo(); err != nil {
		t.Fatal(err)
	}
	s.over(op.ID, plan.Succeeded)

	// Then the remediation follows, and a deploy waits for it.
	watch.wait(time.Minute, "a deletion is under way", func(v brokers.Target) error {
		if len(v.Deletions) == 1 && v.Deletions[0].Outcome == decide.Pending {
			return nil
		}
		return fmt.Errorf("the deletions are %+v", v.Deletions)
	})
	s.refused(s.path+"/deploys", body{"commit": commitThree, "reason": "too early"}, http.StatusConflict, plan.Busy, node)
	watch.toldAlike(watch.cured(node, before, 0, 3*time.Minute))

	s.deleteManually(watch, node)
}

// deleteManually deletes a node that is healthy: it is held back until the guards that say so are overridden by name.
func (s *scene) deleteManually(watch *site, node string) {
	s.t.Helper()
	before, path := watch.uids(), "/api/v1/targets/rabbitmq/nodes/"+node+"/deletions"
	guards := []string{string(decide.GuardUnconfirmed)}
	var done brokers.DeletionReply
	// It is young at first; and on a busy machine its tools may not answer in time whether it refuses on purpose.
	onlyUnconfirmed := func() {
		ctx := within(s.t, 2*time.Minute)
		if err := until(ctx, func() (bool, error) {
			p := s.leading(path, body{"reason": "a hunch", "dry_run": true}, &done)
			if p == nil || p.Status != http.StatusConflict {
				return true, nil
			}
			pause(ctx, 300*time.Millisecond)
			return len(p.Closed) == 1 && p.Closed[0].Guard == decide.GuardUnconfirmed, fmt.Errorf("closed are %+v", p.Closed)
		}); err != nil {
			s.t.Fatal(err)
		}
	}
	onlyUnconfirmed()
	for _, override := range [][]string{nil, {string(decide.GuardPeers)}} { // none, and one that holds nothing back
		p := s.leading(path, body{"reason": "a hunch", "override": override}, &done)
		if p == nil || p.Status != http.StatusConflict || len(p.Closed) != 1 || p.Closed[0].Guard != decide.GuardUnconfirmed {
			s.t.Fatalf("a node that is healthy is deleted unasked: %+v, %+v", p, done)
		}
	}
	if p := s.leading(path, body{"reason": "a hunch", "override": guards, "uid": "another"}, &done); p == nil || p.Status != http.StatusConflict {
		s.t.Errorf("with another UID: %+v, %+v", p, done)
	}
	watch.untouched(before, 1)
	typist := newTypist(s.t, s.token, inCluster(s.installation.Namespace)...)
	s.looks(typist, node)
	onlyUnconfirmed()
	typist.wants(4, []string{string(decide.GuardUnconfirmed)}, "delete", "rabbitmq", node, "--reason", "a hunch", "--yes")
	watch.untouched(before, 1)
	out := typist.wants(0, nil, "delete", "rabbitmq", node, "--reason", "a hunch", "--override", guards[0], "--yes", "-o", "json")
	if err := json.Unmarshal([]byte(out), &done); err != nil {
		s.t.Fatal(err)
	}
	if done.UID != string(before[node]) || done.Incident == "" || len(done.Override) != len(guards) {
		s.t.Errorf("the answer is %+v", done)
	}
	a := watch.cured(node, before, 1, 3*time.Minute)
	if a.Incident != done.Incident {
		s.t.Errorf("the deletion's incident is %s, the answer's %s", a.Incident, done.Incident)
	}
	var c store.Incident
	if p := s.ask(http.MethodGet, "/api/v1/incidents/"+a.Incident, nil, &c); p != nil || c.Deletion == nil {
		s.t.Fatalf("%v; the incident has no deletion", p)
	}
	if by := c.Deletion.Manual; by == nil || by.By != "oncall" || by.Reason != "a hunch" || !slices.Equal(by.Override, []decide.Guard{decide.GuardUnconfirmed}) {
		s.t.Errorf("the incident says that it was asked for by %+v", by)
	}
	typist.wants(0, []string{a.Incident, node, string(decide.Recovered)}, "incidents")
	typist.wants(0, []string{node, "oncall", "a hunch"}, "incidents", a.Incident)
}

// looks reads about the node, pauses the broker, and has the node looked at.
func (s *scene) looks(c typist, node string) {
	s.t.Helper()
	c.wants(0, []string{"rabbitmq is paused until", "by oncall: we look"}, "pause", "rabbitmq", "--for", "10m", "--reason", "we look")
	c.wants(0, []string{"rabbitmq  mode remediate", node, "healthy", "is paused until", "busy", "frontend"}, "status")
	ctx := within(s.t, 30*time.Second)
	if err := until(ctx, func() (bool, error) { // with its next reconcile
		pause(ctx, 2*time.Second)
		out, _, _ := c.types("explain", "rabbitmq", node)
		return pausedLine.MatchString(out), errors.New("its guard is not closed")
	}); err != nil {
		s.t.Error(err)
	}
	c.wants(0, []string{"nothing is paused there"}, "resume", "rabbitmq", "--reason", "we have looked")

	// Whatever was seen before is older than the request.
	asked := time.Now()
	var probed brokers.Probed
	if p := s.leading("/api/v1/targets/rabbitmq/nodes/"+node+"/probes", body{}, &probed); p != nil || probed.Node != node {
		s.t.Errorf("a probe now: %v, %+v", p, probed)
	}
	out := c.wants(0, nil, "explain", "rabbitmq", node, "--now", "-o", "json")
	var n brokers.Node
	if err := json.Unmarshal([]byte(out), &n); err != nil {
		s.t.Fatal(err)
	}
	fresh := slices.ContainsFunc(n.Seen, func(seen brokers.Seen) bool {
		return seen.Result.Kind == probe.Login && seen.Result.Started.After(asked) && seen.Result.Reason == probe.OK
	})
	if !fresh {
		s.t.Errorf("after a probe now the node was seen as %+v", n.Seen)
	}
}

// pausedLine is how it is explained that the guard is closed.
var pausedLine = regexp.MustCompile(`CLOSED +paused `)

// leading asks until the replica answers that leads.
func (s *scene) leading(path string, b body, v any) *httpapi.Problem {
	s.t.Helper()
	ctx := within(s.t, time.Minute)
	for {
		p := s.ask(http.MethodPost, path, b, v)
		if p == nil || p.Code != plan.Busy || ctx.Err() != nil {
			return p
		}
		pause(ctx, 300*time.Millisecond)
	}
}
