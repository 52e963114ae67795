package environments

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

// States looks at environments. A release.World does.
type States interface {
	State(ctx context.Context, env plan.Environment) (plan.State, error)
}

// Environments is the answer to /api/v1/environments, in the order of the configuration.
type Environments struct {
	Environments []Environment `json:"environments"`
	httpapi.Next
}

// environmentList is in the order of the configuration, which place counts.
var environmentList = httpapi.List[placed]{
	Name: "environments", Sorts: func(p placed) string { return fmt.Sprintf("%06d", p.place) },
}

// placed is an environment with its place in the configuration.
type placed struct {
	plan.Environment
	place int
}

// Environment is one environment, and in Environments as well as the answer to /api/v1/environments/{env}.
type Environment struct {
	Environment string `json:"environment"`
	Namespace   string `json:"namespace"`
	Cluster     string `json:"cluster,omitzero"` // absent: the one that Unstuck runs in
	PromoteFrom string `json:"promote_from,omitzero"`
	// that all services run; absent: they run several, or it cannot be told
	Commit    string    `json:"commit,omitzero"`
	Error     string    `json:"error,omitzero"`     // why it could not be looked at
	Operation string    `json:"operation,omitzero"` // the ID of the one that is under way
	Services  []Service `json:"services"`
	Jobs      []string  `json:"jobs"` // that a deploy runs first
	Tasks     []Task    `json:"tasks"`
}

// Service is a service of an Environment.
type Service struct {
	Service string `json:"service"`
	workload.Ref
	Kind      plan.ServiceKind `json:"kind"`
	Commit    string           `json:"commit,omitzero"` // absent: why says why
	Why       string           `json:"why,omitzero"`
	RolledOut bool             `json:"rolled_out"`
	Rollout   string           `json:"rollout,omitzero"` // what it waits for, or how many pods serve
	Pods      int              `json:"pods"`             // that there are
	Wanted    int              `json:"wanted"`
}

// Task is a task of an Environment.
type Task struct {
	Task    string `json:"task"`
	Warning string `json:"warning,omitzero"` // if there is one, a run must confirm it
}

// lookTimeout bounds how long one environment is looked at.
const lookTimeout = 10 * time.Second

func (api *API) environmentRoutes() []httpapi.Route {
	return []httpapi.Route{
		{
			Path: "/api/v1/environments", Shows: "every environment with its services and the commit that each runs",
			Get: api.environments, Answer: reflect.TypeFor[Environments](), Query: environmentList.ListParams(),
		},
		{
			Path: "/api/v1/environments/{env}", Shows: "one environment", Get: api.environment,
			Answer: reflect.TypeFor[Environment](),
		},
	}
}

func (api *API) environments(r *http.Request) (any, error) {
	var seen []placed
	for i, env := range api.Environments {
		ok, err := api.Sees(r.Context(), auth.Action{Environment: env.Name})
		if err != nil {
			return nil, err
		}
		if ok {
			seen = append(seen, placed{env, i})
		}
	}
	page, next, err := environmentList.Page(r, seen)
	if err != nil {
		return nil, err
	}
	all := Environments{Environments: make([]Environment, len(page)), Next: next}
	var group errgroup.Group
	group.SetLimit(8)
	for i, env := range page {
		group.Go(func() error {
			all.Environments[i] = api.look(r.Context(), env.Environment)
			return nil
		})
	}
	return all, group.Wait()
}

func (api *API) environment(r *http.Request) (any, error) {
	env, err := api.findEnvironment(r)
	if err != nil {
		return nil, err
	}
	if err := api.May(r.Context(), auth.Action{Verb: auth.Read, Environment: env.Name}); err != nil {
		return nil, err
	}
	return api.look(r.Context(), env), nil
}

// look looks at an environment. What cannot be seen is a fault in the answer, not of the Answer: the rest is known.
func (api *API) look(ctx context.Context, env plan.Environment) Environment {
	ctx, stop := context.WithTimeout(ctx, lookTimeout)
	defer stop()
	seen := Environment{
		Environment: env.Name, Namespace: env.Namespace, Cluster: env.Context, PromoteFrom: env.PromoteFrom,
		Services: []Service{}, Jobs: []string{}, Tasks: []Task{},
	}
	for _, j := range env.Jobs {
		seen.Jobs = append(seen.Jobs, j.Name)
	}
	for _, t := range env.Tasks {
		seen.Tasks = append(seen.Tasks, Task{t.Name, t.Warning})
	}
	state, err := api.States.State(ctx, env)
	if err != nil {
		api.Log.Warn("environment not seen", "environment", env.Name, "error", err)
		seen.Error = "its workloads cannot be read now: Unstuck's log says why"
	}
	for _, s := range env.Services {
		one := Service{Service: s.Name, Ref: s.Ref, Kind: s.Kind, Why: "cannot tell"}
		if err == nil {
			one.fill(env, state)
		}
		seen.Services = append(seen.Services, one)
	}
	for i, s := range seen.Services {
		if i == 0 || s.Commit == seen.Commit {
			seen.Commit = s.Commit
			continue
		}
		seen.Commit = ""
		break
	}
	seen.Operation = api.underWay(ctx, env)
	return seen
}

func (s *Service) fill(env plan.Environment, state plan.State) {
	s.Commit, s.Why = env.Running(s.Service, state)
	i := slices.IndexFunc(state.Workloads, func(d workload.Workload) bool { return d.Ref == s.Ref })
	if i < 0 {
		return
	}
	d := state.Workloads[i]
	rollout := workload.RolloutOf(d)
	s.RolledOut, s.Rollout, s.Pods, s.Wanted = rollout.Done, rollout.Detail, d.Total, d.Replicas
}

// underWay gives the ID of the operation that is under way, if any is known to be.
func (api *API) underWay(ctx context.Context, env plan.Environment) string {
	operations, err := api.Records.Operations(ctx, env.Name)
	if err != nil {
		api.Log.Warn("operations not read", "environment", env.Name, "error", err)
		return ""
	}
	for _, op := range operations {
		if !op.Phase.Over() {
			return op.ID
		}
	}
	return ""
}
