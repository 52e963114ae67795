package release

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/text"
	"github.com/cjworkbench/unstuck/release/workload"
)

// checkImages sees that every image of the commit is published.
func (x *run) checkImages(at ref) (string, error) {
	s := x.step(at)
	var missing []string
	err := x.try(x.work, func(ctx context.Context) (err error) {
		missing, err = x.Registry.Unpublished(ctx, x.env, s.Check)
		return err
	})
	if err != nil {
		return "", err
	}
	if len(missing) > 0 {
		return "", errors.New(notPublished(missing))
	}
	return fmt.Sprintf("%d images are published", len(s.Check)), nil
}

func notPublished(images []string) string {
	return "not published: " + strings.Join(images, ", ")
}

// roll changes a workload in place and waits until it is rolled out. Cancelled, it leaves it rolling.
func (x *run) roll(at ref) (string, error) {
	s := x.step(at)
	if x.work.Err() != nil {
		return "", errCancelled
	}
	var changed time.Time
	if len(s.Images) > 0 || s.RestartedAt != "" {
		changed = s.Started
		if err := x.compare(s); err != nil {
			return "", err
		}
		p := Patch{Workload: s.Ref, Images: s.Images, RestartedAt: s.RestartedAt}
		if err := x.try(x.life, func(ctx context.Context) error { return x.World.Patch(ctx, x.env, p) }); err != nil {
			return "", fmt.Errorf("change %s: %w", s.Title(), err)
		}
	}
	return x.awaitRollout(at, changed)
}

// replace changes a singleton: its old pod is gone before the new one starts, whatever the workload's strategy.
func (x *run) replace(at ref) (string, error) {
	s := x.step(at)
	if s.Mark == "" && x.work.Err() != nil {
		return "", errCancelled
	}
	if s.Mark == "" {
		if err := x.compare(s); err != nil {
			return "", err
		}
	}
	if s.Mark == "" || s.Mark == plan.MarkStopping {
		x.change(at, func(s *plan.StepRun) { s.Mark = plan.MarkStopping })
		zero := 0
		if err := x.scale(s, Patch{Replicas: &zero}, time.Time{}); err != nil {
			return "", fmt.Errorf("%w; it may be scaled to 0 and is to have %d pods", err, s.Replicas)
		}
		if err := x.awaitGone(at); err != nil {
			return "", err
		}
		if x.work.Err() != nil && x.life.Err() == nil {
			return "", x.startUnchanged(at, errCancelled)
		}
		x.change(at, func(s *plan.StepRun) { s.Mark = plan.MarkStarting })
	}
	// From here on the pod may run: it is never scaled to 0 again, and everything is set in one call.
	changed := s.Started
	if x.step(at).Mark == plan.MarkStarting {
		changed = time.Now()
		err := x.scale(s, Patch{Images: s.Images, Replicas: &s.Replicas}, time.Now().Add(outage))
		if x.life.Err() == nil && err != nil {
			return "", x.startUnchanged(at, err)
		}
		x.change(at, func(s *plan.StepRun) { s.Mark = plan.MarkRestored })
	}
	return x.awaitRollout(at, changed)
}

// outage is for how long a change is tried while a singleton is stopped for it: the API server may be about to be
// started anew.
const outage = time.Minute

// startUnchanged starts a singleton again that was stopped, and is not changed for some reason.
func (x *run) startUnchanged(at ref, why error) error {
	s := x.step(at)
	if err := x.scale(s, Patch{Replicas: &s.Replicas}, time.Now().Add(outage)); err != nil {
		return fmt.Errorf("%w; %w; it may be scaled to 0 and is to have %d pods", why, err, s.Replicas)
	}
	x.change(at, func(s *plan.StepRun) { s.Mark = plan.MarkRestored })
	return fmt.Errorf("%w: the old pod was stopped, and is started again unchanged", why)
}

func (x *run) scale(s plan.StepRun, p Patch, until time.Time) error {
	p.Workload = s.Ref
	if err := x.tryUntil(x.life, until, func(ctx context.Context) error {
		return x.World.Patch(ctx, x.env, p)
	}); err != nil {
		return fmt.Errorf("change %s: %w", s.Title(), err)
	}
	return nil
}

// awaitGone waits until no pod of a workload that was scaled to 0 can still run, at two looks in a row: one that was
// about to be made when it was scaled shows in the second. A cancellation does not shorten it: to start a pod again
// beside the old one would be worse than to wait.
func (x *run) awaitGone(at ref) error {
	s := x.step(at)
	deadline := x.begun(s).Add(x.env.StopDeadline)
	for looks := 0; ; {
		d, err := bounded(x.life, func(ctx context.Context) (workload.Workload, error) {
			return x.World.Workload(ctx, x.env, s.Ref)
		})
		switch {
		case x.life.Err() != nil:
			return errLost
		case err != nil:
			looks = 0
			x.note(at, func(s *plan.StepRun) { s.Detail = text.Tidy("look at it: " + err.Error()) })
		case d.Gone():
			looks++
		default:
			looks = 0
			x.note(at, func(s *plan.StepRun) {
				s.Detail = text.Tidy("waiting for the old pod to go: " + strings.Join(d.LivePods(), ", "))
			})
		}
		if looks == 2 {
			return nil
		}
		if looks == 0 && !time.Now().Before(deadline) {
			return fmt.Errorf("the old pod is not gone after %s (%s): %s is left at 0 pods and is to have %d, once it is",
				x.env.StopDeadline, strings.Join(d.LivePods(), ", "), s.Title(), s.Replicas)
		}
		x.flush()
		if !pause(x.life, x.Poll) {
			return errLost
		}
	}
}

