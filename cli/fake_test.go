package cli

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/httpapi/environments"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

const (
	oldCommit   = "1f0a9c2d4e5b6a7f8091a2b3c4d5e6f708192a3b"
	newCommit   = "9b8a7c6d5e4f30211203f4e5d6c7b8a99a8b7c6d"
	clientToken = "t0ken-MARKER"
	taskWarning = "Users will notice a slowdown."
)

// servedAPI is the true API over fakes: environments staging and production, and a broker with a stuck node.
type servedAPI struct {
	options      httpapi.Options
	brokers      brokers.Options
	environments *environments.Options // nil: there are none

	pipes   chan net.Conn
	going   sync.WaitGroup                  // what happens meanwhile
	through func(http.Handler) http.Handler // nil, or what every request passes first

	mu       sync.Mutex
	requests []*http.Request
	asked    []plan.Request // that were taken on
	ops      map[string]plan.Operation
	queries  []release.LogQuery
	refusal  error  // of every operation
	warning  string // of every operation
	deleted  []decide.DeleteRequest
	pauses   []decide.Pause
	replaced bool   // who has been looked at is another one by now
	hostile  string // is put into what the fakes say
}

// onServedAPI runs test with the API, in a bubble in which time passes by itself.
func onServedAPI(t *testing.T, test func(*testing.T, *servedAPI), before ...func(*servedAPI)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newServedAPI()
		for _, prepare := range before {
			prepare(s)
		}
		stop := s.serve()
		test(t, s)
		s.going.Wait()
		stop()
	})
}

func newServedAPI() *servedAPI {
	s := &servedAPI{ops: make(map[string]plan.Operation), pipes: make(chan net.Conn)}
	environment := plan.Environment{
		Name: "staging", Namespace: "staging", Image: "r.example/{image}:{commit}",
		Services: []plan.Service{{Name: "frontend", Ref: workload.Ref{Deployment: "frontend-deployment"}, Image: "frontend", Kind: plan.Rolling}},
		Tasks:    []plan.Task{{Name: "clear-cache", Warning: taskWarning, From: plan.TemplateRef{Kind: plan.FromCronJob, Name: "clear"}}},
	}
	production := environment
	production.Name, production.Namespace, production.PromoteFrom = "production", "production", "staging"
	s.brokers = brokers.Options{
		Snapshots: func() []remediate.Snapshot { return []remediate.Snapshot{s.snapshot()} },
		Incidents: func(context.Context) ([]store.Incident, error) { return []store.Incident{s.oneIncident()}, nil },
		Nodes:     s, Pauses: fakePauses{s},
	}
	s.environments = &environments.Options{
		Environments: []plan.Environment{environment, production},
		Operations:   s, Records: s, States: s, Logs: s, Pods: s, Feed: environments.NewFeed(),
	}
	s.options = httpapi.Options{
		Identity: onlyToken{}, Access: onlyToken{}, Rate: httpapi.Rate{PerSecond: 1000, Burst: 1000},
		Log: slog.New(slog.DiscardHandler),
	}
	return s
}

// api is the true API.
func (s *servedAPI) api() *httpapi.API {
	halves := []func(*httpapi.Gate) httpapi.Half{brokers.Half(s.brokers)}
	if s.environments != nil {
		halves = append(halves, environments.Half(*s.environments))
	}
	return httpapi.New(s.options, halves...)
}

// serve serves the API on pipes until stop is called.
func (s *servedAPI) serve() (stop func()) {
	h := s.api().Handler(nil)
	if s.through != nil {
		h = s.through(h)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r)
		s.mu.Unlock()
		h.ServeHTTP(w, r)
	})}
	var ended sync.WaitGroup
	l := pipeListener{s.pipes, make(chan struct{})}
	ended.Go(func() { _ = server.Serve(l) })
	return func() {
		server.Close()
		ended.Wait()
	}
}

type pipeListener struct {
	pipes  chan net.Conn
	closed chan struct{}
}

