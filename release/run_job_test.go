package release

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

// toldJobs are Jobs of which those from "migrate" are in a given state, or cannot be seen or started for an error.
type toldJobs struct {
	*client
	state         JobState
	unseen, start error
}

func (j toldJobs) StartJob(ctx context.Context, e plan.Environment, r plan.JobRun) error {
	if j.start != nil && r.From.Name == "migrate" {
		return j.start
	}
	return j.client.StartJob(ctx, e, r)
}

func (j toldJobs) JobState(ctx context.Context, e plan.Environment, name string) (JobState, error) {
	if strings.HasPrefix(name, "migrate-") {
		return j.state, j.unseen
	}
	return j.client.JobState(ctx, e, name)
}

// jobPod is a pod of a job.
func jobPod(phase string, containers ...workload.ContainerState) workload.Pod {
	return workload.Pod{Name: "m-x", Phase: phase, Containers: containers}
}

func TestRunSaysWhyAJobFailedOrIsNotOver(t *testing.T) {
	failed := workload.ContainerState{Name: "app", Ended: true, LastExit: 42, LastReason: "Error"}
	done, proxy := workload.ContainerState{Name: "app", Ended: true, LastReason: "Completed"}, workload.ContainerState{Name: "istio-proxy", Ready: true}
	const quota = `FailedCreate: Error creating: pods "m-x" is forbidden: exceeded quota: compute`
	for name, tc := range map[string]struct {
		jobs    toldJobs
		outcome []string
		why     workload.Trouble // of the diagnosis that is kept
		waiting string           // what is told in the meantime
	}{
		"by its policy": {
			toldJobs{state: JobState{Failed: true, Message: "PodFailurePolicy: matching FailJob rule at index 0", Pods: []workload.Pod{jobPod("Failed", failed)}}},
			[]string{"failed: PodFailurePolicy: matching FailJob rule at index 0; pod m-x, container app: crash: it ended with exit code 42"},
			workload.Crash, "",
		},
		"too late, as it says itself": {
			toldJobs{state: JobState{Failed: true, Message: "DeadlineExceeded: Job was active longer than specified deadline"}},
			[]string{"failed: DeadlineExceeded: Job was active longer"},
			"", "",
		},
		"its pods are forbidden": {
			toldJobs{state: JobState{Message: quota}}, []string{"not over at its deadline: job migrate-", " was stopped; no pod: no_pod: " + quota}, workload.NoPod, "no_pod: " + quota,
		},
		"so is its second one": {
			toldJobs{state: JobState{Message: quota, Pods: []workload.Pod{jobPod("Failed", failed)}}}, []string{" was stopped; no pod: no_pod: " + quota}, workload.NoPod, quota,
		},
		"a plain sidecar runs on": {
			toldJobs{state: JobState{Pods: []workload.Pod{jobPod("Running", done, proxy)}}},
			[]string{" was stopped; pod m-x, container istio-proxy: still_runs", "ended: app"},
			workload.StillRuns, "still running: istio-proxy",
		},
		"it has no pod": {
			toldJobs{}, []string{" was stopped; it has no pod, and nothing says why"}, "", "has no pod yet",
		},
		"it is slow": {
			toldJobs{state: JobState{Pods: []workload.Pod{jobPod("Running", proxy)}}}, []string{" was stopped; nothing is wrong with it that can be seen"}, "", "runs",
		},
		"it fails, and its pod does not end": {
			toldJobs{state: JobState{Failing: true, Message: "DeadlineExceeded: Job was active longer", Pods: []workload.Pod{jobPod("Running", proxy)}}},
			[]string{" was stopped; it fails once its pods have ended: DeadlineExceeded: Job was active longer"},
			"", "it fails once its pods have ended: DeadlineExceeded",
		},
		"it cannot be seen": {
			toldJobs{unseen: errors.New("the API server is away")}, []string{" was stopped; how it is doing cannot be seen: the API server is away"}, "", "look at it: the API server",
		},
	} {
		inBubble(t, func(t *testing.T, c *cluster) {
			p := start(t, c)
			defer p.stop()
			tc.jobs.client = p.client
			p.Jobs = tc.jobs
			id := p.submit(t, deployOf(commitB)).ID
			pause(t.Context(), 10*time.Minute)
			step := func() plan.StepRun {
				steps := c.operation(id).Steps
				return steps[slices.IndexFunc(steps, func(s plan.StepRun) bool { return s.ID == "job migrate" })]
			}
			if s := step(); !strings.Contains(s.Detail, tc.waiting) || s.Phase.Over() != (tc.waiting == "") {
				t.Errorf("%s: after ten minutes: %q", name, s.Detail)
			}
			wantPhase(t, <-p.over, plan.Failed, tc.outcome...)
			switch d := step().Diagnosis; {
			case d == nil && tc.why == "":
			case d == nil || d.Why != tc.why:
				t.Errorf("%s: the diagnosis is %+v", name, d)
			case d.Container != "" && !slices.Equal(d.Log, []string{"ImportError: no module named app"}):
				t.Errorf("%s: the log is %q", name, d.Log)
			}
		})
	}
}

func TestRunKnowsThatAJobNeverRanWhichWasNotStarted(t *testing.T) {
	for err, want := range map[error]plan.Migration{ErrNotStarted: plan.DidNotMigrate, errFlaky: plan.MaybeMigrated} {
		inBubble(t, func(t *testing.T, c *cluster) {
			p := start(t, c)
			defer p.stop()
			p.Jobs = toldJobs{client: p.client, start: err}
			o := p.run(t, deployOf(commitB))
			wantPhase(t, o, plan.Failed, "start job migrate-", err.Error())
			if o.Migrated() != want {
				t.Errorf("%v: migrated: %s, want %s", err, o.Migrated(), want)
			}
		})
	}
}