// awaitRollout waits until a workload is rolled out as it was set, and says meanwhile what it waits for, and why. If
// it fails, the error says which pod does not come up and why, or what somebody else has changed. The workload was
// changed here at the given time; zero: it was not.
func (x *run) awaitRollout(at ref, changed time.Time) (string, error) {
	s := x.step(at)
	deadline := x.begun(s).Add(x.env.RolloutDeadline)
	if s.Do == plan.Replace {
		deadline = deadline.Add(x.env.StopDeadline)
	}
	for {
		if x.work.Err() != nil {
			return "", fmt.Errorf("%w: %s was changed and is left to roll out", errCancelled, s.Title())
		}
		d, err := bounded(x.work, func(ctx context.Context) (workload.Workload, error) {
			return x.World.Workload(ctx, x.env, s.Ref)
		})
		rollout := s.Rollout(d, changed)
		differs := ""
		if err == nil {
			differs = x.differs(at, d)
		}
		switch {
		case errors.Is(err, ErrNotFound):
			return "", fmt.Errorf("there is no %s any more", s.Title())
		case err != nil:
			rollout = workload.Rollout{Detail: "look at it: " + err.Error()}
		case differs != "":
			return "", changedError(d, differs)
		case rollout.Done:
			return rollout.Detail, nil
		}
		if late := !time.Now().Before(deadline); rollout.Failed || late {
			if late {
				rollout.Detail = fmt.Sprintf("not rolled out after %s: %s", x.env.RolloutDeadline, rollout.Detail)
			}
			return "", x.diagnose(at, d, changed, rollout)
		}
		found, known := workload.DiagnoseRollout(d, changed)
		x.note(at, func(s *plan.StepRun) { s.Waits(rollout, found, known) })
		x.flush()
		pause(x.work, x.Poll)
	}
}

// diagnose makes an error of why a workload does not roll out, and keeps the pod's last lines.
func (x *run) diagnose(at ref, d workload.Workload, changed time.Time, rollout workload.Rollout) error {
	found, ok := workload.DiagnoseRollout(d, changed)
	if !ok {
		x.note(at, func(s *plan.StepRun) { s.Diagnosis = nil })
		return errors.New(rollout.Detail)
	}
	x.keepDiagnosis(at, found)
	return errors.New(rollout.Because(found))
}

func (x *run) keepDiagnosis(at ref, found workload.Diagnosis) {
	if found.Container != "" {
		lines, err := bounded(x.life, func(ctx context.Context) ([]string, error) {
			return x.Logs.PodLog(ctx, x.env, found.Pod, found.Container, text.KeptLines)
		})
		if err != nil {
			lines = []string{"(the log cannot be read: " + err.Error() + ")"}
		}
		found.SetLog(lines, x.op.Commit, x.op.Before)
	}
	x.note(at, func(s *plan.StepRun) { s.Diagnosis = &found })
}

// command runs a task's command in one ready pod. It is not repeated: nobody can tell whether that would do harm.
func (x *run) command(at ref) (string, error) {
	s := x.step(at)
	if x.work.Err() != nil && s.Mark == "" {
		return "", errCancelled
	}
	if s.Mark != "" {
		return "", errors.New("the daemon was stopped while the command ran: it may have been done, and may still run")
	}
	d, err := bounded(x.work, func(ctx context.Context) (workload.Workload, error) {
		return x.World.Workload(ctx, x.env, s.Ref)
	})
	if err != nil {
		return "", fmt.Errorf("look at %s: %w", s.Title(), err)
	}
	pod, ok := d.ReadyPod()
	if !ok || len(pod.Containers) == 0 {
		return "", fmt.Errorf("no pod of %s is ready", s.Title())
	}
	if s.Container == "" {
		s.Container = defaultContainer(pod)
	}
	x.change(at, func(s *plan.StepRun) { s.Mark, s.Detail = plan.MarkStarting, "in pod "+pod.Name })
	if x.life.Err() != nil || !x.holds() {
		return "", errLost
	}
	ctx, stop := context.WithTimeout(x.work, x.env.TaskDeadline)
	defer stop()
	ended := make(chan struct{})
	go func() { // passes the output on while the command runs
		defer close(ended)
		for pause(ctx, x.Poll) {
			x.flush()
		}
	}()
	exit, err := x.execute(ctx, at, pod.Name, s)
	timedOut := errors.Is(ctx.Err(), context.DeadlineExceeded)
	stop()
	<-ended
	switch {
	case x.work.Err() != nil:
		return "", fmt.Errorf("%w: the command may still run in pod %s", errCancelled, pod.Name)
	case timedOut:
		return "", fmt.Errorf("not over after %s: the command may still run in pod %s", x.env.TaskDeadline, pod.Name)
	case err != nil:
		return "", fmt.Errorf("run the command in pod %s: %w", pod.Name, err)
	case exit != 0:
		return "", fmt.Errorf("exit code %d in pod %s", exit, pod.Name)
	}
	return "exit code 0 in pod " + pod.Name, nil
}

// defaultContainer gives the container in which a command runs that names none, as with `kubectl exec`.
func defaultContainer(p workload.Pod) string {
	for _, c := range p.Containers {
		if !c.Init {
			return c.Name
		}
	}
	return p.Containers[0].Name
}
