package auth

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cjworkbench/unstuck/release/plan"
)

// Reviewer is an API server's word on tokens and rights: TokenReview and SubjectAccessReview.
type Reviewer interface {
	// Authenticate says whose token it is; not ok: nobody's.
	Authenticate(ctx context.Context, token string) (who Caller, ok bool, err error)
	// Allowed says whether the caller could do this with kubectl. An error says that it cannot be told.
	Allowed(ctx context.Context, who Caller, what ResourceAttributes) (bool, error)
}

// Reviews asks Kubernetes who is calling, and whether that caller could do the same thing with kubectl: there is no
// second permission model. It is both an Identity and an Access.
type Reviews struct {
	Own      Reviewer            // of the cluster that Unstuck runs in
	Others   map[string]Reviewer // of the other clusters of environments, by the environment's Context
	Releases []plan.Environment
	Targets  func(string) string // the namespace of the broker of that name; empty: there is none
	Home     string              // Unstuck's own namespace, where the pauses are kept
}

// Authenticate implements Identity.
func (v Reviews) Authenticate(ctx context.Context, token string) (Caller, error) {
	who, ok, err := v.Own.Authenticate(ctx, token)
	switch {
	case err != nil:
		return Caller{}, fmt.Errorf("review a token: %w", err)
	case !ok:
		return Caller{}, ErrUnknownToken
	}
	return who, nil
}

// Allowed implements Access.
func (v Reviews) Allowed(ctx context.Context, who Caller, action Action) (Grant, error) {
	cluster, needs := v.needs(action)
	if len(needs) == 0 {
		return Grant{Why: "nobody knows what kubectl would need for that"}, nil
	}
	reviewer := v.Own
	if cluster != "" {
		// An account of this cluster's is nobody there, though another of the same name may exist.
		if strings.HasPrefix(who.Name, "system:") {
			return Grant{Why: "the environment is in another cluster, where " + who.Name + " is somebody else"}, nil
		}
		if reviewer = v.Others[cluster]; reviewer == nil {
			return Grant{Why: "the environment is in another cluster, which cannot be asked"}, nil
		}
		if hasScopes(who) {
			return Grant{Why: "the environment is in another cluster, which does not know what the token is limited to"}, nil
		}
		who = abroad(who)
	}
	for _, n := range needs {
		ok, err := reviewer.Allowed(ctx, who, n)
		if err != nil {
			return Grant{}, fmt.Errorf("review whether %s may %s: %w", who.Name, n, err)
		}
		if !ok {
			return Grant{Why: "needs the right to " + n.String()}, nil
		}
	}
	return Grant{Allowed: true}, nil
}

// hasScopes says whether a token is good for less than its owner may do, as OpenShift's can be. The cluster that made
// it minds that, as it sees the scopes with each question.
func hasScopes(who Caller) bool {
	for key := range who.Extra {
		if strings.HasPrefix(key, "scopes.authorization.") {
			return true
		}
	}
	return false
}

// abroad gives what of a caller means the same in another cluster. Groups that begin with "system:", the UID, and what
// Kubernetes itself adds are this cluster's own word: who is in system:masters here may be nobody there.
func abroad(who Caller) Caller {
	who.Groups = slices.DeleteFunc(slices.Clone(who.Groups), func(g string) bool {
		return strings.HasPrefix(g, "system:") && g != "system:authenticated"
	})
	who.UID, who.Extra = "", maps.Clone(who.Extra)
	maps.DeleteFunc(who.Extra, func(key string, _ []string) bool {
		domain, _, _ := strings.Cut(key, "/")
		return domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io")
	})
	return who
}

// needs gives what kubectl would need for an action, and in which cluster. Nothing: that cannot be told.
func (v Reviews) needs(action Action) (cluster string, needs []ResourceAttributes) {
	row := rowOf(action.Verb)
	if action.Environment == "" {
		if row.ofTarget == nil {
			return "", nil
		}
		return "", row.ofTarget(v.Home, v.namespace(action.Target), action)
	}
	i := slices.IndexFunc(v.Releases, func(e plan.Environment) bool { return e.Name == action.Environment })
	if i < 0 || row.ofEnvironment == nil {
		return "", nil
	}
	return v.Releases[i].Context, row.ofEnvironment(v.Releases[i], action)
}

func (v Reviews) namespace(target string) string {
	if v.Targets == nil {
		return ""
	}
	return v.Targets(target)
}
