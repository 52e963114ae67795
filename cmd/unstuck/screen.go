package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/cjworkbench/unstuck/lab"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

// screen shows the demo: plain lines in a pipe; on a terminal colours, and below the lines one for each node that is
// drawn again as it changes.
type screen struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	colour   bool
	width    int
	began    time.Time // what the times count from
	footer   []string  // the lines that are drawn again
	drawn    int       // how many of them are on the terminal now
	trouble  bool      // show only results that are not healthy
	broken   func(error)
}

// newScreen gives a screen that calls broken, once, when it can show nothing more.
func newScreen(out io.Writer, broken func(error)) *screen {
	s := &screen{out: out, width: defaultWidth, began: time.Now(), broken: broken}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		s.terminal = true
		s.colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
			s.width = width
		}
	}
	return s
}

// begin counts the times from t on.
func (s *screen) begin(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.began = t
}

// close takes the footer away.
func (s *screen) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.footer = nil
	s.erase()
}

// line prints one line above the footer, with the time since the beginning.
func (s *screen) line(colour, text string) {
	s.plain(colour, fmt.Sprintf("%7.1fs  %s", s.since().Seconds(), text))
}

func (s *screen) since() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.began)
}

// plain prints one line above the footer.
func (s *screen) plain(colour, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	s.print(s.paint(colour, printable(text)) + "\n")
	s.draw()
}

// print writes text, unless nobody reads it any more.
func (s *screen) print(text string) {
	if s.broken == nil {
		return
	}
	if _, err := io.WriteString(s.out, text); err != nil {
		s.broken(err)
		s.broken = nil
	}
}

// onlyTrouble leaves out healthy results from now on.
func (s *screen) onlyTrouble() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = true
}

func (s *screen) hides(r probe.Result) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble && r.Status() == probe.Healthy
}

func (s *screen) paint(colour, text string) string {
	if !s.colour || colour == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (s *screen) title(format string, args ...any) {
	s.line(bold, "== "+fmt.Sprintf(format, args...))
}
func (s *screen) say(format string, args ...any)  { s.line("", fmt.Sprintf(format, args...)) }
func (s *screen) good(format string, args ...any) { s.line(green, fmt.Sprintf(format, args...)) }
func (s *screen) bad(format string, args ...any)  { s.line(red, fmt.Sprintf(format, args...)) }

// erase takes the footer off the terminal. ECMA-48: cursor up, erase to the end of the display.
func (s *screen) erase() {
	if s.drawn > 0 {
		s.print(fmt.Sprintf("\x1b[%dA\x1b[J", s.drawn))
		s.drawn = 0
	}
}

func (s *screen) draw() {
	if !s.terminal {
		return
	}
	for _, line := range s.footer {
		s.print(line + "\n")
	}
	s.drawn = len(s.footer)
}

// result shows a probe's verdict.
func (s *screen) result(r probe.Result) {
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
		colour = colourOf[r.Status()]
	}
	s.line(colour, fmt.Sprintf("%-6s %-11s %8s  %s", r.Node, r.Kind, brief(r.Took), what))
}

// check shows one of the broker's own health checks.
func (s *screen) check(c lab.Check) {
	verdict, colour := "green", green
	if c.Exit != 0 || c.Err != nil {
		verdict, colour = "red", red
	}
	s.line(colour, fmt.Sprintf("       %-24s %8s  exit %d: %s", c.Name, brief(c.Took), c.Exit, verdict))
}

// decision shows what was decided about a node.
func (s *screen) decision(d decide.Decision) {
	colour := map[decide.Tone]string{
		decide.ToneGood: green, decide.ToneBusy: cyan, decide.ToneWarn: yellow, decide.ToneBad: red, decide.ToneUnsure: magenta,
	}[d.Phase.Tone()]
	s.line(colour, fmt.Sprintf("%-6s -> %s: %s", d.Node, d.Phase, d.Reason))
}

// guards shows every guard, open or closed, and why.
func (s *screen) guards(d decide.Decision) {
	s.say("%s: every guard is asked before anything is deleted", d.Node)
	for _, g := range d.Guards {
		state, colour := "open  ", green
		if !g.Open {
			state, colour = "CLOSED", red
		}
		s.line(colour, fmt.Sprintf("       %-18s %s  %s", g.Guard, state, g.Why))
	}
}

// nodes draws the footer anew: where each node stands.
func (s *screen) nodes(snap remediate.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.terminal {
		return
	}
	s.erase()
	s.footer = s.footer[:0]
	s.footer = append(s.footer, strings.Repeat("-", min(s.width, maxWidth)-1))
	for _, n := range snap.Nodes {
		d := n.Decision
		text := fmt.Sprintf("%-6s %-10s stuck %d of %d needed  %s", n.Name, d.Phase, d.Evidence.Stuck, d.Evidence.FailureThreshold, d.Reason)
		if runes := []rune(printable(text)); len(runes) >= s.width {
			text = string(runes[:s.width-1])
		}
		s.footer = append(s.footer, s.paint(colourOf[d.Status], text))
	}
	s.draw()
}
