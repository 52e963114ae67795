package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/release/workload"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// testState is the test environment at a commit, rolled out and healthy.
func testState(commit string) State {
	var s State
	for _, service := range testEnvironment().Services {
		d := rolledOut()
		d.Ref = service.Ref
		image := "gcr.io/acme/" + service.Image + ":" + commit
		d.Containers = []workload.Container{
			{Name: "setup", Init: true, Image: image, EnvFromSecrets: []string{"init-secret"}},
			{Name: "app", Image: image, EnvSecrets: []string{service.Name + "-secret", "db"}},
			{Name: "proxy", Image: "gcr.io/cloudsql-docker/gce-proxy:1.11"},
		}
		d.Volumes = []workload.Volume{{Name: "certs", Secrets: []string{service.Name + "-certs"}}, {Name: "all", Secrets: []string{"projected"}}}
		if service.Kind == Singleton {
			d.Replicas, d.Total, d.Updated, d.Available = 1, 1, 1, 1
		}
		s.Workloads = append(s.Workloads, d)
	}
	for _, ref := range []TemplateRef{{FromCronJob, "migrate"}, {FromPodTemplate, "assets"}} {
		s.Templates = append(s.Templates, Template{Ref: ref, Containers: []workload.Container{{Name: "app", Image: "gcr.io/acme/" + ref.Name + ":latest"}}})
	}
	return s
}

func ids(p Plan) string {
	var all []string
	for _, s := range p.Steps {
		all = append(all, fmt.Sprintf("%d %s", s.Stage, s.ID))
	}
	return strings.Join(all, ", ")
}

func TestMakePlansADeploy(t *testing.T) {
	p, err := Make(deployOf(commitB), testEnvironment(), Known{Now: noon, State: testState(commitA)})
	if err != nil {
		t.Fatal(err)
	}
	want := "0 check images, 1 job migrate, 1 job assets, 2 roll frontend, 2 roll fetcher, 3 replace cron"
	if ids(p) != want {
		t.Errorf("%s, want %s", ids(p), want)
	}
	images := []string{"assets", "cron", "fetcher", "frontend", "migrate"}
	for i := range images {
		images[i] = "gcr.io/acme/" + images[i] + ":" + commitB
	}
	if diff := cmp.Diff(images, p.Steps[0].Check); diff != "" {
		t.Error(diff)
	}
	changes := []ImageChange{
		{Container: "setup", Init: true, From: "gcr.io/acme/cron:" + commitA, To: "gcr.io/acme/cron:" + commitB},
		{Container: "app", From: "gcr.io/acme/cron:" + commitA, To: "gcr.io/acme/cron:" + commitB},
	}
	if diff := cmp.Diff(changes, p.Steps[5].Images); diff != "" {
		t.Error(diff)
	}
}

