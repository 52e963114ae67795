package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// What the documentation gives as the default of a key that has none.
const (
	required = "required"
	none     = "none"
)

// form is what may stand at a key, in the words of JSON Schema: the chart's schema is made of it. A form may take more
// than the daemon does.
type form map[string]any

var (
	plainText = form{"type": "string", "minLength": 1}
	spanForm  = form{
		"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`, "description": "Such as 500ms, 90s, 5m or 1h30m.",
	}
)

// longest bounds every duration, so that sums of them make sense: a month.
const longest = 31 * 24 * time.Hour

// value reads the single value of a key, if it is there, with parse, and notes that want was wanted if parse says no.
// The message quotes the value where shown is true; elsewhere it may hold a secret by mistake.
func (s *section) value(name, byDefault string, f form, want string, shown bool, parse func(string) bool) {
	if s.listen != nil {
		s.listen(s.key(name), byDefault, f)
	}
	n := s.take(name)
	switch {
	case n == nil:
	case n.Kind != yaml.ScalarNode:
		s.problem(s.key(name), "want %s, not %s", want, kindOf(n))
	case isNull(n):
		s.problem(s.key(name), "there is nothing here: want %s", want)
	case parse(n.Value):
	case shown:
		s.problem(s.key(name), "%s: want %s", quote(n.Value), want)
	default:
		s.problem(s.key(name), "want %s", want)
	}
}

// text reads any text that is not empty. It may be a secret that went astray, so no message repeats it.
func (s *section) text(name, byDefault, want string, to *string) {
	s.value(name, byDefault, plainText, want, false, func(v string) bool {
		if v != "" {
			*to = v
		}
		return v != ""
	})
}

// address reads host:port. Who listens may leave out the host, for all interfaces, and have port 0, for any that
// is free.
func (s *section) address(name, byDefault string, listens bool, to *string) {
	const want = "host:port, without scheme, user or path"
	f := form{"type": "string", "pattern": "^.+:[0-9]{1,5}$"}
	s.value(name, byDefault, f, want, false, func(v string) bool {
		wrong := wrongAddress(v, listens)
		switch {
		case wrong == "":
			*to = v
		case strings.Contains(v, "@"): // a password may stand before it
			s.problem(s.key(name), "%s: want %s", wrong, want)
		default:
			s.problem(s.key(name), "%s: %s: want %s", quote(v), wrong, want)
		}
		return true // whatever is wrong has been noted
	})
}

// wrongAddress says what is wrong with v as host:port, without repeating it; "" if nothing is.
func wrongAddress(v string, listens bool) string {
	host, port, err := net.SplitHostPort(v)
	number, notNumber := strconv.ParseUint(port, 10, 16)
	switch {
	case v == "":
		return "it is empty"
	case strings.Contains(v, "://"):
		return "it has a scheme"
	case strings.Contains(v, "@"):
		return "it has a user"
	case strings.Contains(v, "/"):
		return "it has a path"
	case err != nil && strings.Count(v, ":") > 1:
		return "an IPv6 address stands in brackets before its port"
	case err != nil:
		return "it has no port"
	case strings.ContainsAny(host, " \t\r\n"):
		return "there is a blank in it"
	case listens && notNumber != nil:
		return "its port is not from 0 to 65535"
	case !listens && (notNumber != nil || number == 0):
		return "its port is not from 1 to 65535"
	case !listens && host == "":
		return "it has no host"
	}
	return ""
}

// missing notes a key that must be there, here or in the defaults, and is not.
func (s *section) missing(name, value, want string) {
	if _, there := s.lines[s.key(name)]; !there && value == "" {
		s.problem(s.key(name), "missing: want %s", want)
	}
}

// oneOf reads one of a closed list of words.
func (s *section) oneOf(name, byDefault string, words []string, set func(string)) {
	s.value(name, byDefault, form{"enum": words}, strings.Join(words, " or "), true, func(v string) bool {
		known := slices.Contains(words, v)
		if known {
			set(v)
		}
		return known
	})
}

