package main

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/cli"
	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/terminal"
)

func newCheckConfigCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check-config FILE...",
		Short: "Report every problem in configuration files, with its line",
		Long: `Report every problem in configuration files, as FILE:LINE: KEY: what is wrong. Files that a configuration names are
opened too, to see that they can be read, and its data_dir must be one that this user can write to or create.
Nothing is contacted or changed. FILE may be - for standard input, which is called stdin where there are problems.

The exit code is 0 if there is no problem, 1 if there is any.`,
		Example: "  unstuck check-config unstuck.yaml\n  unstuck check-config - <unstuck.yaml",
		Args:    cli.AtLeast(1, "at least one file"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return []cobra.Completion{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, files []string) error {
			return checkConfig(cmd.InOrStdin(), cmd.OutOrStdout(), files)
		},
	}
}

// checkConfig reports on each file, whatever is wrong with those before it.
func checkConfig(in io.Reader, out io.Writer, files []string) error {
	bad := false
	for _, file := range files {
		c, err := loadOrRead(in, &file)
		if err != nil {
			bad = true
			fmt.Fprintln(out, err) // one line for each problem
			continue
		}
		fmt.Fprintf(out, "%s: ok: %s\n", file, terminal.Count(len(c.Brokers), "broker"))
		if c.API.CertFile != "" {
			fmt.Fprintf(out, "  the API: by TLS, %s\n", certificateOf(c.API))
		}
		for _, b := range c.Brokers {
			nodes := terminal.Count(len(b.Nodes), "node")
			if b.Pods != nil {
				nodes = podsOf(*b.Pods)
			}
			fmt.Fprintf(out, "  %s: mode %s, %s\n", b.Name, b.Policy.Mode, nodes)
		}
		for _, a := range c.Apps {
			fmt.Fprintf(out, "  %s, an application: mode %s, %s\n", a.Name, a.Policy.Mode, podsOf(a.Pods))
		}
		for _, e := range c.Environments {
			fmt.Fprintf(out, "  %s, an environment: namespace %s, %s\n", e.Name, e.Namespace,
				terminal.Count(len(e.Services), "service"))
		}
	}
	if bad {
		return &cli.ExitError{Code: cli.ExitFailed}
	}
	return nil
}

// loadOrRead loads a file, or what comes on standard input if it is -, and makes its name one for people.
func loadOrRead(in io.Reader, file *string) (*config.Config, error) {
	if *file != "-" {
		return config.Load(*file)
	}
	*file = "stdin"
	return config.LoadFrom(in, *file)
}

// certificateOf says until when the API's certificate holds. One that does not hold now is no error: the daemon serves
// it all the same, for it has more to do than to serve.
func certificateOf(a config.API) string {
	c, err := httpapi.NewCertificate(a.CertFile, a.KeyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		return err.Error()
	}
	now := time.Now()
	switch from, until := c.Validity(); {
	case now.After(until):
		return "with a certificate that ended on " + until.UTC().Format(time.RFC3339) + ": callers refuse it"
	case now.Before(from):
		return "with a certificate that begins on " + from.UTC().Format(time.RFC3339) + ": callers refuse it until then"
	default:
		return "with a certificate until " + until.UTC().Format(time.RFC3339)
	}
}

// podsOf says which pods are looked for. How many there are nobody knows before.
func podsOf(p config.Pods) string {
	return fmt.Sprintf("pods %s in namespace %s", p.Selector, p.Namespace)
}
