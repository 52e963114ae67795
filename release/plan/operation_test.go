package plan

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/release/text"
	"github.com/cjworkbench/unstuck/release/workload"
)

func TestOperationFitsIntoAConfigMapAndSurvivesItsJSON(t *testing.T) {
	o := Operation{ID: "x", Request: deployOf(commitA), Created: noon}
	var s StepRun
	for i := range 500 {
		s.AddLine(fmt.Sprint(i, strings.Repeat("<\x1b", 1000)))
	}
	s.Diagnosis = &workload.Diagnosis{Pod: "p", Log: text.Last(s.Log, text.KeptLines)}
	for range MaxSteps {
		o.Steps, o.Rollback = append(o.Steps, s), append(o.Rollback, s)
	}
	fit := o.Fit()
	data, err := json.Marshal(fit)
	if err != nil || len(data) >= MaxOperationBytes || len(fit.Steps[0].Log) == 0 {
		t.Errorf("%d bytes, %d lines, %v", len(data), len(fit.Steps[0].Log), err)
	}
	if s := fit.Steps[0]; s.Cut+len(s.Log) != 500 || !strings.HasPrefix(s.Log[len(s.Log)-1], "499") || strings.Contains(s.Log[0], "\x1b") {
		t.Errorf("cut %d, %d lines, the last %q", s.Cut, len(s.Log), s.Log[len(s.Log)-1])
	}
	if len(o.Steps[0].Log) != text.KeptLines {
		t.Error("fit changed what it was given")
	}
	var back Operation
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fit, back); diff != "" {
		t.Error(diff)
	}
}

func TestForgettableAreOnlyOldOperationsThatAreOver(t *testing.T) {
	var all []Operation
	for i := range 60 {
		all = append(all, Operation{ID: fmt.Sprint(i), Created: noon.Add(time.Duration(i) * time.Minute), Phase: Succeeded})
	}
	all[3].Phase = Running
	if got := Forgettable(all); !slices.Equal(got, []string{"9", "8", "7", "6", "5", "4", "2", "1", "0"}) {
		t.Errorf("%v", got)
	}
}

// kept gives what is left of a history once it was written for long.
func kept(history []Operation) []Operation {
	gone := Forgettable(history)
	return slices.DeleteFunc(slices.Clone(history), func(o Operation) bool { return slices.Contains(gone, o.ID) })
}

// then gives a history and many operations after it.
func then(history []Operation, n int, o Operation) []Operation {
	for range n {
		o.ID, o.Created = fmt.Sprintf("%s-%d", o.Kind, len(history)), noon.Add(time.Duration(len(history))*time.Minute)
		history = append(history, o)
	}
	return history
}

func TestForgettableLeavesWhatARevertNeedsWhateverElseIsDone(t *testing.T) {
	yes := DidMigrate
	task := Operation{Kind: RunTask, Phase: Succeeded}
	migrating := Operation{Kind: RunTask, Phase: Succeeded, Steps: []StepRun{{Step: Step{Do: RunCommand}, Migrated: &yes}}}
	failing := Operation{Kind: Deploy, Commit: commitC, Phase: Failed}
	history := past("deploy a succeeded no", "deploy b succeeded no a")
	crossing := past("deploy a succeeded no", "deploy b succeeded yes a")
	between := past("deploy a succeeded no", "task x succeeded yes", "deploy b succeeded no a")
	between[1].Commit = ""
	for name, tt := range map[string]struct {
		history []Operation
		most    int
		want    string // of a refusal, or empty for a revert to A
	}{
		"tasks":                                     {then(history, 200, task), 52, ""},
		"restarts":                                  {then(history, 200, Operation{Kind: Restart, Phase: Failed}), 52, ""},
		"deploys that fail":                         {then(history, 200, failing), 52, ""},
		"tasks that migrate":                        {then(history, 200, migrating), 52, "going back to " + commitA},
		"a task that migrates, and many more":       {then(then(history, 1, migrating), 200, task), 53, "going back to " + commitA},
		"a migration between, and many tasks":       {then(crossing, 200, task), 52, "op-2 (commit " + commitB},
		"a migrating task between, and many of all": {then(then(between, 200, task), 200, failing), 103, "op-2 (migrated: yes)"},
	} {
		t.Run(name, func(t *testing.T) {
			left := kept(tt.history)
			if len(left) > tt.most {
				t.Errorf("%d operations are kept, want at most %d", len(left), tt.most)
			}
			p, err := Make(revertOf(""), testEnvironment(), Known{Now: noon, State: testState(commitB), History: left})
			if tt.want != "" {
				wantRefusal(t, err, Migrated, tt.want)
			} else if err != nil || p.Commit != commitA {
				t.Errorf("to %s, %v", p.Commit, err)
			}
		})
	}
}

