package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate"
)

const (
	oldCommit = "1f0a9c2d4e5b6a7f8091a2b3c4d5e6f708192a3b"
	newCommit = "9b8a7c6d5e4f30211203f4e5d6c7b8a99a8b7c6d"
)

func environments() []plan.Environment {
	staging := plan.Environment{
		Name: "staging", Namespace: "staging", Image: "gcr.io/acme/{image}:{commit}", Images: []string{"migrate"},
		Services: []plan.Service{
			{Name: "frontend", Deployment: "frontend-deployment", Image: "frontend", Kind: plan.Rolling},
			{Name: "cron", Deployment: "cron-deployment", Image: "cron"},
		},
		Jobs: []plan.Job{{Name: "migrate", From: plan.TemplateRef{Kind: plan.FromCronJob, Name: "migrate"}}},
		Tasks: []plan.Task{
			{Name: "import-plans", Exec: plan.Exec{Service: "frontend", Command: []string{"./manage.py", "import-plans"}}},
			{Name: "clear-render-cache", Warning: "Users will notice a slowdown for a few minutes.", From: plan.TemplateRef{Kind: plan.FromPodTemplate, Name: "clear"}},
		},
	}
	production := staging
	production.Name, production.Namespace, production.PromoteFrom = "production", "production", "staging"
	return []plan.Environment{staging, production}
}

// releases is a runner of operations, with its records and its world, that does nothing and remembers.
type releases struct {
	mu       sync.Mutex
	kept     map[string]plan.Operation
	asked    []plan.Request
	err      error // of every call
	commits  map[string]string
	loaded   int
	stateErr error
	queries  []release.LogQuery
	parts    []release.ServiceLog // that follow
	followed chan struct{}        // not nil: following goes on until this is closed, or nobody wants it
	podErr   error
	hostile  bool // what services log, and their variables
}

func newReleases() *releases {
	r := &releases{kept: map[string]plan.Operation{}, commits: map[string]string{"staging": newCommit, "production": oldCommit}}
	r.kept["deploy-20261123t114000-k3x9q2ab"] = finished()
	return r
}

// finished is a deploy that failed.
func finished() plan.Operation {
	created, did := noon.Add(-20*time.Minute), plan.DidNotMigrate
	req := plan.Request{
		ID: "deploy-20261123t114000-k3x9q2ab", At: created, Kind: plan.Deploy, Environment: "production", Commit: newCommit,
		Reason: "nightly", By: "ci", From: "10.0.0.9",
	}
	return plan.Operation{
		ID: req.ID, Version: 9, Request: req, Kind: req.Kind, Environment: req.Environment, Commit: newCommit, OnFailure: plan.Leave,
		Phase: plan.Failed, Runner: "unstuck-0", Created: created, Ended: created.Add(4 * time.Minute),
		Outcome: "roll frontend: pod frontend-7f, container app: crash: exit code 1",
		Steps: []plan.StepRun{
			{
				Step:  plan.Step{ID: "job migrate", Do: plan.StartJob, Name: "migrate"},
				Phase: plan.Succeeded, Started: created, Ended: created.Add(time.Minute), Migrated: &did,
				Log: []string{"Schema is up to date. No migration necessary."},
			},
			{
				Step:  plan.Step{ID: "roll frontend", Stage: 1, Do: plan.Roll, Name: "frontend", Deployment: "frontend-deployment"},
				Phase: plan.Failed, Started: created.Add(time.Minute), Ended: created.Add(4 * time.Minute),
				Diagnosis: &plan.Diagnosis{Pod: "frontend-7f", Container: "app", Why: plan.Crash, Detail: "exit code 1", Log: []string{"no module named render"}},
			},
		},
	}
}

