package release

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

// compare looks whether a workload is still as its step was planned for, or as it leaves it. The patch compares too,
// for good; this is so that no singleton is stopped for a patch that will not be made.
func (x *run) compare(s plan.StepRun) error {
	d, err := x.look(s, time.Time{})
	if err != nil {
		return fmt.Errorf("look at %s: %w", s.Title(), err)
	}
	if found := plan.Foreign(d.Containers, s.Images); found != "" {
		return changedError(d, found)
	}
	return nil
}

// confirm looks once more at all that was changed, when it is over: what was right when its own step ended may have
// been put back by somebody else while the others ran. What cannot be looked at now stays as it was seen then.
func (x *run) confirm(rollback bool) error {
	o := x.snapshot()
	steps := o.Steps
	if rollback {
		steps = o.Rollback
	}
	for i, s := range steps {
		if s.Do != plan.Roll && s.Do != plan.Replace {
			continue
		}
		d, err := x.look(s, time.Now().Add(outage))
		switch {
		case errors.Is(err, ErrNotFound):
			return fmt.Errorf("%s: there is no %s any more", s.ID, s.Title())
		case err != nil:
			x.Log.Warn("what was changed cannot be looked at once more", "operation", o.ID, "step", s.ID, "error", err)
			continue
		}
		if differs := x.differs(ref{rollback, i}, d); differs != "" {
			return fmt.Errorf("%s: %w", s.ID, changedError(d, differs))
		}
	}
	return nil
}

// changedError says what somebody else has changed of a workload, and who that was.
func changedError(d workload.Workload, what string) error {
	if d.ChangedBy != "" {
		what += "; it was changed last by " + d.ChangedBy
	}
	return fmt.Errorf("%w: %s: %s", ErrChanged, d.Title(), what)
}

// look gives a step's workload. It is tried a few times, and until a time.
func (x *run) look(s plan.StepRun, until time.Time) (d workload.Workload, err error) {
	err = x.tryUntil(x.life, until, func(ctx context.Context) (err error) {
		d, err = x.World.Workload(ctx, x.env, s.Ref)
		return err
	})
	return d, err
}

// differs says in which way a step's workload is not what the step was to make of it.
func (x *run) differs(at ref, d workload.Workload) string {
	commit := ""
	if !at.rollback {
		commit = x.snapshot().Commit
	}
	return x.env.Differs(d, x.step(at).Step, commit)
}
