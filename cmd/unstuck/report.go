package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/terminal"
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
	look     terminal.Look
	before   map[string]probe.Reason // by target, while watching
}

func newTextReporter(out io.Writer, f probeFlags) *textReporter {
	t := &textReporter{
		out: out, level: probe.Kind(f.level), watching: f.watch > 0, look: terminal.LookOf(out),
		before: make(map[string]probe.Reason),
	}
	t.look.Width = min(t.look.Width, terminal.MaxWidth)
	return t
}

func (t *textReporter) report(to endpoint, r probe.Result) error {
	name := to.String()
	text := t.full(name, r)
	if t.watching {
		if before, seen := t.before[name]; seen && before == r.Reason {
			text = t.line(name, r)
		} else if seen {
			text = t.look.Paint(terminal.Bold, "changed: "+string(before)+" -> "+string(r.Reason)) + "\n" + text
		}
		t.before[name] = r.Reason
	}
	_, err := io.WriteString(t.out, text)
	return err
}

// line is a result in one line.
func (t *textReporter) line(name string, r probe.Result) string {
	return fmt.Sprintf("%s  %s  %s  %s\n", r.Started.Format("15:04:05"), t.verdict(r), terminal.Brief(r.Took), name)
}

// full is a result with the flame of its login, the verdict and the advice.
func (t *textReporter) full(name string, r probe.Result) string {
	var b strings.Builder
	b.WriteString(t.look.Paint(terminal.Bold, name) + "  " + string(t.level))
	if t.watching {
		b.WriteString("  " + r.Started.Format("15:04:05"))
	}
	b.WriteString("\n")
	b.WriteString(t.flame(r))
	fmt.Fprintf(&b, "%s after %s\n", t.verdict(r), terminal.Brief(r.Took))
	v := r.Reason.Verdict()
	if r.Reason == probe.OK { // there is nothing to do
		v.Saw, v.Advice = "", ""
	}
	for _, row := range [][2]string{
		{"saw", v.Saw},
		{"means", v.Means},
		{"do", v.Advice},
		{"detail", terminal.Printable(r.Detail)},
	} {
		if row[1] != "" {
			b.WriteString(terminal.Wrap("  "+terminal.Pad(row[0], 8), row[1], t.look.Width))
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
	return t.look.Paint(terminal.ColourOf(r.Status()), text)
}
