package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/terminal"
)

func (s *session) showStatus(
	brokers httpapi.Targets, environments httpapi.Environments, pauses httpapi.PauseList, now time.Time,
) {
	for _, b := range brokers.Targets {
		s.printf("%s  mode %s, %s, looked at %s", b.Target, b.Mode, nodesThere(b), age(b.At, now))
		if b.Stale {
			s.printf("  STALE: it has not been looked at for too long, so rely on nothing here")
		}
		if b.Error != "" {
			s.printf("  error: %s", b.Error)
		}
		var rows [][]string
		for _, n := range b.Nodes {
			rows = append(rows, []string{n.Node, n.Status.String(), string(n.Phase), n.Reason})
		}
		s.table("  ", rows)
	}
	for _, e := range environments.Environments {
		head := e.Environment + "  "
		if e.Commit != "" {
			head += short(e.Commit)
		} else {
			head += "runs several commits, or it cannot be told which"
		}
		if e.PromoteFrom != "" {
			head += ", promoted from " + e.PromoteFrom
		}
		s.printf("%s", head)
		if e.Error != "" {
			s.printf("  error: %s", e.Error)
		}
		if e.Operation != "" {
			s.printf("  under way: %s", e.Operation)
		}
		var rows [][]string
		for _, one := range e.Services {
			commit := short(one.Commit)
			if one.Commit == "" {
				commit = one.Why
			}
			rows = append(rows, []string{one.Service, one.Kind.String(), fmt.Sprintf("%d/%d", one.Pods,
				one.Wanted), commit, one.Rollout})
		}
		s.table("  ", rows)
	}
	for _, p := range pauses.Pauses {
		s.printf("%s", pauseLine(p))
	}
	if len(brokers.Targets)+len(environments.Environments) == 0 {
		s.printf("there is nothing that you may see")
	}
}

func nodesThere(b httpapi.Target) string {
	if b.Expected == 0 || b.Expected == len(b.Nodes) {
		return terminal.Count(len(b.Nodes), "node")
	}
	return fmt.Sprintf("%d of %s", len(b.Nodes), terminal.Count(b.Expected, "node"))
}

// age says how long ago something was. Clocks differ: a little in the future is now.
func age(at, now time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return rough(max(0, now.Sub(at))) + " ago"
}

func (s *session) showNode(n httpapi.Node) {
	s.printf("%s of %s: %s, %s  (mode %s, decided at %s)", n.Name, n.Target, n.Status, n.Phase, n.Mode, clock(n.At))
	if n.Stale {
		s.printf("  STALE: that is too long ago, so rely on nothing here")
	}
	s.printf("  why   %s", n.Reason)
	s.printf("  next  %s", n.Next.What)
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
	for _, seen := range n.Seen {
		s.showResult("  ", seen.Result)
		if seen.Result.Status() != probe.Healthy {
			s.printf("    means  %s", seen.Means)
			s.printf("    do     %s", seen.Advice)
		}
	}
	e := n.Evidence
	evidence := fmt.Sprintf("  evidence: stuck in %d of the last %d, %d are needed", e.Stuck, e.Window, e.FailureThreshold)
	if e.CorroborationDetail != "" {
		evidence += "; " + e.CorroborationDetail
	}
	s.printf("%s", evidence)
	s.printf("  guards:")
	s.table("    ", guardRows(n.Guards))
}

func (s *session) showResult(indent string, r probe.Result) {
	text := fmt.Sprintf("%s at %s: %s (%s) after %s", r.Kind, clock(r.Started), r.Status(), r.Reason,
		terminal.Brief(r.Took))
	if r.Detail != "" {
		text += ": " + r.Detail
	}
	s.printf("%s%s", indent, text)
}

func guardRows(guards []decide.GuardState) (rows [][]string) {
	for _, g := range guards {
		state := "CLOSED"
		if g.Open {
			state = "open"
		}
		rows = append(rows, []string{state, string(g.Guard), g.Why + until(g.Until)})
	}
	return rows
}

// showGuards shows what a dry run of a deletion says.
func (s *session) showGuards(out io.Writer, d httpapi.DeletionReply) {
	on := *s
	on.out = out
	on.printf("%s of %s (%s) would be deleted", d.Node, d.Target, d.UID)
	for _, g := range d.Override {
		on.printf("  overridden: %s", string(g))
	}
	on.table("  ", guardRows(d.Guards))
}

