package stuck

import (
	"strconv"
	"strings"

	"github.com/cjworkbench/unstuck/probe"
)

// record is what matters in the description of one process.
type record struct {
	id      probe.ProcessID
	hasID   bool
	mailbox int    // messages waiting in its mailbox
	stack   []byte // "module:function/arity\n" for each frame, innermost first
}

// readRecord reads the head of a record, an Erlang term of this shape, and appends its frames to stack:
//
//	[{pid,<11016.1.0>},{registered_name,[]},{current_stacktrace,[{module,function,2,[{file,"x.erl"},{line,6}]}]},
//	{initial_call,{proc_lib,init_p,5}},{message_queue_len,1},
//
// The text may end anywhere, and may have other fields.
func readRecord(head, stack []byte) record {
	rec := record{stack: stack}
	var (
		depth int
		key   string // of the field being read: the first word of a tuple in the outermost list
		words int    // so far in that tuple, or in that frame
		frame [3][]byte
		taken int
	)
	for t := (scanner{text: head}); t.next(); {
		switch {
		case t.kind == '{' || t.kind == '[':
			if depth++; depth == 2 || depth == 4 {
				words = 0
			}
			if depth == 2 {
				key = ""
			}
		case t.kind == '}' || t.kind == ']':
			if depth == 4 && key == "current_stacktrace" && words == len(frame) && taken < maxFrames {
				rec.stack = appendFrame(rec.stack, frame)
				taken++
			}
			depth--
		case depth == 2 && words == 0:
			key, words = fieldName(t.word), 1
		case depth == 2 && key == "pid":
			rec.id, rec.hasID = processID(t.word)
		case depth == 2 && key == "message_queue_len":
			rec.mailbox, _ = strconv.Atoi(string(t.word))
		case depth == 4 && words < len(frame):
			frame[words] = t.word
			words++
		}
	}
	return rec
}

// fieldName gives the name of a field that we read, and "other" for any other field, without allocating.
func fieldName(word []byte) string {
	for _, name := range [...]string{"pid", "current_stacktrace", "message_queue_len"} {
		if string(word) == name {
			return name
		}
	}
	return "other"
}

func appendFrame(stack []byte, frame [3][]byte) []byte {
	start := len(stack)
	stack = append(stack, frame[0]...)
	stack = append(stack, ':')
	stack = append(stack, frame[1]...)
	stack = append(stack, '/')
	stack = append(stack, frame[2]...)
	stack = stack[:min(len(stack), start+maxFrameBytes)]
	return append(stack, '\n')
}

// processID reads <11016.20289.0> as 20289<<32 | 0.
func processID(word []byte) (probe.ProcessID, bool) {
	text := strings.TrimSuffix(strings.TrimPrefix(string(word), "<"), ">")
	if len(text) != len(word)-2 {
		return 0, false
	}
	_, rest, _ := strings.Cut(text, ".")
	number, serial, _ := strings.Cut(rest, ".")
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return 0, false
	}
	s, err := strconv.ParseUint(serial, 10, 32)
	if err != nil {
		return 0, false
	}
	return probe.ProcessID(n<<32 | s), true
}

// scanner cuts an Erlang term into brackets and words: atoms, strings, numbers, process ids. A quoted word is one
// word, with its quotes and whatever is in them. Commas and spaces only separate.
type scanner struct {
	text []byte
	kind byte // what next found: one of {}[], or 'w' for a word
	word []byte
}

func (s *scanner) next() bool {
	for len(s.text) > 0 {
		switch c := s.text[0]; c {
		case '{', '}', '[', ']':
			s.kind, s.text = c, s.text[1:]
			return true
		case ',', ' ', '|', '\t', '\r', '\n':
			s.text = s.text[1:]
		case '\'', '"':
			s.cut(quotedLen(s.text))
			return true
		default:
			n := 1
			for n < len(s.text) && !separates[s.text[n]] {
				n++
			}
			s.cut(n)
			return true
		}
	}
	return false
}

func (s *scanner) cut(n int) { s.kind, s.word, s.text = 'w', s.text[:n], s.text[n:] }

var separates = [256]bool{
	'{': true, '}': true, '[': true, ']': true, ',': true, ' ': true, '|': true,
	'\t': true, '\r': true, '\n': true,
}

// quotedLen is the length of the quoted word at the start of text, up to its end quote, or of the whole text if
// there is none.
func quotedLen(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case text[0]:
			return i + 1
		}
	}
	return len(text)
}
