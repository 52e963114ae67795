package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Line int    // from 1
	Key  string // its path, brokers[0].probes.login.timeout, say; empty: the whole file
	Text string // what is wrong, and what was expected; never a secret
}

func (p Problem) String() string {
	if p.Key == "" {
		return fmt.Sprintf("%d: %s", p.Line, p.Text)
	}
	return fmt.Sprintf("%d: %s: %s", p.Line, p.Key, p.Text)
}

// Error is all that is wrong with a configuration.
type Error struct {
	File     string    // empty: it was no file
	Problems []Problem // by line, at least one
}

// Error gives one line for each problem, "file:line: key: text", as compilers do.
func (e *Error) Error() string { return strings.Join(e.lines(), "\n") }

func (e *Error) lines() []string {
	prefix := "line "
	if e.File != "" {
		prefix = e.File + ":"
	}
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = prefix + p.String()
	}
	return lines
}

// decoder walks through one document, and notes every problem instead of stopping at the first.
type decoder struct {
	problems []Problem
	lines    map[string]int // of every key that is there, by its path

	// listen is told of every key that is asked for, of its default and of its form; nil: nobody listens. With it the
	// tests find out which keys there are, for the documentation and for the chart's schema. An empty document will
	// do: then every list has one element.
	listen func(key, byDefault string, f form)
}

func newDecoder() *decoder { return &decoder{lines: make(map[string]int)} }

// err gives what was noted as an *Error, or nil.
func (d *decoder) err(file string) error {
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return &Error{File: file, Problems: d.problems}
}

// problem notes one, at the line of the key.
func (d *decoder) problem(key, format string, args ...any) {
	d.problems = append(d.problems, Problem{Line: d.line(key), Key: key, Text: fmt.Sprintf(format, args...)})
}

// wrong says whether something has been noted against the key.
func (d *decoder) wrong(key string) bool {
	return slices.ContainsFunc(d.problems, func(p Problem) bool { return p.Key == key })
}

var brokerPrefix = regexp.MustCompile(`^brokers\[\d+\]\.`)

// line finds the line of a key: its own, else that of the default that holds instead of it, else that of the section
// in which it is missing.
func (d *decoder) line(key string) int {
	if line, ok := d.lines[key]; ok {
		return line
	}
	if line, ok := d.lines[brokerPrefix.ReplaceAllString(key, "defaults.")]; ok {
		return line
	}
	if line, ok := d.lines[discoveryPrefix.ReplaceAllString(key, "defaults.")]; ok {
		return line
	}
	if i := strings.LastIndexAny(key, ".["); i > 0 {
		return d.line(key[:i])
	}
	return 1
}

// document gives the mapping that is the one document in data, nil if there is none. False: it is something else, and
// there is no more to say.
func (d *decoder) document(data []byte) (*yaml.Node, bool) {
	var doc, second yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	err := dec.Decode(&doc)
	if err == nil {
		if err = dec.Decode(&second); err == nil {
			p := Problem{Line: max(1, second.Line), Text: "a second document begins here: want a single one"}
			d.problems = append(d.problems, p)
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		d.problems = append(d.problems, Problem{Line: brokenLine(data), Text: "not YAML: " + withoutLine(err)})
		return nil, false
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return nil, true
	}
	root := doc.Content[0]
	if line := tooMuch(root); line > 0 {
		d.problems = append(d.problems, Problem{Line: line, Text: wantLess})
		return nil, false
	}
	if root.Kind != yaml.MappingNode {
		d.problems = append(d.problems, Problem{Line: root.Line, Text: "want keys and values, not " + kindOf(root)})
		return nil, false
	}
	return root, true
}

// brokenLine finds the line at which data ceases to be YAML. The library names the line on which the part began that
// is broken, and often the one before; so this looks for the first line with which it says what it says of the whole.
func brokenLine(data []byte) int {
	whole := withoutLine(syntax(data))
	lines := bytes.SplitAfter(data, []byte("\n"))
	n := sort.Search(len(lines)-1, func(i int) bool {
		return withoutLine(syntax(bytes.Join(lines[:i+1], nil))) == whole
	})
	return n + 1
}

// syntax gives what the library says against data as YAML.
func syntax(data []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		if err := dec.Decode(&n); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

var yamlLine = regexp.MustCompile(`^yaml: (line \d+: )?`)

func withoutLine(err error) string {
	if err == nil {
		return ""
	}
	return yamlLine.ReplaceAllString(err.Error(), "")
}

// section is one mapping of the document. What is taken from it is known; what is left over in the end is not.
type section struct {
	*decoder
	path   string
	values map[string]*yaml.Node
	asked  []string // the keys that may be there
}

// section reads n as a mapping. Nil or null is an empty one.
func (d *decoder) section(path string, n *yaml.Node) *section {
	s := &section{decoder: d, path: path, values: make(map[string]*yaml.Node)}
	if n = resolved(n); isNull(n) {
		return s
	}
	if n.Kind != yaml.MappingNode {
		d.problem(path, "want keys and values, not %s", kindOf(n))
		return s
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			d.problems = append(d.problems, Problem{Line: key.Line, Key: path, Text: "want plain keys, not " + kindOf(key)})
			continue
		}
		full := s.key(key.Value)
		if _, twice := s.values[key.Value]; twice {
			text := fmt.Sprintf("here for the second time, first on line %d", d.lines[full])
			d.problems = append(d.problems, Problem{Line: key.Line, Key: full, Text: text})
			continue
		}
		d.lines[full] = key.Line
		s.values[key.Value] = resolved(value)
	}
	return s
}

// key gives the path of a key in s.
func (s *section) key(name string) string {
	if s.path == "" {
		return name
	}
	return s.path + "." + name
}

// take gives the value of a key and makes the key known. Nil: it is not there.
func (s *section) take(name string) *yaml.Node {
	s.asked = append(s.asked, name)
	n := s.values[name]
	delete(s.values, name)
	return n
}

// end notes every key that was not taken.
func (s *section) end() {
	for _, name := range slices.Sorted(maps.Keys(s.values)) {
		switch name {
		case "password":
			s.problem(s.key(name),
				"no password stands in this file: write it to a file of its own, and name that with password_file")
		case "<<":
			s.problem(s.key(name), "merge keys are not read: what several brokers share belongs in the section defaults")
		default:
			s.problem(s.key(name), "unknown key: want one of %s", strings.Join(s.asked, ", "))
		}
	}
}

// resolved follows an alias to what it stands for.
func resolved(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	return n == nil || (n.Kind == yaml.ScalarNode && n.Tag == "!!null")
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		return "a single value"
	case yaml.DocumentNode, yaml.AliasNode:
	}
	return "that"
}
