package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/lab"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/terminal"
)

// show shows the demo on a screen, with the time since it began before each line, and below the lines where each node
// stands.
type show struct {
	*terminal.Screen

	mu      sync.Mutex
	began   time.Time // what the times count from
	trouble bool      // show only results that are not healthy
}

// newShow gives a show that calls broken, once, when it can show nothing more.
func newShow(out io.Writer, broken func(error)) *show {
	return &show{Screen: terminal.NewScreen(out, broken), began: time.Now()}
}

// begin counts the times from t on.
func (s *show) begin(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.began = t
}

// line prints one line above the footer, with the time since the beginning.
func (s *show) line(colour, text string) {
	s.Line(colour, fmt.Sprintf("%7.1fs  %s", s.since().Seconds(), text))
}

func (s *show) since() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.began)
}

// onlyTrouble leaves out healthy results from now on.
func (s *show) onlyTrouble() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = true
}

func (s *show) hides(r probe.Result) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble && r.Status() == probe.Healthy
}

func (s *show) title(format string, args ...any) {
	s.line(terminal.Bold, "== "+fmt.Sprintf(format, args...))
}
func (s *show) say(format string, args ...any)  { s.line("", fmt.Sprintf(format, args...)) }
func (s *show) good(format string, args ...any) { s.line(terminal.Green, fmt.Sprintf(format, args...)) }

func (s *show) bad(format string, args ...any) { s.line(terminal.Red, fmt.Sprintf(format, args...)) }

// result shows a probe's verdict.
func (s *show) result(r probe.Result) {
	if s.hides(r) {
		return
	}
	what := string(r.Reason)
	if r.Status() != probe.Healthy {
		what = r.Status().String() + ": " + what
	}
	if r.Detail != "" {
		what += " (" + r.Detail + ")"
	}
	colour := ""
	if r.Status() != probe.Healthy {
		colour = terminal.ColourOf(r.Status())
	}
	s.line(colour, fmt.Sprintf("%-6s %-11s %8s  %s", r.Node, r.Kind, terminal.Brief(r.Took), what))
}

// check shows one of the broker's own health checks.
func (s *show) check(c lab.Check) {
	verdict, colour := "green", terminal.Green
	if c.Exit != 0 || c.Err != nil {
		verdict, colour = "red", terminal.Red
	}
	s.line(colour, fmt.Sprintf("       %-24s %8s  exit %d: %s", c.Name, terminal.Brief(c.Took), c.Exit, verdict))
}

// decision shows what was decided about a node.
func (s *show) decision(d decide.Decision) {
	colour := map[decide.Tone]string{
		decide.ToneGood: terminal.Green, decide.ToneBusy: terminal.Cyan, decide.ToneWarn: terminal.Yellow,
		decide.ToneBad: terminal.Red, decide.ToneUnsure: terminal.Magenta,
	}[d.Phase.Tone()]
	s.line(colour, fmt.Sprintf("%-6s -> %s: %s", d.Node, d.Phase, d.Reason))
}

// guards shows every guard, open or closed, and why.
func (s *show) guards(d decide.Decision) {
	s.say("%s: every guard is asked before anything is deleted", d.Node)
	for _, g := range d.Guards {
		state, colour := "open  ", terminal.Green
		if !g.Open {
			state, colour = "CLOSED", terminal.Red
		}
		s.line(colour, fmt.Sprintf("       %-18s %s  %s", g.Guard, state, g.Why))
	}
}

// nodes draws the footer anew: where each node stands.
func (s *show) nodes(snap remediate.Snapshot) {
	lines := []terminal.FooterLine{{Text: strings.Repeat("-", min(s.Width, terminal.MaxWidth)-1)}}
	for _, n := range snap.Nodes {
		d := n.Decision
		lines = append(lines, terminal.FooterLine{
			Colour: terminal.ColourOf(d.Status),
			Text: fmt.Sprintf("%-6s %-10s stuck %d of %d needed  %s",
				n.Name, d.Phase, d.Evidence.Stuck, d.Evidence.FailureThreshold, d.Reason),
		})
	}
	s.Footer(lines)
}