func TestEnvironmentValidateRefusesWhatNoPlanHasRoomFor(t *testing.T) {
	for _, tt := range []struct {
		services, jobs int
		ok             bool
	}{{40, 0, true}, {MaxSteps - 1, 0, true}, {60, MaxSteps - 61, true}, {MaxSteps, 0, false}, {60, MaxSteps - 60, false}} {
		env, state := testEnvironment(), State{}
		env.Jobs, env.Tasks, env.Services = nil, nil, nil
		for i := range tt.services {
			name := fmt.Sprintf("s%d", i)
			env.Services = append(env.Services, Service{Name: name, Ref: workload.Ref{Deployment: name}, Image: name, Kind: Rolling})
			d := rolledOut()
			d.Ref, d.Containers = workload.Ref{Deployment: name}, []workload.Container{{Name: "app", Image: "gcr.io/acme/" + name + ":" + commitA}}
			state.Workloads = append(state.Workloads, d)
		}
		for i := range tt.jobs {
			from := TemplateRef{FromCronJob, fmt.Sprintf("j%d", i)}
			env.Jobs = append(env.Jobs, Job{Name: from.Name, From: from})
			state.Templates = append(state.Templates, Template{Ref: from, Containers: []workload.Container{{Name: "app", Image: "gcr.io/acme/migrate:" + commitA}}})
		}
		err := env.Validate()
		if !tt.ok {
			want := fmt.Sprintf("%d services and %d jobs: want at most %d of both", tt.services, tt.jobs, MaxSteps-1)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
			continue
		}
		if p, planErr := Make(deployOf(commitB), env, Known{Now: noon, State: state}); err != nil || planErr != nil || len(p.Steps) != 1+tt.services+tt.jobs {
			t.Errorf("%d services and %d jobs: %v, %v", tt.services, tt.jobs, err, planErr)
		}
	}
}

// drawn gives a random history of many operations on few commits, which changed hands outside of them, too.
func drawn(r *rand.Rand, n int) []Operation {
	commits := []string{commitA, commitB, commitC, strings.Repeat("d", 40)}
	var all []Operation
	rare := 10 + r.IntN(400)
	for i := range n {
		o := Operation{ID: fmt.Sprintf("op-%d", i), Created: noon.Add(time.Duration(i) * time.Minute), Phase: []Phase{Succeeded, Failed, Cancelled, RolledBack}[r.IntN(4)]}
		if o.Kind = Kinds()[r.IntN(5)]; o.Kind == Deploy || o.Kind == Promotion || o.Kind == Revert {
			o.Commit = commits[r.IntN(len(commits))]
			if r.IntN(3) > 0 {
				o.Before = commits[r.IntN(len(commits))]
			}
			o.Steps = []StepRun{{Phase: []Phase{Pending, Failed}[r.IntN(2)], Step: Step{Do: Roll, Images: []ImageChange{{}}}}}
		}
		if r.IntN(rare) == 0 {
			m := []Migration{DidMigrate, MaybeMigrated}[r.IntN(2)]
			o.Steps = append(o.Steps, StepRun{Mark: MarkStarted, Migrated: &m, Step: Step{Do: StartJob, Job: &JobRun{}}})
		}
		all = append(all, o)
	}
	return all
}