func TestMakeRefusesWhatCannotBePlannedWithTheReason(t *testing.T) {
	tests := map[string]struct {
		req   func(*Request)
		env   func(*Environment)
		state func(*State)
		code  Code
		words string
	}{
		"a short commit":      {req: func(r *Request) { r.Commit = "bbbbbbb" }, code: Invalid, words: "no whole commit; give all 40"},
		"an upper-case one":   {req: func(r *Request) { r.Commit = strings.ToUpper(commitB) }, code: Invalid, words: "lower case"},
		"no commit":           {req: func(r *Request) { r.Commit = "" }, code: Invalid, words: "needs a commit"},
		"no reason":           {req: func(r *Request) { r.Reason = " " }, code: Invalid, words: "a reason is required"},
		"nobody":              {req: func(r *Request) { r.By = "" }, code: Invalid, words: "nobody"},
		"a bug report":        {req: func(r *Request) { r.BugReport = "javascript:alert(1)" }, code: Invalid, words: "is no link"},
		"a stray service":     {req: func(r *Request) { r.Service = "cron" }, code: Invalid, words: "takes no"},
		"another kind":        {req: func(r *Request) { r.Kind = "explode" }, code: Invalid, words: `no operation "explode"`},
		"an image by pattern": {env: func(e *Environment) { e.Services[0].Image = "other" }, code: NotReady, words: "no container of Deployment frontend-deployment uses"},
		"no Deployment":       {state: func(s *State) { s.Workloads = s.Workloads[1:] }, code: NotReady, words: "there is no Deployment frontend-deployment"},
		"a paused one":        {state: func(s *State) { s.Workloads[0].Paused = true }, code: NotReady, words: "kubectl rollout resume"},
		"two of a singleton":  {state: func(s *State) { s.Workloads[2].Replicas = 2 }, code: NotReady, words: "cron is a singleton"},
		"no template":         {state: func(s *State) { s.Templates = nil }, code: NotReady, words: "there is no cronjob migrate"},
		"a foreign template":  {state: func(s *State) { s.Templates[0].Containers[0].Image = "postgres:16" }, code: NotReady, words: "would not run the commit"},
		"an unknown service":  {req: func(r *Request) { r.Kind, r.Commit, r.Service = Restart, "", "web" }, code: NotFound, words: "use one of frontend, fetcher, cron"},
		"an unknown secret":   {req: func(r *Request) { r.Kind, r.Commit, r.Secret = Restart, "", "none" }, code: NotFound, words: "no service of staging reads secret none"},
		"an unknown task":     {req: func(r *Request) { r.Kind, r.Commit, r.Task = RunTask, "", "none" }, code: NotFound, words: "use one of import, clear"},
		"no pod for a task": {
			req: func(r *Request) { r.Kind, r.Commit, r.Task = RunTask, "", "import" }, state: func(s *State) { s.Workloads[0].Pods = nil }, code: NotReady, words: "no pod of Deployment frontend-deployment is ready",
		},
		"nothing to promote from": {req: func(r *Request) { r.Kind, r.Commit = Promotion, "" }, code: NotFound, words: "nothing is promoted to staging"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			req, env, state := deployOf(commitB), testEnvironment(), testState(commitA)
			if tt.req != nil {
				tt.req(&req)
			}
			if tt.env != nil {
				tt.env(&env)
			}
			if tt.state != nil {
				tt.state(&state)
			}
			_, err := Make(req, env, Known{Now: noon, State: state})
			wantRefusal(t, err, tt.code, tt.words)
		})
	}
}

