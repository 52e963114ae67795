package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestTheExitCodeFollowsFromTheTypeOfTheError(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		code   int
		stderr string
	}{
		"no error":               {nil, 0, ""},
		"any error":              {errors.New("disk full"), 1, "unstuck: disk full\n"},
		"an error with a code":   {&exitError{2, errors.New("stuck")}, 2, "unstuck: stuck\n"},
		"a code and nothing new": {&exitError{code: 2}, 2, ""},
		"a wrapped code":         {fmt.Errorf("probe: %w", &exitError{3, errors.New("gone")}), 3, "unstuck: probe: gone\n"},
	} {
		root := &cobra.Command{Use: "x", SilenceErrors: true, SilenceUsage: true, RunE: func(*cobra.Command, []string) error { return c.err }}
		var out, errs bytes.Buffer
		if code := execute(context.Background(), root, []string{}, &out, &errs); code != c.code || errs.String() != c.stderr {
			t.Errorf("%s: exit code %d, stderr %q, want %d, %q", name, code, errs.String(), c.code, c.stderr)
		}
	}
}

func TestARequiredFlagThatIsMissingIsAUsageError(t *testing.T) {
	root := &cobra.Command{Use: "x", SilenceErrors: true, SilenceUsage: true, RunE: func(*cobra.Command, []string) error { return nil }}
	root.Flags().String("config", "", "")
	if err := root.MarkFlagRequired("config"); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := execute(t.Context(), root, []string{}, &out, &errs); code != 3 || !strings.Contains(errs.String(), `"config" not set: see "x --help"`) {
		t.Errorf("exit code %d, stderr %q", code, errs.String())
	}
}

func TestWithoutACommandTheHelpIsShown(t *testing.T) {
	code, stdout, stderr := try(t, nil)
	if code != 0 || stderr != "" || !strings.Contains(stdout, "Available Commands:") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
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

func TestTheVersionIsAFlagToo(t *testing.T) {
	_, want, _ := try(t, nil, "version")
	if code, stdout, stderr := try(t, nil, "--version"); code != 0 || stderr != "" || stdout != want || want == "" {
		t.Errorf("exit code %d, stdout %q, stderr %q, want %q", code, stdout, stderr, want)
	}
}
