package stuck

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/probe"
)

// ErrNotMaybeStuck says that a text is not the output of `rabbitmq-diagnostics maybe_stuck`, or not all of it.
var ErrNotMaybeStuck = errors.New("not the output of maybe_stuck")

// These bound the memory of the parser, whatever it reads. A broker's output stays far below them: Erlang shows
// eight frames of a stack, a name has at most 255 characters, and a record's head has about one kilobyte.
const (
	maxLineBytes  = 4 << 10
	maxHeadBytes  = 32 << 10
	maxStacks     = 512
	maxFrames     = 16
	maxFrameBytes = 256
	topStacks     = 5
	maxProcesses  = 1 << 27 // the most that Erlang can be configured to allow
)

// Parse reads the output of `rabbitmq-diagnostics maybe_stuck`, with or without the first line that -q
// drops, in one pass and in bounded memory. The format is that of rabbit_diagnostics.erl, the same from 3.7 to 4.3.
//
// With an error, Parse returns what it read before: all of that is true, though there may be more. The
// error is ErrNotMaybeStuck if the text lacks the lines that say how many processes there are and how many are
// suspicious. At is known if the text has the first of these lines. Truncated says that the text describes fewer,
// or more, processes than it announces. Baseline is -1.
func Parse(r io.Reader) (probe.Processes, error) {
	var s stuckParser
	if _, err := io.Copy(&s, r); err != nil {
		p, _ := s.result()
		return p, fmt.Errorf("read the output of maybe_stuck: %w", err)
	}
	return s.result()
}

// stuckParser is an io.Writer that parses what is written to it. The zero value is ready.
//
// Lines that begin with a time frame the output. After three kinds of single lines comes one record for each
// process, which continues over indented lines:
//
//	2026-11-23 00:38:01 There are 271 processes.
//	2026-11-23 00:38:06 Found 2 suspicious processes.
//	2026-11-23 00:38:06 [{pid,<11016.1.0>},
//	                     {registered_name,erts_code_purger},
//
// Erlang breaks lines anywhere, also within a frame. So the parser joins the head of a record, and then reads the
// head as a term. It does not read the rest of a record, links and monitors.
type stuckParser struct {
	line     []byte // a line without its end so far, up to maxLineBytes
	inRecord bool
	headDone bool
	complete bool   // the latest line looks like the last line of a record
	head     []byte // the record so far, without line breaks and indentation
	key      []byte // scratch: the record's frames, a line each
	total    int    // as announced; -1 if not announced
	at       time.Time
	node     string // the node that was asked, if the text says so
	found    int
	several  bool // there are announcements of several runs
	records  int
	started  bool
	counts   stackCounts
	p        probe.Processes
	logins   processSet
	work     processSet
	others   processSet
}

// Write never fails.
func (s *stuckParser) Write(b []byte) (int, error) {
	if !s.started {
		s.started, s.total, s.found = true, -1, -1
	}
	n := len(b)
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			s.keep(b)
			break
		}
		if len(s.line) == 0 && end <= maxLineBytes {
			s.takeLine(b[:end])
		} else {
			s.keep(b[:end])
			s.takeLine(s.line)
			s.line = s.line[:0]
		}
		b = b[end+1:]
	}
	return n, nil
}

// keep adds part of a line to the line so far, up to the bound.
func (s *stuckParser) keep(part []byte) {
	s.line = append(s.line, part[:min(len(part), maxLineBytes-len(s.line))]...)
}

// result ends the text and gives what was found in it.
func (s *stuckParser) result() (probe.Processes, error) {
	if len(s.line) > 0 { // Erlang ends each line, so this line is not whole
		s.takeLine(s.line)
		s.line, s.complete = s.line[:0], false
	}
	s.endRecord()
	p := s.p
	p.Baseline, p.At, p.ErlangNode = -1, s.at, s.node
	p.Top = s.counts.top()
	p.Logins, p.Work, p.Others = s.logins.sorted(), s.work.sorted(), s.others.sorted()
	if !s.started || s.total < 0 || s.found < 0 {
		p.Truncated = true
		return p, ErrNotMaybeStuck
	}
	p.Total, p.Announced, p.Described = s.total, s.found, s.records
	p.Several = s.several
	p.Truncated = s.several || s.found != s.records
	return p, nil
}

func (s *stuckParser) takeLine(line []byte) {
	if rest, ok := afterTime(line); ok {
		s.endRecord()
		if bytes.HasPrefix(rest, []byte("[{pid,<")) {
			s.inRecord, s.headDone, s.head = true, false, s.head[:0]
			s.addToRecord(rest)
			return
		}
		s.announcement(line[:len(time.DateTime)], rest)
		return
	}
	if name, ok := asked(line); ok && s.node == "" {
		s.node = name
	}
	if s.inRecord && len(line) > 0 && line[0] != ' ' { // somebody else's line
		s.endRecord()
	}
	if s.inRecord {
		s.addToRecord(line)
	}
}

func (s *stuckParser) addToRecord(line []byte) {
	line = bytes.Trim(line, " \r")
	if len(line) == 0 {
		return
	}
	s.complete = line[len(line)-1] == ']'
	if s.headDone || bytes.HasPrefix(line, []byte("{links,")) {
		s.headDone = true
		return
	}
	if len(s.head)+len(line) > maxHeadBytes {
		s.headDone = true
		return
	}
	s.head = append(s.head, line...)
}

