// Package apitest is what the tests of the API and of the status page stand on: a broker with a stuck node, two
// environments, and who may do what there. Nothing of it is in the program.
package apitest

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

// Two commits: staging runs the new one, production the old.
const (
	OldCommit = "1f0a9c2d4e5b6a7f8091a2b3c4d5e6f708192a3b"
	NewCommit = "9b8a7c6d5e4f30211203f4e5d6c7b8a99a8b7c6d"
)

// Hostile is what a broker, a log or a person might say.
const Hostile = `<script>document.title="owned"</script><img src=x onerror="document.title='owned'">"'></pre></textarea>{{.Now}}`

// Environments are staging and production, which is promoted from staging.
func Environments() []plan.Environment {
	staging := plan.Environment{
		Name: "staging", Namespace: "staging", Image: "gcr.io/acme/{image}:{commit}", Images: []string{"migrate"},
		Services: []plan.Service{
			{Name: "frontend", Ref: workload.Ref{Deployment: "frontend-deployment"}, Image: "frontend", Kind: plan.Rolling},
			{Name: "cron", Ref: workload.Ref{Deployment: "cron-deployment"}, Image: "cron"},
		},
		Jobs: []plan.Job{{Name: "migrate", From: plan.TemplateRef{Kind: plan.FromCronJob, Name: "migrate"}}},
		Tasks: []plan.Task{
			{Name: "import-plans", Exec: plan.Exec{Service: "frontend", Command: []string{"./manage.py", "import-plans"}}},
			{
				Name: "clear-render-cache", Warning: "Users will notice a slowdown for a few minutes.",
				From: plan.TemplateRef{Kind: plan.FromPodTemplate, Name: "clear"},
			},
		},
	}
	production := staging
	production.Name, production.Namespace, production.PromoteFrom = "production", "production", "staging"
	return []plan.Environment{staging, production}
}

// Releases is a runner of operations, with its records and its world, that does nothing and remembers.
type Releases struct {
	mu       sync.Mutex
	Kept     map[string]plan.Operation
	Asked    []plan.Request
	Err      error // of every call
	Commits  map[string]string
	StateErr error
	Queries  []release.LogQuery
	Parts    []release.ServiceLog // that follow
	Followed chan struct{}        // not nil: following goes on until this is closed, or nobody wants it
	PodErr   error
	Hostile  bool // what services log, and their variables
}

// NewReleases makes one that keeps what Finished gives.
func NewReleases() *Releases {
	r := &Releases{
		Kept: map[string]plan.Operation{}, Commits: map[string]string{"staging": NewCommit, "production": OldCommit},
	}
	r.Kept["deploy-20261123t114000-k3x9q2ab"] = Finished()
	return r
}

// Finished is a deploy that failed.
func Finished() plan.Operation {
	created, did := Noon.Add(-20*time.Minute), plan.DidNotMigrate
	req := plan.Request{
		ID: "deploy-20261123t114000-k3x9q2ab", At: created, Kind: plan.Deploy, Environment: "production", Commit: NewCommit,
		Reason: "nightly", By: "ci", From: "10.0.0.9",
	}
	return plan.Operation{
		ID: req.ID, Version: 9, Request: req, Kind: req.Kind, Environment: req.Environment, Commit: NewCommit,
		OnFailure: plan.Leave,
		Phase:     plan.Failed, Runner: "unstuck-0", Created: created, Ended: created.Add(4 * time.Minute),
		Outcome: "roll frontend: pod frontend-7f, container app: crash: exit code 1",
		Steps: []plan.StepRun{
			{
				Step:  plan.Step{ID: "job migrate", Do: plan.StartJob, Name: "migrate"},
				Phase: plan.Succeeded, Started: created, Ended: created.Add(time.Minute), Migrated: &did,
				Log: []string{"Schema is up to date. No migration necessary."},
			},
			{
				Step: plan.Step{
					ID: "roll frontend", Stage: 1, Do: plan.Roll, Name: "frontend",
					Ref: workload.Ref{Deployment: "frontend-deployment"},
				},
				Phase: plan.Failed, Started: created.Add(time.Minute), Ended: created.Add(4 * time.Minute),
				Diagnosis: &workload.Diagnosis{
					Pod: "frontend-7f", Container: "app", Why: workload.Crash, Detail: "exit code 1",
					Log: []string{"no module named render"},
				},
			},
		},
	}
}

