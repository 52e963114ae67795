package config

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cjworkbench/unstuck/probe"
)

func TestParseRefusesAliasesThatStandForTooMuchOnTheirLine(t *testing.T) {
	many := func(alias string) string { return "[" + strings.Repeat(alias+",", 1000) + "]" }
	for name, tc := range map[string]struct {
		text string
		line int
	}{
		"lists of lists":           {"a: &a " + many("x") + "\nb: &b " + many("*a") + "\nc: " + many("*b") + "\n", 2},
		"a billion laughs":         {"a: &a " + many("x") + "\nb: &b [*a, *a]\nc: &c " + many("*b") + "\nd: " + many("*c"), 3},
		"itself":                   {"# itself\na: &a [1, *a]\n", 2},
		"itself by way of another": {"a: &a\n  b: &b\n    c: *a\n  d: *b\n", 3},
		"nodes":                    {"a: &n {name: n}\nb: &l " + many("*n") + "\nbrokers:\n" + strings.Repeat("- {nodes: *l}\n", 400), 69},
	} {
		_, err := Parse([]byte(tc.text))
		if want := fmt.Sprintf("line %d: %s", tc.line, wantLess); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", name, err, want)
		}
	}
}

func TestLoadTakesAsManyNodesAsWeCanWatch(t *testing.T) {
	nodes := make([]string, 10_000)
	for i := range nodes {
		nodes[i] = fmt.Sprintf("{name: rabbit-%d, address: 'rabbit-%d.rabbit.svc.cluster.local:5672'}", i, i)
	}
	file := filepath.Join(t.TempDir(), "unstuck.yaml")
	write(t, filepath.Join(filepath.Dir(file), "password"), "hunter2")
	write(t, file, "brokers: [{name: a, username: u, password_file: password, nodes: ["+strings.Join(nodes, ",\n")+"]}]\n")
	if c := loaded(t, file); len(c.Brokers[0].Nodes) != len(nodes) {
		t.Errorf("got %d nodes", len(c.Brokers[0].Nodes))
	}
}

func TestParseBoundsTheBrokers(t *testing.T) {
	one := "brokers:\n- &b {name: a, username: u, password_file: p, nodes: [{name: n, address: 'h:1'}]}\n"
	_, err := Parse([]byte(one + strings.Repeat("- *b\n", maxBrokers)))
	if want := "line 1: brokers: there are 501: want at most 500\n"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %.200v", err)
	}
	if lines := strings.Count(err.Error(), "\n"); lines > 2*maxBrokers {
		t.Errorf("%d lines of problems", lines)
	}
}

func TestLoadTakesOnlyARegularFileOfModestSize(t *testing.T) {
	dir := t.TempDir()
	large, pipe := filepath.Join(dir, "large.yaml"), filepath.Join(dir, "pipe.yaml")
	write(t, large, strings.Repeat("#", probe.MaxFile+1))
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		large: "read " + large + ": it has more than 1048576 bytes",
		pipe:  "read " + pipe + ": it is a pipe, not a regular file",
	} {
		if _, err := Load(file); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
