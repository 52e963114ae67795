package release

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/text"
	"github.com/cjworkbench/unstuck/release/workload"
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
	if x.op.Kind == plan.RunTask {
		limit = x.env.TaskDeadline
	}
	follow, stop := context.WithCancel(x.life)
	defer stop()
	over := make(chan struct{})
	log := plan.MigrationReader{SawMigrated: s.Migrated != nil && *s.Migrated == plan.DidMigrate} // as a predecessor saw
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
		x.change(at, func(s *plan.StepRun) { s.Migrated = &answer })
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return "", fmt.Errorf("job %s is gone: nobody knows whether it ended well", j.Name)
	case err != nil:
		return "", x.stopJob(j, err)
	case state.Failed:
		return "", x.jobFailed(at, j, state)
	}
	return "job " + j.Name + " succeeded", nil
}

// startJob starts the job unless it was started. The mark is written first: from then on the job may exist.
func (x *run) startJob(at ref, j plan.JobRun, m plan.Mark) error {
	if m == plan.MarkStarted {
		return nil
	}
	if m == "" && x.work.Err() != nil {
		return errCancelled
	}
	if x.work.Err() == nil {
		x.change(at, func(s *plan.StepRun) { s.Mark = plan.MarkStarting })
		if x.life.Err() != nil {
			return errLost
		}
		unclear := m == plan.MarkStarting
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
				x.change(at, func(s *plan.StepRun) { s.Mark = "" })
			}
			return fmt.Errorf("start job %s: %w", j.Name, err)
		}
	}
	x.change(at, func(s *plan.StepRun) { s.Mark = plan.MarkStarted })
	return nil
}

// awaitJob waits until the job has ended, or gives why it is not waited for any longer.
func (x *run) awaitJob(at ref, j plan.JobRun, deadline time.Time) (JobState, error) {
	for {
		if x.work.Err() != nil {
			return JobState{}, errCancelled
		}
		state, err := bounded(x.work, func(ctx context.Context) (JobState, error) {
			return x.Jobs.JobState(ctx, x.env, j.Name)
		})
		switch {
		case errors.Is(err, ErrNotFound):
			return state, err
		case err == nil && (state.Done || state.Failed):
			return state, nil
		case !time.Now().Before(deadline):
			return state, x.jobLate(at, state, err)
		case err != nil:
			x.note(at, func(s *plan.StepRun) { s.Detail = text.Tidy("look at it: " + err.Error()) })
		default:
			detail := "job " + j.Name + " runs"
			if len(state.Pods) == 0 {
				detail = "job " + j.Name + " has no pod yet"
			}
			if found, ok := state.diagnose(); ok || state.Failing {
				detail = state.tell(found)
			}
			x.note(at, func(s *plan.StepRun) { s.Detail = text.Tidy(detail) })
		}
		x.flush()
		pause(x.work, x.Poll)
	}
}

// followJob keeps the end of the job's log and reads all of it, from the start again whenever it breaks off. It gives
// what it says of migrations, and whether it is whole. That it says one is noted at once: a successor may not find that
// line any more.
func (x *run) followJob(ctx context.Context, at ref, j plan.JobRun, over <-chan struct{},
	log *plan.MigrationReader,
) (whole bool) {
	for {
		last := false
		select {
		case <-over:
			last = true
		default:
		}
		fresh, err := plan.NewMigrationReader(j.Patterns)
		if err != nil {
			return false
		}
		fresh.SawMigrated = log.SawMigrated // what was seen was seen
		x.note(at, func(s *plan.StepRun) { s.Log, s.Cut = nil, 0 })
		err = x.followLines(ctx, j.Name, func(l JobLine) {
			fresh.LineOf(l.Container, l.Text)
			// Of a task what is seen counts, and nothing else does.
			saw := fresh.SawMigrated && (!j.NoMigration || x.op.Kind == plan.RunTask)
			x.note(at, func(s *plan.StepRun) {
				s.AddLine(l.Text)
				if saw {
					s.Migrated = new(plan.DidMigrate)
				}
			})
		})
		*log = *fresh
		if err == nil || last || !pause(ctx, x.Poll) {
			return err == nil
		}
	}
}

// diagnose says why a job does not end, or why it failed. What it lacks pods for comes before how the pods of earlier
// tries ended: it is what is waited for now.
func (s JobState) diagnose() (workload.Diagnosis, bool) {
	if s.Message != "" && !s.Failed && !s.Failing {
		return workload.Diagnosis{Why: workload.NoPod, Detail: text.Tidy(s.Message)}, true
	}
	return workload.DiagnosePods(s.Pods)
}

// mostOfAJobsWords is how long that may be which a Job says itself, beside what its pods show.
const mostOfAJobsWords = 250

// tell puts what a Job says itself before what was found, if anything was.
func (s JobState) tell(found workload.Diagnosis) string {
	own := text.Shorten(s.Message, mostOfAJobsWords)
	if s.Failing && !s.Failed {
		own = strings.TrimSuffix("it fails once its pods have ended: "+own, ": ")
	}
	switch {
	case found.Why == "":
		return own
	case own == "" || found.Why == workload.NoPod:
		return found.String()
	}
	return own + "; " + found.String()
}

// jobFailed makes an error of why a job failed: in the words of the Job, and by what its pods show.
func (x *run) jobFailed(at ref, j plan.JobRun, state JobState) error {
	found, ok := state.diagnose()
	if ok {
		x.keepDiagnosis(at, found)
	}
	return fmt.Errorf("job %s failed: %s", j.Name, state.tell(found))
}

// lateError says that a job was not over at its deadline.
type lateError struct{ why string } // what it still waits for

func (lateError) Error() string { return "not over at its deadline" }

// jobLate makes an error of what a job still waits for at its deadline. Its state is as it was just seen, or could not
// be for that error.
func (x *run) jobLate(at ref, state JobState, err error) error {
	if err != nil {
		return lateError{"how it is doing cannot be seen: " + err.Error()}
	}
	found, ok := state.diagnose()
	if ok {
		x.keepDiagnosis(at, found)
	}
	switch {
	case ok, state.Failing:
		return lateError{state.tell(found)}
	case len(state.Pods) == 0:
		return lateError{"it has no pod, and nothing says why"}
	}
	return lateError{"nothing is wrong with it that can be seen"}
}

// stopJob stops a job that is not waited for any longer, and says so of why.
func (x *run) stopJob(j plan.JobRun, why error) error {
	after := ""
	if late, ok := errors.AsType[lateError](why); ok {
		after = "; " + late.why
	}
	if err := x.try(x.life, func(ctx context.Context) error { return x.Jobs.StopJob(ctx, x.env, j.Name) }); err != nil {
		return fmt.Errorf("%w; job %s could not be stopped: %w%s", why, j.Name, err, after)
	}
	return fmt.Errorf("%w: job %s was stopped%s", why, j.Name, after)
}
