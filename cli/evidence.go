package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
	"github.com/cjworkbench/unstuck/terminal"
)

func (s *session) showNode(n brokers.Node) {
	s.printf("%s of %s: %s, %s  (mode %s, decided at %s)", n.Name, n.Target, n.Status, n.Phase, n.Mode, clock(n.At))
	if n.Stale {
		s.printf("  STALE: that is too long ago, so rely on nothing here")
	}
	s.printf("  why   %s", n.Reason)
	if !n.StuckSince.IsZero() {
		s.printf("        stuck since %s", clock(n.StuckSince))
	}
	s.printf("  next  %s", n.Next.What)
	if n.Action != decide.Hold {
		s.printf("        action: %s", n.Action)
	}
	for _, t := range []struct {
		what string
		at   time.Time
	}{{"it is looked at again by", n.Next.Look}, {
		"all closed guards will have opened by",
		n.Next.Opens,
	}, {"the deletion is given up at", n.Next.RecoveryDeadline}} {
		if !t.at.IsZero() {
			s.printf("        %s %s", t.what, clock(t.at))
		}
	}
	s.showWhich(n.Node)
	for _, seen := range n.Seen {
		s.showResult("  ", seen.Result)
		if seen.Result.Status() != probe.Healthy {
			s.printf("    saw    %s", seen.Saw)
			s.printf("    means  %s", seen.Means)
			s.printf("    do     %s", seen.Advice)
		}
	}
	s.showEvidence(n.Evidence)
	s.printf("  guards:")
	s.table("    ", guardRows(n.Guards))
}

// showWhich says which node it is, and how its world stands to it.
func (s *session) showWhich(n target.Node) {
	s.printf("  node  UID %s, at %s, host %s, started %s", n.UID, n.Address, n.Host, clock(n.Started))
	s.printf("        terminating: %s, rolling out: %s, owned: %s, disruptable: %s", n.Terminating, n.RollingOut, n.Owned,
		n.Disruptable)
}

func (s *session) showEvidence(e decide.Evidence) {
	text := fmt.Sprintf("  evidence: %s stuck in %d of the last %d, %d are needed", e.Kind, e.Stuck, e.Window,
		e.FailureThreshold)
	text = strings.Replace(text, "evidence:  ", "evidence: ", 1)
	if !e.Since.IsZero() {
		text += ", since " + clock(e.Since)
	}
	text += map[bool]string{true: ", which is enough", false: ", which is not enough"}[e.Enough]
	text += map[bool]string{true: "; corroborated", false: "; not corroborated"}[e.Corroborated]
	if e.Corroboration != "" {
		text += " (" + string(e.Corroboration) + ")"
	}
	if e.CorroborationDetail != "" {
		text += ": " + e.CorroborationDetail
	}
	s.printf("%s", text)
}

func (s *session) showResult(indent string, r probe.Result) {
	text := fmt.Sprintf("%s at %s: %s (%s) after %s", r.Kind, clock(r.Started), r.Status(), r.Reason,
		terminal.Brief(r.Took))
	if r.Detail != "" {
		text += ": " + r.Detail
	}
	s.printf("%s%s", indent, text)
	var more []string
	if r.Stage != probe.StageNone {
		more = append(more, "came as far as stage "+r.Stage.String())
	}
	for _, stage := range probe.Stages() {
		if took := r.Stages[stage]; took > 0 {
			more = append(more, stage.String()+" took "+terminal.Brief(took))
		}
	}
	if r.NoAnswer {
		more = append(more, "connecting timed out")
	}
	if r.ErlangNode != "" {
		more = append(more, "its own tools could not reach "+r.ErlangNode)
	}
	if r.LogAge > 0 {
		more = append(more, "its log is silent for "+rough(r.LogAge))
	}
	if c := r.Certificate; c != nil {
		more = append(more, fmt.Sprintf("its certificate holds from %s until %s", clock(c.From), clock(c.Until)))
	}
	if p := r.Processes; p != nil {
		more = append(more, fmt.Sprintf("%d of %s are suspicious", p.Suspicious, terminal.Count(p.Total, "process")))
	}
	if len(more) > 0 {
		s.printf("%s  (%s)", indent, strings.Join(more, ", "))
	}
}

