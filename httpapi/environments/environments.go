// Package environments is the half of the API that is about environments and their operations: what is deployed, what
// changes it, the logs and variables of services. docs/api.md describes each endpoint.
package environments

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"slices"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
	"github.com/cjworkbench/unstuck/trigger"
)

// Operations plans operations, takes them on and stops them. *release.Runner does.
type Operations interface {
	DryRun(ctx context.Context, r plan.Request) (plan.Plan, error)
	Submit(ctx context.Context, r plan.Request) (plan.Operation, error)
	Cancel(ctx context.Context, id, by, reason string) (plan.Operation, error)
}

// Records are the operations that are kept. A release.Store has them.
type Records interface {
	// Load gives one operation; release.ErrNotFound if there is none.
	Load(ctx context.Context, id string) (plan.Operation, error)
	// Operations gives those of an environment, in any order.
	Operations(ctx context.Context, env string) ([]plan.Operation, error)
}

// What package release has is what is asked for here.
var (
	_ Operations = (*release.Runner)(nil)
	_ Records    = release.Store(nil)
	_ States     = release.World(nil)
)

// operationPath is where an operation is looked at.
const operationPath = "/api/v1/operations/"

// Options are what the API knows of environments, and what it can do there.
type Options struct {
	Environments []plan.Environment
	Operations   Operations
	Records      Records
	States       States
	Logs         ServiceLogs
	Pods         Pods
	Feed         *Feed // of the operations that run in this process; nil: they are looked at again and again
}

// API serves what Options know and do, behind a gate.
type API struct {
	*httpapi.Gate
	Options

	logStreams *httpapi.Slots
}

// Half is the half that httpapi.New serves. However many times it is made, the logs that are read are bounded together.
func Half(o Options) func(*httpapi.Gate) httpapi.Half {
	logStreams := httpapi.NewSlots(maxLogs, maxLogsEach)
	return func(g *httpapi.Gate) httpapi.Half {
		served := o
		if g.CallersMissing() { // nobody is known who could use it
			served = Options{}
		}
		return &API{g, served, logStreams}
	}
}

// Routes implements httpapi.Half. Without environments there are none.
func (api *API) Routes() []httpapi.Route {
	if api.Operations == nil {
		return nil
	}
	return slices.Concat(api.environmentRoutes(), api.recordRoutes(), api.operationRoutes(), api.podRoutes())
}

// Enums implements httpapi.Half.
func (api *API) Enums() map[reflect.Type][]string {
	return map[reflect.Type][]string{
		reflect.TypeFor[plan.OnFailure]():   {string(plan.Leave), string(plan.Rollback)},
		reflect.TypeFor[plan.Kind]():        httpapi.Listed(plan.Kinds()),
		reflect.TypeFor[workload.Trouble](): httpapi.Listed(workload.Troubles()),
		reflect.TypeFor[plan.ServiceKind](): {plan.Singleton.String(), plan.Rolling.String()},
		reflect.TypeFor[plan.Migration](): {
			plan.DidMigrate.String(), plan.DidNotMigrate.String(), plan.MaybeMigrated.String(),
		},
		reflect.TypeFor[release.PodLogState](): httpapi.Listed(release.PodLogStates()),
		reflect.TypeFor[release.EnvKind]():     httpapi.Listed(release.EnvKinds()),
	}
}

// Allows implements httpapi.Half. For an operation that is whatever the operation does.
func (api *API) Allows(r *http.Request, action auth.Action) (ours bool, err error) {
	switch {
	case api.Operations == nil:
		return false, nil
	case r.PathValue("id") != "":
		op, err := api.load(r)
		if err != nil {
			return true, err
		}
		return true, api.May(r.Context(), actionOf(op))
	case r.PathValue("env") != "":
		env, err := api.findEnvironment(r)
		if err != nil {
			return true, err
		}
		action.Environment = env.Name
		return true, api.mayThere(r.Context(), env, action)
	}
	return false, nil
}

// Readable implements httpapi.Half.
func (api *API) Readable() (all []auth.Action) {
	for _, env := range api.Environments {
		all = append(all, auth.Action{Environment: env.Name})
	}
	return all
}

func (api *API) operationRoutes() []httpapi.Route {
	operation := func(t trigger.Trigger, c httpapi.Change) httpapi.Route {
		route := httpapi.Triggered(t, c, reflect.TypeFor[plan.Operation]())
		if route.TakesKey {
			route.Dry = reflect.TypeFor[plan.Plan]()
		}
		return route
	}
	return []httpapi.Route{
		operation(trigger.Deploy, api.deploy), operation(trigger.Promote, api.promote),
		operation(trigger.Revert, api.revert), operation(trigger.Restart, api.restart),
		operation(trigger.RestartReaders, api.restart), operation(trigger.RunTask, api.runTask),
		operation(trigger.Cancel, api.cancel),
	}
}