func TestForgettableHasNoRevertCrossWhatIsForgotten(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	allowed, refused := 0, 0
	for round := range 300 {
		history := drawn(r, 20+r.IntN(300))
		left := kept(history)
		if len(left) > keptBringing+keptSucceeded+keptOthers+1 {
			t.Fatalf("round %d: %d operations are kept", round, len(left))
		}
		request := revertOf([]string{"", commitA, commitB, commitC}[r.IntN(4)])
		known := Known{Now: noon, State: testState([]string{commitA, commitB, commitC}[r.IntN(3)]), History: left}
		p, err := Make(request, testEnvironment(), known)
		if err != nil {
			refused++
			continue
		}
		allowed++
		known.History = history
		if _, err := Make(revertOf(p.Commit), testEnvironment(), known); err != nil {
			t.Fatalf("round %d: by what is kept it goes to %s, and by all: %v", round, p.Commit, err)
		}
	}
	if allowed < 25 || refused < 25 {
		t.Errorf("%d allowed, %d refused", allowed, refused)
	}
}

func TestStepRunAddLineAndSetLogKeepNoSecret(t *testing.T) {
	s := StepRun{Step: Step{Job: &JobRun{Images: []ImageChange{{From: "gcr.io/acme/migrate:" + commitA}}}}}
	s.AddLine("password=hunter2 for " + commitA)
	s.AddLine(strings.Repeat("x ", 110) + "amqp://me:hunter2-which-is-long-and-stands-where-the-line-is-cut@mq/")
	var d workload.Diagnosis
	d.SetLog([]string{"DB_PW=hunter2", "at " + commitA, strings.Repeat("y", 4000)}, commitA)
	for _, lines := range [][]string{s.Log, d.Log} {
		if line := strings.Join(lines, "\n"); strings.Contains(line, "hunter2") || !strings.Contains(line, commitA) || !strings.Contains(line, "[masked]") {
			t.Errorf("kept: %q", lines)
		}
	}
	if len(d.Log) != 3 || len(d.Log[2]) > 240 {
		t.Errorf("kept: %q", d.Log)
	}
}

func TestOperationWithoutLogsSaysWhyAndLeavesTheOriginalAlone(t *testing.T) {
	o := Operation{
		Steps:    []StepRun{{Log: []string{"a", "b"}, Cut: 7}, {Diagnosis: &workload.Diagnosis{Why: workload.Crash, Log: []string{"c"}}}, {}},
		Rollback: []StepRun{{Log: []string{"d"}, Diagnosis: &workload.Diagnosis{Why: workload.Crash}}},
	}
	got := o.WithoutLogs("hidden")
	for _, lines := range [][]string{got.Steps[0].Log, got.Steps[1].Diagnosis.Log, got.Rollback[0].Log} {
		if len(lines) != 1 || lines[0] != "hidden" {
			t.Errorf("lines %q", lines)
		}
	}
	if len(got.Steps[2].Log) > 0 || got.Steps[0].Cut != 0 || len(got.Rollback[0].Diagnosis.Log) > 0 || got.Steps[1].Diagnosis.Why != workload.Crash {
		t.Errorf("%+v", got)
	}
	if len(o.Steps[0].Log) != 2 || o.Steps[1].Diagnosis.Log[0] != "c" || o.Rollback[0].Log[0] != "d" {
		t.Errorf("the original: %+v", o)
	}
	if !o.HasLogs() || (Operation{Steps: []StepRun{{}}}).HasLogs() || !(Operation{Rollback: o.Rollback}).HasLogs() {
		t.Error("HasLogs")
	}
}
