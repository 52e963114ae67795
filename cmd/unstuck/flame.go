package main

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/terminal"
)

// span is one stage on the time axis.
type span struct {
	stage       probe.Stage
	start, took time.Duration
	unfinished  bool
}

// spans lays the stages of r one after another, as they passed. The last is unfinished if the probe ended in it: it
// then has all the time that the others leave.
func spans(r probe.Result) []span {
	var all []span
	var at time.Duration
	for _, stage := range probe.Stages() {
		took := r.Stages[stage]
		switch {
		case took > 0:
			all = append(all, span{stage: stage, start: at, took: took})
			at += took
		case stage == r.Stage:
			all = append(all, span{stage: stage, start: at, took: max(r.Took-at, 0), unfinished: true})
			at = max(r.Took, at)
		}
	}
	return all
}

// The layout of a flame: two blanks, the name of the stage, its time, and then the bars.
const (
	nameWidth = 8
	timeWidth = 8
	leftWidth = 2 + nameWidth + timeWidth + 2
	minBars   = 10
)

// flame draws one bar for each stage, to scale, and a time axis under them:
//
//	tcp       0.4 ms  ██▌
//	start     3.1 ms    █████████████
//	tune      9.2 ms                 ░ no answer for 9.2 ms ░░░░░░░
//	                  0 ─────────────────────────────────── 12.7 ms
func (t *textReporter) flame(r probe.Result) string {
	all := spans(r)
	if len(all) == 0 {
		return ""
	}
	last := all[len(all)-1]
	total := max(last.start+last.took, r.Took)
	bars := max(t.look.Width-leftWidth, minBars)
	var b strings.Builder
	for _, s := range all {
		b.WriteString("  " + terminal.Pad(s.stage.String(), nameWidth) + terminal.LeftPad(terminal.Brief(s.took), timeWidth) +
			"  ")
		indent, bar := s.bar(total, bars)
		colour := terminal.Cyan
		if s.unfinished {
			indent, bar = annotate(indent, bar, note(r, s.took))
			colour = terminal.ColourOf(r.Status())
		}
		b.WriteString(indent + t.look.Paint(colour, bar) + "\n")
	}
	end := " " + terminal.Brief(total)
	b.WriteString(strings.Repeat(" ", leftWidth) + "0 " + strings.Repeat("─", max(bars-2-len(end), 0)) + end + "\n")
	return b.String()
}

// bar draws s on an axis of so many characters for total, and the blanks before it. Even the shortest leaves a mark.
func (s span) bar(total time.Duration, width int) (indent, bar string) {
	scale := 0.0
	if total > 0 {
		scale = float64(width) / float64(total)
	}
	from := min(int(float64(s.start)*scale), width-1)
	indent = strings.Repeat(" ", from)
	if s.unfinished {
		return indent, strings.Repeat("░", width-from)
	}
	end := int(float64(s.start+s.took)*scale*8 + 0.5)
	parts := min(max(end-from*8, 1), (width-from)*8)
	return indent, strings.Repeat("█", parts/8) + eighths[parts%8]
}

// eighths are the blocks that fill a part of a character, from the left.
var eighths = [...]string{"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"}

// note says how an unfinished stage ended.
func note(r probe.Result, waited time.Duration) string {
	switch {
	case r.Reason == probe.Unreachable && r.Stage == probe.StageTCP: // nobody was there who could have answered
		return "not reached in " + terminal.Brief(waited)
	case r.Status() == probe.Faulty, r.Reason == probe.NotRun:
		return "ended here after " + terminal.Brief(waited)
	}
	return "no answer for " + terminal.Brief(waited)
}

// annotate writes text into the bar of an unfinished stage or, where that is too short, before it.
func annotate(indent, bar, text string) (newIndent, newBar string) {
	length := utf8.RuneCountInString(bar)
	switch {
	case length >= len(text)+4:
		return indent, "░ " + text + " " + strings.Repeat("░", length-len(text)-3)
	case len(indent) > len(text):
		return indent[:len(indent)-len(text)-1] + text + " ", bar
	}
	return indent, bar
}
