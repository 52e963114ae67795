package main

import (
	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/app"
	"github.com/cjworkbench/unstuck/cli"
	"github.com/cjworkbench/unstuck/config"
)

// newRunCommand gives the command that runs the daemon.
func newRunCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `Run the daemon: log in to every node of every broker of the configuration, decide, explain, serve metrics and the API.

Nodes that are pods of Kubernetes can be deleted when they are stuck, where the configuration says so; what must survive
is kept in the cluster then. Nodes that the configuration names by address can only be watched. In the environments of
the configuration it deploys, reverts, restarts and runs tasks for callers of the API who may. The daemon reads the
configuration file anew when it changes, and ends on SIGTERM or Ctrl-C.`,
		Example: "  unstuck run --config unstuck.yaml",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cli.UsageError("want no arguments: the configuration goes with --config FILE")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return cli.UsageError("want --config FILE: see %q", cmd.CommandPath()+" --help")
			}
			c, err := config.Load(path)
			if err != nil {
				return err
			}
			log, level := app.NewLogger(c.Log, cmd.ErrOrStderr())
			a, err := app.New(cmd.Context(), app.Options{Config: c, Log: log, Level: level})
			if err != nil {
				return err
			}
			return a.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&path, "config", "", "the configuration `file`")
	return cmd
}
