package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/httpapi/environments"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate/store"
)

// shownAs is how an answer of the API is shown, in every form that it has: if some fields exclude others, or a view
// depends on one, all of the forms together show all.
type shownAs struct {
	answer any
	show   func(s *session, answer any)
}

func viewOf[T any](show func(s *session, v T)) shownAs {
	var zero T
	return shownAs{zero, func(s *session, v any) { show(s, v.(T)) }}
}

// views are those of every answer that the command line shows as text.
func views() []shownAs {
	return []shownAs{
		viewOf(func(s *session, v brokers.Targets) {
			s.showStatus(v, environments.Environments{}, brokers.PauseList{}, time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC))
		}),
		viewOf(func(s *session, v environments.Environments) {
			s.showStatus(brokers.Targets{}, v, brokers.PauseList{}, time.Time{})
			v.Environments[0].Commit, v.Environments[0].Services[0].Commit = "", ""
			s.showStatus(brokers.Targets{}, v, brokers.PauseList{}, time.Time{})
		}),
		viewOf(func(s *session, v brokers.PauseList) { _ = s.showPauses(v, nil, nil) }),
		viewOf(func(s *session, v brokers.Node) { s.showNode(v); v.Guards[0].Open = false; s.showNode(v) }),
		viewOf(func(s *session, v brokers.Incidents) { s.showIncidents(v) }),
		viewOf(func(s *session, v store.Incident) {
			s.showIncident(v)
			v.Decision.Guards[0].Open = false
			s.showIncident(v)
		}),
		viewOf(func(s *session, v brokers.DeletionReply) {
			s.showGuards(s.out, v)
			s.showDeleted(v)
			v.Guards[0].Open = false
			s.showGuards(s.out, v)
		}),
		viewOf(func(s *session, v environments.OperationLines) { s.showOperations(v) }),
		viewOf(func(s *session, v plan.Operation) {
			for _, kind := range plan.Kinds() {
				v.Request.Kind = kind
				s.showOperation(v, true)
			}
			secret := v.Request.Secret
			v.Request.Kind, v.Request.Secret = plan.Restart, ""
			s.showOperation(v, true)
			v.Request.Secret = secret
			for i := range v.Steps {
				everyDo(&v.Steps[i].Step, func() { s.showOperation(v, true) })
			}
			for i := range v.Rollback {
				everyDo(&v.Rollback[i].Step, func() { s.showOperation(v, true) })
			}
		}),
		viewOf(func(s *session, v plan.Plan) {
			for i := range v.Steps {
				everyDo(&v.Steps[i], func() { s.showPlan(s.out, v) })
			}
		}),
		viewOf(func(s *session, v release.ServiceLog) { s.showLog(v) }),
		viewOf(func(s *session, v release.PodEnv) {
			s.showEnv(v)
			v.Containers[0].Variables[0].Value = nil
			s.showEnv(v)
			v.Containers[0].Variables[0].From = nil
			s.showEnv(v)
		}),
		viewOf(func(s *session, v httpapi.Problem) {
			_ = s.ended(&v)
			v.Known = slices.Repeat(v.Known, httpapi.NamedInDetail+1)
			_ = s.ended(&v)
		}),
	}
}

// everyDo shows a step as one that does each of what a step can do.
func everyDo(step *plan.Step, show func()) {
	show()
	was := step.Do
	for _, do := range []plan.Do{plan.CheckImages, plan.StartJob, plan.Roll, plan.Replace, plan.RunCommand} {
		step.Do = do
		show()
	}
	step.Do = was
}

const (
	asTheAnswer = "it is the same as that of what it is in"
	toldByWhat  = "the words of what was asked for say it"
)

const pagesAreRead = "all pages are read, or as many as --limit says"

// oneOfThree: here all are set at once.
const oneOfThree = "a workload has one of three names, and that is shown"

// itsPartition: it is for the rollout to go by.
const itsPartition = "the plan's warning says which pods it keeps, and the step's detail when it was raised meanwhile"