func (s *session) showIncidents(list httpapi.Incidents) {
	var rows [][]string
	for _, c := range list.Incidents {
		state := c.Outcome
		if c.Closed.IsZero() {
			state = "open"
		}
		rows = append(rows, []string{c.ID, c.Target, c.Node, clock(c.Opened), state, c.Reason})
	}
	s.table("", rows)
	if len(rows) == 0 {
		s.printf("there is no incident")
	}
}

func (s *session) showIncident(c store.Incident) {
	state := "open"
	if !c.Closed.IsZero() {
		state = "closed at " + clock(c.Closed) + ": " + c.Outcome
	}
	s.printf("%s of %s (%s): %s", c.Node, c.Target, c.UID, state)
	s.printf("  %s", c.Decision.Reason)
	if c.LockHolder != "" {
		s.printf("  holds the lock: %s", c.LockHolder)
	}
	s.table("  ", guardRows(c.Decision.Guards))
	for _, r := range c.Results {
		s.showResult("  ", r)
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

func (s *session) showOperations(list httpapi.OperationLines) {
	var rows [][]string
	for _, o := range list.Operations {
		phase := string(o.Phase)
		if phase == "" {
			phase = "waiting"
		}
		rows = append(rows, []string{o.ID, phase, o.What, "by " + o.By, clock(o.Created), o.Reason})
	}
	s.table("", rows)
	if len(rows) == 0 {
		s.printf("there is no operation")
	}
}

func (s *session) showOperation(o plan.Operation) {
	phase := string(o.Phase)
	if phase == "" {
		phase = "waiting to begin"
	}
	s.printf("%s: %s  (%s)", o.Request.String(), phase, o.ID)
	s.printf("  asked for by %s at %s: %s", o.Request.By, clock(o.Created), o.Request.Reason)
	if o.Commit != "" {
		s.printf("  commit %s", o.Commit)
	}
	if o.Cancel != nil {
		s.printf("  to be cancelled, says %s: %s", o.Cancel.By, o.Cancel.Reason)
	}
	for _, step := range o.Steps {
		s.showStep("", step)
	}
	for _, step := range o.Rollback {
		s.showStep("roll back: ", step)
	}
	if o.Outcome != "" {
		s.printf("  %s", o.Outcome)
	}
}

func (s *session) showStep(prefix string, r plan.StepRun) {
	phase := string(r.Phase)
	if phase == "" {
		phase = "not begun"
	}
	line := fmt.Sprintf("%-10s %s%s", phase, prefix, r.ID)
	if !r.Ended.IsZero() {
		line += "  " + rough(r.Ended.Sub(r.Started))
	}
	if r.Detail != "" {
		line += "  " + r.Detail
	}
	if r.Migrated != nil {
		line += "  migrated: " + r.Migrated.String()
	}
	s.printf("  %s", line)
	if d := r.Diagnosis; d != nil {
		s.printf("      %s", d.String())
		for _, text := range d.Log {
			s.printf("      | %s", text)
		}
		for _, text := range d.Events {
			s.printf("      event: %s", text)
		}
	}
}

// showPlan shows what would be done, step by step.
func (s *session) showPlan(out io.Writer, p plan.Plan) {
	on := *s
	on.out = out
	on.printf("%s", strings.TrimSpace(fmt.Sprintf("%s in %s  %s", p.Kind, p.Environment, p.Commit)))
	for _, step := range p.Steps {
		on.printf("  %d. %-24s %s", step.Stage+1, step.ID, doing(step))
		images := step.Images
		if step.Job != nil {
			images = step.Job.Images
		}
		for _, change := range images {
			on.printf("       %s: %s -> %s", change.Container, change.From, change.To)
		}
	}
	if p.Warning != "" {
		on.printf("  WARNING: %s", p.Warning)
	}
}

// doing says in words what a step does.
func doing(step plan.Step) string {
	switch step.Do {
	case plan.CheckImages:
		return "see that " + terminal.Count(len(step.Check), "image") + " are published"
	case plan.StartJob:
		if step.Job != nil {
			return "run a job from " + step.Job.From.String()
		}
		return "run a job"
	case plan.Roll:
		switch {
		case step.RestartedAt != "":
			return "restart Deployment " + step.Deployment + ", pod by pod"
		case len(step.Images) == 0:
			return "wait for Deployment " + step.Deployment + ", which has the images already"
		}
		return "roll Deployment " + step.Deployment
	case plan.Replace:
		return fmt.Sprintf("stop Deployment %s, and start it when its pods are gone", step.Deployment)
	case plan.RunCommand:
		return "run in a pod of " + step.Deployment + ": " + strings.Join(step.Command, " ")
	}
	return string(step.Do)
}
