package cli

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/httpapi/environments"
	"github.com/cjworkbench/unstuck/terminal"
)

// completer gives the words that the next argument can be, each with what it is after a tab, after those in args.
type completer func(ctx context.Context, c *client, args []string) []cobra.Completion

// completionLimit is how long somebody waits for completions: without an answer there are none.
const completionLimit = 2 * time.Second

// completing makes a completer one of cobra's. It is silent: a shell would show what is said amid the line that is
// being typed.
func (c console) completing(server *serverFlags, names completer) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if names == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		client, err := server.connect(cmd.Context(), c, nil, io.Discard)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer client.close()
		client.backoff = nil
		ctx, stop := context.WithTimeout(cmd.Context(), completionLimit)
		defer stop()
		var fitting []cobra.Completion
		for _, name := range names(ctx, client, args) {
			if strings.HasPrefix(name, begun) {
				fitting = append(fitting, name)
			}
		}
		return fitting, cobra.ShellCompDirectiveNoFileComp
	}
}

// described is a completion. What a server says goes to a shell: nothing but a plain word is offered.
func described(name, what string) []cobra.Completion {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune("'\"\\$`;&|<>()*?[]{}!#", r)
	}) {
		return nil
	}
	return []cobra.Completion{cobra.CompletionWithDesc(name, terminal.Printable(what))}
}

// environmentsFirst completes an environment, and then what next says is in it.
func environmentsFirst(next func(environments.Environment) []cobra.Completion) completer {
	return func(ctx context.Context, c *client, args []string) (names []cobra.Completion) {
		switch {
		case len(args) == 0:
			list, _, err := get[environments.Environments](ctx, c, apiPath("environments"))
			if err != nil {
				return nil
			}
			for _, e := range list.Environments {
				names = append(names, described(e.Environment, short(e.Commit))...)
			}
		case len(args) == 1 && next != nil:
			e, _, err := get[environments.Environment](ctx, c, apiPath("environments", args[0]))
			if err != nil {
				return nil
			}
			return next(e)
		}
		return names
	}
}

func servicesOf(e environments.Environment) (names []cobra.Completion) {
	for _, s := range e.Services {
		names = append(names, described(s.Service, s.Kind.String())...)
	}
	return names
}

func tasksOf(e environments.Environment) (names []cobra.Completion) {
	for _, t := range e.Tasks {
		names = append(names, described(t.Task, t.Warning)...)
	}
	return names
}

// targetsFirst completes a broker, and then what next says is in it.
func targetsFirst(next func(brokers.Target) []cobra.Completion) completer {
	return func(ctx context.Context, c *client, args []string) (names []cobra.Completion) {
		switch {
		case len(args) == 0:
			list, _, err := get[brokers.Targets](ctx, c, apiPath("targets"))
			if err != nil {
				return nil
			}
			for _, b := range list.Targets {
				names = append(names, described(b.Target, terminal.Count(len(b.Nodes), "node"))...)
			}
		case len(args) == 1 && next != nil:
			b, _, err := get[brokers.Target](ctx, c, apiPath("targets", args[0]))
			if err != nil {
				return nil
			}
			return next(b)
		}
		return names
	}
}

func nodesOf(b brokers.Target) (names []cobra.Completion) {
	for _, n := range b.Nodes {
		names = append(names, described(n.Node, n.Status.String())...)
	}
	return names
}

// incidentsFirst completes an incident.
func incidentsFirst(ctx context.Context, c *client, args []string) (names []cobra.Completion) {
	list, _, err := get[brokers.Incidents](ctx, c, apiPath("incidents"))
	if err != nil || len(args) > 0 {
		return nil
	}
	for _, one := range list.Incidents {
		names = append(names, described(one.ID, one.Reason)...)
	}
	return names
}

// operationsFirst completes an operation.
func operationsFirst(ctx context.Context, c *client, args []string) (names []cobra.Completion) {
	list, _, err := get[environments.OperationLines](ctx, c, apiPath("operations"))
	if err != nil || len(args) > 0 {
		return nil
	}
	for _, one := range list.Operations {
		names = append(names, described(one.ID, one.What)...)
	}
	return names
}