// notShown are the fields that text leaves out on purpose, each with the reason. -o json has them.
var notShown = map[string]string{
	"Targets.Next.Next":        pagesAreRead,
	"Environments.Next.Next":   pagesAreRead,
	"PauseList.Next.Next":      pagesAreRead,
	"Incidents.Next.Next":      pagesAreRead,
	"OperationLines.Next.Next": pagesAreRead,

	"Targets.Targets[].Nodes[].UID":        "unstuck explain shows it: the overview is one line a node",
	"Targets.Targets[].Nodes[].Closed[]":   "the reason names those that hold it back; unstuck explain shows every guard",
	"Targets.Targets[].Deletions[].ID":     "it is for the store; the incident is what people look up",
	"Targets.Targets[].Deletions[].Target": asTheAnswer,

	"Node.Seen[].Result.Target":      asTheAnswer,
	"Node.Seen[].Result.Node":        asTheAnswer,
	"Node.Seen[].Result.UID":         asTheAnswer,
	"Node.Seen[].Result.NodeStarted": asTheAnswer,
	"Node.Seen[].Result.Stages[0]":   "it is of no stage",
	"Node.Seen[].Result.Processes.":  "detail says in a sentence what they prove; unstuck diagnose shows a look in full",

	"Environments.Environments[].Services[].Ref.DaemonSet":  oneOfThree,
	"Environments.Environments[].Services[].Ref.Deployment": oneOfThree,
	"Operation.Rollback[].Step.Ref.DaemonSet":               oneOfThree,
	"Operation.Rollback[].Step.Ref.Deployment":              oneOfThree,
	"Operation.Steps[].Step.Ref.DaemonSet":                  oneOfThree,
	"Operation.Steps[].Step.Ref.Deployment":                 oneOfThree,
	"Plan.Steps[].Ref.DaemonSet":                            oneOfThree,
	"Plan.Steps[].Ref.Deployment":                           oneOfThree,

	"Operation.Rollback[].Step.Partition": itsPartition,
	"Operation.Steps[].Step.Partition":    itsPartition,
	"Plan.Steps[].Partition":              itsPartition,

	"Operation.Renewed":         "it is the sign of life of the process that runs it, for the others to go by",
	"Incidents.Incidents[].UID": "unstuck incidents ID shows it: the list is one line an incident",

	"Incident.Decision.Target":            asTheAnswer,
	"Incident.Decision.Node":              asTheAnswer,
	"Incident.Decision.UID":               asTheAnswer,
	"Incident.Decision.Started":           asTheAnswer,
	"Incident.Decision.Basis.":            "the reason says it in a sentence",
	"Incident.Decision.Next":              "it was when the node would be looked at again, then",
	"Incident.Results[].Target":           asTheAnswer,
	"Incident.Results[].Node":             asTheAnswer,
	"Incident.Results[].UID":              asTheAnswer,
	"Incident.Results[].NodeStarted":      asTheAnswer,
	"Incident.Results[].Stages[0]":        "it is of no stage",
	"Incident.Results[].Processes.":       "detail says in a sentence what they prove; unstuck diagnose shows a look in full",
	"Incident.Deletion.ID":                "it is for the store; the incident is what people look up",
	"Incident.Deletion.Target":            asTheAnswer,
	"Incident.Deletion.About":             "why says it in a sentence",
	"Targets.Targets[].Deletions[].About": "why says it in a sentence",

	"DeletionReply.DryRun": "each of the two has its own words: would be, is deleted",

	"OperationLines.Operations[].Kind":        toldByWhat,
	"OperationLines.Operations[].Environment": toldByWhat,
	"OperationLines.Operations[].Commit":      toldByWhat,

	"Operation.Version":                       "it counts how often the document was stored",
	"Operation.Kind":                          toldByWhat,
	"Operation.Environment":                   toldByWhat,
	"Operation.Request.Kind":                  toldByWhat,
	"Operation.Request.ID":                    asTheAnswer,
	"Operation.Request.At":                    "it is when the operation was created",
	"Operation.Request.OnFailure":             "what holds is the operation's own",
	"Operation.Request.DryRun":                "a dry run becomes no operation",
	"Operation.Steps[].Step.RestartedAt":      "that it restarts is said; this is the text of kubectl's annotation",
	"Operation.Steps[].Step.Name":             "the step's ID has it",
	"Operation.Steps[].Step.Job.Operation":    asTheAnswer,
	"Operation.Steps[].Step.Job.Patterns.":    "they are the configuration's; what they found is migrated",
	"Operation.Steps[].Mark":                  "it is for who takes the operation up again; phase and detail say it in words",
	"Operation.Rollback[].Step.RestartedAt":   "that it restarts is said; this is the text of kubectl's annotation",
	"Operation.Rollback[].Step.Name":          "the step's ID has it",
	"Operation.Rollback[].Step.Job.Operation": asTheAnswer,
	"Operation.Rollback[].Step.Job.Patterns.": "they are the configuration's; what they found is migrated",
	"Operation.Rollback[].Mark":               "it is for who takes the operation up again; phase and detail say it in words",

	"Plan.Steps[].RestartedAt":   "that it restarts is said; this is the text of kubectl's annotation",
	"Plan.Steps[].Name":          "the step's ID has it",
	"Plan.Steps[].Job.Operation": "it has not begun",
	"Plan.Steps[].Job.Patterns.": "they are the configuration's",

	"Problem.Closed[].Open": "they are all closed",
	"Problem.Title":         "it is the words for the status",
	"Problem.Status":        "the exit code says it",
	"Problem.Code":          "detail says it in words",
	"Problem.Hint":          "it is the end of detail",
	"Problem.Late[]":        "only /readyz has it, which no command asks",
}