func (r *releases) refuse(req plan.Request) error {
	refuse := func(code plan.Code, why, want string) error {
		return &plan.Refusal{Code: code, Why: why, Hint: want}
	}
	switch {
	case r.err != nil:
		return r.err
	case strings.TrimSpace(req.Reason) == "":
		return refuse(plan.Invalid, "a reason is required", "say why, in at most 500 bytes")
	case req.Kind == plan.Deploy && !plan.IsCommit(req.Commit):
		return refuse(plan.Invalid, fmt.Sprintf("%q is no whole commit", req.Commit), "give all 40 hexadecimal digits, in lower case")
	case req.Kind == plan.RunTask && req.Task == "clear-render-cache" && !req.Confirm:
		return refuse(plan.Unconfirmed, "Users will notice a slowdown for a few minutes.", "confirm that this is meant")
	case req.Kind == plan.Revert && !req.AcceptMigrationRisk:
		return &plan.Refusal{
			Code: plan.Migrated, Why: "going back crosses a migration", Hint: "accept the migration risk",
			Crossed: []plan.Crossing{{Operation: "deploy-1", Commit: newCommit, At: noon, Migrated: plan.DidMigrate}},
		}
	}
	return nil
}

func planOf(req plan.Request) plan.Plan {
	p := plan.Plan{Kind: req.Kind, Environment: req.Environment, Commit: req.Commit}
	switch {
	case req.Kind == plan.Promotion || req.Kind == plan.Revert:
		p.Commit, p.Before = cmp.Or(req.Commit, newCommit), oldCommit
	case req.Kind == plan.Deploy && req.Commit == oldCommit:
		p.Warning = "going back to " + oldCommit + " crosses a migration, which is not undone"
	}
	if req.Kind == plan.Restart {
		p.Steps = []plan.Step{{ID: "roll frontend", Do: plan.Roll, Name: "frontend", Deployment: "frontend-deployment", RestartedAt: req.At.UTC().Format(time.RFC3339)}}
		return p
	}
	p.Steps = []plan.Step{
		{ID: "check images", Do: plan.CheckImages, Check: []string{"gcr.io/acme/frontend:" + cmp.Or(req.Commit, newCommit)}},
		{ID: "roll frontend", Stage: 1, Do: plan.Roll, Name: "frontend", Deployment: "frontend-deployment"},
	}
	return p
}

func (r *releases) DryRun(_ context.Context, req plan.Request) (plan.Plan, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, req)
	if err := r.refuse(req); err != nil {
		return plan.Plan{}, err
	}
	return planOf(req), nil
}

func (r *releases) Submit(_ context.Context, req plan.Request) (plan.Operation, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, req)
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
	r.kept[op.ID] = op
	return op, nil
}

func (r *releases) Cancel(_ context.Context, id, by, reason string) (plan.Operation, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	op := r.kept[id]
	switch {
	case r.err != nil:
		return op, r.err
	case op.Phase.Over():
		return op, &plan.Refusal{Code: plan.NotRunning, Why: "operation " + id + " is over: " + op.Outcome}
	}
	op.Cancel = &plan.Cancellation{At: time.Now().UTC(), By: by, Reason: reason}
	op.Version++
	r.kept[id] = op
	return op, nil
}

func (r *releases) Load(_ context.Context, id string) (plan.Operation, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loaded++
	op, known := r.kept[id]
	if !known {
		return op, release.ErrNotFound
	}
	return op, r.err
}

func (r *releases) put(op plan.Operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept[op.ID] = op
}

func (r *releases) Operations(_ context.Context, env string) ([]plan.Operation, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []plan.Operation
	for _, op := range r.kept {
		if op.Environment == env {
			all = append(all, op)
		}
	}
	return all, r.err
}

func (r *releases) State(_ context.Context, env plan.Environment) (plan.State, error) {
	if r.stateErr != nil {
		return plan.State{}, r.stateErr
	}
	var s plan.State
	for _, one := range env.Services {
		s.Deployments = append(s.Deployments, plan.Deployment{
			Name: one.Deployment, Replicas: 2, Total: 2, Updated: 2, Available: 2, Generation: 1, ObservedGeneration: 1,
			Containers: []plan.Container{
				{Name: "app", Image: "gcr.io/acme/" + one.Image + ":" + r.commits[env.Name]}, {Name: "cloudsql-proxy", Image: "gcr.io/cloudsql/proxy:1.33"},
			},
		})
	}
	return s, nil
}

