package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/cjworkbench/unstuck/cli"
	"github.com/cjworkbench/unstuck/terminal"
	"github.com/cjworkbench/unstuck/version"
)

// epochVariable has the seconds since 1970 that a build that can be repeated takes for now
// (https://reproducible-builds.org/specs/source-date-epoch/).
const epochVariable = "SOURCE_DATE_EPOCH"

func newManCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIRECTORY",
		Short: "Write the manual pages of all commands",
		Long: `Write a manual page for each command into a directory, which is created: unstuck.1, unstuck-probe.1 and so on.

The pages are dated today, or SOURCE_DATE_EPOCH.`,
		Example: "  unstuck man /usr/local/share/man/man1 && man unstuck-probe",
		Hidden:  true, // who packages it needs it, and nobody at 3 a.m.
		Args:    cli.Exactly(1, "a directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			today, err := epoch(os.Getenv(epochVariable))
			if err != nil {
				return err
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("write the manual to %s: %w", terminal.Printable(args[0]), causeOf(err))
			}
			header := &doc.GenManHeader{
				Section: "1", Manual: "Unstuck", Source: "unstuck " + version.Current().Version, Date: &today,
			}
			if err := doc.GenManTree(cmd.Root(), header, args[0]); err != nil {
				return fmt.Errorf("write the manual to %s: %w", terminal.Printable(args[0]), causeOf(err))
			}
			return nil
		},
	}
}

// epoch gives the time that SOURCE_DATE_EPOCH says; now, if it says none.
func epoch(text string) (time.Time, error) {
	if text == "" {
		return time.Now().UTC(), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, fmt.Errorf("%s is %q: want seconds since 1970", epochVariable, text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
