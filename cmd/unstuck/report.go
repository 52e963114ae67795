package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"golang.org/x/term"

	"github.com/cjworkbench/unstuck/probe"
)

// jsonReporter prints one JSON object a line.
type jsonReporter struct{ out io.Writer }

// jsonLine is that object. Every field is always there.
type jsonLine struct {
	Target string           `json:"target"` // without the password
	Status probe.Status     `json:"status"`
	Reason probe.Reason     `json:"reason"`
	Stage  string           `json:"stage"`   // the last that was entered
	Start  time.Time        `json:"started"` // in UTC, to the millisecond
	Took   float64          `json:"took_seconds"`
	Stages probe.StageTimes `json:"stages"` // seconds, of those that were completed
	Detail string           `json:"detail"`
}

func (j jsonReporter) report(t endpoint, r probe.Result) error {
	return json.NewEncoder(j.out).Encode(jsonLine{
		Target: t.String(), Status: r.Status(), Reason: r.Reason, Stage: r.Stage.String(),
		Start: r.Started.UTC().Truncate(time.Millisecond), Took: r.Took.Seconds(), Stages: r.Stages, Detail: r.Detail,
	})
}

// textReporter prints results for people: the flame of the login and the verdict, and while watching one line for each
// result that says the same as the one before.
type textReporter struct {
	out      io.Writer
	level    probe.Kind
	watching bool
	width    int // of a line, in characters
	colour   bool
	before   map[string]probe.Reason // by target, while watching
}

// The width of a line where it cannot be known, and the most that is used of a wide terminal.
const (
	defaultWidth = 80
	maxWidth     = 116
)

func newTextReporter(out io.Writer, f probeFlags) *textReporter {
	t := &textReporter{
		out: out, level: probe.Kind(f.level), watching: f.watch > 0, width: defaultWidth, before: make(map[string]probe.Reason),
	}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
			t.width = min(width, maxWidth)
		}
		t.colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	return t
}

func (t *textReporter) report(to endpoint, r probe.Result) error {
	name := to.String()
	text := t.full(name, r)
	if t.watching {
		if before, seen := t.before[name]; seen && before == r.Reason {
			text = t.line(name, r)
		} else if seen {
			text = t.paint(bold, "changed: "+string(before)+" -> "+string(r.Reason)) + "\n" + text
		}
		t.before[name] = r.Reason
	}
	_, err := io.WriteString(t.out, text)
	return err
}

// line is a result in one line.
func (t *textReporter) line(name string, r probe.Result) string {
	return fmt.Sprintf("%s  %s  %s  %s\n", r.Started.Format("15:04:05"), t.verdict(r), brief(r.Took), name)
}

// full is a result with the flame of its login, the verdict and the advice.
func (t *textReporter) full(name string, r probe.Result) string {
	var b strings.Builder
	b.WriteString(t.paint(bold, name) + "  " + string(t.level))
	if t.watching {
		b.WriteString("  " + r.Started.Format("15:04:05"))
	}
	b.WriteString("\n")
	b.WriteString(t.flame(r))
	fmt.Fprintf(&b, "%s after %s\n", t.verdict(r), brief(r.Took))
	v := r.Reason.Verdict()
	if r.Reason == probe.OK { // there is nothing to do
		v.Saw, v.Advice = "", ""
	}
	for _, row := range [][2]string{{"saw", v.Saw}, {"means", v.Means}, {"do", v.Advice}, {"detail", printable(r.Detail)}} {
		if row[1] != "" {
			b.WriteString(wrap("  "+pad(row[0], 8), row[1], t.width))
		}
	}
	b.WriteString("\n")
	return b.String()
}

// verdict is the status and, for all but a healthy node, the reason.
func (t *textReporter) verdict(r probe.Result) string {
	text := r.Status().String()
	if r.Reason != probe.OK {
		text += " (" + string(r.Reason) + ")"
	}
	return t.paint(colourOf[r.Status()], text)
}

// brief writes a duration with three digits that matter at most.
func brief(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= 100*time.Millisecond:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
}

// maxDetail bounds, in bytes, what is printed of a detail: a broker may say anything.
const maxDetail = 1000

// printable replaces what could move the cursor or change the colours of a terminal.
func printable(text string) string {
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
}

// wrap writes text in lines of at most width characters, the first behind label and the others as far to the right.
func wrap(label, text string, width int) string {
	var b strings.Builder
	indent := strings.Repeat(" ", len(label))
	line, at := label, len(label)
	for word := range strings.FieldsSeq(text) {
		size := len([]rune(word))
		if at > len(label) && at+1+size > width {
			b.WriteString(line + "\n")
			line, at = indent, len(indent)
		}
		if at > len(label) {
			line, at = line+" ", at+1
		}
		line, at = line+word, at+size
	}
	return b.String() + line + "\n"
}

func pad(text string, width int) string { return fmt.Sprintf("%-*s", width, text) }
