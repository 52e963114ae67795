package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/release/workload"
)

func TestOperationAbandonSaysWhatIsHalfDone(t *testing.T) {
	begun := noon.Add(-time.Hour)
	for want, s := range map[string]StepRun{
		"job migrate-1 may still run":                                          {Mark: MarkStarting, Step: Step{ID: "x", Do: StartJob, Job: &JobRun{Name: "migrate-1"}}},
		"nothing was changed":                                                  {Step: Step{ID: "x", Do: StartJob, Job: &JobRun{Name: "migrate-1"}}},
		"the command may have been done, and may still run":                    {Mark: MarkStarting, Step: Step{ID: "x", Do: RunCommand}},
		"Deployment d may be scaled to 0 and is to have 1 pods":                {Mark: MarkStopping, Step: Step{ID: "x", Do: Replace, Ref: workload.Ref{Deployment: "d"}, Replicas: 1}},
		"Deployment d may be scaled to 0 and is to have 1 pods, or be changed": {Mark: MarkStarting, Step: Step{ID: "x", Do: Replace, Ref: workload.Ref{Deployment: "d"}, Replicas: 1}},
		"Deployment d may be changed, and not be rolled out":                   {Mark: MarkRestored, Step: Step{ID: "x", Do: Replace, Ref: workload.Ref{Deployment: "d"}, Replicas: 1}},
		"Deployment e may be changed, and not be rolled out":                   {Step: Step{ID: "x", Do: Roll, Ref: workload.Ref{Deployment: "e"}}},
	} {
		s.Phase = Running
		o := Operation{Phase: Running, Created: begun, Steps: []StepRun{
			{Phase: Succeeded, Started: begun, Ended: begun.Add(10 * time.Minute), Step: Step{ID: "check images"}}, s, {Step: Step{ID: "replace cron"}},
		}}
		got := o.Abandon(noon, 10*time.Minute)
		full := "abandoned, for nobody worked on it for 50m0s, which is more than 10m0s; half done: x: " + want + "; done: check images; not begun: replace cron"
		if got.Outcome != full || got.Phase != Failed || !got.Ended.Equal(noon) {
			t.Errorf("%s %s: %q, want %q", got.Phase, got.Ended, got.Outcome, full)
		}
		if step := got.Steps[1]; step.Phase != Failed || step.Detail != "abandoned: "+want || o.Steps[1].Phase != Running {
			t.Errorf("%+v", step)
		}
	}
}

func TestOperationAbandonTellsOfARollback(t *testing.T) {
	o := Operation{Phase: RollingBack, Outcome: "it crashed", Renewed: noon.Add(-time.Hour), Rollback: []StepRun{{Phase: Running, Step: Step{ID: "roll back x", Do: Roll, Ref: workload.Ref{Deployment: "d"}}}}}
	got := o.Abandon(noon, time.Minute).Outcome
	for _, want := range []string{"abandoned while the old images were put back", "for 1h0m0s", "half done: roll back x: Deployment d may be changed", "before that: it crashed"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q, want %q in it", got, want)
		}
	}
}

func TestOperationWorkedOnIsTheLatestThatIsWrittenDown(t *testing.T) {
	at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	for _, o := range []Operation{
		{Created: at(3)},
		{Created: at(1), Renewed: at(3)},
		{Created: at(1), Renewed: at(2), Steps: []StepRun{{Started: at(3)}}},
		{Created: at(1), Steps: []StepRun{{Started: at(2), Ended: at(3)}, {Started: at(2)}}},
		{Created: at(1), Rollback: []StepRun{{Started: at(3)}}},
	} {
		if got := o.WorkedOn(); !got.Equal(at(3)) {
			t.Errorf("%s: %+v", got, o)
		}
	}
}
