package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/probe/stuck"
	"github.com/cjworkbench/unstuck/terminal"
)

// How much is shown of what has no bound of its own, or a wide one.
const (
	listedInJSON = 100 // processes that have not moved
	listedInText = 10
	framesInText = 3 // of each stack
)

// diagnosisLine is what --json prints. Every field is always there.
type diagnosisLine struct {
	Status     probe.Status  `json:"status"`
	Reason     probe.Reason  `json:"reason"`
	Proved     bool          `json:"proved"`
	Detail     string        `json:"detail"`
	Means      string        `json:"means"`
	Advice     string        `json:"advice"`
	Looks      int           `json:"looks"`
	Apart      float64       `json:"apart_seconds"`
	Waiting    probe.Waits   `json:"waiting"`    // all suspicious processes
	Persisting int           `json:"persisting"` // of these, that have not moved and are not idle
	Processes  int           `json:"processes"`
	Suspicious int           `json:"suspicious"`
	Top        []probe.Stack `json:"top"`
	Same       []sameLine    `json:"persisting_processes"`
}

type sameLine struct {
	PID     string      `json:"pid"` // as the node itself writes it
	Awaits  probe.Await `json:"awaits"`
	Mailbox int         `json:"mailbox"`
}

func diagnosisJSON(out io.Writer, d stuck.Diagnosis) error {
	line := diagnosisLine{
		Status: d.Reason.Status(), Reason: d.Reason, Proved: d.Proved, Detail: d.Detail, Means: d.Means, Advice: d.Advice,
		Looks: d.Looks,
		Apart: d.Apart.Seconds(), Waiting: probe.Waits{}, Persisting: d.Persisting, Processes: d.Processes.Total,
		Suspicious: d.Processes.Suspicious, Top: []probe.Stack{}, Same: []sameLine{},
	}
	maps.Copy(line.Waiting, d.Processes.Waiting)
	line.Top = append(line.Top, d.Processes.Top...)
	for _, p := range d.Same[:min(len(d.Same), listedInJSON)] {
		line.Same = append(line.Same, sameLine{p.ID.String(), p.Awaits, p.Mailbox})
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false) // ids are written <0.1.0>
	if err := enc.Encode(line); err != nil {
		return fmt.Errorf("write the diagnosis: %w", err)
	}
	_, err := io.WriteString(out, terminal.Escape(text.String()))
	return err
}

// diagnosisText is for people. Whatever stems from a file is made printable.
func diagnosisText(t *textReporter, d stuck.Diagnosis) string {
	var b strings.Builder
	verdict := t.verdict(probe.Result{Reason: d.Reason})
	switch {
	case d.Proved:
		verdict += ", proved by two looks " + d.ApartInWords() + " apart"
	case d.Looks == 2 && d.Reason == probe.ProcessesStuck:
		verdict += ", not proved: by two looks only " + d.ApartInWords() + " apart"
	case d.Looks == 2:
		verdict += ", by two looks " + d.ApartInWords() + " apart"
	case d.Reason == probe.ProcessesStuck:
		verdict += ", not proved: by one look"
	default:
		verdict += ", by one look"
	}
	if d.Processes.ErlangNode != "" {
		verdict += ", at " + terminal.Printable(d.Processes.ErlangNode)
	}
	b.WriteString(verdict + "\n")

	label := "waiting"
	for _, a := range probe.Awaits() {
		if n := d.Processes.Waiting[a]; n > 0 {
			b.WriteString(terminal.Wrap(fmt.Sprintf("  %-9s %5d  ", label, n), a.Words(n), t.look.Width))
			label = ""
		}
	}
	label = "stacks"
	for _, s := range d.Processes.Top {
		if s.Awaits != probe.AwaitsIdle {
			b.WriteString(terminal.Wrap(fmt.Sprintf("  %-9s %5d  ", label, s.Count), framesText(s.Frames), t.look.Width))
			label = ""
		}
	}
	if d.Looks == 2 {
		b.WriteString(terminal.Wrap(fmt.Sprintf("  %-9s %5d  ", "unmoved", d.Persisting), sameText(d.Same), t.look.Width))
	}
	for _, row := range [][2]string{{"means", d.Means}, {"do", d.Advice}, {"detail", d.Detail}} {
		b.WriteString(terminal.Wrap("  "+terminal.Pad(row[0], 10), terminal.Printable(row[1]), t.look.Width))
	}
	return b.String()
}

// framesText is a stack in short: its innermost frames, and how many there are besides.
func framesText(frames []string) string {
	var shown []string
	for _, f := range frames[:min(len(frames), framesInText)] {
		f = terminal.Printable(f)
		if runes := []rune(f); len(runes) > 60 {
			f = string(runes[:60]) + "..."
		}
		shown = append(shown, f)
	}
	text := strings.Join(shown, ", ")
	if n := len(frames) - framesInText; n > 0 {
		text += fmt.Sprintf(", and %d more", n)
	}
	return text
}

// sameText names the first of the processes that have not moved.
func sameText(same []probe.Process) string {
	var ids []string
	for _, p := range same[:min(len(same), listedInText)] {
		ids = append(ids, p.ID.String())
	}
	if n := len(same) - listedInText; n > 0 {
		ids = append(ids, fmt.Sprintf("and %d more", n))
	}
	if len(ids) == 0 {
		return "none that waits for something"
	}
	return strings.Join(ids, " ")
}
