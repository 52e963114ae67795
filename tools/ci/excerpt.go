package main

import "strings"

// How much is kept of what a test said: of a line, and of the first and the last lines.
const (
	lineLimit    = 400
	excerptLimit = 1200
)

// excerpt is the first and the last of what was said.
type excerpt struct {
	First, Last string
	Cut         bool // something in between is left out
}

func (e *excerpt) add(text string) {
	if len(text) > lineLimit {
		text = strings.ToValidUTF8(text[:lineLimit], "") + "...\n"
	}
	if e.Last == "" && len(e.First) < excerptLimit {
		e.First += text
		return
	}
	e.Last += text
	for len(e.Last) > excerptLimit {
		_, rest, found := strings.Cut(e.Last, "\n")
		if !found {
			rest = e.Last[len(e.Last)-excerptLimit:]
		}
		e.Last, e.Cut = rest, true
	}
}

func (e excerpt) lines() []string {
	text := e.First
	if e.Cut {
		text = strings.TrimSuffix(text, "\n") + "\n...\n"
	}
	text = strings.TrimRight(text+e.Last, "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
