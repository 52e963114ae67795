package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
	"github.com/cjworkbench/unstuck/terminal"
)

// progress shows an operation as it changes: what happened as lines, and on a terminal, below them, a bar and the steps
// that run.
type progress struct {
	*terminal.Screen

	op     plan.Operation
	begun  bool
	phases map[string]plan.Phase       // of the steps, as they were shown
	waits  map[string]workload.Trouble // why steps wait, as was last shown
	lines  map[string]int              // of the steps' logs, that were shown
}

func newProgress(out io.Writer) *progress {
	return &progress{Screen: terminal.NewScreen(out, func(error) {
	}), phases: make(map[string]plan.Phase), lines: make(map[string]int), waits: make(map[string]workload.Trouble)}
}

// note shows a line that is not of the operation.
func (p *progress) note(text string) { p.Line(terminal.Yellow, text) }

// state shows what is new in op.
func (p *progress) state(op plan.Operation) {
	if !p.begun {
		p.Line(terminal.Bold, fmt.Sprintf("%s  (%s)", op.Request, op.ID))
		if op.Warning != "" {
			p.Line(terminal.Yellow, "WARNING: "+op.Warning)
		}
		p.begun = true
	}
	if op.Cancel != nil && p.op.Cancel == nil {
		p.Line(terminal.Yellow, "to be cancelled, says "+op.Cancel.By+": "+op.Cancel.Reason)
	}
	if op.Phase == plan.RollingBack && p.op.Phase != plan.RollingBack {
		p.Line(terminal.Red, "it failed: the old images are put back")
	}
	p.op = op
	for _, s := range op.Steps {
		p.step("", s)
	}
	for _, s := range op.Rollback {
		p.step("roll back: ", s)
	}
	p.redraw()
}

// step shows what is new of a step: its log, and then how it goes.
func (p *progress) step(prefix string, s plan.StepRun) {
	id := prefix + s.ID
	before, shown := p.phases[id], p.lines[id]
	if s.Phase == plan.Running && before == plan.Pending {
		p.Line("", id+": begins")
	}
	total := s.Cut + len(s.Log)
	if missed := total - shown - len(s.Log); missed > 0 {
		p.Line("", fmt.Sprintf("%s | (%s left out)", id, terminal.Count(missed, "line")))
	}
	for _, text := range s.Log[max(0, min(len(s.Log), len(s.Log)-(total-shown))):] {
		p.Line("", id+" | "+text)
	}
	if d := s.Diagnosis; s.Phase == plan.Running && d != nil && d.Why != workload.Starting && p.waits[id] != d.Why {
		p.waits[id] = d.Why
		p.Line(terminal.Yellow, id+" waits: "+s.Detail)
	}
	p.phases[id], p.lines[id] = s.Phase, max(total, shown)
	if !s.Phase.Over() || before == s.Phase {
		return
	}
	text := fmt.Sprintf("%s: %s after %s", id, s.Phase, rough(s.Ended.Sub(s.Started)))
	if s.Detail != "" {
		text += ": " + s.Detail
	}
	p.Line(colourOfPhase(s.Phase), text)
}

// colourOfPhase is green for what is healthy, and red for what is not.
func colourOfPhase(p plan.Phase) string {
	switch p {
	case plan.Succeeded:
		return terminal.Green
	case plan.Failed, plan.RolledBack, plan.RollingBack:
		return terminal.Red
	case plan.Cancelled:
		return terminal.Yellow
	case plan.Pending, plan.Running:
	}
	return ""
}

// maxRunning bounds how many steps are drawn below the bar.
const maxRunning = 12

// redraw draws the footer anew: a bar of the steps that are done, and those that run, each with how long and what it
// waits for.
func (p *progress) redraw() {
	if !p.Terminal || p.op.Phase.Over() {
		p.Footer(nil)
		return
	}
	var lines []terminal.FooterLine
	for _, text := range p.drawn(p.op, time.Now()) {
		lines = append(lines, terminal.FooterLine{Text: text})
	}
	p.Footer(lines)
}

// drawn gives the lines of the footer.
func (p *progress) drawn(op plan.Operation, now time.Time) []string {
	steps := append(append([]plan.StepRun(nil), op.Steps...), op.Rollback...)
	done := 0
	var running []string
	for _, s := range steps {
		switch {
		case s.Phase.Over():
			done++
		case s.Phase == plan.Running && len(running) < maxRunning:
			running = append(running, fmt.Sprintf("  %-24s %7s  %s", s.ID, rough(max(0, now.Sub(s.Started))), s.Detail))
		}
	}
	phase := string(op.Phase)
	if phase == "" {
		phase = "waiting to begin"
	}
	if op.Cancel != nil {
		phase += ", to be cancelled"
	}
	bar := progressBar(done, len(steps), max(10, min(40, p.Width/3)))
	return append([]string{fmt.Sprintf("%s %d of %s  %s  %s", bar, done, terminal.Count(len(steps), "step"),
		rough(max(0, now.Sub(op.Created))), phase)}, running...)
}

// progressBar draws how much of all is done.
func progressBar(done, all, width int) string {
	filled := 0
	if all > 0 {
		filled = width * done / all
	}
	return strings.Repeat("█", filled) + strings.Repeat("░", width-filled)
}
