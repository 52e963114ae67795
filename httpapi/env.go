package httpapi

import (
	"context"
	"net/http"
	"reflect"
	"regexp"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

// Pods looks at the pods of services. *kube.Releases does.
type Pods interface {
	// PodEnv gives the environment of a pod's containers, without the values of secrets; no pod: of the newest one. It is
	// a *plan.Refusal that there is none.
	PodEnv(ctx context.Context, env plan.Environment, service, pod string) (release.PodEnv, error)
}

// watched answers a GET that the audit is told of. It notes in the audit event what is known of it.
type watched func(r *http.Request, a *AuditEvent) (any, error)

// podRoutes are about the pods of services: what they log, and with what variables they run.
func (o Options) podRoutes() []Route {
	var routes []Route
	const service = "/api/v1/environments/{env}/services/{service}"
	if o.Logs != nil {
		routes = append(routes, Route{
			Path: service + "/logs", Shows: "the logs of all pods of a service, merged, or as server-sent events",
			stream: o.logs, answer: reflect.TypeFor[release.ServiceLog](), query: logParams,
		})
	}
	if o.Pods != nil {
		answer := reflect.TypeFor[release.PodEnv]()
		routes = append(routes,
			Route{Path: service + "/env", Shows: "the variables of the newest pod of a service, but for secrets", watched: o.env, answer: answer},
			Route{Path: service + "/pods/{pod}/env", Shows: "the variables of one pod, but for secrets", watched: o.env, answer: answer})
	}
	return routes
}

func (o Options) env(r *http.Request, a *AuditEvent) (any, error) {
	named := r.PathValue("pod")
	pod := named
	if !objectName.MatchString(pod) {
		pod = ""
	}
	env, err := o.serviceTo(auth.Env, r, a, pod)
	if err != nil {
		return nil, err
	}
	if err := checkQuery(r, nil); err != nil {
		return nil, err
	}
	if pod != named {
		return nil, problem(http.StatusNotFound, "no pod can be named %q", short(named))
	}
	seen, err := o.Pods.PodEnv(r.Context(), env, r.PathValue("service"), pod)
	if err != nil {
		return nil, o.unread(r, err)
	}
	a.Result = seen.Pod
	return seen, nil
}

// objectName is what Kubernetes lets pods and containers be named.
var objectName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

// serviceTo gives the environment of the service that the path names, if the caller may do that to it. Whoever may not
// even see the environment does not learn which services it has.
func (o Options) serviceTo(verb auth.Verb, r *http.Request, a *AuditEvent, pod string) (plan.Environment, error) {
	env, err := o.findEnvironment(r)
	if err != nil {
		return env, err
	}
	action := auth.Action{Verb: verb, Environment: env.Name, Service: r.PathValue("service"), Pod: pod}
	a.Action = cut(action.String(), maxReason)
	return env, o.mayThere(r.Context(), env, action)
}

// mayThere refuses what the caller may not do in an environment. Only to whoever may read it, it says which services and
// tasks there are.
func (o Options) mayThere(ctx context.Context, env plan.Environment, action auth.Action) error {
	unknown := named("service", action.Service, env.Services, func(s plan.Service) string { return s.Name })
	if unknown == nil {
		unknown = named("task", action.Task, env.Tasks, func(t plan.Task) string { return t.Name })
	}
	if unknown == nil {
		return o.may(ctx, action)
	}
	if ok, err := o.sees(ctx, auth.Action{Environment: env.Name}); err != nil || ok {
		return firstOf(err, unknown)
	}
	return o.may(ctx, auth.Action{Verb: auth.Read, Environment: env.Name})
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// watching answers a route of which the audit is told.
func (o Options) watching(adapter adapter, route Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, seen, err := o.watch(r, route.watched, adapter)
		if err != nil {
			adapter.fail(w, r, err)
			return
		}
		adapter.write(w, r, http.StatusOK, "application/json", seen)
	})
}

// watch finds out who calls, gives what they see and the request with them in its context, and tells the audit whatever
// comes of it. The error is a Problem.
func (o Options) watch(r *http.Request, f watched, adapter adapter) (signed *http.Request, seen any, err error) {
	a := auditEventOf(r)
	defer func() {
		if a.Status == 0 { // it panicked
			a.Status, a.Refused = http.StatusInternalServerError, "an error of ours"
		}
		o.record(context.WithoutCancel(r.Context()), r, a)
	}()
	signed, err = o.authenticate(r)
	who, _ := callerOf(signed.Context())
	a.By, a.Authority = who.Name, who.Authority
	if err == nil {
		seen, err = f(signed, &a)
	}
	if err != nil {
		p := adapter.problemOf(r, err)
		a.Status, a.Refused = p.Status, p.Detail
		return signed, nil, p
	}
	a.Status = http.StatusOK
	return signed, seen, nil
}
