// Package terminal writes text for people: durations and numbers as they are read, lines of a bounded width, colours,
// and lines at the bottom of a terminal that are drawn again as they change. What comes from elsewhere cannot move the
// cursor.
package terminal

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
)

// Brief writes a duration with at most three digits that matter: 12.7 s, 1.25 s, 310 ms, 0.4 ms.
func Brief(d time.Duration) string {
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

// Printable replaces what could move the cursor or change the colours of a terminal by blanks, and cuts what is long.
func Printable(text string) string {
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

// Wrap writes text in lines of at most width characters. The first begins with the label, the others with as many
// blanks.
func Wrap(label, text string, width int) string {
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

// Pad fills text up with blanks to width characters.
func Pad(text string, width int) string { return fmt.Sprintf("%-*s", width, text) }

// LeftPad is Pad with the blanks before the text.
func LeftPad(text string, width int) string {
	return strings.Repeat(" ", max(width-len(text), 0)) + text
}

// Count writes a number of things: 1 line, 3 lines.
func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Escape writes what is not printable in JSON as \u and its number: it can stand in strings only.
func Escape(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case unicode.IsPrint(r) || r == '\n':
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
