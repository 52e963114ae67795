package environments

import (
	"context"
	"net/http"
	"reflect"
	"regexp"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

// Pods looks at the pods of services. *deploy.Clusters does.
type Pods interface {
	// PodEnv gives the environment of a pod's containers, without the values of secrets; no pod: of the newest one
	// that runs. It is a *plan.Refusal that there is none.
	PodEnv(ctx context.Context, env plan.Environment, service, pod string) (release.PodEnv, error)
}

// podRoutes are about the pods of services: what they log, and with what variables they run.
func (api *API) podRoutes() []httpapi.Route {
	const service = "/api/v1/environments/{env}/services/{service}"
	answer := reflect.TypeFor[release.PodEnv]()
	return []httpapi.Route{
		{
			Path: service + "/logs", Shows: "the logs of all pods of a service, merged, or as server-sent events",
			Stream: api.logs, Answer: reflect.TypeFor[release.ServiceLog](), Query: logParams,
		},
		{
			Path: service + "/env", Shows: "the variables of the newest pod of a service, but for secrets", Watched: api.env,
			Answer: answer,
		},
		{
			Path: service + "/pods/{pod}/env", Shows: "the variables of one pod, but for secrets", Watched: api.env,
			Answer: answer,
		},
	}
}

func (api *API) env(r *http.Request, a *httpapi.AuditEvent) (any, error) {
	named := r.PathValue("pod")
	pod := named
	if !objectName.MatchString(pod) {
		pod = ""
	}
	env, err := api.serviceTo(auth.Env, r, a, pod)
	if err != nil {
		return nil, err
	}
	if pod != named {
		return nil, httpapi.NewProblem(http.StatusNotFound, "no pod can be named %q", httpapi.Short(named))
	}
	seen, err := api.Pods.PodEnv(r.Context(), env, r.PathValue("service"), pod)
	if err != nil {
		return nil, api.unread(r, err)
	}
	a.Result = seen.Pod
	return seen, nil
}

// objectName is what Kubernetes lets pods and containers be named.
var objectName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

// serviceTo gives the environment of the service that the path names, if the caller may do that to it. Callers who may
// not even see the environment do not learn which services it has.
func (api *API) serviceTo(verb auth.Verb, r *http.Request, a *httpapi.AuditEvent, pod string,
) (plan.Environment, error) {
	env, err := api.findEnvironment(r)
	if err != nil {
		return env, err
	}
	action := auth.Action{Verb: verb, Environment: env.Name, Service: r.PathValue("service"), Pod: pod}
	a.Action = httpapi.Cut(action.String(), httpapi.MaxReason)
	return env, api.mayThere(r.Context(), env, action)
}

// mayThere refuses what the caller may not do in an environment. Only to callers who may read it, it says which
// services and tasks there are.
func (api *API) mayThere(ctx context.Context, env plan.Environment, action auth.Action) error {
	unknown := named("service", action.Service, env.Services, func(s plan.Service) string { return s.Name })
	if unknown == nil {
		unknown = named("task", action.Task, env.Tasks, func(t plan.Task) string { return t.Name })
	}
	if unknown == nil {
		return api.May(ctx, action)
	}
	if ok, err := api.Sees(ctx, auth.Action{Environment: env.Name}); err != nil || ok {
		return firstOf(err, unknown)
	}
	return api.May(ctx, auth.Action{Verb: auth.Read, Environment: env.Name})
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