func (r *Releases) refuse(req plan.Request) error {
	refuse := func(code plan.Code, why, want string) error {
		return &plan.Refusal{Code: code, Why: why, Hint: want}
	}
	switch {
	case r.Err != nil:
		return r.Err
	case strings.TrimSpace(req.Reason) == "":
		return refuse(plan.Invalid, "a reason is required", "say why, in at most 500 bytes")
	case req.Kind == plan.Deploy && !plan.IsCommit(req.Commit):
		return refuse(plan.Invalid, fmt.Sprintf("%q is no whole commit", req.Commit),
			"give all 40 hexadecimal digits, in lower case")
	case req.Kind == plan.RunTask && req.Task == "clear-render-cache" && !req.Confirm:
		return refuse(plan.Unconfirmed, "Users will notice a slowdown for a few minutes.", "confirm that this is meant")
	case req.Kind == plan.Revert && !req.AcceptMigrationRisk:
		return &plan.Refusal{
			Code: plan.Migrated, Why: "going back crosses a migration", Hint: "accept the migration risk",
			Crossed: []plan.Crossing{{Operation: "deploy-1", Commit: NewCommit, At: Noon, Migrated: plan.DidMigrate}},
		}
	}
	return nil
}

func planOf(req plan.Request) plan.Plan {
	p := plan.Plan{Kind: req.Kind, Environment: req.Environment, Commit: req.Commit}
	switch {
	case req.Kind == plan.Promotion || req.Kind == plan.Revert:
		p.Commit, p.Before = cmp.Or(req.Commit, NewCommit), OldCommit
	case req.Kind == plan.Deploy && req.Commit == OldCommit:
		p.Warning = "going back to " + OldCommit + " crosses a migration, which is not undone"
	}
	if req.Kind == plan.Restart {
		p.Steps = []plan.Step{{
			ID: "roll frontend", Do: plan.Roll, Name: "frontend", Ref: workload.Ref{Deployment: "frontend-deployment"},
			RestartedAt: req.At.UTC().Format(time.RFC3339),
		}}
		return p
	}
	p.Steps = []plan.Step{
		{ID: "check images", Do: plan.CheckImages, Check: []string{"gcr.io/acme/frontend:" + cmp.Or(req.Commit, NewCommit)}},
		{
			ID: "roll frontend", Stage: 1, Do: plan.Roll, Name: "frontend",
			Ref: workload.Ref{Deployment: "frontend-deployment"},
		},
	}
	return p
}

// DryRun plans what is not refused.
func (r *Releases) DryRun(_ context.Context, req plan.Request) (plan.Plan, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Asked = append(r.Asked, req)
	if err := r.refuse(req); err != nil {
		return plan.Plan{}, err
	}
	return planOf(req), nil
}

// Submit keeps what is not refused.
func (r *Releases) Submit(_ context.Context, req plan.Request) (plan.Operation, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Asked = append(r.Asked, req)
	if err := r.refuse(req); err != nil {
		return plan.Operation{}, err
	}
	req.At = time.Now().UTC()
	req.ID = string(req.Kind) + "-20261123t120000-a7k2m9xq"
	op := plan.Operation{
		ID: req.ID, Version: 1, Request: req, Kind: req.Kind, Environment: req.Environment, Commit: req.Commit,
		OnFailure: plan.Leave, Runner: "unstuck-0", Created: req.At,
	}
	for _, s := range planOf(req).Steps {
		op.Steps = append(op.Steps, plan.StepRun{Step: s})
	}
	r.Kept[op.ID] = op
	return op, nil
}

// Cancel cancels what is not over.
func (r *Releases) Cancel(_ context.Context, id, by, reason string) (plan.Operation, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	op := r.Kept[id]
	switch {
	case r.Err != nil:
		return op, r.Err
	case op.Phase.Over():
		return op, &plan.Refusal{Code: plan.NotRunning, Why: "operation " + id + " is over: " + op.Outcome}
	}
	op.Cancel = &plan.Cancellation{At: time.Now().UTC(), By: by, Reason: reason}
	op.Version++
	r.Kept[id] = op
	return op, nil
}

// Load gives an operation that is kept.
func (r *Releases) Load(_ context.Context, id string) (plan.Operation, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	op, known := r.Kept[id]
	if !known {
		return op, release.ErrNotFound
	}
	return op, r.Err
}

// Put has an operation kept.
func (r *Releases) Put(op plan.Operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Kept[op.ID] = op
}

