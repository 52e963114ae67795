package plan

import (
	"fmt"
	"strings"
	"testing"
)

func revertOf(commit string) Request {
	return Request{Kind: Revert, Environment: "staging", Commit: commit, Reason: "a test", By: "ada"}
}

// withImage gives the test environment at a commit, with another commit in a container of a service.
func withImage(commit, service, container, other string) State {
	s := testState(commit)
	for _, d := range s.Workloads {
		for i := range d.Containers {
			if d.Deployment == service+"-deployment" && d.Containers[i].Name == container {
				d.Containers[i].Image = "gcr.io/acme/" + service + ":" + other
			}
		}
	}
	return s
}

//promise:28
func TestPrecedingIsWhatRanBeforeTheCommitThatRuns(t *testing.T) {
	for name, tt := range map[string]struct {
		history []Operation
		state   State
		want    string // the commit's letter, or the words of a refusal
		code    Code
	}{
		"kubectl put back the one before": {past("deploy a succeeded no", "deploy b succeeded no a", "deploy c succeeded no b"), testState(commitB), "a", ""},
		"kubectl put back the first":      {past("deploy a succeeded no", "deploy b succeeded no a"), testState(commitA), "no earlier commit than " + commitA, NotFound},
		"kubectl put back, and a deploy went on from there": {
			past("deploy a succeeded no", "deploy b succeeded no a", "deploy c succeeded no a"), testState(commitC), "a", "",
		},
		"kubectl put back from a deploy that failed": {past("deploy a succeeded no", "deploy b succeeded no a", "deploy c failed no b"), testState(commitB), "a", ""},
		"a hotfix runs":            {past("deploy a succeeded no", "deploy b succeeded no a"), testState(commitC), "no operation that is kept brought it there", NotFound},
		"a hotfix ran":             {past("deploy a succeeded no", "deploy b succeeded no c"), testState(commitB), "c", ""},
		"what ran had failed here": {past("deploy a succeeded no", "deploy c failed no a", "deploy b succeeded no c"), testState(commitB), "a", ""},
		"mixed, as a failed deploy left it": {
			past("deploy a succeeded no", "deploy b failed no a"), withImage(commitA, "frontend", "app", commitB), "a", "",
		},
		"mixed, and not as it left it": {
			past("deploy a succeeded no", "deploy b failed no a"), withImage(commitA, "cron", "app", commitC),
			"does not run one commit, so what precedes it is not known: container setup of frontend runs " + commitA, NotReady,
		},
		"mixed after a deploy that succeeded": {
			past("deploy a succeeded no", "deploy b succeeded no a"), withImage(commitB, "cron", "app", commitA), "does not run one commit", NotReady,
		},
		"no commit at all": {past("deploy a succeeded no"), testState("latest"), "whose tag is no commit", NotReady},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Make(revertOf(""), testEnvironment(), Known{Now: noon, State: tt.state, History: tt.history})
			if tt.code != "" {
				wantRefusal(t, err, tt.code, tt.want, "name the commit")
			} else if err != nil || p.Commit != strings.Repeat(tt.want, 40) {
				t.Errorf("to %s, %v, want %s", p.Commit, err, tt.want)
			}
		})
	}
}

func TestMakeSaysWhatARevertFindsThatNoOperationBrought(t *testing.T) {
	history := past("deploy a succeeded no", "deploy b succeeded no a")
	for name, tt := range map[string]struct {
		state State
		want  string
	}{
		"what was brought": {testState(commitB), ""},
		"a hotfix":         {testState(commitC), "staging runs " + commitC + ", which no operation that is kept brought there"},
		"a mixture":        {withImage(commitB, "cron", "setup", commitC), "staging does not run one commit: container setup of frontend runs " + commitB},
	} {
		p, err := Make(revertOf(commitA), testEnvironment(), Known{Now: noon, State: tt.state, History: history})
		if err != nil || !strings.HasPrefix(p.Warning, tt.want) || (tt.want == "") != (p.Warning == "") {
			t.Errorf("%s: warning %q, %v, want %q", name, p.Warning, err, tt.want)
		}
	}
}

//promise:28
func TestCheckMigrationsIsAskedByWhateverBringsACommit(t *testing.T) {
	migrated := past("deploy a succeeded no", "deploy b succeeded yes a")
	task := past("task x succeeded yes")[0]
	task.ID, task.Commit, task.Created = "task-1", "", noon
	forward := past("deploy a succeeded yes", "deploy b succeeded no a")
	half := past("deploy a failed no", "deploy c succeeded yes", "deploy b succeeded no")
	for name, tt := range map[string]struct {
		history []Operation
		crosses bool
		names   string
	}{
		"back":                     {migrated, true, "op-2 (commit " + commitB + ", migrated: yes)"},
		"back over a task":         {append(past("deploy a succeeded no", "deploy b succeeded no a"), task), true, "task-1 (migrated: yes)"},
		"back to what once failed": {half, true, "op-2 (commit " + commitC},
		"forward":                  {forward, false, ""},
		"to what never ran":        {past("deploy b succeeded yes"), false, ""},
	} {
		for _, kind := range Kinds() {
			for _, accept := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, accepted: %v", name, kind, accept), func(t *testing.T) {
					checkCrossing(t, kind, accept, tt.crosses || (kind == Revert && name == "to what never ran"), tt.names, tt.history)
				})
			}
		}
	}
}

func checkCrossing(t *testing.T, kind Kind, accept, crosses bool, names string, history []Operation) {
	t.Helper()
	env := testEnvironment()
	env.PromoteFrom = "source"
	source := testEnvironment()
	source.Name = "source"
	r := Request{Kind: kind, Environment: "staging", AcceptMigrationRisk: accept, Reason: "a test", By: "ada"}
	switch kind {
	case Deploy, Revert:
		r.Commit = commitA
	case Restart:
		r.Service = "frontend"
	case RunTask:
		r.Task = "import"
	}
	p, err := Make(r, env, Known{Now: noon, State: testState(commitB), Source: source, SourceState: testState(commitA), History: history})
	brings := kind == Deploy || kind == Promotion || kind == Revert
	switch {
	case brings && crosses && kind != Deploy && !accept:
		wantRefusal(t, err, Migrated, names, "accept the migration risk")
	case err != nil:
		t.Error(err)
	case !brings || !crosses:
		if p.Warning != "" {
			t.Errorf("it warns: %s", p.Warning)
		}
	case p.Warning == "" || !strings.Contains(p.Warning, names):
		t.Errorf("warning %q, want %q in it", p.Warning, names)
	}
	if kind == Promotion && err == nil && strings.Contains(ids(p), "job migrate") == crosses {
		t.Errorf("back: %v, and its steps are %s", crosses, ids(p))
	}
}

func TestOperationRollbackStepsCrossNoMigration(t *testing.T) {
	for m, rolls := range map[string]bool{"no": true, "maybe": false, "yes": false} {
		o := past("deploy b failed " + m + " a")[0]
		o.OnFailure = Rollback
		steps, why := o.RollbackSteps()
		if (len(steps) == 1) != rolls || (why == "") != rolls || strings.Contains(why, "migrated: "+m) == rolls {
			t.Errorf("migrated %s: %d steps, %q", m, len(steps), why)
		}
	}
}
