package environments

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"time"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

// OperationLines is the answer to /api/v1/operations, newest first.
type OperationLines struct {
	Operations []OperationLine `json:"operations"`
	httpapi.Next
}

// OperationLine is one operation in OperationLines.
type OperationLine struct {
	ID          string     `json:"id"`
	Kind        plan.Kind  `json:"kind"`
	Environment string     `json:"environment"`
	Commit      string     `json:"commit,omitzero"`
	What        string     `json:"what"`           // in words
	Phase       plan.Phase `json:"phase,omitzero"` // absent: not begun
	By          string     `json:"by"`
	Reason      string     `json:"reason"`
	Created     time.Time  `json:"created"`
	Ended       time.Time  `json:"ended,omitzero"`
	Outcome     string     `json:"outcome,omitzero"`
	Cancelled   bool       `json:"cancelled,omitzero"` // somebody wants it to stop, or wanted
}

// defaultLimit is how many operations a page of the list has, if no limit is asked for.
const defaultLimit = 50

var operationList = httpapi.List[OperationLine]{
	Name: "operations", Last: true, Usual: defaultLimit,
	Sorts: func(o OperationLine) string { return httpapi.PlaceAt(o.Created, o.ID) },
}

// operationID is what an operation's ID looks like: nothing else is asked for.
var operationID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,99}$`)

func (api *API) recordRoutes() []httpapi.Route {
	return []httpapi.Route{
		{
			Path: "/api/v1/operations", Shows: "the operations that are kept, newest first", Get: api.operations,
			Answer: reflect.TypeFor[OperationLines](),
			Query: operationList.ListParams(
				httpapi.Param{Name: "environment", About: "only those of this one", Kind: "string"}),
		},
		{
			Path: operationPath + "{id}", Shows: "one operation: its steps, how far they have come, their last lines",
			Get: api.operation, Answer: reflect.TypeFor[plan.Operation](),
		},
		{
			Path: operationPath + "{id}/events", Shows: "one operation as it changes, as server-sent events", Stream: api.events,
		},
	}
}

func (api *API) operations(r *http.Request) (any, error) {
	only := r.URL.Query().Get("environment")
	var seen []string
	var all []OperationLine
	for _, env := range api.Environments {
		ok, err := api.Sees(r.Context(), auth.Action{Environment: env.Name})
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		seen = append(seen, env.Name)
		if only != "" && only != env.Name {
			continue
		}
		operations, err := api.Records.Operations(r.Context(), env.Name)
		if err != nil {
			return nil, fmt.Errorf("list the operations of %s: %w", env.Name, err)
		}
		for _, op := range operations {
			all = append(all, lineOf(op))
		}
	}
	if only != "" && !slices.Contains(seen, only) {
		return nil, httpapi.Unknown("environment", only, seen)
	}
	page, next, err := operationList.Page(r, all)
	return OperationLines{page, next}, err
}

func lineOf(op plan.Operation) OperationLine {
	return OperationLine{
		ID: op.ID, Kind: op.Kind, Environment: op.Environment, Commit: op.Commit, What: op.Request.String(), Phase: op.Phase,
		By: op.Request.By, Reason: op.Request.Reason, Created: op.Created, Ended: op.Ended, Outcome: op.Outcome,
		Cancelled: op.Cancel != nil,
	}
}

func (api *API) operation(r *http.Request) (any, error) {
	op, err := api.load(r)
	if err != nil {
		return nil, err
	}
	if !op.HasLogs() {
		return tidied(op), nil
	}
	show, err := api.shownTo(r.Context(), op.Environment)
	if err != nil {
		return nil, err
	}
	return show(op), nil
}

// logsHidden stands in place of the lines of logs.
const logsHidden = "(these lines are shown to callers with the right to logs)"

// shownTo gives what makes of operations of an environment what the caller may see: the lines of logs in them are for
// those with the right to logs, as they are anywhere else. Neither a token nor a Role tells the logs of one pod in a
// namespace from those of another, so the right to those of any service will do, also for a job.
func (api *API) shownTo(ctx context.Context, env string) (func(plan.Operation) plan.Operation, error) {
	ok := false
	for _, e := range api.Environments {
		for i := 0; e.Name == env && i < len(e.Services) && !ok; i++ {
			var err error
			if ok, err = api.Can(ctx, auth.Action{Verb: auth.Logs, Environment: env, Service: e.Services[i].Name}); err != nil {
				return nil, err
			}
		}
	}
	return func(op plan.Operation) plan.Operation {
		if !ok {
			op = op.WithoutLogs(logsHidden)
		}
		return tidied(op)
	}, nil
}

// taken is the answer to who has an operation taken on, or cancelled: it may have been under way before.
func (api *API) taken(r *http.Request, op plan.Operation) httpapi.Reply {
	answer := httpapi.Reply{
		Status: http.StatusAccepted, Location: operationPath + url.PathEscape(op.ID), Value: tidied(op),
	}
	if !op.HasLogs() {
		return answer
	}
	show, err := api.shownTo(r.Context(), op.Environment)
	if err != nil { // it is under way all the same
		show = func(op plan.Operation) plan.Operation { return tidied(op.WithoutLogs(logsHidden)) }
	}
	answer.Value = show(op)
	return answer
}

// load gives the operation that the path names, if the caller may read it, or do such a thing. Any other is none to
// them.
func (api *API) load(r *http.Request) (plan.Operation, error) {
	id := r.PathValue("id")
	none := httpapi.NewProblem(http.StatusNotFound, "there is no operation %q", httpapi.Short(id))
	if !operationID.MatchString(id) {
		return plan.Operation{}, none
	}
	op, err := api.loadID(r.Context(), id)
	if errors.Is(err, release.ErrNotFound) {
		return op, none
	}
	if err != nil {
		return op, err
	}
	if ok, err := api.Sees(r.Context(), auth.Action{Environment: op.Environment}); err != nil || ok {
		return op, err
	}
	if api.May(r.Context(), actionOf(op)) != nil {
		return plan.Operation{}, none
	}
	return op, nil
}

func (api *API) loadID(ctx context.Context, id string) (plan.Operation, error) {
	op, err := api.Records.Load(ctx, id)
	if err != nil {
		return op, fmt.Errorf("read operation %s: %w", id, err)
	}
	return op, nil
}

// tidied is the operation as it is shown: a list that is empty is [].
func tidied(op plan.Operation) plan.Operation {
	op.Steps = httpapi.OrEmpty(op.Steps)
	return op
}