// duration reads a span of time, from least to longest.
func (s *section) duration(name string, to *time.Duration, least time.Duration) {
	want := fmt.Sprintf("a time such as 90s or 5m, from %s to %s", span(least), span(longest))
	s.value(name, span(*to), spanForm, want, true, func(v string) bool {
		read, err := time.ParseDuration(v)
		if err != nil || read < least || read > longest {
			return false
		}
		*to = read
		return true
	})
}

// count reads a whole number from least to most.
func (s *section) count(name string, to *int, least, most int) {
	want := fmt.Sprintf("a whole number from %d to %d", least, most)
	f := form{"type": "integer", "minimum": least, "maximum": most}
	s.value(name, strconv.Itoa(*to), f, want, true, func(v string) bool {
		read, err := strconv.Atoi(v)
		if err != nil || read < least || read > most {
			return false
		}
		*to = read
		return true
	})
}

// share reads a part of the whole: more than 0, and at most 1.
func (s *section) share(name string, to *float64) {
	f := form{"type": "number", "exclusiveMinimum": 0, "maximum": 1}
	s.value(name, strconv.FormatFloat(*to, 'g', -1, 64), f, "a share above 0 and up to 1, such as 0.05", true,
		func(v string) bool {
			read, err := strconv.ParseFloat(v, 64)
			if err != nil || !(read > 0 && read <= 1) { // this way round, NaN is refused
				return false
			}
			*to = read
			return true
		})
}

// truth reads true or false.
func (s *section) truth(name string, to *bool) {
	s.value(name, strconv.FormatBool(*to), form{"type": "boolean"}, "true or false", true, func(v string) bool {
		*to = v == "true"
		return v == "true" || v == "false"
	})
}

// every reads the key of that name: a schedule, or never where that is allowed.
func (s *section) every(to *Schedule, mayBeNever bool) {
	const name = "every"
	want := `"@every 30s" or a cron spec such as "0 * * * *"`
	if mayBeNever {
		want += ", or never"
	}
	f := form{"type": "string", "minLength": 1, "description": want}
	s.value(name, to.String(), f, want, true, func(v string) bool {
		if v == never {
			if mayBeNever {
				*to = Schedule{}
			}
			return mayBeNever
		}
		read, err := ParseSchedule(v)
		if err != nil {
			s.problem(s.key(name), "%v: want %s", err, want)
			return true // it has been noted
		}
		*to = Schedule{Spec: v, Schedule: read}
		return true
	})
}

// list gives the elements of a list, each with its path. One whose default is required has to have some. False: the
// list is not there.
func (s *section) list(name, byDefault, want string) (elements []element, there bool) {
	full := s.key(name)
	if s.listen != nil {
		s.listen(full, byDefault, form{"type": "array"})
		return []element{{path: full + "[]"}}, false
	}
	n := s.take(name)
	switch {
	case n == nil && byDefault == required:
		s.problem(full, "missing: want a list of %s", want)
	case n == nil:
	case isNull(n):
		s.problem(full, "there is nothing here: want a list of %s", want)
	case n.Kind != yaml.SequenceNode:
		s.problem(full, "want a list of %s, not %s", want, kindOf(n))
	case len(n.Content) == 0 && byDefault == required:
		s.problem(full, "it is empty: want a list of %s", want)
	}
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil, n != nil
	}
	for i, e := range n.Content {
		path := fmt.Sprintf("%s[%d]", full, i)
		s.lines[path] = e.Line
		elements = append(elements, element{path, resolved(e)})
	}
	return elements, true
}

// few gives the elements of a list that may have so many and no more.
func (s *section) few(name, byDefault, want string, most int) []element {
	elements, _ := s.list(name, byDefault, want)
	if len(elements) > most {
		s.problem(s.key(name), "there are %d: want at most %d", len(elements), most)
		elements = elements[:most]
	}
	return elements
}

// element is one of a list.
type element struct {
	path string
	node *yaml.Node
}

// span writes a duration as one would in the file: 5m, not 5m0s.
func span(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// quote writes a value for a message, shortened if need be.
func quote(v string) string {
	const most = 40
	if utf8.RuneCountInString(v) > most {
		v = string([]rune(v)[:most]) + "…"
	}
	return strconv.Quote(v)
}
