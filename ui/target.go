package ui

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

// How much a page shows at most. What is left out is counted, and what is not healthy comes first.
const (
	shownTargets   = 100
	shownNodes     = 12 // of a broker, on the overview
	shownIncidents = 8  // on the overview
)

// overviewData is what the overview shows.
type overviewData struct {
	Headline    headline
	Targets     []targetData
	Left        int // brokers that are not shown
	Unwatched   []brokers.Unwatched
	Problems    []string // of discovery
	Incidents   []brokers.IncidentLine
	NoIncidents bool // they cannot be read now

	Environments []string
	Buttons      []button
}

// targetData is one broker on a page.
type targetData struct {
	brokers.Target

	Nodes []brokers.NodeLine
	Left  int  // nodes that are not shown
	App   bool // nobody logs in to it
	pulse *Pulse
}

// Beats gives the last logins to a node of the broker.
func (d targetData) Beats(node string) []beat { return d.pulse.beats(d.Target.Target, node) }

func (p pages) overview(r *http.Request) (view, error) {
	all, err := get[brokers.Targets](p, r, "/targets")
	if err != nil {
		return view{}, err
	}
	apps := make(map[string]bool)
	for _, s := range p.seen() {
		apps[s.Target] = s.Policy.App
	}
	d := overviewData{
		Headline: headlineOf(all.Targets), Buttons: p.buttons(r, "all"), Problems: all.DiscoveryProblems,
		Unwatched: all.Unwatched,
	}
	if d.Environments, err = p.environmentNames(r); err != nil {
		return view{}, err
	}
	targets := slices.Clone(all.Targets)
	slices.SortStableFunc(targets, func(a, b brokers.Target) int { return cmp.Compare(urgencyOf(a), urgencyOf(b)) })
	d.Left = max(0, len(targets)-shownTargets)
	for _, b := range targets[:len(targets)-d.Left] {
		d.Targets = append(d.Targets, p.targetData(b, apps[b.Target], shownNodes))
	}
	incidents, err := get[brokers.Incidents](p, r, "/incidents")
	d.NoIncidents = err != nil
	d.Incidents = incidents.Incidents[:min(len(incidents.Incidents), shownIncidents)]
	return view{name: "overview", title: "Status", topic: everything, data: d}, nil
}

// urgencyOf ranks a broker by the worst that can be said of it.
func urgencyOf(b brokers.Target) int {
	if b.Stale {
		return -1
	}
	worst := decide.PhaseHealthy.Urgency()
	for _, n := range b.Nodes {
		worst = min(worst, n.Phase.Urgency())
	}
	return worst
}

// targetData gives a broker with at most so many nodes, those that are not healthy first where not all are shown.
func (p pages) targetData(b brokers.Target, app bool, most int) targetData {
	d := targetData{Target: b, Nodes: b.Nodes, App: app, pulse: p.pulse}
	if d.Left = max(0, len(b.Nodes)-most); d.Left > 0 {
		d.Nodes = slices.Clone(b.Nodes)
		slices.SortStableFunc(d.Nodes, func(a, b brokers.NodeLine) int {
			return cmp.Compare(a.Phase.Urgency(), b.Phase.Urgency())
		})
		d.Nodes = d.Nodes[:most]
	}
	return d
}

func (p pages) targetPage(r *http.Request) (view, error) {
	b, err := get[brokers.Target](p, r, "/targets/{target}")
	if err != nil {
		return view{}, err
	}
	policy := p.snapshotOf(b.Target).Policy
	d := struct {
		targetData

		Headline headline
		Policy   decide.Policy
		Buttons  []button
	}{p.targetData(b, policy.App, len(b.Nodes)), headlineOf([]brokers.Target{b}), policy, p.buttons(r, ofTarget(b.Target))}
	return view{name: "target", title: b.Target, topic: ofTarget(b.Target), data: d}, nil
}

// snapshotOf gives the snapshot of a broker. There is none if it went in between.
func (p pages) snapshotOf(targetName string) remediate.Snapshot {
	for _, s := range p.seen() {
		if s.Target == targetName {
			return s
		}
	}
	return remediate.Snapshot{}
}

// nodeOf gives a node of a snapshot. There is none if it went in between.
func nodeOf(s remediate.Snapshot, name string) remediate.NodeSnapshot {
	for _, n := range s.Nodes {
		if n.Name == name {
			return n
		}
	}
	return remediate.NodeSnapshot{}
}

// nodeData is what the page of a node shows.
type nodeData struct {
	brokers.Node

	Headline  headline
	NotBefore time.Time // see earliest
	Incidents []brokers.IncidentLine
	App       bool // nobody logs in to it
	Spark     spark
	Buttons   []button
}

func (p pages) nodePage(r *http.Request) (view, error) {
	n, err := get[brokers.Node](p, r, "/targets/{target}/nodes/{node}")
	if err != nil {
		return view{}, err
	}
	s := p.snapshotOf(n.Target)
	decision := nodeOf(s, n.Name).Decision
	line := brokers.NodeLine{Node: n.Name, Phase: n.Phase, Action: n.Action, Closed: decision.HeldBy()}
	d := nodeData{
		Node: n, NotBefore: earliest(s.Policy, decision), App: s.Policy.App,
		Spark: sparkOf(p.pulse.beats(n.Target, n.Name)), Buttons: p.buttons(r, "node"),
		Headline: headline{n.Name + " of " + n.Target + ": " + sentenceOf(&line) + ".", string(n.Phase.Tone())},
	}
	if n.Stale {
		d.Headline = headline{"Unstuck itself is behind: it has not looked at this broker lately, and what is shown here " +
			"is old.", "bad"}
	}
	incidents, err := get[brokers.Incidents](p, r, "/incidents")
	if err == nil { // they are beside the point: the node is shown without them
		for _, c := range incidents.Incidents {
			if c.Target == n.Target && c.Node == n.Name && len(d.Incidents) < shownIncidents {
				d.Incidents = append(d.Incidents, c)
			}
		}
	}
	return view{name: "node", title: n.Name, topic: ofTarget(n.Target), data: d}, nil
}

// earliest gives the time before which a node that is on its way to being deleted is not deleted, whatever its guards
// do by then; zero: it is not on its way there, or nothing but a probe, corroboration or a guard is awaited.
func earliest(p decide.Policy, d decide.Decision) time.Time {
	if p.Mode != decide.Remediate || (d.Phase != decide.PhaseSuspect && d.Phase != decide.PhaseConfirmed) {
		return time.Time{}
	}
	var at time.Time
	if !d.Evidence.Enough {
		at = d.Evidence.Since.Add(p.MinDuration)
	}
	for _, g := range d.Guards {
		if !g.Open && g.Until.After(at) {
			at = g.Until
		}
	}
	if !at.After(d.At) {
		return time.Time{}
	}
	return at
}

// The topics of which the page can be told that something changed.
const everything = "everything"

func ofTarget(name string) string      { return "target/" + name }
func ofEnvironment(name string) string { return "environment/" + name }
