package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/release/workload"
)

// withSet is the test environment, of which the frontend is a StatefulSet, changed by f, and cron another; fetcher is a
// DaemonSet.
func withSet(f func(frontend, cron, fetcher *workload.Workload)) (Environment, State) {
	env, state := testEnvironment(), testState(commitA)
	for i, ref := range []workload.Ref{{StatefulSet: "frontend"}, {DaemonSet: "fetcher"}, {StatefulSet: "cron"}} {
		env.Services[i].Ref, state.Workloads[i].Ref, state.Workloads[i].Strategy = ref, ref, workload.RollingUpdate
		state.Workloads[i].Namespace = "staging"
	}
	f(&state.Workloads[0], &state.Workloads[2], &state.Workloads[1])
	return env, state
}

func TestMakeRollsStatefulSetsAndDaemonSetsOnlyWhereTheyWouldFollow(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(frontend, cron, fetcher *workload.Workload)
		words  string // of the refusal; empty: it is planned
		hint   string
	}{
		"both roll": {change: func(_, _, _ *workload.Workload) {}},
		"a StatefulSet by OnDelete": {
			change: func(f, _, _ *workload.Workload) { f.Strategy = workload.OnDelete },
			words:  "StatefulSet frontend has the update strategy OnDelete: it would not replace its pods", hint: "kubectl patch statefulset/frontend",
		},
		"a DaemonSet by OnDelete": {
			change: func(_, _, f *workload.Workload) { f.Strategy = workload.OnDelete },
			words:  "DaemonSet fetcher has the update strategy OnDelete", hint: "kubectl patch daemonset/fetcher",
		},
		"a strategy that is not known": {change: func(f, _, _ *workload.Workload) { f.Strategy = "Recreate" }, words: "the update strategy Recreate"},
		"a partition that keeps some":  {change: func(f, _, _ *workload.Workload) { f.Partition = 2 }},
		"a partition that keeps all": {
			change: func(f, _, _ *workload.Workload) { f.Partition = 3 },
			words:  "StatefulSet frontend has the partition 3 and 3 pods: all of them would stay", hint: "partition",
		},
		"a singleton whose volume would go": {
			change: func(_, c, _ *workload.Workload) { c.DropsVolumes = true },
			words:  "StatefulSet cron deletes the volumes of pods that are scaled away", hint: "whenScaled: Retain",
		},
		"a rolling one is not scaled": {change: func(f, _, _ *workload.Workload) { f.DropsVolumes = true }},
		"a singleton beside an orphan": {
			change: func(_, c, _ *workload.Workload) {
				c.Pods = append(c.Pods, workload.Pod{Name: "cron-x", Phase: "Running", Orphan: true})
			},
			words: "pod cron-x has the labels that StatefulSet cron selects, and no StatefulSet controls it", hint: "delete that pod",
		},
		"it is not there": {change: func(f, _, _ *workload.Workload) { f.Ref = workload.Ref{Deployment: "frontend"} }, words: "there is no StatefulSet frontend of service frontend"},
	} {
		t.Run(name, func(t *testing.T) {
			env, state := withSet(tc.change)
			restart := deployOf("")
			restart.Kind, restart.Secret = Restart, "db"
			for _, r := range []Request{deployOf(commitB), restart} {
				p, err := Make(r, env, Known{Now: noon, State: state})
				if tc.words != "" {
					wantRefusal(t, err, NotReady, tc.words, tc.hint)
				} else if err != nil {
					t.Errorf("%s: %v", r.Kind, err)
				} else if last := p.Steps[len(p.Steps)-1]; last.Do != Replace || last.Ref != (workload.Ref{StatefulSet: "cron"}) || last.Replicas != 1 {
					t.Errorf("%s: the singleton: %+v", r.Kind, last)
				}
			}
		})
	}
}

func TestMakeWarnsOfPodsThatKeepTheOldTemplateOrHoldUpTheOthers(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(frontend, cron, fetcher *workload.Workload)
		want   string
	}{
		"nothing of the kind": {func(_, _, _ *workload.Workload) {}, ""},
		"a partition":         {func(f, _, _ *workload.Workload) { f.Partition = 1 }, "StatefulSet frontend has the partition 1: only its pods from number 1 on change"},
		"a pod that holds up the others": {func(f, _, _ *workload.Workload) {
			f.Ordered, f.Pods = true, []workload.Pod{{Name: "frontend-2", Phase: "Running"}}
		}, "kubectl -n staging delete pod frontend-2"},
		"a singleton's goes with it": {func(_, c, _ *workload.Workload) {
			c.Ordered, c.Pods = true, []workload.Pod{{Name: "cron-0", Phase: "Running"}}
		}, ""},
	} {
		env, state := withSet(tc.change)
		restart := deployOf("")
		restart.Kind, restart.Secret = Restart, "db"
		for _, r := range []Request{deployOf(commitB), restart} {
			p, err := Make(r, env, Known{Now: noon, State: state})
			if err != nil || (tc.want == "") != (p.Warning == "") || !strings.Contains(p.Warning, tc.want) {
				t.Errorf("%s: %s: %q, %v", name, r.Kind, p.Warning, err)
			}
		}
	}
}

