package main

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
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

// What prints the same for people and for programs is only what has no output of its own.
func TestRootHasJSONFromEveryCommandThatPrints(t *testing.T) {
	for _, cmd := range newRootCommand().Commands() {
		flag := cmd.Flags().ShorthandLookup("o")
		if printsNothing := cmd.Name() == "run" || cmd.Name() == "man" || cmd.Name() == "completion" || cmd.Name() == "help"; printsNothing == (flag != nil) {
			t.Errorf("%s: flag -o is %v", cmd.Name(), flag)
		}
	}
	t.Setenv("UNSTUCK_PASSWORD", "x")
	for _, line := range []string{"version", "token ci", "check-config /does/not/exist", "diagnose " + recordings + "login-wedged.txt", "probe amqp://127.0.0.1:1"} {
		words := strings.Fields(line)
		var first string
		for _, flags := range [][]string{{"-o", "json"}, {"--output=json"}, {"-ojson"}} {
			_, stdout, stderr := try(t, nil, append(slices.Clone(words), flags...)...)
			var object map[string]any
			if err := json.Unmarshal([]byte(stdout), &object); err != nil || len(object) == 0 || stderr != "" {
				t.Errorf("%s %q: %v, stdout %q, stderr %q", line, flags, err, stdout, stderr)
			}
			keys := strings.Join(slices.Sorted(maps.Keys(object)), " ")
			if first = cmp.Or(first, keys); keys != first {
				t.Errorf("%s %q: %s, want %s", line, flags, keys, first)
			}
		}
		if code, stdout, stderr := try(t, nil, append(slices.Clone(words), "-o", "yaml")...); code != 3 || stdout != "" || !strings.Contains(stderr, "flag --output: want a format, text or json") {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", line, code, stdout, stderr)
		}
	}
	_, asBefore, _ := try(t, nil, "version", "--json")
	if _, now, _ := try(t, nil, "version", "-o", "json"); now != asBefore || !strings.HasPrefix(now, "{") {
		t.Errorf("--json gives %q, and -o json %q", asBefore, now)
	}
	for flags, isJSON := range map[string]bool{"--json=false": false, "-o json --json=false": false, "--json -o text": false, "--json=true": true} {
		if _, out, _ := try(t, nil, append([]string{"version"}, strings.Fields(flags)...)...); strings.HasPrefix(out, "{") != isJSON {
			t.Errorf("version %s: %q", flags, out)
		}
	}
}

func TestRootHasTheVersionAsAFlagToo(t *testing.T) {
	_, want, _ := try(t, nil, "version")
	if code, stdout, stderr := try(t, nil, "--version"); code != 0 || stderr != "" || stdout != want || want == "" {
		t.Errorf("exit code %d, stdout %q, stderr %q, want %q", code, stdout, stderr, want)
	}
}
