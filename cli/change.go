package cli

import (
	"context"
	"crypto/rand"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/terminal"
	"github.com/cjworkbench/unstuck/trigger"
)

// changeFlags are what every operation takes.
type changeFlags struct {
	reasons

	yes, dryRun, noWait bool
	onFailure, key      string
}

// add defines the flags. Not every operation puts images back.
func (f *changeFlags) add(cmd *cobra.Command, rollsBack bool) {
	flags := cmd.Flags()
	flags.StringVar(&f.reason, "reason", "", "`text` that says why, for the record; asked for on a terminal")
	flags.StringVar(&f.bugReport, "bug-report", "", "`address` of the bug report, if there is one")
	flags.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&f.dryRun, "dry-run", false, "show the plan, and change nothing")
	flags.BoolVar(&f.noWait, "no-wait", false, "do not watch how it goes: show the operation that was begun, and end")
	flags.StringVar(&f.key, "key", "",
		"idempotency `key`: the same request with the same key is the same operation (default: a new one)")
	if rollsBack {
		flags.StringVar(&f.onFailure, "on-failure", "",
			"`what` to do with the images if it fails: leave or rollback (default: as the environment says)")
		_ = cmd.RegisterFlagCompletionFunc("on-failure",
			cobra.FixedCompletions([]cobra.Completion{string(plan.Leave), string(plan.Rollback)},
				cobra.ShellCompDirectiveNoFileComp))
	}
	for _, name := range []string{"reason", "bug-report", "key"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
}

// operate has an operation begun and watches it: the plan is shown and somebody says yes, unless --yes was given. The
// body is for a dry run, or else for what the plan of that one says.
func (s *session) operate(ctx context.Context, path string, f *changeFlags,
	body func(dryRun bool, p plan.Plan) any,
) error {
	var shown plan.Plan
	if f.dryRun || !f.yes {
		var err error
		if shown, err = s.plan(ctx, path, f, body); err != nil || f.dryRun {
			return err
		}
	}
	given := f.key != ""
	if !given {
		f.key = "unstuck-" + rand.Text()
	}
	op, raw, err := post[plan.Operation](ctx, s.client, path, body(false, shown), f.key)
	if err != nil {
		if uncertain(err) {
			s.warnf("it is not known whether it was begun: the same again with --key %s does nothing twice, and %s "+
				"operations shows what there is", f.key, s.program)
		}
		return err
	}
	if shown.Commit != "" && op.Commit != shown.Commit {
		s.warnf("warning: the commit is %s by now, and not the %s of the plan", op.Commit, shown.Commit)
	}
	switch {
	case f.noWait && s.asJSON:
		err = s.printJSON(raw)
	case f.noWait:
		if op.Warning != "" {
			s.warnf("warning: %s", op.Warning)
		}
		s.printf("%s", op.ID)
	default:
		op, err = s.watch(ctx, op)
	}
	// As a deploy of an image that was not there yet: who has it done again means another operation.
	if given && op.Phase.Over() && op.Phase != plan.Succeeded {
		s.warnf("with --key %s it is this operation each time, which is over: to try again, give another key", f.key)
	}
	return err
}

// plan shows the plan, and asks whether it is meant unless it is all that is wanted.
func (s *session) plan(ctx context.Context, path string, f *changeFlags,
	body func(dryRun bool, p plan.Plan) any,
) (plan.Plan, error) {
	p, raw, err := post[plan.Plan](ctx, s.client, path, body(true, plan.Plan{}), "")
	switch {
	case err != nil:
		return p, err
	case f.dryRun && s.asJSON:
		return p, s.printJSON(raw)
	case f.dryRun:
		s.showPlan(s.out, p)
		return p, nil
	}
	s.showPlan(s.errOut, p)
	return p, s.approve(ctx, "Go ahead?")
}

// operation makes a command that begins an operation.
func (c console) operation(cmd *cobra.Command, rollsBack bool, names completer,
	begin func(ctx context.Context, s *session, f *changeFlags, args []string) error,
) *cobra.Command {
	f := &changeFlags{}
	f.add(cmd, rollsBack)
	return c.command(cmd, names, func(ctx context.Context, s *session, args []string) error {
		// Of a restart it is asked whether somebody has written down what is wrong: the next one must not be needed.
		if err := f.complete(ctx, s.console, !f.yes, cmd.Name() == "restart"); err != nil {
			return err
		}
		switch plan.OnFailure(f.onFailure) {
		case "", plan.Leave, plan.Rollback:
			return begin(ctx, s, f, args)
		}
		return UsageError("flag --on-failure: want %s or %s", plan.Leave, plan.Rollback)
	})
}

func (c console) newDeployCommand() *cobra.Command {
	return c.operation(&cobra.Command{
		Use:   "deploy ENVIRONMENT COMMIT",
		Short: trigger.Deploy.Summary(),
		Long: `Deploy a commit: see that its images are published, run the jobs, roll the services, and wait until they run.

The plan is shown first, and somebody must say yes, unless --yes is given.`,
		Example: `  unstuck deploy staging 9b8a7c6d5e4f30211203f4e5d6c7b8a99a8b7c6d --reason "nightly"`,
		Args:    Exactly(2, "an environment and a commit"),
	}, true, environmentsFirst(nil), func(ctx context.Context, s *session, f *changeFlags, args []string) error {
		return s.operate(ctx, trigger.Deploy.At(args[0]), f, func(dryRun bool, _ plan.Plan) any {
			return trigger.DeployBody{
				Commit: args[1], Reason: f.reason, BugReport: f.bugReport, OnFailure: plan.OnFailure(f.onFailure), DryRun: dryRun,
			}
		})
	})
}

