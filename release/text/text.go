// Package text keeps what other programs say: in one line, short, and without what looks like a secret.
package text

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// How much of a text is kept, so that an operation fits into a ConfigMap.
const (
	KeptLines     = 40 // of a log
	keptLineBytes = 240
	maxDetail     = 500
)

// Shorten makes one line of s: valid UTF-8 without control characters, cut to at most n bytes at the end of a
// character.
func Shorten(s string, n int) string {
	s = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) <= n {
		return s
	}
	for n -= len("…"); n > 0 && !utf8.RuneStart(s[n]); n-- {
	}
	return s[:n] + "…"
}

// Tidy makes a detail of free text.
func Tidy(s string) string { return Shorten(strings.TrimSpace(s), maxDetail) }

// Kept gives a line of a log as it is kept, without what looks like a secret and is no commit that runs. What is looked
// at for secrets is bounded, and longer than what is kept of it.
func Kept(line string, running []string) string {
	return Shorten(MaskLine(Shorten(line, 2*keptLineBytes), running), keptLineBytes)
}

// Last gives the last n of the lines, each shortened.
func Last(lines []string, n int) []string {
	lines = slices.Clone(lines[max(0, len(lines)-n):])
	for i := range lines {
		lines[i] = Shorten(lines[i], keptLineBytes)
	}
	return lines
}