// announcement reads "There are 271 processes." with its time, and "Found 2 suspicious processes.".
func (s *stuckParser) announcement(at, line []byte) {
	line = bytes.TrimRight(line, " \r")
	if n, ok := between(line, "There are ", " processes."); ok {
		if s.several = s.several || s.total >= 0; s.several {
			return
		}
		s.total = n
		s.at, _ = time.Parse(time.DateTime, string(at)) // zero if it is no time, such as a 13th month
	}
	if n, ok := between(line, "Found ", " suspicious processes."); ok {
		if s.several = s.several || s.found >= 0; !s.several {
			s.found = n
		}
	}
}

// endRecord counts the record that the parser has joined, if there is one and it is whole. A process that ended
// during the look, printed as [{pid,<11016.1.0>}|undefined], is not suspicious.
func (s *stuckParser) endRecord() {
	if !s.inRecord {
		return
	}
	s.inRecord = false
	if !s.complete {
		return
	}
	s.records++
	rec := readRecord(s.head, s.key[:0])
	s.key = rec.stack
	if len(rec.stack) == 0 {
		return
	}
	s.p.Suspicious++
	role := s.counts.add(rec.stack)
	if s.p.Waiting == nil {
		s.p.Waiting = make(probe.Waits)
	}
	s.p.Waiting[role.awaits]++
	process := probe.Process{
		ID: rec.id, Stack: hashStack(rec.stack), Mailbox: rec.mailbox, Awaits: role.awaits, Reader: role.reader,
	}
	switch {
	case role.reader && (role.awaits == probe.AwaitsLogin || role.awaits == probe.AwaitsUnknown):
		if rec.mailbox > 0 && role.awaits == probe.AwaitsLogin {
			s.p.StuckReaders++
		}
		if rec.mailbox > 0 && role.awaits == probe.AwaitsUnknown {
			s.p.UnknownReaders++
		}
		if rec.hasID {
			s.logins.add(process)
		}
	case role.work:
		if rec.mailbox > 0 {
			s.p.StuckChannels++
		}
		if rec.hasID {
			s.work.add(process)
		}
	case role.awaits != probe.AwaitsIdle && rec.hasID:
		s.others.add(process)
	}
}

// afterTime cuts "2026-11-23 00:38:06 " off a line; not ok if the line does not begin so.
func afterTime(line []byte) (rest []byte, ok bool) {
	const shape = "0000-00-00 00:00:00 "
	if len(line) < len(shape) {
		return nil, false
	}
	for i := range len(shape) {
		if c := line[i]; shape[i] == '0' && (c < '0' || c > '9') || shape[i] != '0' && c != shape[i] {
			return nil, false
		}
	}
	return line[len(shape):], true
}

// asked reads the name of the node from "Asking node rabbit@host to detect potentially stuck Erlang processes...".
func asked(line []byte) (name string, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte("Asking node "))
	if !ok {
		return "", false
	}
	node, _, ok := bytes.Cut(rest, []byte(" to detect "))
	return string(node), ok && IsErlangNode(string(node))
}

func between(line []byte, before, after string) (n int, ok bool) {
	text, ok := strings.CutPrefix(string(line), before)
	if !ok {
		return 0, false
	}
	if text, ok = strings.CutSuffix(text, after); !ok {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 0 && n <= maxProcesses
}

// processSet keeps the MaxProcesses processes with the smallest ids.
type processSet []probe.Process

func (s *processSet) add(p probe.Process) {
	if *s = append(*s, p); len(*s) >= 2*probe.MaxProcesses {
		*s = s.sorted()
	}
}

func (s *processSet) sorted() []probe.Process {
	slices.SortStableFunc(*s, func(a, b probe.Process) int { return cmp.Compare(a.ID, b.ID) })
	all := slices.CompactFunc(*s, func(a, b probe.Process) bool { return a.ID == b.ID })
	return all[:min(len(all), probe.MaxProcesses)]
}

// hashStack gives a number that tells one stack from another (FNV-1a). The number is the same in every process of
// ours.
func hashStack(stack []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(stack) // never fails
	return h.Sum64()
}

// stackCounts counts stacks in bounded memory. It counts up to maxStacks different stacks exactly. Each further
// stack finds no place, and takes one off each count (Misra and Gries, 1982). Counts are then too low by at most a
// maxStacks-th of all stacks, so a stack that many processes share is still found, wherever it is in the output.
type stackCounts map[string]*stackCount

type stackCount struct {
	count int
	role  role
}

func (c *stackCounts) add(stack []byte) role {
	if known := (*c)[string(stack)]; known != nil {
		known.count++
		return known.role
	}
	r := roleOf(stack)
	if *c == nil {
		*c = make(stackCounts)
	}
	if len(*c) < maxStacks {
		(*c)[string(stack)] = &stackCount{count: 1, role: r}
		return r
	}
	for key, known := range *c {
		if known.count--; known.count == 0 {
			delete(*c, key)
		}
	}
	return r
}

// top gives the most frequent stacks, most frequent first, equal ones in the order of their frames.
func (c stackCounts) top() []probe.Stack {
	keys := make([]string, 0, len(c))
	for key := range c {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(cmp.Compare(c[b].count, c[a].count), cmp.Compare(a, b))
	})
	var top []probe.Stack
	for _, key := range keys[:min(len(keys), topStacks)] {
		top = append(top, probe.Stack{
			Count: c[key].count, Awaits: c[key].role.awaits, Frames: strings.Split(strings.TrimSuffix(key, "\n"), "\n"),
		})
	}
	return top
}
