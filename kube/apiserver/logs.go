package apiserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/target"
)

// The bounds of a log.
const (
	LongestLine = 4 << 10  // bytes that are kept of a line
	MostLog     = 64 << 20 // bytes that are read of a log; lines of such length are no log
)

// Tail gives the last lines of a log whose lines begin with their times.
func Tail(r io.Reader, count int) ([]target.LogLine, error) {
	limited := &io.LimitedReader{R: r, N: MostLog}
	in := bufio.NewReaderSize(limited, LongestLine)
	var lines []target.LogLine
	for {
		text, more, err := in.ReadLine()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		lines = append(lines, ParseLine(string(text)))
		if len(lines) > count {
			lines = lines[1:]
		}
		for more && err == nil { // the rest of a long line
			_, more, err = in.ReadLine()
		}
	}
	if limited.N == 0 {
		return nil, fmt.Errorf("its last %d lines are longer than %d MiB", count, MostLog>>20)
	}
	return lines, nil
}

// ParseLine splits off the time in front of a line; a line without one is all text.
func ParseLine(line string) target.LogLine {
	stamp, text, _ := strings.Cut(line, " ")
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		return target.LogLine{Text: line}
	}
	return target.LogLine{At: at, Text: strings.ToValidUTF8(text, "?")}
}