func (api *API) deploy(w http.ResponseWriter, r *http.Request, a *httpapi.AuditEvent) (httpapi.Reply, error) {
	b, err := asked[trigger.DeployBody](api, w, r, a, auth.Action{Verb: auth.Deploy})
	if err != nil {
		return httpapi.Reply{}, err
	}
	return api.submit(r, a, plan.Request{
		Kind: plan.Deploy, Commit: b.Commit, Reason: b.Reason, BugReport: b.BugReport, OnFailure: b.OnFailure,
		DryRun: b.DryRun,
	})
}

func (api *API) promote(w http.ResponseWriter, r *http.Request, a *httpapi.AuditEvent) (httpapi.Reply, error) {
	b, err := asked[trigger.PromotionBody](api, w, r, a, auth.Action{Verb: auth.Promote})
	if err != nil {
		return httpapi.Reply{}, err
	}
	env, err := api.findEnvironment(r)
	if err != nil {
		return httpapi.Reply{}, err
	}
	if env.PromoteFrom != "" { // which commit it runs would be told
		if err := api.May(r.Context(), auth.Action{Verb: auth.Read, Environment: env.PromoteFrom}); err != nil {
			return httpapi.Reply{}, err
		}
	}
	return api.submit(r, a, plan.Request{
		Kind: plan.Promotion, ExpectCommit: b.ExpectCommit, AcceptMigrationRisk: b.AcceptMigrationRisk, Reason: b.Reason,
		BugReport: b.BugReport, OnFailure: b.OnFailure, DryRun: b.DryRun,
	})
}

func (api *API) revert(w http.ResponseWriter, r *http.Request, a *httpapi.AuditEvent) (httpapi.Reply, error) {
	b, err := asked[trigger.RevertBody](api, w, r, a, auth.Action{Verb: auth.Revert})
	if err != nil {
		return httpapi.Reply{}, err
	}
	return api.submit(r, a, plan.Request{
		Kind: plan.Revert, Commit: b.Commit, AcceptMigrationRisk: b.AcceptMigrationRisk, Reason: b.Reason,
		BugReport: b.BugReport, OnFailure: b.OnFailure, DryRun: b.DryRun,
	})
}

// restart restarts a service or what reads a Secret: the path has either.
func (api *API) restart(w http.ResponseWriter, r *http.Request, a *httpapi.AuditEvent) (httpapi.Reply, error) {
	action := auth.Action{Verb: auth.Restart, Service: r.PathValue("service"), Secret: r.PathValue("secret")}
	b, err := asked[trigger.RestartBody](api, w, r, a, action)
	if err != nil {
		return httpapi.Reply{}, err
	}
	return api.submit(r, a, plan.Request{
		Kind: plan.Restart, Service: action.Service, Secret: action.Secret, Reason: b.Reason, BugReport: b.BugReport,
		DryRun: b.DryRun,
	})
}

func (api *API) runTask(w http.ResponseWriter, r *http.Request, a *httpapi.AuditEvent) (httpapi.Reply, error) {
	action := auth.Action{Verb: auth.RunTask, Task: r.PathValue("task")}
	b, err := asked[trigger.TaskBody](api, w, r, a, action)
	if err != nil {
		return httpapi.Reply{}, err
	}
	return api.submit(r, a, plan.Request{
		Kind: plan.RunTask, Task: action.Task, Confirm: b.Confirm, Reason: b.Reason, BugReport: b.BugReport, DryRun: b.DryRun,
	})
}

// asked finds the request's environment and what it names there, sees whether the caller may do the action to it, and
// reads the body.
func asked[B any](api *API, w http.ResponseWriter, r *http.Request, a *httpapi.AuditEvent,
	action auth.Action,
) (b B, err error) {
	env, err := api.findEnvironment(r)
	if err != nil {
		return b, err
	}
	action.Environment = env.Name
	a.Action = httpapi.Cut(action.String(), httpapi.MaxReason)
	if err := api.mayThere(r.Context(), env, action); err != nil {
		return b, err
	}
	return httpapi.ReadBody[B](w, r)
}

// named refuses a name that an environment does not have; no name is none to refuse.
func named[T any](what, name string, all []T, nameOf func(T) string) error {
	known := make([]string, len(all))
	for i, one := range all {
		known[i] = nameOf(one)
	}
	if name == "" || slices.Contains(known, name) {
		return nil
	}
	return httpapi.Unknown(what, name, known)
}

