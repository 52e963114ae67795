package cli

import (
	"context"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/trigger"
)

func (c console) newPauseCommand() *cobra.Command {
	var why reasons
	var all bool
	var body trigger.PauseBody
	cmd := c.command(&cobra.Command{
		Use:   "pause [TARGET]",
		Short: "Delete no node of a broker, or of any, for a while",
		Long: `Delete no node of a broker for a while, or with --all of any: they are watched, and what would be done is said. A
pause has an end, at most 31 days ahead.`,
		Example: `  unstuck pause orders --for 2h --reason "moving disks"
  unstuck pause --all --until 2026-11-23T18:00:00Z --reason "upgrade of the cluster"`,
		Args: between(0, 1, "a broker, or --all"),
	}, targetsFirst(nil), func(ctx context.Context, s *session, args []string) error {
		path, err := pausePath(args, all, trigger.Pause, trigger.PauseAll)
		if err != nil {
			return err
		}
		if (body.For == "") == (body.Until == "") {
			return UsageError("want either --for or --until: a pause has an end")
		}
		if err := why.complete(ctx, s.console, true, false); err != nil {
			return err
		}
		body.Reason = why.reason
		list, raw, err := post[brokers.PauseList](ctx, s.client, path, body, "")
		return s.showPauses(list, raw, err)
	})
	flags := cmd.Flags()
	flags.BoolVar(&all, "all", false, "every broker")
	flags.StringVar(&body.For, "for", "", "`duration` of the pause, as in 90m or 48h")
	flags.StringVar(&body.Until, "until", "", "`time` when it ends, as in 2026-01-31T12:00:00Z")
	flags.StringVar(&why.reason, "reason", "", "`text` that says why, for the record; asked for on a terminal")
	for _, name := range []string{"for", "until", "reason"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return cmd
}

func (c console) newResumeCommand() *cobra.Command {
	var all bool
	var id string
	var why reasons
	cmd := c.command(&cobra.Command{
		Use:   "resume [TARGET]",
		Short: "End one pause, the pauses of a broker, or those of all",
		Long: `End the pauses of a broker, or with --all those that were made for all brokers at once, or with --id one alone: the
status shows the ID of each. The others stay, and are shown.`,
		Example: `  unstuck resume orders --reason "the disks are moved"
  unstuck resume --id pause-8457f6ef4f --reason "it was a mistake"`,
		Args: between(0, 1, "a broker, or --all, or --id"),
	}, targetsFirst(nil), func(ctx context.Context, s *session, args []string) error {
		path, err := resumePath(args, all, id)
		if err != nil {
			return err
		}
		if err := why.complete(ctx, s.console, true, false); err != nil {
			return err
		}
		raw, err := s.send(ctx, http.MethodDelete, path, trigger.ResumeBody{Reason: why.reason}, "")
		if err != nil {
			return err
		}
		list, raw, err := decoded[brokers.PauseList](raw)
		return s.showPauses(list, raw, err)
	})
	cmd.Flags().BoolVar(&all, "all", false, "the pauses that were made for all brokers at once")
	cmd.Flags().StringVar(&id, "id", "", "the `pause` of that ID alone")
	_ = cmd.RegisterFlagCompletionFunc("id", cobra.NoFileCompletions)
	cmd.Flags().StringVar(&why.reason, "reason", "", "`text` that says why, for the record; asked for on a terminal")
	_ = cmd.RegisterFlagCompletionFunc("reason", cobra.NoFileCompletions)
	return cmd
}

func pausePath(args []string, all bool, one, every trigger.Trigger) (string, error) {
	switch {
	case (len(args) == 1) == all:
		return "", UsageError("want either a broker or --all")
	case all:
		return every.At(), nil
	}
	return one.At(args[0]), nil
}

// resumePath is where the pauses are that are to end.
func resumePath(args []string, all bool, id string) (string, error) {
	switch {
	case id == "":
		return pausePath(args, all, trigger.Resume, trigger.ResumeAll)
	case len(args) > 0 || all:
		return "", UsageError("want a broker, or --all, or --id: one of them")
	}
	return trigger.EndPause.At(id), nil
}

func (s *session) showPauses(list brokers.PauseList, raw []byte, err error) error {
	switch {
	case err != nil:
		return err
	case s.asJSON:
		return s.printJSON(raw)
	case len(list.Pauses) == 0:
		s.printf("nothing is paused there")
	}
	s.showPauseList(list)
	return nil
}

func pauseLine(p decide.Pause) string {
	what := "every broker"
	if p.Target != "" {
		what = p.Target
	}
	end := "until " + clock(p.Until)
	if p.Until.IsZero() {
		end = "without an end"
	}
	return fmt.Sprintf("%s is paused %s by %s: %s (%s)", what, end, p.By, p.Reason, p.ID)
}

func (c console) newDeleteCommand() *cobra.Command {
	var why reasons
	var yes, dryRun bool
	var override []string
	cmd := c.command(&cobra.Command{
		Use:   "delete TARGET NODE",
		Short: trigger.Delete.Summary(),
		Long: `Delete a node, so that its StatefulSet starts it afresh, behind the same guards as Unstuck's own deletions. If any of
these is closed it is refused; --override names those that are not to hold it back, one by one. What the guards say is
shown first, and somebody must say yes, unless --yes is given. The pod that was looked at is deleted, by its UID, and no
successor of it.`,
		Example: `  unstuck delete orders mq-1 --reason "wedged since noon" --override observe-only`,
		Args:    Exactly(2, "a broker and a node"),
	}, targetsFirst(nodesOf), func(ctx context.Context, s *session, args []string) error {
		if err := why.complete(ctx, s.console, !yes, false); err != nil {
			return err
		}
		body := trigger.DeletionBody{Reason: why.reason, DryRun: true}
		for _, g := range override {
			body.Override = append(body.Override, decide.Guard(g))
		}
		return s.deleteNode(ctx, trigger.Delete.At(args[0], args[1]), body, yes, dryRun)
	})
	flags := cmd.Flags()
	flags.StringVar(&why.reason, "reason", "", "`text` that says why, for the record; asked for on a terminal")
	flags.StringSliceVar(&override, "override", nil,
		"`guards` that are not to hold it back, parted by commas or given several times")
	flags.BoolVarP(&yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&dryRun, "dry-run", false, "show what the guards say, and do nothing")
	_ = cmd.RegisterFlagCompletionFunc("reason", cobra.NoFileCompletions)
	var guards []cobra.Completion
	for _, g := range decide.Guards() {
		guards = append(guards, string(g.Guard))
	}
	_ = cmd.RegisterFlagCompletionFunc("override", cobra.FixedCompletions(guards, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// deleteNode looks at what the guards say first, which also gives the UID of the pod that is meant.
func (s *session) deleteNode(ctx context.Context, path string, body trigger.DeletionBody, yes, dryRun bool) error {
	look, raw, err := post[brokers.DeletionReply](ctx, s.client, path, body, "")
	switch {
	case err != nil:
		return err
	case dryRun && s.asJSON:
		return s.printJSON(raw)
	case dryRun:
		s.showGuards(s.out, look)
		return nil
	}
	if !yes {
		s.showGuards(s.errOut, look)
		if err := s.approve(ctx, "Delete "+look.Node+"?"); err != nil {
			return err
		}
	}
	body.DryRun, body.UID = false, look.UID
	done, raw, err := post[brokers.DeletionReply](ctx, s.client, path, body, "")
	switch {
	case err != nil:
		if uncertain(err) {
			s.warnf("it is not known whether it was deleted: look at it with %s explain", s.program)
		}
		return err
	case s.asJSON:
		return s.printJSON(raw)
	}
	s.showDeleted(done)
	return nil
}

// showDeleted shows that a node was deleted.
func (s *session) showDeleted(d brokers.DeletionReply) {
	s.printf("%s (%s) is deleted: %s incidents %s tells how it goes on", d.Node, d.UID, s.program, d.Incident)
}
