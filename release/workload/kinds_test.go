package workload

import (
	"strings"
	"testing"
	"time"
)

// rolledOutSet is a StatefulSet of three pods that has rolled out.
func rolledOutSet() Workload {
	w := Workload{
		Ref: Ref{StatefulSet: "db"}, Namespace: "prod", Strategy: RollingUpdate, Ordered: true, Replicas: 3, Generation: 7, ObservedGeneration: 7,
		Total: 3, Updated: 3, Available: 3,
	}
	for _, name := range []string{"db-0", "db-1", "db-2"} {
		w.Pods = append(w.Pods, Pod{Name: name, Phase: "Running", Updated: true, Ready: true, Containers: []ContainerState{{Name: "app", Ready: true}}})
	}
	return w
}

// rolledOutDaemon is a DaemonSet on three hosts that has rolled out.
func rolledOutDaemon() Workload {
	w := rolledOutSet()
	w.Ref, w.Ordered = Ref{DaemonSet: "agent"}, false
	return w
}

func TestRefNamesOneWorkload(t *testing.T) {
	for _, k := range Kinds() {
		r := RefTo(k, "x")
		if r.WorkloadKind() != k || r.WorkloadName() != "x" || r.Title() != string(k)+" x" || !r.Alone() ||
			r.InKubectl() != strings.ToLower(string(k))+"/x" || k.Resource() != strings.ToLower(string(k))+"s" {
			t.Errorf("%s: %+v, %s, %s, %s", k, r, r.Title(), r.InKubectl(), k.Resource())
		}
	}
	if (Ref{StatefulSet: "a", DaemonSet: "a"}).Alone() || !(Ref{}).Alone() || (Ref{}).WorkloadName() != "" {
		t.Error("several are taken for one, or none for one")
	}
}

