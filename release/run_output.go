package release

import (
	"context"

	"github.com/cjworkbench/unstuck/release/plan"
)

// followLines follows a job's log, by its containers if they are told.
func (x *run) followLines(ctx context.Context, name string, line func(JobLine)) error {
	if lines, told := x.Logs.(JobLines); told {
		return lines.FollowJobLines(ctx, x.env, name, line)
	}
	return x.Logs.FollowJob(ctx, x.env, name, func(text string) { line(JobLine{Text: text}) })
}

// execute runs a step's command and keeps what it prints, and whether that says that something was migrated.
func (x *run) execute(ctx context.Context, at ref, pod string, s plan.StepRun) (exit int, err error) {
	migrations, err := plan.NewMigrationReader(plan.Patterns{})
	if err != nil {
		return 0, err
	}
	return x.Logs.Exec(ctx, x.env, pod, s.Container, s.Command, func(line string) {
		migrations.Line(line)
		saw := migrations.SawMigrated
		x.note(at, func(s *plan.StepRun) {
			s.AddLine(line)
			if saw {
				s.Migrated = new(plan.DidMigrate)
			}
		})
	})
}
