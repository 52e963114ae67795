package terminal

import (
	"fmt"
	"io"
	"sync"
)

// Screen shows lines, and on a terminal below them a footer that is drawn again as it changes. Its methods may be
// called from many goroutines.
type Screen struct {
	Look

	out    io.Writer
	broken func(error) // nil: nobody reads any more

	mu     sync.Mutex
	footer []string
	drawn  int // how many lines of it are on the terminal now
}

// NewScreen gives a screen that calls broken, once, when it can show nothing more.
func NewScreen(out io.Writer, broken func(error)) *Screen {
	return &Screen{Look: LookOf(out), out: out, broken: broken}
}

// Line prints one line above the footer.
func (s *Screen) Line(colour, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	s.print(s.Paint(colour, Printable(text)) + "\n")
	s.draw()
}

// FooterLine is a line of the footer.
type FooterLine struct{ Colour, Text string }

// Footer replaces the footer. What is not a terminal has none. Lines are cut at the right margin.
func (s *Screen) Footer(lines []FooterLine) {
	if !s.Terminal {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	s.footer = s.footer[:0]
	for _, l := range lines {
		text := Printable(l.Text)
		if runes := []rune(text); len(runes) >= s.Width {
			text = string(runes[:s.Width-1])
		}
		s.footer = append(s.footer, s.Paint(l.Colour, text))
	}
	s.draw()
}

// Close takes the footer away.
func (s *Screen) Close() { s.Footer(nil) }

// print writes text, unless nobody reads it any more.
func (s *Screen) print(text string) {
	if s.broken == nil {
		return
	}
	if _, err := io.WriteString(s.out, text); err != nil {
		s.broken(err)
		s.broken = nil
	}
}

// erase takes the footer off the terminal. ECMA-48: cursor up, erase to the end of the display.
func (s *Screen) erase() {
	if s.drawn > 0 {
		s.print(fmt.Sprintf("\x1b[%dA\x1b[J", s.drawn))
		s.drawn = 0
	}
}

func (s *Screen) draw() {
	for _, line := range s.footer {
		s.print(line + "\n")
	}
	s.drawn = len(s.footer)
}
