package remediate

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// What an incident holds at most.
const (
	keptResults  = 60
	keptLogLines = 50
)

// openIncidents opens an incident for each node that has been stuck often and long enough, corroborated or not.
func (l *Loop) openIncidents(ctx context.Context, o decide.Observation, decisions []decide.Decision) {
	published := false
	for _, d := range decisions {
		if !l.mayWrite() {
			return
		}
		if c := l.incidents[d.Node]; !d.Evidence.Enough || (c != nil && c.UID == d.UID) {
			continue
		}
		if !published {
			l.publish(o, decisions) // capturing takes seconds, in which people see why
			published = true
		}
		l.openIncident(ctx, d)
	}
}

// openIncident captures all that a person would ask for. An incident that cannot be stored is not open, and nothing is
// deleted without one; it is tried again, and captured again once it is old, for that costs the peers.
func (l *Loop) openIncident(ctx context.Context, d decide.Decision) {
	c := l.drafts[d.Node]
	if c == nil || c.UID != d.UID || time.Since(c.Opened) > l.Policy.ResultTTL {
		c = l.newIncident(ctx, d)
	}
	c.Decision = d
	if !l.stillLeads(ctx) { // that may have taken seconds
		return
	}
	if l.saveIncident(ctx, c) != nil {
		delete(l.unsavedIncidents, c.ID) // it is not open, and so not to be caught up with
		l.drafts[d.Node] = c
		return
	}
	delete(l.drafts, d.Node)
	l.incidents[d.Node] = c
	l.Log.Warn("incident opened", "target", l.Target, "node", d.Node, "incident", c.ID, "reason", d.Reason)
}

func (l *Loop) newIncident(ctx context.Context, d decide.Decision) *store.Incident {
	c := &store.Incident{
		ID:     fmt.Sprintf("%s-%s-%s", d.At.UTC().Format("20060102t150405z"), d.Node, strings.ToLower(rand.Text()[:4])),
		Target: d.Target, Node: d.Node, UID: d.UID, Started: d.Started, Opened: d.At, Decision: d,
	}
	if d.Evidence.Kind != "" { // what a person has deleted need not be stuck
		c.Add(d.Evidence.Since, "first stuck: "+string(d.Evidence.Kind))
	}
	c.Add(d.At, d.Reason)
	l.capture(ctx, c)
	c.Add(time.Now(), "incident captured")
	return c
}

// capture gathers the evidence. What cannot be had is named, and does not hold up the rest.
func (l *Loop) capture(ctx context.Context, c *store.Incident) {
	ctx, cancel := context.WithTimeout(ctx, captureTimeout)
	defer cancel()
	c.Results = slices.Clone(l.recent[c.Node])
	node, peers := l.nodeAndPeers(c.Node)
	if l.Logs != nil {
		lines, err := bounded(ctx, &l.gate, "read the log", askTimeout, func(ctx context.Context) ([]target.LogLine, error) {
			return l.Logs.LastLines(ctx, node, keptLogLines)
		})
		if c.Logs = lines; err != nil {
			c.Missing = append(c.Missing, "the last log lines: "+err.Error())
		}
	}
	switch {
	case l.Policy.App: // there is no cluster to ask
	case l.Exec == nil:
		c.Missing = append(c.Missing, "the cluster as a peer sees it: commands cannot be run")
	case len(peers) == 0:
		c.Missing = append(c.Missing, "the cluster as a peer sees it: no peer is healthy")
		peers = []target.Node{node}
		fallthrough
	default:
		var err error
		c.Peer = peers[0].Name
		if c.Cluster, err = l.clusterStatus(ctx, peers[0]); err != nil {
			c.Missing = append(c.Missing, "the cluster as "+c.Peer+" sees it: "+err.Error())
		}
		if c.Decision.Evidence.Kind.Role() == probe.Work {
			if c.LockHolder, err = l.lockHolder(ctx, peers[0]); err != nil {
				c.Missing = append(c.Missing, "who holds the metadata's lock: "+err.Error())
			}
		}
	}
}

// nodeAndPeers gives the node of that name, and those others that accept logins, from the last view.
func (l *Loop) nodeAndPeers(name string) (node target.Node, peers []target.Node) {
	now := time.Now()
	for _, n := range l.view.Nodes {
		login := l.state.Nodes[n.Name].Latest[l.Policy.LivenessKind()]
		switch {
		case n.Name == name:
			node = n
		case login.Status() == probe.Healthy && login.UID == n.UID && now.Sub(login.Ended()) <= l.Policy.ResultTTL:
			peers = append(peers, n)
		}
	}
	return node, peers
}