func (l pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.pipes:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l pipeListener) Close() error   { close(l.closed); return nil }
func (l pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (s *servedAPI) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case s.pipes <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// console is one at which the answers are given, one after the other, and then nobody is there.
func (s *servedAPI) console(answers ...string) (console, *[]string) {
	var questions []string
	return console{
		ask: func(_ context.Context, question string) (string, error) {
			if len(answers) == 0 {
				return "", errNobody
			}
			questions = append(questions, question)
			answer := answers[0]
			answers = answers[1:]
			return answer, nil
		},
		interrupts: func() (<-chan os.Signal, func()) { return nil, func() {} },
		patience:   time.Minute, dial: s.dial,
	}, &questions
}

// run runs one command line against the API.
func (s *servedAPI) run(t *testing.T, c console, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(clientToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := testRoot(c)
	var out, errs bytes.Buffer
	code = Execute(t.Context(), root, append(args, "--server", "http://localhost", "--token-file", file), &out, &errs)
	if all := out.String() + errs.String(); strings.Contains(all, "MARKER") {
		t.Errorf("%q: the token is printed: %s", args, all)
	}
	return code, out.String(), errs.String()
}

// sent gives the requests so far, as "METHOD path", except those to look at something.
func (s *servedAPI) sent() (changes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if r.Method != http.MethodGet {
			changes = append(changes, r.Method+" "+r.URL.EscapedPath())
		}
	}
	return changes
}

// goOn makes an operation go on: its new state is stored, and those who watch it are told.
func (s *servedAPI) goOn(id string, change func(*plan.Operation)) {
	s.mu.Lock()
	op := s.ops[id]
	op.Steps = slices.Clone(op.Steps)
	change(&op)
	op.Version++
	s.ops[id] = op
	s.mu.Unlock()
	s.environments.Feed.Notify(op)
}

// ends makes an operation end in a phase, with its one step, after some time.
func (s *servedAPI) ends(id string, after time.Duration, phase plan.Phase, outcome string) {
	s.going.Go(func() {
		time.Sleep(after / 2)
		s.goOn(id, func(op *plan.Operation) {
			op.Phase, op.Steps[0].Phase, op.Steps[0].Started = plan.Running, plan.Running, time.Now()
			op.Steps[0].Log = []string{"first line" + s.hostile}
		})
		time.Sleep(after / 2)
		s.goOn(id, func(op *plan.Operation) {
			op.Phase, op.Outcome, op.Ended = phase, outcome, time.Now()
			op.Steps[0].Phase, op.Steps[0].Ended, op.Steps[0].Detail = phase, time.Now(), "its detail"+s.hostile
			op.Steps[0].Log = []string{"first line" + s.hostile, "second line"}
			if phase == plan.Failed {
				op.Steps[0].Diagnosis = &workload.Diagnosis{Pod: "frontend-7f", Container: "app", Why: workload.Crash, Detail: "exit code 1" + s.hostile, Log: []string{"no module"}}
			}
		})
	})
}

const theOperation = "op-1"

func (s *servedAPI) DryRun(_ context.Context, r plan.Request) (plan.Plan, error) {
	p := plan.Plan{Kind: r.Kind, Environment: r.Environment, Commit: r.Commit, Steps: []plan.Step{
		{ID: "roll frontend", Do: plan.Roll, Name: "frontend", Ref: workload.Ref{Deployment: "frontend-deployment" + s.hostile}, Images: []plan.ImageChange{{Container: "app", From: "r.example/frontend:" + oldCommit, To: "r.example/frontend:" + newCommit}}},
	}}
	if r.Kind == plan.Revert && r.Commit == "" {
		p.Commit = oldCommit
	}
	if r.Kind == plan.RunTask {
		p.Warning = taskWarning
	}
	return p, s.refusal
}

func (s *servedAPI) Submit(_ context.Context, r plan.Request) (plan.Operation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Kind == plan.RunTask && !r.Confirm {
		return plan.Operation{}, &plan.Refusal{Code: plan.Unconfirmed, Why: taskWarning, Hint: "confirm that this is meant"}
	}
	if s.refusal != nil {
		return plan.Operation{}, s.refusal
	}
	s.asked = append(s.asked, r)
	r.ID, r.At, r.Reason = theOperation, time.Now(), r.Reason+s.hostile
	op := plan.Operation{
		ID: r.ID, Version: 1, Request: r, Kind: r.Kind, Environment: r.Environment, Commit: r.Commit, Created: r.At, Phase: plan.Pending,
		Warning: s.warning,
		Steps:   []plan.StepRun{{Step: plan.Step{ID: "roll frontend", Do: plan.Roll, Name: "frontend"}}},
	}
	s.ops[op.ID] = op
	return op, nil
}

func (s *servedAPI) Cancel(_ context.Context, id, by, reason string) (plan.Operation, error) {
	s.goOn(id, func(op *plan.Operation) { op.Cancel = &plan.Cancellation{At: time.Now(), By: by, Reason: reason} })
	s.ends(id, 2*time.Second, plan.Cancelled, "cancelled")
	return s.Load(context.Background(), id)
}

func (s *servedAPI) Load(_ context.Context, id string) (plan.Operation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	op, known := s.ops[id]
	if !known {
		return op, release.ErrNotFound
	}
	return op, nil
}

func (s *servedAPI) Operations(_ context.Context, env string) ([]plan.Operation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Collect(maps.Values(s.ops))
	return slices.DeleteFunc(all, func(op plan.Operation) bool { return op.Environment != env }), nil
}

func (s *servedAPI) State(_ context.Context, env plan.Environment) (plan.State, error) {
	return plan.State{Workloads: []workload.Workload{{
		Ref: workload.Ref{Deployment: "frontend-deployment"}, Replicas: 2, Total: 2, Updated: 2, Available: 2, Generation: 1, ObservedGeneration: 1,
		Containers: []workload.Container{{Name: "app", Image: "r.example/frontend:" + newCommit}},
	}}}, nil
}

func (s *servedAPI) Probe(context.Context, string, string) error { return nil }

func (s *servedAPI) Delete(_ context.Context, _ string, r decide.DeleteRequest) (remediate.DeleteResult, error) {
	if len(r.Override) == 0 {
		return remediate.DeleteResult{}, &decide.HeldError{Closed: []decide.GuardState{{Guard: decide.GuardObserveOnly, Why: "mode is observe" + s.hostile}}}
	}
	s.deleted = append(s.deleted, r)
	return remediate.DeleteResult{Overridden: r.Override, Incident: "incident-1"}, nil
}

// fakePauses keeps pauses: servedAPI cannot, for its Delete is a node's.
type fakePauses struct{ *servedAPI }

func (f fakePauses) Pauses(context.Context) ([]decide.Pause, error) { return f.pauses, nil }
func (f fakePauses) Pause(_ context.Context, p decide.Pause) (decide.Pause, error) {
	p.ID = store.PauseID(p)
	f.pauses = append(f.pauses, p)
	return p, nil
}

func (f fakePauses) End(_ context.Context, id string) (int, error) {
	before := len(f.pauses)
	f.pauses = slices.DeleteFunc(f.pauses, func(p decide.Pause) bool { return p.ID == id })
	return before - len(f.pauses), nil
}

func (f fakePauses) Resume(_ context.Context, broker string) (int, error) {
	before := len(f.pauses)
	f.pauses = slices.DeleteFunc(f.pauses, func(p decide.Pause) bool { return p.Target == broker })
	return before - len(f.pauses), nil
}

func (s *servedAPI) snapshot() remediate.Snapshot {
	now := time.Now()
	n := target.Node{Target: "orders", Name: "mq-1", UID: "uid-1", Started: now.Add(-time.Hour)}
	if s.replaced && len(s.deleted) > 0 {
		n.UID = "uid-2"
	}
	decision := decide.Decision{
		Node: "mq-1", UID: "uid-1", Status: probe.Stuck, Phase: decide.PhaseConfirmed, Reason: "confirmed stuck; held back by observe-only" + s.hostile, At: now,
		Guards: []decide.GuardState{{Guard: decide.GuardObserveOnly, Why: "mode is observe"}, {Guard: decide.GuardPaused, Open: true, Why: "nobody has"}},
	}
	r := probe.Result{Target: "orders", Node: "mq-1", UID: "uid-1", Kind: probe.Login, Reason: probe.AwaitTune, Stage: probe.StageTune, Started: now, Took: 12 * time.Second, Detail: "no answer" + s.hostile}
	return remediate.Snapshot{
		Target: "orders", At: now, Policy: decide.DefaultPolicy(), View: target.View{At: now, IsLeader: target.Yes, Expected: 1, Nodes: []target.Node{n}},
		Nodes: []remediate.NodeSnapshot{{Node: n, Decision: decision, Latest: []probe.Result{r}}},
	}
}

func (s *servedAPI) oneIncident() store.Incident {
	n := s.snapshot().Nodes[0]
	return store.Incident{
		ID: "incident-1", Target: "orders", Node: "mq-1", UID: "uid-1", Opened: n.Decision.At, Decision: n.Decision, Results: n.Latest,
		Logs:   []target.LogLine{{At: n.Decision.At, Text: "accepting" + s.hostile}},
		Events: []store.Event{{At: n.Decision.At, Text: "first stuck: login"}},
	}
}

// onlyToken knows one caller, who may do everything.
type onlyToken struct{}

func (onlyToken) Authenticate(_ context.Context, token string) (auth.Caller, error) {
	if token != clientToken {
		return auth.Caller{}, auth.ErrUnknownToken
	}
	return auth.Caller{Name: "ada"}, nil
}

func (onlyToken) Allowed(context.Context, auth.Caller, auth.Action) (auth.Grant, error) {
	return auth.Grant{Allowed: true}, nil
}

// movingSource promotes another commit than its plan says: the source has been deployed to in between.
type movingSource struct{ *servedAPI }

func (m movingSource) DryRun(ctx context.Context, r plan.Request) (plan.Plan, error) {
	p, err := m.servedAPI.DryRun(ctx, r)
	p.Commit = oldCommit
	return p, err
}

func (m movingSource) Submit(ctx context.Context, r plan.Request) (plan.Operation, error) {
	op, err := m.servedAPI.Submit(ctx, r)
	op.Commit = newCommit
	return op, err
}

// testRoot is `unstuck` with the commands that ask a server alone.
func testRoot(c console) *cobra.Command {
	root := &cobra.Command{Use: "unstuck"}
	root.AddCommand(newClientCommands(c)...)
	return root
}

// complete runs the command by which shells ask for completions.
func complete(t *testing.T, c console, line []string) (code int, stdout, stderr string) {
	t.Helper()
	root := testRoot(c)
	var out, errs bytes.Buffer
	code = Execute(t.Context(), root, line, &out, &errs)
	return code, out.String(), errs.String()
}

// logged is the log of the fake's service.
func (s *servedAPI) logged() release.ServiceLog {
	return release.ServiceLog{
		Pods:  []release.PodLog{{Pod: "frontend-1", Container: "app", State: release.LogRead}, {Pod: "frontend-2", Container: "app", State: release.LogUnread, Why: "it starts"}},
		Lines: []release.LogLine{{At: time.Now().UTC(), Pod: "frontend-1", Text: "GET / 200" + s.hostile}},
	}
}

func (s *servedAPI) ServiceLog(_ context.Context, _ plan.Environment, q release.LogQuery) (release.ServiceLog, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries = append(s.queries, q)
	return s.logged(), nil
}

// FollowServiceLog gives one line a second.
func (s *servedAPI) FollowServiceLog(ctx context.Context, env plan.Environment, q release.LogQuery, send func(release.ServiceLog) error) error {
	for {
		part, err := s.ServiceLog(ctx, env, q)
		if err == nil {
			err = send(part)
		}
		if err != nil || !waitFor(ctx, time.Second) {
			return err
		}
	}
}

func (s *servedAPI) PodEnv(_ context.Context, _ plan.Environment, _, pod string) (release.PodEnv, error) {
	value := "0" + s.hostile
	return release.PodEnv{Pod: cmp.Or(pod, "frontend-1"), Containers: []release.ContainerEnv{{
		Container: "app", Image: "r.example/frontend:" + newCommit, From: []release.EnvSource{{Kind: release.FromConfigMap, Name: "settings"}},
		Variables: []release.EnvVar{{Name: "DEBUG", Value: &value}, {Name: "DSN", Masked: "its name is like that of a secret"}, {Name: "PASSWORD", From: &release.EnvSource{Kind: release.FromSecret, Name: "db", Key: "password"}}},
	}}}, nil
}
