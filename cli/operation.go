package cli

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/cjworkbench/unstuck/httpapi/environments"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/terminal"
)

func (s *session) showOperations(list environments.OperationLines) {
	var rows [][]string
	for _, o := range list.Operations {
		phase := string(o.Phase)
		if phase == "" {
			phase = "waiting"
		}
		if o.Cancelled && o.Phase != plan.Cancelled {
			phase += ", to be cancelled"
		}
		last := o.Reason
		if !o.Ended.IsZero() {
			last += "; ended " + clock(o.Ended)
		}
		if o.Outcome != "" {
			last += ": " + o.Outcome
		}
		rows = append(rows, []string{o.ID, phase, o.What, "by " + o.By, clock(o.Created), last})
	}
	s.table("", rows)
	if len(rows) == 0 {
		s.printf("there is no operation")
	}
}

// showOperation shows an operation; whole, with what each of its steps does and wrote.
func (s *session) showOperation(o plan.Operation, whole bool) {
	phase := string(o.Phase)
	if phase == "" {
		phase = "waiting to begin"
	}
	s.printf("%s: %s  (%s)", o.Request.String(), phase, o.ID)
	if o.Warning != "" {
		s.printf("  WARNING: %s", o.Warning)
	}
	s.printf("  asked for by %s at %s: %s", o.Request.By, clock(o.Created), o.Request.Reason)
	if o.Request.BugReport != "" {
		s.printf("  bug report: %s", o.Request.BugReport)
	}
	if o.Commit != "" {
		s.printf("  commit %s", o.Commit)
	}
	if o.Before != "" {
		s.printf("  before it %s", o.Before)
	}
	if o.Cancel != nil {
		s.printf("  to be cancelled, says %s at %s: %s", o.Cancel.By, clock(o.Cancel.At), o.Cancel.Reason)
	}
	if whole {
		s.showRequest(o)
	}
	for _, step := range o.Steps {
		s.showStep("", step, whole)
	}
	for _, step := range o.Rollback {
		s.showStep("roll back: ", step, whole)
	}
	if !o.Ended.IsZero() {
		s.printf("  ended at %s", clock(o.Ended))
	}
	if o.Outcome != "" {
		s.printf("  %s", o.Outcome)
	}
}

// showRequest shows how the operation was asked for, and what runs it.
func (s *session) showRequest(o plan.Operation) {
	r := o.Request
	for _, line := range []struct{ what, is string }{
		{"asked for from", r.From},
		{"idempotency key", r.IdempotencyKey},
		{"the source was expected to run", r.ExpectCommit},
		{"on failure", string(o.OnFailure)},
		{"run by", o.Runner},
	} {
		if line.is != "" {
			s.printf("  %s %s", line.what, line.is)
		}
	}
	if r.AcceptMigrationRisk {
		s.printf("  the migration risk was accepted")
	}
	if r.Confirm {
		s.printf("  that the warning was read was confirmed")
	}
}

func (s *session) showStep(prefix string, r plan.StepRun, whole bool) {
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
	if whole {
		if !r.Started.IsZero() {
			s.printf("      began at %s", clock(r.Started))
		}
		s.printf("      stage %d: %s", r.Stage+1, doing(r.Step))
		s.showStepParts("        ", r.Step)
		if r.Cut > 0 {
			s.printf("      | (%s left out)", terminal.Count(r.Cut, "line"))
		}
		for _, text := range r.Log {
			s.printf("      | %s", text)
		}
	}
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
	if p.Before != "" {
		on.printf("  now it runs %s", p.Before)
	}
	for _, step := range p.Steps {
		on.printf("  %d. %-24s %s", step.Stage+1, step.ID, doing(step))
		on.showStepParts("       ", step)
	}
	if p.Warning != "" {
		on.printf("  WARNING: %s", p.Warning)
	}
}

// showStepParts shows what a step looks at or changes, one by one.
func (s *session) showStepParts(indent string, step plan.Step) {
	for _, image := range step.Check {
		s.printf("%s%s", indent, image)
	}
	images := step.Images
	if step.Job != nil {
		images = append(slices.Clip(images), step.Job.Images...)
	}
	for _, change := range images {
		init := ""
		if change.Init {
			init = "init container "
		}
		s.printf("%s%s%s: %s -> %s", indent, init, change.Container, change.From, change.To)
	}
}

// doing says in words what a step does.
func doing(step plan.Step) string {
	switch step.Do {
	case plan.CheckImages:
		return "see that " + terminal.Count(len(step.Check), "image") + " are published"
	case plan.StartJob:
		if step.Job == nil {
			return "run a job"
		}
		text := "run a job from " + step.Job.From.String()
		if step.Job.Name != "" {
			text += ", as Job " + step.Job.Name
		}
		if step.Job.NoMigration {
			text += ", which migrates nothing"
		}
		return text
	case plan.Roll:
		switch {
		case step.RestartedAt != "":
			return "restart " + step.Title() + ", pod by pod"
		case len(step.Images) == 0:
			return "wait for " + step.Title() + ", which has the images already"
		}
		return "roll " + step.Title()
	case plan.Replace:
		text := fmt.Sprintf("stop %s, and start it when its pods are gone", step.Title())
		if step.Replicas > 0 {
			text += ", with replicas " + strconv.Itoa(step.Replicas)
		}
		return text
	case plan.RunCommand:
		where := "a pod"
		if step.Container != "" {
			where = "container " + step.Container + " of a pod"
		}
		return "run in " + where + " of " + step.WorkloadName() + ": " + strings.Join(step.Command, " ")
	}
	return string(step.Do)
}