// leaves calls each with every field within v that holds no others, by its path. What is empty is made to have one
// element.
func leaves(v reflect.Value, path string, each func(path string, leaf reflect.Value)) {
	switch _, isTime := reflect.TypeAssert[time.Time](v); {
	case isTime:
		each(path, v)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			leaves(v.Field(i), path+"."+v.Type().Field(i).Name, each)
		}
	case v.Kind() == reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		leaves(v.Elem(), path, each)
	case v.Kind() == reflect.Slice:
		if v.Len() == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		}
		leaves(v.Index(0), path+"[]", each)
	case v.Kind() == reflect.Array:
		for i := range v.Len() {
			leaves(v.Index(i), fmt.Sprintf("%s[%d]", path, i), each)
		}
	default:
		each(path, v)
	}
}

// markLeaf gives a leaf a value of its own, of which there are two: one, and the other.
func markLeaf(t *testing.T, leaf reflect.Value, number int, other bool) (marker string) {
	t.Helper()
	if other {
		number += 5000
	}
	switch leaf.Kind() {
	case reflect.String:
		marker = fmt.Sprintf("q%04d", number)
		leaf.SetString(marker)
	case reflect.Bool:
		leaf.SetBool(!other)
	case reflect.Int, reflect.Int64: // durations as well
		leaf.SetInt(int64(number+1) * int64(time.Hour/1000))
	case reflect.Uint8: // of a closed list
		leaf.SetUint(1)
		if other {
			leaf.SetUint(2)
		}
	case reflect.Uint64, reflect.Uint32:
		leaf.SetUint(uint64(number))
	case reflect.Map:
	case reflect.Struct:
		leaf.Set(reflect.ValueOf(time.Date(2030, 1, 1, 0, number, 0, 0, time.UTC)))
	default:
		t.Fatalf("a field of kind %s: this test cannot mark it yet", leaf.Kind())
	}
	return marker
}

// text is what a view shows of an answer in which every field is marked; of the one with that path, with its other
// value.
func (v shownAs) text(t *testing.T, changed string, each func(path, marker string, leaf reflect.Type)) string {
	t.Helper()
	filled := reflect.New(reflect.TypeOf(v.answer)).Elem()
	number := 0
	leaves(filled, filled.Type().Name(), func(path string, leaf reflect.Value) {
		number++
		marker := markLeaf(t, leaf, number, path == changed)
		if each != nil {
			each(path, marker, leaf.Type())
		}
	})
	var out bytes.Buffer
	v.show(&session{out: &out, errOut: &out}, filled.Interface())
	return out.String()
}

