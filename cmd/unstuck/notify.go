package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/cli"
	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/notify"
	"github.com/cjworkbench/unstuck/version"
)

func newNotifyTestCommand() *cobra.Command {
	var path string
	var output *cli.Output
	cmd := &cobra.Command{
		Use:   "notify-test RECEIVER",
		Short: "Send a test message to a receiver of notifications",
		Long: `Send a receiver of the configuration two events of an incident that never was, as the daemon would: that it was opened,
and that it is closed. They say that they are a test. Nothing is written down, and nothing is tried twice.

The exit code is 0 if the receiver took both, 1 if it did not or the configuration is at fault.`,
		Example: "  unstuck notify-test chat --config unstuck.yaml",
		Args:    cli.Exactly(1, "the name of a receiver"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if path == "" {
				return cli.UsageError("want --config FILE: see %q", cmd.CommandPath()+" --help")
			}
			c, err := config.Load(path)
			if err != nil {
				return err
			}
			r, err := c.Receiver(args[0])
			if err != nil {
				return err
			}
			return tryReceiver(cmd.Context(), cmd.OutOrStdout(), output.JSON(), r)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVar(&path, "config", "", "the configuration `file`")
	output = cli.AddOutput(cmd)
	return cmd
}

// tried is what came of a test, for -o json.
type tried struct {
	Receiver string       `json:"receiver"`
	Type     notify.Shape `json:"type"`
	Took     bool         `json:"took"`
	Error    string       `json:"error,omitempty"` // never with a secret
}

// tryReceiver sends the test and says what came of it.
func tryReceiver(ctx context.Context, out io.Writer, asJSON bool, r notify.Receiver) error {
	err := notify.Try(ctx, r, "unstuck/"+version.Current().Version, notify.TrialEvents(time.Now()))
	if asJSON {
		t := tried{Receiver: r.Name, Type: r.Type, Took: err == nil}
		if err != nil {
			t.Error = err.Error()
		}
		if wrong := json.NewEncoder(out).Encode(t); wrong != nil {
			return wrong
		}
		if err != nil {
			return &cli.ExitError{Code: cli.ExitFailed}
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("receiver %s did not take the test: %w", r.Name, err)
	}
	_, err = fmt.Fprintf(out, "receiver %s (%s) took the test\n", r.Name, r.Type)
	return err
}