// By the rules of k8s.io/kubectl/pkg/polymorphichelpers/rollout_status.go.
func TestRolloutOfStatefulSetIsReadAsKubectlReadsIt(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Workload)
		done   bool
		detail string
	}{
		"done":                        {func(*Workload) {}, true, "3 of 3 pods available"},
		"not observed":                {func(w *Workload) { w.Generation = 8 }, false, "waiting for the change to be observed"},
		"new pods to be made":         {func(w *Workload) { w.Updated = 1 }, false, "1 of 3 new pods made, 3 of 3 pods available"},
		"one is missing":              {func(w *Workload) { w.Updated, w.Available, w.Total = 2, 2, 2 }, false, "2 of 3 new pods made, 2 of 3 pods available"},
		"one is not available yet":    {func(w *Workload) { w.Available = 2 }, false, "2 of 3 pods available"},
		"one to go":                   {func(w *Workload) { w.Total = 4 }, false, "3 of 3 pods available, 1 to go"},
		"scaled to nothing":           {func(w *Workload) { w.Replicas, w.Total, w.Updated, w.Available = 0, 0, 0, 0 }, true, "0 of 0"},
		"a partition is reached":      {func(w *Workload) { w.Partition, w.Updated = 2, 1 }, true, "3 of 3 pods available, 2 of the old template by its partition 2"},
		"a partition is not reached":  {func(w *Workload) { w.Partition, w.Updated = 1, 1 }, false, "1 of 2 new pods made"},
		"a partition, one not ready":  {func(w *Workload) { w.Partition, w.Updated, w.Available = 2, 1, 2 }, false, "2 of 3 pods available"},
		"a partition beyond the pods": {func(w *Workload) { w.Partition, w.Updated = 9, 0 }, true, "3 of the old template by its partition 9"},
		"OnDelete, all are new":       {func(w *Workload) { w.Strategy = OnDelete }, true, "3 of 3"},
		"OnDelete, one is old":        {func(w *Workload) { w.Strategy, w.Updated = OnDelete, 2 }, false, "its update strategy is OnDelete: the others stay until somebody deletes them"},
	} {
		w := rolledOutSet()
		tc.change(&w)
		if got := RolloutOf(w); got.Done != tc.done || got.Failed || !strings.HasPrefix(got.Detail+"\x00", tc.detail) && !strings.Contains(got.Detail, tc.detail) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestRolloutOfDaemonSetIsReadAsKubectlReadsIt(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Workload)
		done   bool
		detail string
	}{
		"done":                    {func(*Workload) {}, true, "3 of 3 pods available"},
		"not observed":            {func(w *Workload) { w.Generation = 8 }, false, "waiting for the change to be observed"},
		"new pods to be made":     {func(w *Workload) { w.Updated = 1 }, false, "1 of 3 new pods made"},
		"not available yet":       {func(w *Workload) { w.Available = 1 }, false, "1 of 3 new pods available"},
		"no host is to have one":  {func(w *Workload) { w.Replicas, w.Total, w.Updated, w.Available = 0, 0, 0, 0 }, true, "0 of 0"},
		"OnDelete, one is old":    {func(w *Workload) { w.Strategy, w.Updated = OnDelete, 2 }, false, "its update strategy is OnDelete"},
		"OnDelete, all are new":   {func(w *Workload) { w.Strategy = OnDelete }, true, "3 of 3"},
		"nothing goes in order":   {func(w *Workload) { w.Updated, w.Pods[0].Updated, w.Pods[0].Ready = 2, false, false }, false, "2 of 3 new pods made"},
		"pods where none must be": {func(w *Workload) { w.Total = 4 }, true, "3 of 3 pods available"},
	} {
		w := rolledOutDaemon()
		tc.change(&w)
		if got := RolloutOf(w); got.Done != tc.done || got.Failed || !strings.Contains(got.Detail, tc.detail) || strings.Contains(got.Detail, "kubectl") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// What a StatefulSet waits for in vain is said with the command that ends it, and never otherwise.
func TestWorkloadHeldUpNamesThePodThatAPersonMustDelete(t *testing.T) {
	broken := func(w *Workload) {
		w.Updated, w.Available = 0, 2
		for i := range w.Pods {
			w.Pods[i].Updated = false
		}
		w.Pods[2].Ready = false
		w.Pods[2].Containers = []ContainerState{{Name: "app", Waiting: "ImagePullBackOff", Message: "no such image"}}
	}
	const what = "kubectl -n prod delete pod db-2"
	for name, tc := range map[string]struct {
		change func(*Workload)
		held   bool
	}{
		"a pod of an earlier template never became ready": {broken, true},
		"it is of the current template":                   {func(w *Workload) { broken(w); w.Pods[2].Updated = true }, false},
		"pods are replaced whatever they do":              {func(w *Workload) { broken(w); w.Ordered = false }, false},
		"which template it is of is not known yet":        {func(w *Workload) { broken(w); w.ObservedGeneration-- }, false},
		"it is being deleted":                             {func(w *Workload) { broken(w); w.Pods[2].Terminating = true }, false},
		"it has ended, and is replaced":                   {func(w *Workload) { broken(w); w.Pods[2].Phase = "Failed" }, false},
		"it is nobody's":                                  {func(w *Workload) { broken(w); w.Pods[2].Orphan = true }, false},
		"it is a Deployment's":                            {func(w *Workload) { broken(w); w.Ref = Ref{Deployment: "db"} }, false},
		"all are ready":                                   {func(w *Workload) { broken(w); w.Pods[2].Ready = true }, false},
	} {
		w := rolledOutSet()
		tc.change(&w)
		got := RolloutOf(w)
		if strings.Contains(got.Detail, what) != tc.held || (w.HeldUp() != "") != tc.held {
			t.Errorf("%s: %+v, %q", name, got, w.HeldUp())
		}
		if d, found := DiagnoseRollout(w, time.Time{}); tc.held && (!found || d.Pod != "db-2" || d.Why != ImagePull) {
			t.Errorf("%s: %v", name, d)
		}
	}
	w := rolledOutSet()
	w.Pods = append(w.Pods, Pod{Name: "db-10", Phase: "Running"}, Pod{Name: "db-9", Phase: "Running"})
	if p, _ := w.HeldUpBy(); p.Name != "db-9" {
		t.Errorf("it is held up by %s: the controller goes by their numbers", p.Name)
	}
}

// A condition that is older than the change, or of a template before it, explains nothing of it.
func TestDiagnoseRolloutLeavesOutWhatIsOlderThanTheChange(t *testing.T) {
	changed := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		c    Condition
		want bool
	}{
		"a quota, since the change":      {Condition{Type: "ReplicaFailure", Status: "True", Changed: changed.Add(time.Second)}, true},
		"a quota, from before":           {Condition{Type: "ReplicaFailure", Status: "True", Changed: changed.Add(-time.Hour)}, false},
		"when is not said":               {Condition{Type: "ReplicaFailure", Status: "True"}, true},
		"it is over":                     {Condition{Type: "ReplicaFailure", Status: "False", Changed: changed.Add(time.Second)}, false},
		"an event since the change":      {Condition{Type: "FailedCreate", Status: "True", Updated: changed.Add(time.Second)}, true},
		"an event from before":           {Condition{Type: "FailedCreate", Status: "True", Updated: changed.Add(-time.Hour)}, false},
		"no ReplicaSet, since":           {Condition{Type: "Progressing", Status: "False", Reason: "ReplicaSetCreateError", Updated: changed}, true},
		"no ReplicaSet, from before":     {Condition{Type: "Progressing", Status: "False", Reason: "ReplicaSetCreateError", Updated: changed.Add(-time.Hour)}, false},
		"a deadline says nothing of why": {Condition{Type: "Progressing", Status: "False", Reason: "ProgressDeadlineExceeded", Updated: changed}, false},
	} {
		tc.c.Message = "exceeded quota"
		if d, found := DiagnoseRollout(Workload{Conditions: []Condition{tc.c}}, changed); found != tc.want || found && (d.Why != NoPod || d.Detail != "exceeded quota") {
			t.Errorf("%s: %v, %t", name, d, found)
		}
	}
}

