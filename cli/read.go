package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/httpapi/environments"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/trigger"
)

func (c console) newStatusCommand() *cobra.Command {
	return c.command(&cobra.Command{
		Use:   "status",
		Short: "Show every broker, environment and pause",
		Long: `Show every broker with its nodes, every environment with its services and the commit that each runs, what is paused
and what is under way: as far as the caller may see it.`,
		Example: `  unstuck status
  unstuck status -o json | jq '.targets[].nodes[] | select(.status == "stuck")'`,
		Args: Exactly(0, "no argument"),
	}, nil, func(ctx context.Context, s *session, _ []string) error { return s.status(ctx) })
}

// status asks for the three lists. What this server does not serve at all, environments for example, is left out.
func (s *session) status(ctx context.Context) error {
	targets, rawTargets, err := list[brokers.Targets](ctx, s.client, apiPath("targets"), nil, "targets", 0)
	if err != nil {
		return err
	}
	envs, rawEnvs, err := list[environments.Environments](ctx, s.client, apiPath("environments"), nil, "environments",
		0)
	if err != nil && !missing(err) {
		return err
	}
	pauses, rawPauses, err := list[brokers.PauseList](ctx, s.client, apiPath("pauses"), nil, "pauses", 0)
	if err != nil && !missing(err) {
		return err
	}
	if !s.asJSON {
		s.showStatus(targets, envs, pauses, time.Now())
		return nil
	}
	whole := map[string]json.RawMessage{}
	for _, raw := range []json.RawMessage{rawTargets, rawEnvs, rawPauses} {
		if raw == nil {
			continue
		}
		if err := json.Unmarshal(raw, &whole); err != nil {
			return fmt.Errorf("read the server's answer: %w", err)
		}
	}
	text, err := json.Marshal(whole)
	if err != nil {
		return fmt.Errorf("encode the status: %w", err)
	}
	return s.printJSON(text)
}

func (c console) newExplainCommand() *cobra.Command {
	var now bool
	cmd := c.command(&cobra.Command{
		Use:   "explain TARGET NODE",
		Short: "Say why a node was, or was not, deleted",
		Long: `Say how a node is, what was seen of it, what each guard says, and what would happen next and when. With --now it is
looked at by every probe first.`,
		Example: "  unstuck explain orders mq-1",
		Args:    Exactly(2, "a broker and a node"),
	}, targetsFirst(nodesOf), func(ctx context.Context, s *session, args []string) error {
		path := apiPath("targets", args[0], "nodes", args[1])
		if now {
			if err := s.probeNow(ctx, path, trigger.Probe.At(args[0], args[1])); err != nil {
				return err
			}
		}
		node, raw, err := get[brokers.Node](ctx, s.client, path)
		switch {
		case err != nil:
			return err
		case s.asJSON:
			return s.printJSON(raw)
		}
		s.showNode(node)
		return nil
	})
	cmd.Flags().BoolVar(&now, "now", false, "have it looked at now, and wait for what comes of it")
	return cmd
}

// The bounds of the wait for a look that was asked for: a login may take 12 s.
const (
	lookEvery = time.Second
	lookLimit = 30 * time.Second
)

// probeNow has the node at path looked at, by asking for its probes, and waits until a login has been seen that is
// newer than any before. One that does not come is no error: what is shown says how old it is.
func (s *session) probeNow(ctx context.Context, path, probes string) error {
	before, _, err := get[brokers.Node](ctx, s.client, path)
	if err != nil {
		return err
	}
	if _, _, err := post[brokers.Probed](ctx, s.client, probes, trigger.ProbeBody{}, ""); err != nil {
		return err
	}
	limited, stop := context.WithTimeout(ctx, lookLimit)
	defer stop()
	for seen := latest(before); waitFor(limited, lookEvery); {
		now, _, err := get[brokers.Node](limited, s.client, path)
		if err == nil && latest(now).After(seen) {
			return nil
		}
	}
	if ctx.Err() == nil {
		s.warnf("no new result within %s: this is what was seen before", lookLimit)
	}
	return ctx.Err()
}

// latest is when the newest result of a node began.
func latest(n brokers.Node) (at time.Time) {
	for _, seen := range n.Seen {
		if seen.Result.Started.After(at) {
			at = seen.Result.Started
		}
	}
	return at
}

