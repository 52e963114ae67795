package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestExecuteTakesTheExitCodeFromTheTypeOfTheError(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		code   int
		stderr string
	}{
		"no error":               {nil, 0, ""},
		"any error":              {errors.New("disk full"), 1, "x: disk full\n"},
		"an error with a code":   {&ExitError{Code: 2, Err: errors.New("stuck")}, 2, "x: stuck\n"},
		"a code and nothing new": {&ExitError{Code: 2}, 2, ""},
		"a wrapped code":         {fmt.Errorf("probe: %w", &ExitError{Code: 3, Err: errors.New("gone")}), 3, "x: probe: gone\n"},
	} {
		root := &cobra.Command{Use: "x", SilenceErrors: true, SilenceUsage: true, RunE: func(*cobra.Command, []string) error { return c.err }}
		var out, errs bytes.Buffer
		if code := Execute(context.Background(), root, []string{}, &out, &errs); code != c.code || errs.String() != c.stderr {
			t.Errorf("%s: exit code %d, stderr %q, want %d, %q", name, code, errs.String(), c.code, c.stderr)
		}
	}
}

func TestExecuteCallsAMissingRequiredFlagAUsageError(t *testing.T) {
	root := &cobra.Command{Use: "x", SilenceErrors: true, SilenceUsage: true, RunE: func(*cobra.Command, []string) error { return nil }}
	root.Flags().String("config", "", "")
	if err := root.MarkFlagRequired("config"); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := Execute(t.Context(), root, []string{}, &out, &errs); code != 3 || !strings.Contains(errs.String(), `"config" not set: see "x --help"`) {
		t.Errorf("exit code %d, stderr %q", code, errs.String())
	}
}