func TestDiagnoseRolloutSaysNothingOfAChangeThatIsNotObserved(t *testing.T) {
	w := Workload{Generation: 2, ObservedGeneration: 1, Conditions: []Condition{{Type: "FailedCreate", Status: "True", Message: "exceeded quota"}}}
	if d, found := DiagnoseRollout(w, time.Time{}); found {
		t.Errorf("what is said is of the template before: %v", d)
	}
	w.ObservedGeneration = 2
	if _, found := DiagnoseRollout(w, time.Time{}); !found {
		t.Error("nothing is said of it once it is observed")
	}
}

func TestRolloutBecauseSaysNothingTwice(t *testing.T) {
	r := Rollout{Detail: "pods cannot be created: exceeded quota"}
	if got := r.Because(Diagnosis{Why: NoPod, Detail: "exceeded quota"}); got != r.Detail {
		t.Error(got)
	}
	if got := r.Because(Diagnosis{Pod: "p", Container: "c", Why: Crash, Detail: "it ended"}); got != r.Detail+": pod p, container c: crash: it ended" {
		t.Error(got)
	}
}

func TestWorkloadUnhealthyGoesByEachPodWhereNoConditionSaysIt(t *testing.T) {
	noon := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	since := func(at time.Time) []Condition {
		return []Condition{{Type: "Ready", Status: "True", Changed: at}}
	}
	for name, tc := range map[string]struct {
		change func(*Workload)
		want   string
	}{
		"healthy for long":          {func(*Workload) {}, ""},
		"one is ready only now":     {func(w *Workload) { w.Pods[1].Conditions = since(noon.Add(time.Minute)) }, "pod db-1 is ready only since"},
		"one is not ready":          {func(w *Workload) { w.Pods[1].Ready = false }, "pod db-1 is not ready"},
		"one that ended is ignored": {func(w *Workload) { w.Pods[1].Phase, w.Pods[1].Ready = "Failed", false }, ""},
		"one that goes is ignored":  {func(w *Workload) { w.Pods[1].Terminating, w.Pods[1].Ready = true, false }, ""},
		"one has crashed meanwhile": {func(w *Workload) {
			w.Pods[0].Containers[0].Restarts, w.Pods[0].Containers[0].LastEnd = 1, noon.Add(time.Hour)
		}, "ended at"},
		"one waits to be run again": {func(w *Workload) { w.Pods[0].Containers[0].Waiting = "CrashLoopBackOff" }, "waits: CrashLoopBackOff"},
		"its crash was long before": {func(w *Workload) {
			w.Pods[0].Containers[0].Restarts, w.Pods[0].Containers[0].LastEnd = 1, noon.Add(-time.Hour)
		}, ""},
		"an orphan is not its fault": {func(w *Workload) { w.Pods[1].Orphan, w.Pods[1].Ready = true, false }, ""},
	} {
		for _, w := range []Workload{rolledOutSet(), rolledOutDaemon()} {
			for i := range w.Pods {
				w.Pods[i].Conditions = since(noon.Add(-2 * time.Hour))
			}
			tc.change(&w)
			if got := w.Unhealthy(noon); (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("%s: %s: %q", name, w.Title(), got)
			}
		}
	}
	w := rolledOutSet()
	w.Partition, w.Updated = 1, 2
	if got := w.NotRun(noon); !strings.Contains(got, "1 of the old template by its partition 1") {
		t.Errorf("what a partition keeps: %q", got)
	}
	w = rolledOutDaemon()
	if w.Replicas = 0; !strings.Contains(w.NotRun(noon), "no host is to have a pod") {
		t.Errorf("no host: %q", w.NotRun(noon))
	}
}