func (c console) newPromoteCommand() *cobra.Command {
	var accept bool
	cmd := c.operation(&cobra.Command{
		Use:   "promote ENVIRONMENT",
		Short: trigger.Promote.Summary(),
		Long: `Deploy the commit that the environment's source runs: production from staging, for instance. It is refused unless
the source runs one commit, has fully rolled it out, and is healthy; and if it runs another by the time you have said
yes to the plan. It is refused as well where that goes back across a migration, unless --accept-migration-risk is
given.`,
		Example: `  unstuck promote production --reason "release of the week"`,
		Args:    Exactly(1, "an environment"),
	}, true, environmentsFirst(nil), func(ctx context.Context, s *session, f *changeFlags, args []string) error {
		return s.operate(ctx, trigger.Promote.At(args[0]), f, func(dryRun bool, p plan.Plan) any {
			return trigger.PromotionBody{
				ExpectCommit: p.Commit, AcceptMigrationRisk: accept, Reason: f.reason, BugReport: f.bugReport,
				OnFailure: plan.OnFailure(f.onFailure), DryRun: dryRun,
			}
		})
	})
	addAccept(cmd, &accept)
	return cmd
}

func addAccept(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "accept-migration-risk", false, "go back across a migration all the same")
}

func (c console) newRevertCommand() *cobra.Command {
	var accept bool
	cmd := c.operation(&cobra.Command{
		Use:   "revert ENVIRONMENT [COMMIT]",
		Short: trigger.Revert.Summary(),
		Long: `Go back to an earlier commit: without one, to the previous that was good. It is refused across a deploy that
migrated a database, or may have, unless --accept-migration-risk is given: the older code would meet the newer schema.`,
		Example: `  unstuck revert production --reason "login broken since the release"`,
		Args:    between(1, 2, "an environment, and a commit or none"),
	}, true, environmentsFirst(nil), func(ctx context.Context, s *session, f *changeFlags, args []string) error {
		return s.operate(ctx, trigger.Revert.At(args[0]), f, func(dryRun bool, p plan.Plan) any {
			body := trigger.RevertBody{
				Commit: p.Commit, AcceptMigrationRisk: accept, Reason: f.reason, BugReport: f.bugReport,
				OnFailure: plan.OnFailure(f.onFailure), DryRun: dryRun,
			}
			if len(args) > 1 {
				body.Commit = args[1]
			}
			return body
		})
	})
	addAccept(cmd, &accept)
	return cmd
}

func (c console) newRestartCommand() *cobra.Command {
	var secret string
	cmd := c.operation(&cobra.Command{
		Use:   "restart ENVIRONMENT [SERVICE]",
		Short: "Restart a service, or all that read a Secret",
		Long: `Restart a service: as kubectl rollout restart does, or, of a singleton, the old pod is gone before the new one
starts. With --secret, every service that reads that Secret is restarted.`,
		Example: `  unstuck restart production renderer --reason "leaks memory" --bug-report https://bugs.example.com/7
  unstuck restart production --secret stripe --reason "rotated"`,
		Args: between(1, 2, "an environment and a service, or an environment and --secret"),
	}, false, environmentsFirst(servicesOf), func(ctx context.Context, s *session, f *changeFlags, args []string) error {
		if (len(args) == 2) == (secret != "") {
			return UsageError("want either a service or --secret")
		}
		path := trigger.RestartReaders.At(args[0], secret)
		if len(args) == 2 {
			path = trigger.Restart.At(args[0], args[1])
		}
		return s.operate(ctx, path, f, func(dryRun bool, _ plan.Plan) any {
			return trigger.RestartBody{Reason: f.reason, BugReport: f.bugReport, DryRun: dryRun}
		})
	})
	cmd.Flags().StringVar(&secret, "secret", "", "`name` of a Secret: restart every service that reads it")
	_ = cmd.RegisterFlagCompletionFunc("secret", cobra.NoFileCompletions)
	return cmd
}

func (c console) newTaskCommand() *cobra.Command {
	var confirm bool
	cmd := c.operation(&cobra.Command{
		Use:   "task ENVIRONMENT TASK",
		Short: trigger.RunTask.Summary(),
		Long: `Run a task of the environment's: a command in a pod of a service, or a job. If it has a warning, that is shown with
the plan; where nobody is asked (--yes), --confirm says that the warning was read.`,
		Example: `  unstuck task production clear-render-cache --reason "stale charts"`,
		Args:    Exactly(2, "an environment and a task"),
	}, false, environmentsFirst(tasksOf), func(ctx context.Context, s *session, f *changeFlags, args []string) error {
		return s.operate(ctx, trigger.RunTask.At(args[0], args[1]), f,
			func(dryRun bool, _ plan.Plan) any {
				// A person who was asked has seen the warning in the plan.
				return trigger.TaskBody{Confirm: confirm || !f.yes, Reason: f.reason, BugReport: f.bugReport, DryRun: dryRun}
			})
	})
	cmd.Flags().BoolVar(&confirm, "confirm", false, "the task's warning was read")
	return cmd
}

// between is exactly, for a number of arguments from least to most.
func between(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return UsageError("want %s, got %s: see %q", what, terminal.Count(len(args), "argument"),
				cmd.CommandPath()+" --help")
		}
		return nil
	}
}
