package probe

import (
	"bytes"
	"strconv"
	"strings"
)

// record is what is of interest in the description of one process.
type record struct {
	id      ProcessID
	hasID   bool
	waiting int    // messages in its mailbox
	stack   []byte // "module:function/arity\n" for each frame, innermost first
}

// readRecord reads the head of a record, an Erlang term of this shape, and appends its frames to stack:
//
//	[{pid,<11016.1.0>},{registered_name,[]},{current_stacktrace,[{module,function,2,[{file,"x.erl"},{line,6}]}]},
//	{initial_call,{proc_lib,init_p,5}},{message_queue_len,1},
//
// It does not mind where the text ends, or what else stands there.
func readRecord(head, stack []byte) record {
	rec := record{stack: stack}
	var (
		depth int
		key   string // of the field that is being read: the first word of a tuple in the outermost list
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
			rec.waiting, _ = strconv.Atoi(string(t.word))
		case depth == 4 && words < len(frame):
			frame[words] = t.word
			words++
		}
	}
	return rec
}

// fieldName gives the names of the fields that are read, and "other" for any other, without allocating.
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
func processID(word []byte) (ProcessID, bool) {
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
	return ProcessID(n<<32 | s), true
}

// scanner cuts an Erlang term into brackets and words: atoms, strings, numbers, process ids. Quoted ones are one
// word, quotes included, whatever is in them. Commas and spaces only separate.
type scanner struct {
	text []byte
	kind byte // of what next found: one of {}[] or 'w' for a word
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

var separates = [256]bool{'{': true, '}': true, '[': true, ']': true, ',': true, ' ': true, '|': true,
	'\t': true, '\r': true, '\n': true}

// quotedLen is the length of the quoted word at the start of text: to its end quote, or all of it if there is none.
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

// role says what kind of process a stack belongs to, as far as a verdict needs to know.
type role struct {
	reader   bool // a connection in its login
	channel  bool // a channel, or a queue's process, in the midst of a call
	metadata bool // it waits for the cluster's metadata
	outside  bool // it waits for an authentication backend outside the broker
}

// roleOf reads the role off the frames of a stack that maybe_stuck calls suspicious. An idle reader, channel or
// queue is not among those.
//
// A reader in its login has frames of rabbit_reader, but a reader has these for as long as it lives, so the
// functions that it runs after its login are told apart by name. Erlang shows the eight innermost frames only: a
// login that hangs deep down, in an authentication backend's call to a database say, no longer shows the reader,
// and is known by the functions of the mechanisms and backends that only a login calls.
func roleOf(stack []byte) role {
	var r role
	inReader, afterLogin := false, false
	for len(stack) > 0 {
		frame, rest, _ := bytes.Cut(stack, []byte("\n"))
		stack = rest
		module, function, _ := strings.Cut(string(frame), ":")
		function, _, _ = strings.Cut(function, "/")
		switch {
		case module == "rabbit_reader":
			inReader = true
			afterLogin = afterLogin || afterLoginFunctions[function]
		case strings.HasPrefix(module, "rabbit_auth_mechanism_"):
			r.reader = true
		case module == "rabbit_access_control", strings.HasPrefix(module, "rabbit_auth_backend_"):
			r.reader = r.reader || strings.Contains(function, "_login")
		case module == "rabbit_channel", module == "rabbit_amqqueue_process":
			r.channel = true
		}
		r.metadata = r.metadata || awaitsMetadata(module, function)
		r.outside = r.outside || outside(module)
	}
	r.reader = r.reader || inReader && !afterLogin
	return r
}

// outside tells frames in which a process waits for somebody outside the broker: an authentication backend that is not
// the broker's own (LDAP, HTTP, OAuth 2, a company's), a name server, a TLS peer.
func outside(module string) bool {
	switch module {
	case "rabbit_auth_backend_internal", "rabbit_auth_backend_dummy":
		return false
	case "eldap", "httpc", "uaa_jwks", "uaa_jwt", "ssl", "tls_gen_connection", "inet", "inet_db", "inet_res", "inet_gethost_native":
		return true
	}
	return strings.HasPrefix(module, "rabbit_auth_backend_")
}

// awaitsMetadata tells frames of the stores in which a cluster keeps its metadata. A frame like that is only seen
// where a process waits in one place for five seconds.
func awaitsMetadata(module, function string) bool {
	return module == "mnesia" || strings.HasPrefix(module, "mnesia_") ||
		strings.HasPrefix(module, "khepri") || module == "rabbit_khepri" ||
		strings.HasPrefix(function, "execute_mnesia_")
}

// afterLoginFunctions are those of rabbit_reader, 3.7 to 4.3, in which a reader can wait once its login is over:
// opening a channel, closing down, or telling its client something.
var afterLoginFunctions = map[string]bool{
	"process_frame": true, "create_channel": true, "channel_cleanup": true, "handle_other": true,
	"handle_dependent_exit": true, "handle_exception": true, "terminate_channels": true,
	"wait_for_channel_termination": true, "maybe_close": true, "close_connection": true,
	"clean_up_exclusive_queues": true, "clean_up_all_channels": true, "control_throttle": true,
	"send_blocked": true, "send_unblocked": true, "emit_stats": true, "maybe_emit_stats": true,
}
