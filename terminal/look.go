package terminal

import (
	"io"
	"os"

	"golang.org/x/term"

	"github.com/cjworkbench/unstuck/probe"
)

// The colours, as SGR parameters of ECMA-48.
const (
	Bold    = "1"
	Red     = "1;31"
	Green   = "32"
	Yellow  = "33"
	Magenta = "35"
	Cyan    = "36"
)

// ColourOf gives the colour of a status.
func ColourOf(s probe.Status) string {
	switch s {
	case probe.Healthy:
		return Green
	case probe.Faulty:
		return Yellow
	case probe.Stuck:
		return Red
	case probe.Unknown:
	}
	return Magenta
}

// defaultWidth is the width of a line where it cannot be known.
const defaultWidth = 80

// MaxWidth is the most that is used of a wide terminal, in characters.
const MaxWidth = 116

// Look is how an output is written to.
type Look struct {
	Terminal bool // it is one
	Colour   bool // it shows colours
	Width    int  // of a line, in characters
}

// LookOf finds out about out. Whatever is no terminal gets no colours, and neither does one where NO_COLOR is set
// (https://no-color.org) or TERM is dumb.
func LookOf(out io.Writer) Look {
	l := Look{Width: defaultWidth}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		l.Terminal = true
		l.Colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
			l.Width = width
		}
	}
	return l
}

// Paint gives text in the colour, where colours are shown; the colour "" is that of the terminal.
func (l Look) Paint(colour, text string) string {
	if !l.Colour || colour == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
