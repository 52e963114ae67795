package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cjworkbench/unstuck/release/plan"
)

// Reviewer is an API server's word on tokens and rights: TokenReview and SubjectAccessReview.
type Reviewer interface {
	// Authenticate says whose token it is; not ok: nobody's.
	Authenticate(ctx context.Context, token string) (user string, groups []string, ok bool, err error)
	// Allowed says whether a user of these groups could do this with kubectl. An error says that it cannot be told.
	Allowed(ctx context.Context, user string, groups []string, what ResourceAttributes) (bool, error)
}

// Reviews asks Kubernetes who is calling, and whether that caller could do the same thing with kubectl: there is no
// second permission model. It is both an Identity and an Access.
type Reviews struct {
	Own      Reviewer            // of the cluster that Unstuck runs in
	Others   map[string]Reviewer // of the other clusters of environments, by the environment's Context
	Releases []plan.Environment
	Targets  map[string]string // the namespace of each broker
	Home     string            // Unstuck's own namespace, where the pauses are kept
}

// Authenticate implements Identity.
func (v Reviews) Authenticate(ctx context.Context, token string) (Caller, error) {
	user, groups, ok, err := v.Own.Authenticate(ctx, token)
	switch {
	case err != nil:
		return Caller{}, fmt.Errorf("review a token: %w", err)
	case !ok:
		return Caller{}, ErrUnknownToken
	}
	return Caller{Name: user, Groups: groups}, nil
}

// Allowed implements Access.
func (v Reviews) Allowed(ctx context.Context, who Caller, action Action) (Grant, error) {
	cluster, needs := v.needs(action)
	if len(needs) == 0 {
		return Grant{Why: "nobody knows what kubectl would need for that"}, nil
	}
	reviewer, groups := v.Own, who.Groups
	if cluster != "" {
		// An account of this cluster's is nobody there, though another of the same name may exist.
		if strings.HasPrefix(who.Name, "system:") {
			return Grant{Why: "the environment is in another cluster, where " + who.Name + " is somebody else"}, nil
		}
		if reviewer = v.Others[cluster]; reviewer == nil {
			return Grant{Why: "the environment is in another cluster, which cannot be asked"}, nil
		}
		groups = portableGroups(groups)
	}
	for _, n := range needs {
		ok, err := reviewer.Allowed(ctx, who.Name, groups, n)
		if err != nil {
			return Grant{}, fmt.Errorf("review whether %s may %s: %w", who.Name, n, err)
		}
		if !ok {
			return Grant{Why: "needs the right to " + n.String()}, nil
		}
	}
	return Grant{Allowed: true}, nil
}

// portableGroups gives those groups of a caller that mean the same in another cluster. What begins with "system:" is
// this cluster's own word: who is in system:masters here may be nobody there.
func portableGroups(groups []string) []string {
	return slices.DeleteFunc(slices.Clone(groups), func(g string) bool {
		return strings.HasPrefix(g, "system:") && g != "system:authenticated"
	})
}

// needs gives what kubectl would need for an action, and in which cluster. Nothing: that cannot be told.
func (v Reviews) needs(action Action) (cluster string, needs []ResourceAttributes) {
	if action.Environment == "" {
		return "", v.targetNeeds(action)
	}
	i := slices.IndexFunc(v.Releases, func(e plan.Environment) bool { return e.Name == action.Environment })
	if i < 0 {
		return "", nil
	}
	env := v.Releases[i]
	return env.Context, environmentNeeds(env, action)
}

func environmentNeeds(env plan.Environment, action Action) []ResourceAttributes {
	ns := env.Namespace
	switch action.Verb {
	case Read: // the lists show Deployments, and operations have lines of logs
		return []ResourceAttributes{
			{Verb: "list", Group: "apps", Resource: "deployments", Namespace: ns},
			{Verb: "get", Resource: "pods", Subresource: "log", Namespace: ns},
		}
	case Deploy, Promote, Revert:
		var needs []ResourceAttributes
		for _, s := range env.Services {
			needs = append(needs, patching(ns, s.Deployment))
		}
		for _, j := range env.Jobs {
			needs = append(needs, starting(ns, j.From)...)
		}
		return needs
	case Restart:
		for _, s := range env.Services {
			if s.Name == action.Service && action.Service != "" {
				return []ResourceAttributes{patching(ns, s.Deployment)}
			}
		}
		if action.Secret != "" { // which services read it is known only once it is done
			return []ResourceAttributes{patching(ns, "")}
		}
	case RunTask:
		for _, t := range env.Tasks {
			switch {
			case t.Name != action.Task:
			case len(t.Exec.Command) > 0: // in whichever pod is ready
				return []ResourceAttributes{{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: ns}}
			default:
				return starting(ns, t.From)
			}
		}
	case Logs, Env:
		return podNeeds(env, action)
	case Pause, Delete, Probe: // of brokers
	}
	return nil
}

// podNeeds is what `kubectl logs deployment/NAME` needs, or `kubectl get pod`, whose answer has the variables.
func podNeeds(env plan.Environment, action Action) []ResourceAttributes {
	i := slices.IndexFunc(env.Services, func(s plan.Service) bool { return s.Name == action.Service })
	if i < 0 {
		return nil
	}
	ns := env.Namespace
	if action.Verb == Env && action.Pod != "" {
		return []ResourceAttributes{{Verb: "get", Resource: "pods", Namespace: ns, Name: action.Pod}}
	}
	needs := []ResourceAttributes{
		{Verb: "get", Group: "apps", Resource: "deployments", Namespace: ns, Name: env.Services[i].Deployment},
		{Verb: "list", Resource: "pods", Namespace: ns},
	}
	if action.Verb == Logs {
		needs = append(needs, ResourceAttributes{Verb: "get", Resource: "pods", Subresource: "log", Namespace: ns})
	}
	return needs
}

func patching(namespace, deployment string) ResourceAttributes {
	return ResourceAttributes{
		Verb: "patch", Group: "apps", Resource: "deployments", Namespace: namespace, Name: deployment,
	}
}

// starting is what `kubectl create job --from` needs.
func starting(namespace string, from plan.TemplateRef) []ResourceAttributes {
	template := ResourceAttributes{
		Verb: "get", Group: "batch", Resource: "cronjobs", Namespace: namespace, Name: from.Name,
	}
	if from.Kind == plan.FromPodTemplate {
		template.Group, template.Resource = "", "podtemplates"
	}
	return []ResourceAttributes{template, {Verb: "create", Group: "batch", Resource: "jobs", Namespace: namespace}}
}

func (v Reviews) targetNeeds(action Action) []ResourceAttributes {
	ns, known := v.Targets[action.Target]
	if action.Verb == Pause { // what keeps a pause is a ConfigMap of Unstuck's own
		return []ResourceAttributes{{Verb: "patch", Resource: "configmaps", Namespace: v.Home}}
	}
	if action.Target == "" && action.Verb == Read { // the pauses of everything
		return []ResourceAttributes{{Verb: "get", Resource: "configmaps", Namespace: v.Home}}
	}
	if !known {
		return nil
	}
	switch action.Verb {
	case Read: // incidents have lines of logs
		return []ResourceAttributes{{Verb: "get", Resource: "pods", Subresource: "log", Namespace: ns}}
	case Delete:
		return []ResourceAttributes{{Verb: "delete", Resource: "pods", Namespace: ns, Name: action.Node}}
	case Probe: // maybe_stuck runs next to the node
		return []ResourceAttributes{{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: ns, Name: action.Node}}
	case Deploy, Promote, Revert, Restart, RunTask, Logs, Env, Pause: // of environments, or above
	}
	return nil
}