func TestShowLeavesNothingOutThatTheAPIGives(t *testing.T) {
	excused := make(map[string]bool)
	for _, v := range views() {
		markers := make(map[string]string)
		shown := v.text(t, "", func(path, marker string, _ reflect.Type) { markers[path] = marker })
		for _, path := range slices.Sorted(maps.Keys(markers)) {
			there := shown != v.text(t, path, nil) && strings.Contains(shown, markers[path])
			why := ""
			for left, reason := range notShown {
				if path == left || strings.HasSuffix(left, ".") && strings.HasPrefix(path, left) {
					excused[left], why = true, reason
				}
			}
			switch {
			case !there && why == "":
				t.Errorf("%s is not in the text: show it, or say in notShown why not", path)
			case there && why != "" && !strings.Contains(path, "Processes"):
				t.Errorf("%s is in the text, and notShown says that it is not", path)
			}
		}
	}
	for path := range notShown {
		if !excused[path] {
			t.Errorf("notShown has %s, which is no field", path)
		}
	}
}

// What docs/openapi.json names is what the API gives: none of it is forgotten here.
func TestShowKnowsEveryAnswerOfTheAPI(t *testing.T) {
	known := map[string]bool{"Probed": true} // after which the node is read again
	var add func(reflect.Type)
	add = func(r reflect.Type) {
		switch r.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array:
			add(r.Elem())
		case reflect.Struct:
			known[r.Name()] = true
			for f := range r.Fields() {
				if f.IsExported() {
					add(f.Type)
				}
			}
		default:
		}
	}
	for _, v := range views() {
		add(reflect.TypeOf(v.answer))
	}
	var doc struct {
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal([]byte(readText(t, projectRoot+"/docs/openapi.json")), &doc); err != nil || len(doc.Components.Schemas) == 0 {
		t.Fatalf("%v, %d schemas", err, len(doc.Components.Schemas))
	}
	for name := range doc.Components.Schemas {
		bare := name
		for _, of := range []string{"Release", "Remediate", "Target"} {
			bare = strings.TrimPrefix(bare, of)
		}
		if !known[name] && !known[bare] && !strings.HasSuffix(name, "Body") {
			t.Errorf("the API gives a %s, which no view here shows", name)
		}
	}
}

const crossing = "going back to 1f0a9c2 crosses a migration, which is not undone"

func TestShowOperationWarnsBeforeTheSteps(t *testing.T) {
	for args, on := range map[string]string{
		"deploy staging " + newCommit + " --reason x --yes":           "stdout",
		"deploy staging " + newCommit + " --reason x --yes --no-wait": "stderr",
		"operations " + theOperation:                                  "stdout",
		"operations " + theOperation + " --follow":                    "stdout",
	} {
		onServedAPI(t, func(t *testing.T, s *servedAPI) {
			c, _ := s.console()
			if strings.HasPrefix(args, "operations") {
				_, _ = s.Submit(t.Context(), plan.Request{Kind: plan.Deploy, Environment: "staging", Commit: newCommit, Reason: "x", By: "ada"})
			}
			s.going.Go(func() {
				time.Sleep(time.Second)
				s.ends(theOperation, 2*time.Second, plan.Succeeded, "done")
			})
			code, stdout, stderr := s.run(t, c, strings.Fields(args)...)
			text := map[string]string{"stdout": stdout, "stderr": stderr}[on]
			at := strings.Index(strings.ToUpper(text), "WARNING: "+strings.ToUpper(crossing))
			if step := strings.Index(text, "roll frontend"); code != 0 || at < 0 || step >= 0 && step < at {
				t.Errorf("%s: exit code %d, stdout %q, stderr %q", args, code, stdout, stderr)
			}
		}, func(s *servedAPI) { s.warning = crossing })
	}
}