func (c console) newIncidentsCommand() *cobra.Command {
	var limit int
	cmd := c.command(&cobra.Command{
		Use:   "incidents [ID]",
		Short: "List the incidents, or show one with its evidence",
		Long: "List the incidents, newest first, or show one: what was decided and done, what was seen, and how it went " +
			"on.",
		Example: "  unstuck incidents\n  unstuck incidents 20261123t115958z-mq-1-cljy",
		Args:    between(0, 1, "an incident, or none"),
	}, incidentsFirst, func(ctx context.Context, s *session, args []string) error {
		if limit < 0 {
			return UsageError("want --limit to be 1 or more: %d", limit)
		}
		if len(args) == 0 {
			all, raw, err := list[brokers.Incidents](ctx, s.client, apiPath("incidents"), nil, "incidents", limit)
			switch {
			case err != nil:
				return err
			case s.asJSON:
				return s.printJSON(raw)
			}
			s.showIncidents(all)
			return nil
		}
		one, raw, err := get[store.Incident](ctx, s.client, apiPath("incidents", args[0]))
		switch {
		case err != nil:
			return err
		case s.asJSON:
			return s.printJSON(raw)
		}
		s.showIncident(one)
		return nil
	})
	cmd.Flags().IntVar(&limit, "limit", 0, "list at most so `many`, the newest (default: all)")
	return cmd
}

// operationFlags are those of `unstuck operations`.
type operationFlags struct {
	environment    string
	limit          int
	follow, cancel bool
	why            reasons
}

func (c console) newOperationsCommand() *cobra.Command {
	var f operationFlags
	cmd := c.command(&cobra.Command{
		Use:   "operations [ID]",
		Short: "List the operations, or show, follow or cancel one",
		Long: `List the operations, newest first; or show one, with its steps; with --follow, watch it until it is over, as the
command that began it does; with --cancel, ask it to stop. It is over when nothing is left half done.`,
		Example: `  unstuck operations --environment production
  unstuck operations deploy-20261123t114000-k3x9q2ab --follow
  unstuck operations deploy-20261123t114000-k3x9q2ab --cancel --reason "wrong commit"`,
		Args: between(0, 1, "an operation, or none"),
	}, operationsFirst, func(ctx context.Context, s *session, args []string) error {
		switch {
		case f.limit < 0:
			return UsageError("want --limit to be 1 or more: %d", f.limit)
		case len(args) == 0 && (f.follow || f.cancel):
			return UsageError("want the operation's ID with --follow and --cancel: %s operations lists them", s.program)
		case len(args) == 0:
			return s.operations(ctx, f)
		case f.cancel:
			return s.cancel(ctx, args[0], &f)
		}
		return s.operation(ctx, args[0], f.follow)
	})
	flags := cmd.Flags()
	flags.StringVar(&f.environment, "environment", "", "list only those of this `environment`")
	flags.IntVar(&f.limit, "limit", 0, "list at most so `many`, the newest (default: all)")
	flags.BoolVarP(&f.follow, "follow", "f", false, "watch it until it is over")
	flags.BoolVar(&f.cancel, "cancel", false, "ask it to stop; with --follow, watch it do so")
	flags.StringVar(&f.why.reason, "reason", "", "`text` that says why it is cancelled; asked for on a terminal")
	_ = cmd.RegisterFlagCompletionFunc("reason", cobra.NoFileCompletions)
	return cmd
}

func (s *session) operations(ctx context.Context, f operationFlags) error {
	query := make(url.Values)
	if f.environment != "" {
		query.Set("environment", f.environment)
	}
	all, raw, err := list[environments.OperationLines](ctx, s.client, apiPath("operations"), query, "operations", f.limit)
	switch {
	case err != nil:
		return err
	case s.asJSON:
		return s.printJSON(raw)
	}
	s.showOperations(all)
	return nil
}

func (s *session) operation(ctx context.Context, id string, follow bool) error {
	op, raw, err := get[plan.Operation](ctx, s.client, apiPath("operations", id))
	switch {
	case err != nil:
		return err
	case follow:
		_, err = s.watch(ctx, op)
		return err
	case s.asJSON:
		return s.printJSON(raw)
	}
	s.showOperation(op, true)
	return nil
}

func (s *session) cancel(ctx context.Context, id string, f *operationFlags) error {
	if err := f.why.complete(ctx, s.console, true, false); err != nil {
		return err
	}
	body := trigger.CancelBody{Reason: f.why.reason}
	op, raw, err := post[plan.Operation](ctx, s.client, trigger.Cancel.At(id), body, "")
	switch {
	case err != nil:
		return err
	case f.follow:
		_, err = s.watch(ctx, op)
		return err
	case s.asJSON:
		return s.printJSON(raw)
	}
	s.printf("%s is asked to stop: %s operations %s --follow shows when it has", op.Request.String(), s.program, op.ID)
	return nil
}