func guardRows(guards []decide.GuardState) (rows [][]string) {
	for _, g := range guards {
		state := "CLOSED"
		switch {
		case g.Open:
			state = "open"
		case g.Unasked:
			state = "not asked"
		}
		rows = append(rows, []string{state, string(g.Guard), g.Why + until(g.Until)})
	}
	return rows
}

// showGuards shows what a dry run of a deletion says.
func (s *session) showGuards(out io.Writer, d brokers.DeletionReply) {
	on := *s
	on.out = out
	on.printf("%s of %s (%s) would be deleted", d.Node, d.Target, d.UID)
	for _, g := range d.Override {
		on.printf("  overridden: %s", string(g))
	}
	on.table("  ", guardRows(d.Guards))
}

func (s *session) showIncidents(list brokers.Incidents) {
	var rows [][]string
	for _, c := range list.Incidents {
		rows = append(rows, []string{c.ID, c.Target, c.Node, clock(c.Opened), endOf(c.Closed, c.Outcome), c.Reason})
	}
	s.table("", rows)
	if len(rows) == 0 {
		s.printf("there is no incident")
	}
}

// endOf says how an incident ended, if it has.
func endOf(closed time.Time, outcome string) string {
	if closed.IsZero() {
		return strings.TrimSuffix("open: "+outcome, ": ")
	}
	return "closed at " + clock(closed) + ": " + outcome
}

func (s *session) showIncident(c store.Incident) {
	s.printf("%s of %s (%s): %s", c.Node, c.Target, c.UID, endOf(c.Closed, c.Outcome))
	started := ""
	if !c.Started.IsZero() {
		started = ", of a node that started at " + clock(c.Started)
	}
	s.printf("  incident %s, opened at %s%s", c.ID, clock(c.Opened), started)
	d := c.Decision
	s.printf("  %s", d.Reason)
	s.printf("  decided at %s: %s, %s, action: %s", clock(d.At), d.Status, d.Phase, d.Action)
	s.showEvidence(d.Evidence)
	if c.LockHolder != "" {
		s.printf("  holds the lock: %s", c.LockHolder)
	}
	s.table("  ", guardRows(d.Guards))
	if c.Deletion != nil {
		s.showDeletion(*c.Deletion)
	}
	for _, r := range c.Results {
		s.showResult("  ", r)
	}
	if c.Cluster != "" {
		s.printf("  the cluster, as %s sees it:", c.Peer)
		for line := range strings.Lines(c.Cluster) {
			s.printf("  | %s", strings.TrimRight(line, "\n"))
		}
	}
	for _, l := range c.Logs {
		s.printf("  | %s %s", clock(l.At), l.Text)
	}
	for _, m := range c.Missing {
		s.printf("  not captured: %s", m)
	}
	for _, e := range c.Events {
		s.printf("  %s  %s", clock(e.At), e.Text)
	}
}

// showDeletion shows what became of a deletion.
func (s *session) showDeletion(d decide.Deletion) {
	outcome := string(d.Outcome)
	if d.Outcome == decide.Pending {
		outcome = "under way"
	}
	text := fmt.Sprintf("  deletion of %s (%s) at %s: %s", d.Node, d.UID, clock(d.At), outcome)
	if !d.Settled.IsZero() {
		text += ", settled at " + clock(d.Settled)
	}
	if d.Why != "" {
		text += ": " + d.Why
	}
	s.printf("%s", text)
	var more []string
	for _, m := range []struct{ what, is string }{
		{"incident", d.Incident},
		{"cured when it succeeds:", string(d.Probe)},
		{"in its place:", strings.TrimSpace(d.NewNode + " " + d.NewUID)},
		{"cause:", string(d.Cause)},
		{"the request failed:", d.RequestError},
	} {
		if m.is != "" {
			more = append(more, m.what+" "+m.is)
		}
	}
	if !d.Accepted.IsZero() {
		more = append(more, "accepted at "+clock(d.Accepted))
	}
	if len(more) > 0 {
		s.printf("    %s", strings.Join(more, "; "))
	}
	if m := d.Manual; m != nil {
		from := strings.TrimSuffix(" from "+m.From, " from ")
		s.printf("    asked for by %s%s: %s", m.By, from, m.Reason)
		if len(m.Override) > 0 {
			s.printf("    overridden: %s", joined(m.Override))
		}
	}
}