// written is the log of the frontend's two pods.
func written() release.ServiceLog {
	line := func(ago time.Duration, pod, text string) release.LogLine {
		return release.LogLine{At: noon.Add(-ago), Pod: pod, Text: text}
	}
	return release.ServiceLog{
		Pods: []release.PodLog{
			{Pod: "frontend-7f-abcde", Container: "app", State: release.LogRead},
			{Pod: "frontend-7f-fghij", Container: "app", State: release.LogUnread, Why: `container "app" is waiting to start: ContainerCreating`},
		},
		Lines: []release.LogLine{
			line(3*time.Second, "frontend-7f-abcde", "GET /healthz 200"),
			line(1500*time.Millisecond, "frontend-7f-abcde", "\x1b[31mno module named render\r\n\nevent: operation"),
		},
	}
}

func (r *releases) ServiceLog(_ context.Context, _ plan.Environment, q release.LogQuery) (release.ServiceLog, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queries = append(r.queries, q)
	if q.Container != "" && q.Container != "app" {
		return release.ServiceLog{}, &plan.Refusal{Code: plan.NotFound, Why: "no pod has a container " + q.Container, Hint: "ask for app"}
	}
	all := written()
	if r.hostile {
		all.Lines[0].Text, all.Pods[1].Why = hostile, hostile
	}
	return all, r.podErr
}

func (r *releases) FollowServiceLog(ctx context.Context, env plan.Environment, q release.LogQuery, send func(release.ServiceLog) error) error {
	all, err := r.ServiceLog(ctx, env, q)
	if err != nil {
		return err
	}
	for _, part := range append([]release.ServiceLog{all}, r.parts...) {
		if err := send(part); err != nil {
			return err
		}
	}
	if r.followed == nil {
		return nil
	}
	select {
	case <-r.followed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *releases) PodEnv(_ context.Context, _ plan.Environment, _, pod string) (release.PodEnv, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if pod != "" && pod != "frontend-7f-abcde" {
		return release.PodEnv{}, &plan.Refusal{Code: plan.NotFound, Why: "service frontend has no pod " + pod, Hint: "ask for frontend-7f-abcde"}
	}
	debug := "0"
	if r.hostile {
		debug = hostile
	}
	return release.PodEnv{Pod: "frontend-7f-abcde", Containers: []release.ContainerEnv{{
		Container: "app", Image: "gcr.io/acme/frontend:" + newCommit, From: []release.EnvSource{{Kind: release.FromConfigMap, Name: "settings"}},
		Variables: []release.EnvVar{
			{Name: "DEBUG", Value: &debug},
			{Name: "SENTRY_DSN", Masked: "its name is like that of a secret"},
			{Name: "DB_PASSWORD", From: &release.EnvSource{Kind: release.FromSecret, Name: "database", Key: "password"}},
			{Name: "POD_IP", From: &release.EnvSource{Kind: release.FromField, Key: "status.podIP"}},
		},
	}}}, r.podErr
}

// keeper is what does things to nodes and pauses; it does nothing, and remembers.
type keeper struct {
	mu      sync.Mutex
	deleted []remediate.DeleteRequest
	probed  []string
	pauses  []remediate.Pause
	closed  []remediate.GuardState // that hold each deletion back
	err     error
}

func (k *keeper) Probe(_ context.Context, targetName, node string) error {
	k.probed = append(k.probed, targetName+"/"+node)
	return k.err
}

func (k *keeper) Delete(_ context.Context, _ string, r remediate.DeleteRequest) (remediate.DeleteResult, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.deleted = append(k.deleted, r)
	if k.err != nil {
		return remediate.DeleteResult{}, k.err
	}
	overridden := strings.Join(listed(r.Override), " ")
	var held remediate.HeldError
	for _, g := range k.closed {
		if !strings.Contains(overridden, string(g.Guard)) {
			held.Closed = append(held.Closed, g)
		}
	}
	if len(held.Closed) > 0 {
		return remediate.DeleteResult{}, &held
	}
	return remediate.DeleteResult{Overridden: r.Override, Incident: "20261123t115958z-mq-1-cljy"}, nil
}

func (k *keeper) Pauses(context.Context) ([]remediate.Pause, error) { return k.pauses, k.err }

func (k *keeper) Pause(_ context.Context, p remediate.Pause) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pauses = append(slices.Clip(k.pauses), p)
	return k.err
}

