package release

import (
	"context"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/release/plan"
)

// told are Logs that tell which container wrote a line, and what a command prints.
type told struct {
	*client
	lines []JobLine
}

func (l told) FollowJobLines(ctx context.Context, env plan.Environment, name string, line func(JobLine)) error {
	for _, one := range l.lines {
		line(one)
	}
	return l.FollowJob(ctx, env, name, func(string) {})
}

func (l told) Exec(ctx context.Context, env plan.Environment, pod, container string, command []string, line func(string)) (int, error) {
	for _, one := range l.lines {
		line(one.Text)
	}
	return l.client.Exec(ctx, env, pod, container, command, func(string) {})
}

func TestRunnerReadsWhatWasMigratedOfEachContainerAndTask(t *testing.T) {
	nothing := JobLine{Container: "m/migrate", Text: `Schema "public" is up to date. No migration necessary.`}
	migrated := JobLine{Container: "m/migrate", Text: "  Applying app.0042_drop_column... OK"}
	task := plan.Request{Kind: plan.RunTask, Environment: "staging", Task: "clear", Confirm: true, Reason: "a test", By: "ada"}
	command := task
	command.Task = "import"
	for name, tt := range map[string]struct {
		req   plan.Request
		lines []JobLine
		want  plan.Migration
	}{
		"a deploy whose job says so":        {deployOf(commitB), []JobLine{nothing}, plan.DidNotMigrate},
		"another container does not say so": {deployOf(commitB), []JobLine{nothing, {Container: "m/views", Text: "rebuilding"}}, plan.MaybeMigrated},
		"a task's job":                      {task, []JobLine{migrated}, plan.DidMigrate},
		"a task's job that says nothing":    {task, []JobLine{{Container: "m/x", Text: "cleared"}}, plan.DidNotMigrate},
		"a task's command":                  {command, []JobLine{migrated}, plan.DidMigrate},
		"a task's command without a word":   {command, []JobLine{{Text: "imported"}}, plan.DidNotMigrate},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				p := start(t, c)
				defer p.stop()
				p.Logs = told{p.client, tt.lines}
				o := p.run(t, tt.req)
				wantPhase(t, o, plan.Succeeded)
				if got := c.operation(o.ID).Migrated(); got != tt.want {
					t.Errorf("migrated: %s, want %s; %+v", got, tt.want, o.Steps)
				}
			})
		})
	}
}

func TestRunnerSubmitRefusesToGoBackOverATaskThatMigrated(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		p := start(t, c)
		defer p.stop()
		wantPhase(t, p.run(t, deployOf(commitB)), plan.Succeeded)
		pause(t.Context(), time.Minute)
		p.Logs = told{p.client, []JobLine{{Text: "== 42 DropColumn: migrating ====="}}}
		o := p.run(t, plan.Request{Kind: plan.RunTask, Environment: "staging", Task: "import", Reason: "a test", By: "ada"})
		_, err := p.Submit(t.Context(), plan.Request{Kind: plan.Revert, Environment: "staging", Reason: "a test", By: "ada"})
		wantRefusal(t, err, plan.Migrated, o.ID+" (migrated: yes)")
	})
}
