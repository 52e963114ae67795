package probe

import (
	"strconv"
	"strings"
)

// FirstLine gives the first line of a command's output, short, and only with printable characters.
func FirstLine(said string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(said), "\n")
	if line == "" {
		return "it said nothing"
	}
	line = strings.ToValidUTF8(line, "?")
	return strings.Map(func(c rune) rune {
		if !strconv.IsPrint(c) {
			return ' '
		}
		return c
	}, line[:min(len(line), 200)])
}

// Head is an io.Writer that keeps the first Max bytes that are written to it, in Text, and drops the rest.
type Head struct {
	Max  int
	Text []byte
}

// Write never fails.
func (h *Head) Write(b []byte) (int, error) {
	h.Text = append(h.Text, b[:min(len(b), h.Max-len(h.Text))]...)
	return len(b), nil
}
