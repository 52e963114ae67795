package main

import (
	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/cli"
	"github.com/cjworkbench/unstuck/probe/login"
	"github.com/cjworkbench/unstuck/version"
)

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "unstuck",
		Short: "Find RabbitMQ nodes that look alive but accept no logins",
		Long: `Unstuck finds RabbitMQ nodes that look alive but accept no logins, proves it, and has them started afresh.

At 3 a.m., begin with "unstuck probe": it needs no configuration, and says whether a node accepts logins.`,
		Example: `  unstuck probe amqp://monitor@10.0.0.7 --password-file /run/secrets/amqp
  unstuck check-config unstuck.yaml && unstuck run --config unstuck.yaml`,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Version: version.Current().String(),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.AddCommand(newRunCommand(), newProbeCommand(login.New), newDiagnoseCommand(), newCheckConfigCommand(),
		newNotifyTestCommand(), newTokenCommand(), newReadyCommand(), newManCommand(), newVersionCommand())
	root.AddCommand(cli.NewCommands()...)
	return root
}
