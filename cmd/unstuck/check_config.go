package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/cli"
	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/notify"
	"github.com/cjworkbench/unstuck/terminal"
)

func newCheckConfigCommand() *cobra.Command {
	var output *cli.Output
	cmd := &cobra.Command{
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
			return checkConfig(cmd.InOrStdin(), cmd.OutOrStdout(), output.JSON(), files)
		},
	}
	output = cli.AddOutput(cmd)
	return cmd
}

// checked is what is said of one configuration file, and of -o json an object in a line.
type checked struct {
	File     string    `json:"file"`
	Valid    bool      `json:"valid"`
	Problems []problem `json:"problems"`
	Summary  []string  `json:"summary"` // of a file that is valid
}

// problem is one of a file's. Line is 0, and Key is empty, if it is of the whole file.
type problem struct {
	Line int    `json:"line"`
	Key  string `json:"key"`
	Text string `json:"text"`
}

// checkConfig reports on each file, whatever is wrong with those before it.
func checkConfig(in io.Reader, out io.Writer, asJSON bool, files []string) error {
	bad := false
	for _, file := range files {
		c, err := loadOrRead(in, &file)
		bad = bad || err != nil
		switch {
		case asJSON:
			if err := json.NewEncoder(out).Encode(checkedOf(file, c, err)); err != nil {
				return err
			}
		case err != nil:
			fmt.Fprintln(out, err) // one line for each problem
		default:
			fmt.Fprintf(out, "%s: ok: %s\n", file, strings.Join(summaryOf(c), "\n  "))
		}
	}
	if bad {
		return &cli.ExitError{Code: cli.ExitFailed}
	}
	return nil
}

// checkedOf puts what was found into one object.
func checkedOf(file string, c *config.Config, err error) checked {
	found := checked{File: file, Valid: err == nil, Problems: []problem{}, Summary: []string{}}
	all, listed := errors.AsType[*config.Error](err)
	switch {
	case err == nil:
		found.Summary = summaryOf(c)
	case listed:
		for _, p := range all.Problems {
			found.Problems = append(found.Problems, problem{p.Line, p.Key, p.Text})
		}
	default:
		found.Problems = append(found.Problems, problem{Text: err.Error()})
	}
	return found
}

// summaryOf says what a configuration has, line by line.
func summaryOf(c *config.Config) []string {
	lines := []string{terminal.Count(len(c.Brokers), "broker")}
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if c.API.CertFile != "" {
		add("the API: by TLS, %s", certificateOf(c.API))
	}
	for _, b := range c.Brokers {
		nodes := terminal.Count(len(b.Nodes), "node")
		if b.Pods != nil {
			nodes = podsOf(*b.Pods)
		}
		add("%s: mode %s, %s", b.Name, b.Policy.Mode, nodes)
	}
	if d := c.Discovery; d != nil {
		where := "all namespaces"
		if !d.AllNamespaces {
			where = "namespaces " + strings.Join(d.Namespaces, ", ")
		}
		add("brokers are found in %s: mode %s, by an annotation up to %s", where, d.Broker.Policy.Mode, d.MaxMode)
	}
	for _, a := range c.Apps {
		add("%s, an application: mode %s, %s", a.Name, a.Policy.Mode, podsOf(a.Pods))
	}
	for _, r := range c.Notify {
		add("%s, a receiver of notifications: type %s, events %s", r.Name, r.Type, eventsOf(r))
	}
	for _, e := range c.Environments {
		add("%s, an environment: namespace %s, %s", e.Name, e.Namespace, terminal.Count(len(e.Services), "service"))
	}
	return lines
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

// eventsOf lists the events that a receiver is told of.
func eventsOf(r notify.Receiver) string {
	var all []string
	for _, k := range r.Events {
		all = append(all, string(k))
	}
	return strings.Join(all, ", ")
}