func (k *keeper) Resume(_ context.Context, targetName string) (ended int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var left []remediate.Pause
	for _, p := range k.pauses {
		if p.Target == targetName {
			ended++
			continue
		}
		left = append(left, p)
	}
	k.pauses = left
	return ended, k.err
}

// auditLog is an Audit that remembers.
type auditLog struct {
	mu  sync.Mutex
	all []AuditEvent
}

func (a *auditLog) Record(_ context.Context, one AuditEvent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, one)
}

func (a *auditLog) last() AuditEvent {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.all) == 0 {
		return AuditEvent{}
	}
	return a.all[len(a.all)-1]
}

// site is the whole API over fakes. Ada may do everything, ci may deploy to staging, bob has a token and no right, and
// nobody knows "flaky" at the moment.
type site struct {
	Options
	releases *releases
	keeper   *keeper
	audit    *auditLog
	handler  http.Handler
}

func newSite() *site {
	s := &site{Options: fixture(), releases: newReleases(), keeper: &keeper{}, audit: &auditLog{}}
	s.keeper.pauses = []remediate.Pause{{Target: "orders", Reason: "moving disks", By: "ada", Until: noon.Add(time.Hour)}}
	s.keeper.closed = []remediate.GuardState{
		{Guard: remediate.GuardObserveOnly, Why: "mode is observe: this broker is only watched"},
		{Guard: remediate.GuardPaused, Why: "paused by ada: moving disks"},
	}
	tokens := tokens{
		"ada": {{auth.Verbs(), "*", "*"}},
		"ci":  {{[]auth.Verb{auth.Deploy}, "staging", ""}},
		"bob": nil,
	}
	known := auth.Authorities{{Name: "flaky", Identity: flaky{}, Access: flaky{}}, {Name: "tokens", Identity: tokens, Access: tokens}}
	s.Identity, s.Access, s.Audit = known, known, s.audit
	s.Brokers.Nodes, s.Brokers.Pauses = s.keeper, s.keeper
	r := s.releases
	s.Releases = &Releases{
		Environments: environments(), Operations: r, Records: r, States: r, Logs: r, Pods: r, Feed: NewFeed(),
	}
	s.Rate = Rate{PerSecond: 1e6, Burst: 1e6}
	s.build()
	return s
}

func (s *site) build() { s.handler = NewAPI(s.Options) }

// tokens is an authority that knows callers by the token "token-of-" and their name.
type tokens map[string][]right

type right struct {
	verbs                 []auth.Verb
	environments, brokers string // a name, or * for all
}

func (t tokens) Authenticate(_ context.Context, token string) (auth.Caller, error) {
	name, ok := strings.CutPrefix(token, "token-of-")
	if _, known := t[name]; !ok || !known {
		return auth.Caller{}, auth.ErrUnknownToken
	}
	return auth.Caller{Name: name}, nil
}

func (t tokens) Allowed(_ context.Context, who auth.Caller, action auth.Action) (auth.Grant, error) {
	for _, r := range t[who.Name] {
		if action.Verb != auth.Read && !slices.Contains(r.verbs, action.Verb) {
			continue
		}
		if to := map[bool]string{true: r.environments, false: r.brokers}[action.Environment != ""]; to == "*" || (to != "" && to == action.Environment+action.Target) {
			return auth.Grant{Allowed: true}, nil
		}
	}
	return auth.Grant{Why: "the token gives no right to that"}, nil
}

type flaky struct{}

func (flaky) Authenticate(_ context.Context, token string) (auth.Caller, error) {
	if token == "token-of-flaky" {
		return auth.Caller{}, errors.New("connection refused")
	}
	return auth.Caller{}, auth.ErrUnknownToken
}

func (flaky) Allowed(context.Context, auth.Caller, auth.Action) (auth.Grant, error) {
	return auth.Grant{}, nil
}

// request makes a request of a caller's; headers are pairs.
func request(who, method, path, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if who != "" {
		r.Header.Set("Authorization", "Bearer token-of-"+who)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func (s *site) ask(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

// post is a request of ada's.
func (s *site) post(path, body string, headers ...string) *httptest.ResponseRecorder {
	return s.ask(request("ada", "POST", path, body, headers...))
}

// cancelled gives a context that has ended.
func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