func TestMakePromotesTheCommitOfAWellSource(t *testing.T) {
	tests := map[string]struct {
		state func(*State)
		words string // of the refusal
	}{
		"healthy":     {state: func(*State) {}},
		"two commits": {state: func(s *State) { s.Workloads[1].Containers[1].Image = "gcr.io/acme/fetcher:" + commitC }, words: "container app of fetcher runs " + commitC},
		"a sidecar left behind": {
			state: func(s *State) { s.Workloads[2].Containers[0].Image = "gcr.io/acme/cron:" + commitC }, words: "container setup of cron runs " + commitC,
		},
		"a tag that is no commit": {state: func(s *State) { s.Workloads[0].Containers[1].Image = "gcr.io/acme/frontend:latest" }, words: "whose tag is no commit"},
		"rolling":                 {state: func(s *State) { s.Workloads[0].Available = 1 }, words: "not fully rolled out: frontend: 1 of 3 new pods available"},
		"healthy for a short time only": {
			state: func(s *State) { s.Workloads[0].Conditions[1].Updated = noon.Add(-9 * time.Minute) }, words: "has not been healthy for 10m0s: frontend: it changed at",
		},
		"not available": {state: func(s *State) { s.Workloads[0].Conditions[0].Status = "False" }, words: "its condition Available is False"},
		"scaled to 0": {
			state: func(s *State) {
				d := &s.Workloads[0]
				d.Replicas, d.Total, d.Updated, d.Available, d.Pods = 0, 0, 0, 0, nil
			}, words: "frontend: it is scaled to 0, so nothing shows that its commit runs",
		},
		"without a pod":              {state: func(s *State) { s.Workloads[0].Pods = nil }, words: "frontend: no pod of its current template is ready"},
		"with old pods alone":        {state: func(s *State) { s.Workloads[0].Pods[0].Updated = false }, words: "frontend: no pod of its current template is ready"},
		"with a pod that terminates": {state: func(s *State) { s.Workloads[0].Pods[0].Terminating = true }, words: "frontend: no pod of its current template is ready"},
		"scaled up lately": {state: func(s *State) {
			s.Workloads[0].Pods[0].Conditions = []workload.Condition{{Type: "Ready", Status: "True", Changed: noon.Add(-time.Minute)}}
		}, words: "frontend: pod web-1 is ready only since 2026-11-23T11:59:00Z"},
		"a pod added lately to an old one": {state: func(s *State) {
			young := s.Workloads[0].Pods[0]
			young.Conditions = []workload.Condition{{Type: "Ready", Status: "True", Changed: noon.Add(-time.Minute)}}
			s.Workloads[0].Pods = []workload.Pod{young, {Name: "web-2", Phase: "Running", Updated: true, Ready: true, Conditions: []workload.Condition{{Type: "Ready", Changed: noon.Add(-time.Hour)}}}}
		}},
		"restarted lately": {state: func(s *State) {
			s.Workloads[1].Pods[0].Containers[0] = workload.ContainerState{Name: "app", Restarts: 1, LastEnd: noon.Add(-time.Minute), LastExit: 1}
		}, words: "container app of pod web-1 ended at 2026-11-23T11:59:00Z with exit code 1"},
		"a sidecar restarted lately": {state: func(s *State) {
			s.Workloads[1].Pods[0].Containers[0] = workload.ContainerState{Name: "proxy", Init: true, Sidecar: true, Restarts: 1, LastEnd: noon.Add(-time.Minute), LastExit: 1}
		}, words: "container proxy of pod web-1 ended at 2026-11-23T11:59:00Z with exit code 1"},
		"an init container failed at first": {state: func(s *State) {
			s.Workloads[1].Pods[0].Containers[0] = workload.ContainerState{Name: "setup", Init: true, Restarts: 1, LastEnd: noon.Add(-time.Minute), LastExit: 1}
		}},
		"restarted long ago": {state: func(s *State) {
			s.Workloads[1].Pods[0].Containers[0] = workload.ContainerState{Name: "app", Restarts: 1, LastEnd: noon.Add(-time.Hour), LastExit: 1}
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			production := testEnvironment()
			production.Name, production.PromoteFrom, production.HealthyFor = "production", "staging", 10*time.Minute
			source := testState(commitB)
			tt.state(&source)
			p, err := Make(Request{Kind: Promotion, Environment: "production", Reason: "a test", By: "ada"}, production,
				Known{Now: noon, State: testState(commitA), Source: testEnvironment(), SourceState: source})
			if tt.words != "" {
				wantRefusal(t, err, NotReady, tt.words)
			} else if err != nil || p.Commit != commitB || p.Steps[len(p.Steps)-1].Images[0].To != "gcr.io/acme/cron:"+commitB {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
}

func TestMakePromotesNoOtherCommitThanIsExpected(t *testing.T) {
	plan := func(kind Kind, commit, expect string) (Plan, error) {
		production := testEnvironment()
		production.Name, production.PromoteFrom = "production", "staging"
		r := Request{Kind: kind, Environment: "production", Commit: commit, ExpectCommit: expect, Reason: "a test", By: "ada"}
		return Make(r, production, Known{Now: noon, State: testState(commitA), Source: testEnvironment(), SourceState: testState(commitB)})
	}
	if p, err := plan(Promotion, "", commitB); err != nil || p.Commit != commitB {
		t.Errorf("the expected one: %+v, %v", p, err)
	}
	_, err := plan(Promotion, "", commitC)
	wantRefusal(t, err, Changed, "staging runs "+commitB+" by now, and not "+commitC)
	_, err = plan(Promotion, "", "b")
	wantRefusal(t, err, Invalid, `"b" is no whole commit`)
	_, err = plan(Deploy, commitB, commitB)
	wantRefusal(t, err, Invalid, "only a promotion expects a commit")
	one, other, none := Request{ExpectCommit: commitB}, Request{ExpectCommit: commitC}, Request{}
	if one.Same(other) || !one.Same(none) || !none.Same(one) || !one.Same(one) {
		t.Error("with a key, the same is asked for again where the same, or nothing, is expected")
	}
}

// past makes a history of operations, oldest first: "kind commit phase migrated".
func past(lines ...string) []Operation {
	var all []Operation
	for i, l := range lines {
		f := strings.Fields(l)
		var m Migration
		if err := m.UnmarshalText([]byte(f[3])); err != nil {
			panic(err)
		}
		o := Operation{ID: fmt.Sprintf("op-%d", i+1), Kind: Kind(f[0]), Commit: strings.Repeat(f[1], 40), Phase: Phase(f[2]), Created: noon.Add(time.Duration(i-100) * time.Hour)}
		o.Steps = []StepRun{{Step: Step{Do: StartJob, Job: &JobRun{}}, Mark: MarkStarted, Migrated: &m}}
		if len(f) > 4 {
			o.Before = strings.Repeat(f[4], 40)
		}
		if o.Phase == Failed { // while the frontend rolled
			o.Steps = append(o.Steps, StepRun{Phase: Failed, Step: Step{Do: Roll, Ref: workload.Ref{Deployment: "frontend-deployment"}, Images: []ImageChange{{
				Container: "app", From: "gcr.io/acme/frontend:" + o.Before, To: "gcr.io/acme/frontend:" + o.Commit,
			}}}})
		}
		all = append(all, o)
	}
	return all
}

func TestMakeRevertsToTheLastGoodCommitUnlessAMigrationLiesBetween(t *testing.T) {
	tests := map[string]struct {
		history []Operation
		running string
		commit  string
		accept  bool
		want    string // the commit's letter, or empty for a refusal
		crossed string // the operations named in the refusal
	}{
		"to the one before":                {history: past("deploy a succeeded yes", "deploy b succeeded no"), running: commitB, want: "a"},
		"a failed deploy is no good":       {history: past("deploy a succeeded yes", "deploy b failed no", "deploy c succeeded no"), running: commitC, want: "a"},
		"from a failed deploy":             {history: past("deploy a succeeded yes", "deploy b succeeded no", "deploy c failed no"), running: commitC, want: "b"},
		"an rolled_back deploy is no good": {history: past("deploy a succeeded no", "deploy b succeeded no", "deploy c rolled_back no"), running: commitB, want: "a"},
		"twice goes further":               {history: past("deploy a succeeded no", "deploy b succeeded no", "deploy c succeeded no", "revert b succeeded no"), running: commitB, want: "a"},
		"the same commit twice":            {history: past("deploy a succeeded no", "deploy b succeeded no", "deploy b succeeded no"), running: commitB, want: "a"},
		"across a migration":               {history: past("deploy a succeeded no", "deploy b succeeded yes"), running: commitB, crossed: "op-2"},
		"across what is not known":         {history: past("deploy a succeeded no", "deploy b succeeded maybe"), running: commitB, crossed: "op-2"},
		"across a failed migration":        {history: past("deploy a succeeded no", "deploy b failed maybe", "deploy c succeeded yes"), running: commitC, crossed: "op-3 op-2"},
		"accepted":                         {history: past("deploy a succeeded no", "deploy b succeeded yes"), running: commitB, accept: true, want: "a"},
		"a commit by name":                 {history: past("deploy a succeeded no", "deploy b succeeded no", "deploy c succeeded no"), running: commitC, commit: commitA, want: "a"},
		"by name across a migration":       {history: past("deploy a succeeded no", "deploy b succeeded yes", "deploy c succeeded no"), running: commitC, commit: commitA, crossed: "op-2"},
		"by name, never deployed here":     {history: past("deploy b succeeded no"), running: commitB, commit: commitA, crossed: ""},
		"never deployed, but accepted":     {history: past("deploy b succeeded no"), running: commitB, commit: commitA, accept: true, want: "a"},
		"a migration before it":            {history: past("deploy a succeeded yes", "deploy b succeeded yes", "deploy c succeeded no"), running: commitC, want: "b"},
		"before the first one":             {history: past("deploy b succeeded no a"), running: commitB, want: "a"},
		"before that, migrated":            {history: past("deploy b succeeded yes a"), running: commitB, crossed: "op-1"},
		"before a failed one migrated":     {history: past("deploy b failed yes a", "deploy c succeeded no a"), running: commitC, crossed: "op-1"},
		"before one that migrated":         {history: past("deploy c succeeded yes d", "deploy a rolled_back yes c", "deploy b succeeded no c"), running: commitB, want: "", crossed: "op-2"},
		"after a crossing":                 {history: past("deploy a succeeded no", "deploy b succeeded yes", "revert a succeeded no", "deploy c succeeded no"), running: commitC, want: "a"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			req := Request{Kind: Revert, Environment: "staging", Commit: tt.commit, AcceptMigrationRisk: tt.accept, Reason: "a test", By: "ada"}
			slices.Reverse(tt.history) // the order in which they are stored does not matter
			p, err := Make(req, testEnvironment(), Known{Now: noon, State: testState(tt.running), History: tt.history})
			if tt.want == "" {
				wantRefusal(t, err, Migrated)
				var named []string
				for _, c := range err.(*Refusal).Crossed { //nolint:errorlint // wantRefusal has seen that it is one
					named = append(named, c.Operation)
				}
				if got := strings.Join(named, " "); tt.commit == "" && got != tt.crossed {
					t.Errorf("crossed %q, want %q", got, tt.crossed)
				}
				return
			}
			if err != nil || p.Commit != strings.Repeat(tt.want, 40) {
				t.Errorf("%s, %v, want %s", p.Commit, err, tt.want)
			}
			if strings.Contains(ids(p), "migrate") || !strings.Contains(ids(p), "job assets") {
				t.Errorf("a revert runs no migration, and the other jobs: %s", ids(p))
			}
		})
	}
}

func TestMakeSaysThatADeployGoesBackAcrossAMigration(t *testing.T) {
	for name, tt := range map[string]struct {
		history []Operation
		warns   bool
	}{
		"a new commit":               {past("deploy b succeeded yes"), false},
		"back, and nothing migrated": {past("deploy a succeeded yes", "deploy b succeeded no"), false},
		"back across a migration":    {past("deploy a succeeded no", "deploy b succeeded yes"), true},
		"to what ran before it all":  {past("deploy b succeeded maybe a"), true},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Make(Request{Kind: Deploy, Environment: "staging", Commit: commitA, Reason: "a test", By: "ada"},
				testEnvironment(), Known{Now: noon, State: testState(commitB), History: tt.history})
			if err != nil || strings.Contains(p.Warning, "crosses a migration") != tt.warns {
				t.Errorf("warning %q, error %v", p.Warning, err)
			}
			if p.Before != commitB {
				t.Errorf("it runs %q", p.Before)
			}
		})
	}
}

func TestMakeSaysWhatIsScaledToNothing(t *testing.T) {
	state := testState(commitA)
	for i := range 2 {
		state.Workloads[i].Replicas = 0
	}
	p, err := Make(deployOf(commitB), testEnvironment(), Known{Now: noon, State: state})
	if want := "nothing will show that the commit starts in what is scaled to 0: frontend, fetcher"; err != nil || p.Warning != want {
		t.Errorf("%q, %v", p.Warning, err)
	}
}

func TestMakeRefusesARevertWithoutAnEarlierGoodCommit(t *testing.T) {
	_, err := Make(Request{Kind: Revert, Environment: "staging", Reason: "a test", By: "ada"}, testEnvironment(),
		Known{Now: noon, State: testState(commitB), History: past("deploy b succeeded no", "deploy a failed no")})
	wantRefusal(t, err, NotFound, "no earlier commit")
}

func TestMakeRestartsEveryServiceThatReadsASecret(t *testing.T) {
	tests := map[string]string{
		"cron-secret":    "0 replace cron",
		"frontend-certs": "0 roll frontend",
		"db":             "0 roll frontend, 0 roll fetcher, 1 replace cron",
		"init-secret":    "0 roll frontend, 0 roll fetcher, 1 replace cron",
		"projected":      "0 roll frontend, 0 roll fetcher, 1 replace cron",
	}
	for secret, want := range tests {
		req := Request{Kind: Restart, Environment: "staging", Secret: secret, Reason: "rotated", By: "ada", At: noon}
		p, err := Make(req, testEnvironment(), Known{Now: noon, State: testState(commitA)})
		if err != nil || ids(p) != want {
			t.Errorf("%s: %s, %v, want %s", secret, ids(p), err, want)
		}
		for _, s := range p.Steps {
			if s.Images != nil || (s.Do == Roll) != (s.RestartedAt == "2026-11-23T12:00:00Z") {
				t.Errorf("%s: %+v", secret, s)
			}
		}
	}
}

func TestJobNameIsAlwaysOneThatALabelMayHold(t *testing.T) {
	seen := map[string]bool{}
	for _, job := range []string{"m", "migrate", "migrate-update-database-schema", "migrate-update-database-schemas", strings.Repeat("x-", 60)} {
		for _, commit := range []string{"", commitA, commitB} {
			for _, op := range []string{"deploy-1", "deploy-2"} {
				name := JobName(job, commit, op)
				if !dnsLabel.MatchString(name) || len(name) > 63-6 || seen[name] || name != JobName(job, commit, op) {
					t.Errorf("%s, %.7s, %s: %q (%d bytes, seen %v)", job, commit, op, name, len(name), seen[name])
				}
				seen[name] = true
			}
		}
	}
}

func TestMakeLeavesASingletonAtNothingIfAPersonScaledIt(t *testing.T) {
	for m, want := range map[Mark]int{MarkRestored: 0, MarkStopping: 1, MarkStarting: 1, "": 0} {
		left := Operation{ID: "x", Created: noon, Phase: Failed, Steps: []StepRun{
			{Step: Step{Do: Replace, Ref: workload.Ref{Deployment: "cron-deployment"}, Replicas: 1}, Mark: m},
		}}
		state := testState(commitA)
		state.Workloads[2].Replicas = 0
		p, err := Make(deployOf(commitB), testEnvironment(), Known{Now: noon, State: state, History: []Operation{left}})
		if err != nil || p.Steps[5].Replicas != want {
			t.Errorf("after %q: %+v, %v, want %d pods", m, p, err, want)
		}
	}
}

func TestMakeChangesNothingThatAnotherToolPutsBack(t *testing.T) {
	for name, tc := range map[string]struct {
		allow    GitOps
		request  Request
		kept     string
		refused  bool
		warnings bool
	}{
		"a deploy":               {RefuseGitOps, deployOf(commitB), "Argo CD (annotation x)", true, false},
		"by default":             {"", deployOf(commitB), "Argo CD (annotation x)", true, false},
		"a deploy, allowed":      {AllowGitOps, deployOf(commitB), "Argo CD (annotation x)", false, true},
		"of what no tool keeps":  {RefuseGitOps, deployOf(commitB), "", false, false},
		"a restart keeps images": {RefuseGitOps, Request{Kind: Restart, Environment: "staging", Service: "fetcher", Reason: "x", By: "ada", At: noon}, "Argo CD (annotation x)", false, false},
	} {
		env, state := testEnvironment(), testState(commitA)
		env.GitOps = tc.allow
		state.Workloads[1].KeptBy = tc.kept
		p, err := Make(tc.request, env, Known{Now: noon, State: state})
		if refused := err != nil && strings.Contains(err.Error(), "is kept as Git has it by Argo CD (annotation x)"); refused != tc.refused || err != nil && !refused {
			t.Errorf("%s: %v", name, err)
		}
		if warned := strings.Contains(p.Warning, "puts the old one back"); warned != tc.warnings {
			t.Errorf("%s: warning %q", name, p.Warning)
		}
	}
}

func TestMakeStopsNoSingletonBesideAnOrphan(t *testing.T) {
	deploy, restart := deployOf(commitB), deployOf("")
	restart.Kind, restart.Service = Restart, "cron"
	orphan := workload.Pod{Name: "cron-x", Phase: "Running", Orphan: true}
	stops, over := orphan, orphan
	stops.Terminating, over.Phase = true, "Succeeded"
	for name, tc := range map[string]struct {
		req     Request
		service int
		pod     workload.Pod
		refused bool
	}{
		"a deploy":                       {deploy, 2, orphan, true},
		"a restart":                      {restart, 2, orphan, true},
		"it is terminating":              {deploy, 2, stops, false},
		"it has ended":                   {deploy, 2, over, false},
		"a ReplicaSet controls it":       {deploy, 2, workload.Pod{Name: "cron-y", Phase: "Running"}, false},
		"of a service that rolls":        {deploy, 0, orphan, false},
		"the same commit: nothing stops": {deployOf(commitA), 2, orphan, false},
	} {
		s := testState(commitA)
		s.Workloads[tc.service].Pods = append(s.Workloads[tc.service].Pods, tc.pod)
		_, err := Make(tc.req, testEnvironment(), Known{Now: noon, State: s})
		if !tc.refused {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		wantRefusal(t, err, NotReady, "pod cron-x has the labels that Deployment cron-deployment selects, and no ReplicaSet controls it", "delete that pod")
	}
}