// Operations gives those of an environment that are kept.
func (r *Releases) Operations(_ context.Context, env string) ([]plan.Operation, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []plan.Operation
	for _, op := range r.Kept {
		if op.Environment == env {
			all = append(all, op)
		}
	}
	return all, r.Err
}

// State gives workloads that all run the commit of the environment.
func (r *Releases) State(_ context.Context, env plan.Environment) (plan.State, error) {
	if r.StateErr != nil {
		return plan.State{}, r.StateErr
	}
	var s plan.State
	for _, one := range env.Services {
		s.Workloads = append(s.Workloads, workload.Workload{
			Ref: one.Ref, Replicas: 2, Total: 2, Updated: 2, Available: 2, Generation: 1, ObservedGeneration: 1,
			Containers: []workload.Container{
				{Name: "app", Image: "gcr.io/acme/" + one.Image + ":" + r.Commits[env.Name]},
				{Name: "cloudsql-proxy", Image: "gcr.io/cloudsql/proxy:1.33"},
			},
		})
	}
	return s, nil
}

// Written is the log of the frontend's two pods.
func Written() release.ServiceLog {
	line := func(ago time.Duration, pod, text string) release.LogLine {
		return release.LogLine{At: Noon.Add(-ago), Pod: pod, Text: text}
	}
	return release.ServiceLog{
		Pods: []release.PodLog{
			{Pod: "frontend-7f-abcde", Container: "app", State: release.LogRead},
			{
				Pod: "frontend-7f-fghij", Container: "app", State: release.LogUnread,
				Why: `container "app" is waiting to start: ContainerCreating`,
			},
		},
		Lines: []release.LogLine{
			line(3*time.Second, "frontend-7f-abcde", "GET /healthz 200"),
			line(1500*time.Millisecond, "frontend-7f-abcde", "\x1b[31mno module named render\r\n\nevent: operation"),
		},
	}
}

// ServiceLog gives what Written gives.
func (r *Releases) ServiceLog(_ context.Context, _ plan.Environment, q release.LogQuery) (release.ServiceLog, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Queries = append(r.Queries, q)
	if q.Container != "" && q.Container != "app" {
		return release.ServiceLog{}, &plan.Refusal{
			Code: plan.NotFound, Why: "no pod has a container " + q.Container, Hint: "ask for app",
		}
	}
	all := Written()
	if r.Hostile {
		all.Lines[0].Text, all.Pods[1].Why = Hostile, Hostile
	}
	return all, r.PodErr
}

// FollowServiceLog sends that, and then the parts.
func (r *Releases) FollowServiceLog(ctx context.Context, env plan.Environment, q release.LogQuery,
	send func(release.ServiceLog) error,
) error {
	all, err := r.ServiceLog(ctx, env, q)
	if err != nil {
		return err
	}
	for _, part := range append([]release.ServiceLog{all}, r.Parts...) {
		if err := send(part); err != nil {
			return err
		}
	}
	if r.Followed == nil {
		return nil
	}
	select {
	case <-r.Followed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// PodEnv gives the variables of the one pod that there is.
func (r *Releases) PodEnv(_ context.Context, _ plan.Environment, _, pod string) (release.PodEnv, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if pod != "" && pod != "frontend-7f-abcde" {
		return release.PodEnv{}, &plan.Refusal{
			Code: plan.NotFound, Why: "service frontend has no pod " + pod, Hint: "ask for frontend-7f-abcde",
		}
	}
	debug := "0"
	if r.Hostile {
		debug = Hostile
	}
	return release.PodEnv{Pod: "frontend-7f-abcde", Containers: []release.ContainerEnv{{
		Container: "app", Image: "gcr.io/acme/frontend:" + NewCommit,
		From: []release.EnvSource{{Kind: release.FromConfigMap, Name: "settings"}},
		Variables: []release.EnvVar{
			{Name: "DEBUG", Value: &debug},
			{Name: "SENTRY_DSN", Masked: "its name is like that of a secret"},
			{Name: "DB_PASSWORD", From: &release.EnvSource{Kind: release.FromSecret, Name: "database", Key: "password"}},
			{Name: "POD_IP", From: &release.EnvSource{Kind: release.FromField, Key: "status.podIP"}},
		},
	}}}, r.PodErr
}

// Running is an operation that has begun.
func Running() plan.Operation {
	o := Finished()
	o.ID, o.Phase, o.Version, o.Ended, o.Outcome = "deploy-20261123t115900-aaaaaaaa", plan.Running, 3, time.Time{}, ""
	return o
}
