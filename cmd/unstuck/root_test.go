package main

import (
	"strings"
	"testing"
)

func TestRootShowsTheHelpWithoutACommand(t *testing.T) {
	code, stdout, stderr := try(t, nil)
	if code != 0 || stderr != "" || !strings.Contains(stdout, "Available Commands:") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestRootHasHelpWithAnExampleForEveryCommand(t *testing.T) {
	for _, cmd := range newRootCommand().Commands() {
		if cmd.Short == "" || cmd.Example == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: short help %q, example %q", cmd.Name(), cmd.Short, cmd.Example)
		}
		for line := range strings.Lines(cmd.Long) {
			if n := len(line); n > 121 {
				t.Errorf("%s: a line of %d characters in its help: %s", cmd.Name(), n, line)
			}
		}
	}
}

func TestRootHasTheVersionAsAFlagToo(t *testing.T) {
	_, want, _ := try(t, nil, "version")
	if code, stdout, stderr := try(t, nil, "--version"); code != 0 || stderr != "" || stdout != want || want == "" {
		t.Errorf("exit code %d, stdout %q, stderr %q, want %q", code, stdout, stderr, want)
	}
}
