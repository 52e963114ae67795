package web

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cjworkbench/unstuck/release"
)

// Reviewer is an API server's word on tokens and rights: TokenReview and SubjectAccessReview.
type Reviewer interface {
	// Authenticate says whose token it is; not ok: nobody's.
	Authenticate(ctx context.Context, token string) (user string, groups []string, ok bool, err error)
	// Allowed says whether a user could do this with kubectl; no name: to any.
	Allowed(ctx context.Context, user string, groups []string, verb, group, resource, sub, namespace, name string) (bool, error)
}

// Need is one thing that kubectl would need the right to, in the words of SubjectAccessReview.
type Need struct {
	Verb        string
	Group       string // "" is the core group
	Resource    string
	Subresource string
	Namespace   string
	Name        string // empty: all of them
}

func (n Need) String() string {
	what := n.Resource
	if n.Group != "" {
		what += "." + n.Group
	}
	if n.Subresource != "" {
		what += "/" + n.Subresource
	}
	if n.Name != "" {
		what += " " + n.Name
	}
	return fmt.Sprintf("%s %s in namespace %s", n.Verb, what, n.Namespace)
}

// Reviews asks Kubernetes who is calling, and whether that caller could do the same thing with kubectl: there is no
// second permission model. It is both an Identity and an Access.
type Reviews struct {
	Own      Reviewer            // of the cluster that Unstuck runs in
	Others   map[string]Reviewer // of the other clusters of environments, by the environment's Context
	Releases []release.Environment
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
func (v Reviews) Allowed(ctx context.Context, who Caller, action Action) (Verdict, error) {
	cluster, needs := v.needs(action)
	if len(needs) == 0 {
		return Verdict{Why: "nobody knows what kubectl would need for that"}, nil
	}
	reviewer, groups := v.Own, who.Groups
	if cluster != "" {
		// An account of this cluster's is nobody there, though another of the same name may exist.
		if strings.HasPrefix(who.Name, "system:") {
			return Verdict{Why: "the environment is in another cluster, where " + who.Name + " is somebody else"}, nil
		}
		if reviewer = v.Others[cluster]; reviewer == nil {
			return Verdict{Why: "the environment is in another cluster, which cannot be asked"}, nil
		}
		groups = portableGroups(groups)
	}
	for _, n := range needs {
		ok, err := reviewer.Allowed(ctx, who.Name, groups, n.Verb, n.Group, n.Resource, n.Subresource, n.Namespace, n.Name)
		if err != nil {
			return Verdict{}, fmt.Errorf("review whether %s may %s: %w", who.Name, n, err)
		}
		if !ok {
			return Verdict{Why: "needs the right to " + n.String()}, nil
		}
	}
	return Verdict{Allowed: true}, nil
}

// portableGroups gives those groups of a caller that mean the same in another cluster. What begins with "system:" is this
// cluster's own word: who is in system:masters here may be nobody there.
func portableGroups(groups []string) []string {
	return slices.DeleteFunc(slices.Clone(groups), func(g string) bool {
		return strings.HasPrefix(g, "system:") && g != "system:authenticated"
	})
}

// needs gives what kubectl would need for an action, and in which cluster. Nothing: that cannot be told.
func (v Reviews) needs(action Action) (cluster string, needs []Need) {
	if action.Environment == "" {
		return "", v.targetNeeds(action)
	}
	i := slices.IndexFunc(v.Releases, func(e release.Environment) bool { return e.Name == action.Environment })
	if i < 0 {
		return "", nil
	}
	env := v.Releases[i]
	return env.Context, environmentNeeds(env, action)
}

func environmentNeeds(env release.Environment, action Action) []Need {
	ns := env.Namespace
	switch action.Verb {
	case ToRead: // the lists show Deployments, and operations have lines of logs
		return []Need{
			{Verb: "list", Group: "apps", Resource: "deployments", Namespace: ns},
			{Verb: "get", Resource: "pods", Subresource: "log", Namespace: ns},
		}
	case ToDeploy, ToPromote, ToRevert:
		var needs []Need
		for _, s := range env.Services {
			needs = append(needs, patching(ns, s.Deployment))
		}
		for _, j := range env.Jobs {
			needs = append(needs, starting(ns, j.From)...)
		}
		return needs
	case ToRestart:
		for _, s := range env.Services {
			if s.Name == action.Service && action.Service != "" {
				return []Need{patching(ns, s.Deployment)}
			}
		}
		if action.Secret != "" { // which services read it is known only once it is done
			return []Need{patching(ns, "")}
		}
	case ToRun:
		for _, t := range env.Tasks {
			switch {
			case t.Name != action.Task:
			case len(t.Exec.Command) > 0: // in whichever pod is ready
				return []Need{{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: ns}}
			default:
				return starting(ns, t.From)
			}
		}
	case ToLogs, ToEnv:
		return podNeeds(env, action)
	case ToPause, ToDelete, ToProbe: // of brokers
	}
	return nil
}

// podNeeds is what `kubectl logs deployment/NAME` needs, or `kubectl get pod`, whose answer has the variables.
func podNeeds(env release.Environment, action Action) []Need {
	i := slices.IndexFunc(env.Services, func(s release.Service) bool { return s.Name == action.Service })
	if i < 0 {
		return nil
	}
	ns := env.Namespace
	if action.Verb == ToEnv && action.Pod != "" {
		return []Need{{Verb: "get", Resource: "pods", Namespace: ns, Name: action.Pod}}
	}
	needs := []Need{
		{Verb: "get", Group: "apps", Resource: "deployments", Namespace: ns, Name: env.Services[i].Deployment},
		{Verb: "list", Resource: "pods", Namespace: ns},
	}
	if action.Verb == ToLogs {
		needs = append(needs, Need{Verb: "get", Resource: "pods", Subresource: "log", Namespace: ns})
	}
	return needs
}

func patching(namespace, deployment string) Need {
	return Need{Verb: "patch", Group: "apps", Resource: "deployments", Namespace: namespace, Name: deployment}
}

// starting is what `kubectl create job --from` needs.
func starting(namespace string, from release.TemplateRef) []Need {
	template := Need{Verb: "get", Group: "batch", Resource: "cronjobs", Namespace: namespace, Name: from.Name}
	if from.Kind == release.FromPodTemplate {
		template.Group, template.Resource = "", "podtemplates"
	}
	return []Need{template, {Verb: "create", Group: "batch", Resource: "jobs", Namespace: namespace}}
}

func (v Reviews) targetNeeds(action Action) []Need {
	ns, known := v.Targets[action.Target]
	if action.Verb == ToPause { // what keeps a pause is a ConfigMap of Unstuck's own
		return []Need{{Verb: "patch", Resource: "configmaps", Namespace: v.Home}}
	}
	if action.Target == "" && action.Verb == ToRead { // the pauses of everything
		return []Need{{Verb: "get", Resource: "configmaps", Namespace: v.Home}}
	}
	if !known {
		return nil
	}
	switch action.Verb {
	case ToRead: // incidents have lines of logs
		return []Need{{Verb: "get", Resource: "pods", Subresource: "log", Namespace: ns}}
	case ToDelete:
		return []Need{{Verb: "delete", Resource: "pods", Namespace: ns, Name: action.Node}}
	case ToProbe: // maybe_stuck runs next to the node
		return []Need{{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: ns, Name: action.Node}}
	case ToDeploy, ToPromote, ToRevert, ToRestart, ToRun, ToLogs, ToEnv, ToPause: // of environments, or above
	}
	return nil
}
