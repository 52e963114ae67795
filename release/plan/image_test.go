package plan

import (
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/release/workload"
)

const (
	digestX = "@sha256:1111111111111111111111111111111111111111111111111111111111111111"
	digestY = "@sha256:2222222222222222222222222222222222222222222222222222222222222222"
)

func TestSameImageTakesAnAppendedDigestForTheTagsImage(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"gcr.io/acme/web:1", "gcr.io/acme/web:1", true},
		{"gcr.io/acme/web:1", "gcr.io/acme/web:1" + digestX, true},
		{"gcr.io/acme/web:1" + digestX, "gcr.io/acme/web:1" + digestX, true},
		{"gcr.io/acme/web:1" + digestX, "gcr.io/acme/web:1" + digestY, false},
		{"gcr.io/acme/web:1", "gcr.io/acme/web:2", false},
		{"gcr.io/acme/web:1" + digestX, "gcr.io/acme/web:2" + digestX, false},
		{"gcr.io/acme/web:1", "gcr.io/acme/web", false},
		{"gcr.io/acme/web:1", "gcr.io/acme/web" + digestX, false},
		{"gcr.io:443/acme/web:1", "gcr.io/acme/web:1", false},
		{"redis:7", "docker.io/library/redis:7" + digestX, true},
	} {
		if SameImage(tt.a, tt.b) != tt.want || SameImage(tt.b, tt.a) != tt.want {
			t.Errorf("%s and %s: want %v", tt.a, tt.b, tt.want)
		}
	}
}

func TestMakeChangesNothingForAnAppendedDigest(t *testing.T) {
	state := testState(commitA)
	for _, d := range state.Workloads {
		for i := range d.Containers[:2] {
			d.Containers[i].Image += digestX
		}
	}
	p, err := Make(deployOf(commitA), testEnvironment(), Known{Now: noon, State: state})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Steps {
		if s.Do == Replace || (s.Do == Roll && len(s.Images) > 0) {
			t.Errorf("%s changes %v", s.ID, s.Images)
		}
	}
	p, err = Make(deployOf(commitB), testEnvironment(), Known{Now: noon, State: state})
	if err != nil || p.Before != commitA || len(p.Steps[5].Images) != 2 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestEnvironmentDiffersSaysWhatIsNotAsItWasSet(t *testing.T) {
	step := Step{Do: Roll, Ref: workload.Ref{Deployment: "cron-deployment"}, Images: []ImageChange{
		{Container: "app", From: "gcr.io/acme/cron:" + commitA, To: "gcr.io/acme/cron:" + commitB},
	}}
	awaited, replaced, restarted := Step{Do: Roll}, Step{Do: Replace, Replicas: 1}, Step{Do: Roll, RestartedAt: "noon"}
	for name, tt := range map[string]struct {
		step   Step
		commit string
		change func(*workload.Workload)
		want   string
	}{
		"as it was set":           {step, commitB, func(*workload.Workload) {}, ""},
		"with a digest":           {step, commitB, func(d *workload.Workload) { d.Containers[1].Image += digestX }, ""},
		"put back":                {step, "", func(d *workload.Workload) { d.Containers[1].Image = "gcr.io/acme/cron:" + commitA }, "container app was set to"},
		"taken away":              {step, "", func(d *workload.Workload) { d.Containers = d.Containers[:1] }, "there is no container app any more"},
		"another one added":       {step, commitB, func(d *workload.Workload) { d.Containers[2].Image = "gcr.io/acme/fetcher:" + commitC }, "container proxy is to run"},
		"only awaited":            {awaited, commitB, func(*workload.Workload) {}, ""},
		"only awaited, and gone":  {awaited, commitB, func(d *workload.Workload) { d.Containers[1].Image = "gcr.io/acme/cron:" + commitC }, "container app is to run"},
		"scaled to 0":             {replaced, commitB, func(d *workload.Workload) { d.Replicas = 0 }, "set to have 1 pods, and asks for 0"},
		"left at 0 by a person":   {Step{Do: Replace}, commitB, func(d *workload.Workload) { d.Replicas = 0 }, ""},
		"restarted":               {restarted, "", func(d *workload.Workload) { d.RestartedAt = "noon" }, ""},
		"the restart taken back":  {restarted, "", func(*workload.Workload) {}, "is gone"},
		"another restart instead": {restarted, "", func(d *workload.Workload) { d.RestartedAt = "morning" }, "says morning, and was set to noon"},
	} {
		d := testState(commitB).Workloads[2]
		tt.change(&d)
		if got := testEnvironment().Differs(d, tt.step, tt.commit); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestOperationRollbackStepsLeaveASingletonThatWasNeverTouched(t *testing.T) {
	change := []ImageChange{{Container: "app", From: "x:1", To: "x:2"}}
	o := Operation{OnFailure: Rollback, Commit: commitB, Phase: Running, Steps: []StepRun{
		{Phase: Failed, Step: Step{ID: "replace cron", Do: Replace, Images: change}},
		{Phase: Failed, Mark: MarkRestored, Step: Step{ID: "replace mail", Do: Replace, Images: change}},
	}}
	if steps, _ := o.RollbackSteps(); len(steps) != 1 || steps[0].ID != "roll back replace mail" {
		t.Errorf("%+v", steps)
	}
}