// follow writes what changed into the open incidents, and closes those whose node is healthy or gone.
func (l *Loop) follow(ctx context.Context, decisions []decide.Decision) {
	for _, d := range decisions {
		last, seen := l.last[d.Node]
		l.last[d.Node] = d
		changed := !seen || !last.Same(d)
		if seen && (last.Phase != d.Phase || last.Evidence.Enough != d.Evidence.Enough) {
			l.tell(ctx, last.Phase, d)
		}
		c := l.incidents[d.Node]
		if c == nil || !l.mayWrite() || !changed || c.Decision.Same(d) {
			continue
		}
		if c.UID == d.UID && (c.Deletion == nil || c.Deletion.Outcome == decide.Aborted) { // what led to a deletion is kept
			c.Decision = d
			c.Results = slices.Clone(l.recent[d.Node])
		}
		if d.Phase != decide.PhaseRecovering || c.Deletion == nil || c.Deletion.Accepted.IsZero() { // or it says so already
			c.Add(time.Now(), d.Reason)
		}
		switch {
		case l.unsettled(c) || (d.UID != c.UID && c.Deletion != nil && c.Deletion.Outcome == decide.Failed):
		case d.UID != c.UID:
			l.closeIncident(c, store.Replaced, d.At)
		case !d.Started.IsZero() && !c.Started.IsZero() && !d.Started.Equal(c.Started):
			l.closeIncident(c, store.Anew, d.At)
		case d.Phase == decide.PhaseHealthy:
			l.closeIncident(c, store.BySelf, d.At)
		}
		_ = l.saveIncident(ctx, c)
	}
}

// unsettled says whether c waits for what becomes of a deletion.
func (l *Loop) unsettled(c *store.Incident) bool {
	return slices.ContainsFunc(l.state.Deletions, func(a decide.Deletion) bool {
		return a.Incident == c.ID && !a.Outcome.Over()
	})
}

// closeGone closes the incidents of nodes that no view has shown for the recovery timeout. A pod that is recreated is
// missing for a moment, and a deletion under way is settled first.
func (l *Loop) closeGone(ctx context.Context, v target.View) {
	if !l.mayWrite() {
		return
	}
	now := time.Now()
	for name, c := range l.incidents {
		here := slices.ContainsFunc(v.Nodes, func(n target.Node) bool { return n.Name == name })
		since, counting := l.missing[c.ID]
		switch {
		case here || v.At.IsZero() || now.Sub(v.At) > l.Policy.ResultTTL:
			delete(l.missing, c.ID)
		case !counting:
			l.missing[c.ID] = now
		case now.Sub(since) >= l.Policy.RecoveryTimeout && !l.unsettled(c):
			delete(l.missing, c.ID)
			l.closeIncident(c, store.Removed, now)
			_ = l.saveIncident(ctx, c)
		}
	}
}

// tell logs that a node has come to d.
func (l *Loop) tell(ctx context.Context, from decide.Phase, d decide.Decision) {
	log := l.Log.With("target", l.Target, "node", d.Node, "from", from, "to", d.Phase, "reason", d.Reason)
	switch {
	case d.Phase == decide.PhaseHealthy && l.Policy.App:
		log.Log(ctx, l.level(d), "the pod writes its log")
	case d.Phase == decide.PhaseHealthy:
		log.Log(ctx, l.level(d), "the node accepts logins")
	default:
		log.Log(ctx, l.level(d), "node changed")
	}
}

// level is how loudly a change to d is told: a node that fails for certain, or that a person must look at, is a
// warning. Of that who leads warns, and knows what was done and what holds it back; the others do not.
func (l *Loop) level(d decide.Decision) slog.Level {
	if l.view.IsLeader == target.No {
		return slog.LevelInfo
	}
	if d.Phase == decide.PhaseFaulty || d.Phase == decide.PhaseEscalated || d.Phase == decide.PhaseDeletionUnconfirmed ||
		d.Evidence.Enough {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

func (l *Loop) closeIncident(c *store.Incident, outcome string, at time.Time) {
	c.Outcome, c.Closed = outcome, at
	c.Add(at, outcome)
	delete(l.incidents, c.Node)
	l.Log.Info("incident closed", "target", l.Target, "node", c.Node, "incident", c.ID, "outcome", outcome)
}

// settleIncident notes what became of a's incident. One that a person must look at stays open until its node accepts
// logins.
func (l *Loop) settleIncident(ctx context.Context, a decide.Deletion) {
	c := l.incidents[a.Node]
	if c == nil || c.ID != a.Incident {
		return
	}
	c.Deletion = &a
	c.Results = slices.Clone(l.recent[a.Node])
	if a.Outcome == decide.Escalated || a.Outcome == decide.Failed {
		c.Outcome = string(a.Outcome)
		c.Add(a.Settled, string(a.Outcome)+": "+a.Why)
	} else {
		c.Add(a.Settled, a.Why)
		l.closeIncident(c, string(a.Outcome), a.Settled)
	}
	_ = l.saveIncident(ctx, c)
}