// findEnvironment gives the environment that the path names. Of the others, only those are told that the caller may
// read.
func (api *API) findEnvironment(r *http.Request) (plan.Environment, error) {
	name := r.PathValue("env")
	var known []string
	for _, env := range api.Environments {
		if env.Name == name {
			return env, nil
		}
		if ok, err := api.Sees(r.Context(), auth.Action{Environment: env.Name}); err == nil && ok {
			known = append(known, env.Name)
		}
	}
	return plan.Environment{}, httpapi.Unknown("environment", name, known)
}

// submit has a request planned, or taken on.
func (api *API) submit(r *http.Request, a *httpapi.AuditEvent, req plan.Request) (httpapi.Reply, error) {
	req.Environment, req.By, req.From = r.PathValue("env"), a.By, a.From
	req.IdempotencyKey = httpapi.KeyOf(r.Header.Get("Idempotency-Key"))
	a.Action, a.DryRun = httpapi.Cut(req.String(), httpapi.MaxReason), req.DryRun
	a.Reason = httpapi.Cut(req.Reason, httpapi.MaxReason)
	if req.DryRun {
		p, err := api.Operations.DryRun(r.Context(), req)
		if err != nil {
			return httpapi.Reply{}, api.refusal(r, err)
		}
		p.Steps = httpapi.OrEmpty(p.Steps)
		return httpapi.Reply{Status: http.StatusOK, Value: p}, nil
	}
	op, err := api.Operations.Submit(r.Context(), req)
	if err != nil {
		return httpapi.Reply{}, api.refusal(r, err)
	}
	a.Result = op.ID
	return api.taken(r, op), nil
}

// cancel asks an operation to stop. Whoever may do such a thing may stop it.
func (api *API) cancel(w http.ResponseWriter, r *http.Request, a *httpapi.AuditEvent) (httpapi.Reply, error) {
	op, err := api.load(r)
	if err != nil {
		return httpapi.Reply{}, err
	}
	a.Action, a.Result, a.Environment = "cancel "+op.Request.String(), op.ID, op.Environment
	if err := api.May(r.Context(), actionOf(op)); err != nil {
		return httpapi.Reply{}, err
	}
	b, err := httpapi.ReadBody[trigger.CancelBody](w, r)
	if err != nil {
		return httpapi.Reply{}, err
	}
	a.Reason = httpapi.Cut(b.Reason, httpapi.MaxReason)
	if err := httpapi.CheckReason(b.Reason); err != nil {
		return httpapi.Reply{}, err
	}
	op, err = api.Operations.Cancel(r.Context(), op.ID, a.By, b.Reason)
	if err != nil {
		return httpapi.Reply{}, api.refusal(r, err)
	}
	return api.taken(r, op), nil
}

// actionOf gives the action that an operation is.
func actionOf(op plan.Operation) auth.Action {
	verbs := map[plan.Kind]auth.Verb{
		plan.Deploy: auth.Deploy, plan.Promotion: auth.Promote, plan.Revert: auth.Revert, plan.Restart: auth.Restart,
		plan.RunTask: auth.RunTask,
	}
	return auth.Action{
		Verb: verbs[op.Kind], Environment: op.Environment, Service: op.Request.Service, Secret: op.Request.Secret,
		Task: op.Request.Task,
	}
}

// statusOf gives the status of HTTP for each code of a refusal.
var statusOf = map[plan.Code]int{
	plan.Invalid:     http.StatusBadRequest,
	plan.NotFound:    http.StatusNotFound,
	plan.NotReady:    http.StatusConflict,
	plan.Changed:     http.StatusConflict,
	plan.Migrated:    http.StatusConflict,
	plan.Unconfirmed: http.StatusConflict,
	plan.Busy:        http.StatusConflict,
	plan.KeyReused:   http.StatusUnprocessableEntity,
	plan.NotRunning:  http.StatusConflict,
	plan.Unavailable: http.StatusServiceUnavailable,
}

// busyRetry is after how many seconds it is worth asking again, where another operation is under way.
const busyRetry = 15

// refusal makes a Problem of a *plan.Refusal. Of any other error the client is told that it is not known what came
// of the request.
func (api *API) refusal(r *http.Request, err error) error {
	if refusal, ok := errors.AsType[*plan.Refusal](err); ok {
		p := httpapi.Refused(statusOf[refusal.Code], refusal.Code, refusal.Why, refusal.Hint)
		if p.Status == 0 {
			p = httpapi.Refused(http.StatusConflict, refusal.Code, refusal.Why, refusal.Hint)
		}
		p.Crossed = refusal.Crossed
		if refusal.Code == plan.Busy {
			p.RetryAfter = busyRetry
		}
		return p
	}
	api.LogFailure(r, err)
	return httpapi.Refused(http.StatusServiceUnavailable, plan.Unavailable,
		"what it needs cannot be reached now, and Unstuck's log says what",
		"look at the operations whether it was taken on, or ask again with the same Idempotency-Key")
}
