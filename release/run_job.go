package release

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// job runs a job, or goes on watching it, until it ends. One that may have been started is never started again under
// another name, so it runs once; cancelled or too slow, it is stopped.
func (x *run) job(at ref) (string, error) {
	s := x.step(at)
	j := *s.Job
	if err := x.startJob(at, j, s.Mark); err != nil {
		return "", err
	}
	limit := x.env.JobDeadline
	if x.op.Kind == RunTask {
		limit = x.env.TaskDeadline
	}
	follow, stop := context.WithCancel(x.life)
	defer stop()
	over := make(chan struct{})
	log := MigrationReader{sawMigrated: s.Migrated != nil && *s.Migrated == DidMigrate} // as a predecessor saw
	whole := false
	var follower sync.WaitGroup
	follower.Go(func() { whole = x.followJob(follow, at, j, over, &log) })
	state, err := x.awaitJob(at, j, x.begun(s).Add(limit))
	close(over)
	if err == nil { // the rest of the log comes soon, or not at all
		timer := time.AfterFunc(logGrace, stop)
		defer timer.Stop()
	} else {
		stop()
	}
	follower.Wait()
	if x.life.Err() != nil {
		return "", errLost
	}
	answer := log.Answer(whole && state.Done && err == nil)
	if !j.NoMigration {
		x.change(at, func(s *StepRun) { s.Migrated = &answer })
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return "", fmt.Errorf("job %s is gone: nobody knows whether it ended well", j.Name)
	case err != nil:
		if stopErr := x.try(x.life, func(ctx context.Context) error { return x.Jobs.StopJob(ctx, x.env, j.Name) }); stopErr != nil {
			return "", fmt.Errorf("%w; job %s could not be stopped: %w", err, j.Name, stopErr)
		}
		return "", fmt.Errorf("%w: job %s was stopped", err, j.Name)
	case state.Failed:
		return "", x.jobFailed(at, j, state)
	case j.NoMigration:
		return "job " + j.Name + " succeeded", nil
	}
	return fmt.Sprintf("job %s succeeded; migrated: %s", j.Name, answer), nil
}

// startJob starts the job unless it was started. The mark is written first: from then on the job may exist.
func (x *run) startJob(at ref, j JobRun, m mark) error {
	if m == markStarted {
		return nil
	}
	if m == "" && x.work.Err() != nil {
		return errCancelled
	}
	if x.work.Err() == nil {
		x.change(at, func(s *StepRun) { s.Mark = markStarting })
		if x.life.Err() != nil {
			return errLost
		}
		unclear := m == markStarting
		err := x.try(x.life, func(ctx context.Context) error {
			err := x.Jobs.StartJob(ctx, x.env, j)
			unclear = unclear || err != nil && !errors.Is(err, ErrNotStarted)
			return err
		})
		if x.life.Err() != nil {
			return errLost
		}
		if err != nil {
			if !unclear { // it never ran, and so migrated nothing; that it is not there now does not say so
				x.change(at, func(s *StepRun) { s.Mark = "" })
			}
			return fmt.Errorf("start job %s: %w", j.Name, err)
		}
	}
	x.change(at, func(s *StepRun) { s.Mark = markStarted })
	return nil
}

// awaitJob waits until the job has ended, or gives why it is not waited for any longer.
func (x *run) awaitJob(at ref, j JobRun, deadline time.Time) (JobState, error) {
	for {
		if x.work.Err() != nil {
			return JobState{}, errCancelled
		}
		state, err := bounded(x.work, func(ctx context.Context) (JobState, error) { return x.Jobs.JobState(ctx, x.env, j.Name) })
		switch {
		case errors.Is(err, ErrNotFound):
			return state, err
		case err == nil && (state.Done || state.Failed):
			return state, nil
		case !time.Now().Before(deadline):
			return state, errors.New("not over at its deadline")
		case err != nil:
			x.note(at, func(s *StepRun) { s.Detail = tidy("look at it: " + err.Error()) })
		default:
			detail := "job " + j.Name + " runs"
			if found, ok := DiagnosePods(state.Pods); ok {
				detail = found.String()
			}
			x.note(at, func(s *StepRun) { s.Detail = tidy(detail) })
		}
		x.flush()
		pause(x.work, x.Poll)
	}
}

// followJob keeps the end of the job's log and reads all of it, from the start again whenever it breaks off. It gives
// what it says of migrations, and whether it is whole. That it says one is noted at once: a successor may not find that
// line any more.
func (x *run) followJob(ctx context.Context, at ref, j JobRun, over <-chan struct{}, log *MigrationReader) (whole bool) {
	for {
		last := false
		select {
		case <-over:
			last = true
		default:
		}
		fresh, err := NewMigrationReader(j.Patterns)
		if err != nil {
			return false
		}
		fresh.sawMigrated = log.sawMigrated // what was seen was seen
		x.note(at, func(s *StepRun) { s.Log, s.Cut = nil, 0 })
		err = x.Logs.FollowJob(ctx, x.env, j.Name, func(line string) {
			fresh.Line(line)
			saw := !j.NoMigration && fresh.sawMigrated
			x.note(at, func(s *StepRun) {
				s.addLine(line)
				if saw {
					s.Migrated = new(DidMigrate)
				}
			})
		})
		*log = *fresh
		if err == nil || last || !pause(ctx, x.Poll) {
			return err == nil
		}
	}
}

// jobFailed makes an error of why a job failed.
func (x *run) jobFailed(at ref, j JobRun, state JobState) error {
	why := state.Message
	if found, ok := DiagnosePods(state.Pods); ok {
		why = found.String()
		x.keepDiagnosis(at, found)
	}
	return fmt.Errorf("job %s failed: %s", j.Name, why)
}
