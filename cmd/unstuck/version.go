package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/cli"
	"github.com/cjworkbench/unstuck/version"
)

func newVersionCommand() *cobra.Command {
	var output *cli.Output
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version, the commit and the Go version",
		Long:    "Print the version, the commit that it was built from, the Go version and the platform.",
		Example: "  unstuck version -o json | jq -r .commit",
		Args:    cli.Exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output.JSON() {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(version.Current())
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version.Current())
			return err
		},
	}
	output = cli.AddOutput(cmd)
	output.AddJSON(cmd)
	return cmd
}