func TestMakePromotesNoStatefulSetOfWhichAPartitionKeepsPods(t *testing.T) {
	for partition, ok := range map[int]bool{0: true, 1: false} {
		source, state := withSet(func(f, _, _ *workload.Workload) { f.Partition, f.Updated = partition, 3-partition })
		for i := range state.Workloads {
			state.Workloads[i].Pods = []workload.Pod{{Name: "p", Phase: "Running", Updated: true, Ready: true}}
		}
		production := testEnvironment()
		production.Name, production.PromoteFrom = "production", "staging"
		r := deployOf("")
		r.Kind, r.Environment = Promotion, "production"
		_, err := Make(r, production, Known{Now: noon, State: testState(commitA), Source: source, SourceState: state})
		if ok && err != nil {
			t.Error(err)
		} else if !ok {
			wantRefusal(t, err, NotReady, "frontend: not all of its pods run its commit: 1 of the old template by its partition 1", "")
		}
	}
}

func TestEnvironmentValidateWantsOneWorkloadAService(t *testing.T) {
	for name, tc := range map[string]struct {
		service Service
		want    string
	}{
		"a StatefulSet":       {Service{Ref: workload.Ref{StatefulSet: "x"}}, ""},
		"a DaemonSet":         {Service{Ref: workload.Ref{DaemonSet: "x"}, Kind: Rolling}, ""},
		"a DaemonSet, single": {Service{Ref: workload.Ref{DaemonSet: "x"}}, "want kind rolling"},
		"none":                {Service{}, "want one workload"},
		"two":                 {Service{Ref: workload.Ref{StatefulSet: "x", Deployment: "x"}}, "want one workload"},
		"another's":           {Service{Ref: testEnvironment().Services[0].Ref}, "want one workload"},
		"another's name":      {Service{Ref: workload.Ref{StatefulSet: testEnvironment().Services[0].Deployment}}, ""},
	} {
		env := testEnvironment()
		tc.service.Name, tc.service.Image = "more", "more"
		env.Services = append(env.Services, tc.service)
		if err := env.Validate(); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStepRunWaitsSaysWhyAndForgetsIt(t *testing.T) {
	var s StepRun
	s.Waits(workload.Rollout{Detail: "1 of 2 new pods available"}, workload.Diagnosis{Pod: "p", Why: workload.Crash, Detail: "it ended"}, true)
	if s.Diagnosis == nil || s.Diagnosis.Pod != "p" || s.Detail != "1 of 2 new pods available: pod p: crash: it ended" {
		t.Errorf("%+v", s)
	}
	s.Waits(workload.Rollout{Detail: "1 old pod to go"}, workload.Diagnosis{}, false)
	if s.Diagnosis != nil || s.Detail != "1 old pod to go" {
		t.Errorf("%+v", s)
	}
}

func TestStepRolloutIsNotDoneByAPartitionThatIsRaisedMeanwhile(t *testing.T) {
	for name, row := range map[string]struct {
		planned, now, updated int
		done                  bool
		detail                string
	}{
		"none":           {0, 0, 3, true, "3 of 3 pods available"},
		"as planned":     {2, 2, 1, true, "2 of the old template by its partition 2"},
		"lowered":        {2, 1, 2, true, "1 of the old template by its partition 1"},
		"raised":         {0, 2, 1, false, "its partition was raised from 0 to 2 meanwhile, and 1 of 3 pods are of the new template"},
		"raised further": {1, 3, 0, false, "its partition was raised from 1 to 3 meanwhile, and 0 of 3 pods"},
		"raised late":    {0, 2, 3, true, "3 of 3 pods available"},
		"late, of two":   {1, 2, 2, true, "1 of the old template by its partition 2"},
	} {
		t.Run(name, func(t *testing.T) {
			w := rolledOut()
			w.Ref, w.Partition, w.Updated = workload.Ref{StatefulSet: "frontend"}, row.now, row.updated
			got := Step{Do: Roll, Ref: w.Ref, Partition: row.planned}.Rollout(w, noon)
			if got.Done != row.done || got.Failed || !strings.Contains(got.Detail, row.detail) {
				t.Errorf("%+v, want done %t, ...%s...", got, row.done, row.detail)
			}
		})
	}
}

func TestMakeKeepsThePartitionThatItPlannedFor(t *testing.T) {
	env, state := withSet(func(f, _, cron *workload.Workload) { f.Partition, cron.Partition = 2, 0 })
	restart := deployOf("")
	restart.Kind, restart.Service = Restart, "frontend"
	for _, request := range []Request{deployOf(commitB), restart} {
		p, err := Make(request, env, Known{Now: noon, State: state})
		if err != nil {
			t.Fatal(err)
		}
		o := Operation{Kind: p.Kind, OnFailure: Rollback}
		planned := 0
		for _, s := range p.Steps {
			if s.StatefulSet == "frontend" {
				planned = s.Partition
			}
			o.Steps = append(o.Steps, StepRun{Step: s, Phase: Failed})
		}
		if planned != 2 {
			t.Errorf("%s: the step has the partition %d, want 2", request.Kind, planned)
		}
		if request.Kind == Restart {
			continue
		}
		undo, why := o.RollbackSteps()
		if why != "" || !slices.ContainsFunc(undo, func(s StepRun) bool { return s.Partition == 2 }) {
			t.Errorf("no step of the rollback has it: %s %+v", why, undo)
		}
	}
}
