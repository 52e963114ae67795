package web

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Verb is what somebody wants to do.
type Verb string

// The verbs, as the file of tokens names them, too.
const (
	ToRead    Verb = "read"
	ToDeploy  Verb = "deploy"
	ToPromote Verb = "promote"
	ToRevert  Verb = "revert"
	ToRestart Verb = "restart"
	ToRun     Verb = "task"
	ToLogs    Verb = "logs"  // to read the logs of a service
	ToEnv     Verb = "env"   // to see the variables of a service's pods
	ToPause   Verb = "pause" // and ending a pause
	ToDelete  Verb = "delete"
	ToProbe   Verb = "probe"
)

// Verbs lists every Verb.
func Verbs() []Verb {
	return []Verb{ToRead, ToDeploy, ToPromote, ToRevert, ToRestart, ToRun, ToLogs, ToEnv, ToPause, ToDelete, ToProbe}
}

// Action is what somebody wants to do to what. Cancelling an operation is an action of the operation's own kind. An Action with
// neither an environment nor a broker is on every broker.
type Action struct {
	Verb        Verb
	Environment string
	Service     string // of the environment
	Pod         string // of the service; empty: any of its pods
	Secret      string
	Task        string
	Target      string
	Node        string // of the broker
}

func (a Action) String() string {
	s := string(a.Verb)
	switch a.Verb {
	case ToLogs:
		s = "read the logs of"
	case ToEnv:
		s = "see the variables of"
	case ToRead, ToDeploy, ToPromote, ToRevert, ToRestart, ToRun, ToPause, ToDelete, ToProbe: // words of their own
	}
	if a.Pod != "" {
		s += " pod " + a.Pod + " of"
	}
	switch {
	case a.Service != "":
		s += " service " + a.Service + " of"
	case a.Secret != "":
		s += " what reads secret " + a.Secret + " of"
	case a.Task != "":
		s += " " + a.Task + " of"
	case a.Node != "":
		s += " node " + a.Node + " of"
	}
	switch {
	case a.Environment != "":
		return s + " environment " + a.Environment
	case a.Target != "":
		return s + " broker " + a.Target
	}
	return s + " every broker"
}

// Caller is somebody who was recognised by a token.
type Caller struct {
	Name      string   // a user of Kubernetes, or the name of a token in the file
	Groups    []string // of Kubernetes
	Authority string   // the name of the Authority that knows the caller
}

// Verdict says whether somebody may do something. The zero value is no.
type Verdict struct {
	Allowed bool
	Why     string // what is missing if not allowed, for people: "needs patch deployments.apps in namespace staging"
}

// ErrUnknownToken says that a token is nobody's, or no longer.
var ErrUnknownToken = errors.New("the token is unknown or has expired")

// Identity says who is calling.
type Identity interface {
	// Authenticate says whose token it is; ErrUnknownToken: nobody's. Any other error says that it cannot be told. No
	// error holds the token.
	Authenticate(ctx context.Context, token string) (Caller, error)
}

// Access says what a caller may do.
type Access interface {
	// Allowed says whether the caller may do all of the action. An error says that it cannot be told, which is a no.
	Allowed(ctx context.Context, who Caller, action Action) (Verdict, error)
}

// Authority is one source of callers, and of what these may do.
type Authority struct {
	Name string // told apart by it; in the audit: "kubernetes", "tokens"
	Identity
	Access
}

// Authorities asks several, one after the other, who is calling; and the one that knows the caller, what that caller
// may do. Nobody gets rights from an authority that does not know them. Put the one first that sends the token nowhere.
type Authorities []Authority

// Authenticate implements Identity. That one authority cannot be asked does not lock out those whom another knows.
func (all Authorities) Authenticate(ctx context.Context, token string) (Caller, error) {
	var unclear error
	for _, a := range all {
		who, err := a.Authenticate(ctx, token)
		switch {
		case err == nil && who.Name != "":
			who.Authority = a.Name
			return who, nil
		case err != nil && !errors.Is(err, ErrUnknownToken):
			unclear = errors.Join(unclear, fmt.Errorf("ask %s who is calling: %w", a.Name, err))
		}
	}
	if unclear != nil {
		return Caller{}, unclear
	}
	return Caller{}, ErrUnknownToken
}

// Allowed implements Access.
func (all Authorities) Allowed(ctx context.Context, who Caller, action Action) (Verdict, error) {
	for _, a := range all {
		if a.Name == who.Authority {
			return a.Allowed(ctx, who, action)
		}
	}
	return Verdict{Why: "nobody knows the caller"}, nil
}

type callerKey struct{}

// callerOf gives who sent the request; false: nobody was asked, since there is no Identity.
func callerOf(ctx context.Context) (Caller, bool) {
	who, ok := ctx.Value(callerKey{}).(Caller)
	return who, ok
}

// maxToken bounds a token; those of Kubernetes have some 1,500 bytes.
const maxToken = 8 << 10

// authenticate finds out who sent the request, and gives the request with that in its context.
func (o Options) authenticate(r *http.Request) (*http.Request, error) {
	if o.Identity == nil {
		return r, nil
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if several := len(r.Header.Values("Authorization")) > 1; several || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return r, problem(http.StatusUnauthorized, "say who you are: send the header Authorization: Bearer TOKEN")
	}
	// Looking a token up costs more than sending one, so whoever sends bad ones must wait before anybody is asked. One
	// bad token, of a client that was forgotten behind a proxy, keeps nobody else waiting who comes through it.
	address := addressOf(r)
	sum := sha256.Sum256([]byte(token))
	one := address + "/" + hex.EncodeToString(sum[:8])
	if wait := o.badTokens.wait(one); wait > 0 {
		return r, tooMany(wait, "too many failed sign-ins")
	}
	// Until it is known, a token counts as a bad one, or any number of them could be tried at the same time.
	if wait := o.badAddresses.take(address); wait > 0 {
		return r, tooMany(wait, "too many failed sign-ins")
	}
	who, err := o.Identity.Authenticate(r.Context(), token)
	bad := errors.Is(err, ErrUnknownToken) || (err == nil && who.Name == "")
	if !bad {
		o.badAddresses.give(address)
	}
	switch {
	case bad:
		o.badTokens.take(one)
		return r, problem(http.StatusUnauthorized, "%s", ErrUnknownToken)
	case err != nil:
		o.Log.Warn("nobody can tell who is calling", "error", err)
		return r, problem(http.StatusServiceUnavailable, "nobody can tell now who is calling; try again")
	}
	r = r.WithContext(context.WithValue(r.Context(), callerKey{}, who))
	key := who.Authority + "/" + who.Name
	if r.Method == http.MethodGet && r.Header.Get(refreshHeader) != "" {
		key += "/refresh" // ten pages that are open ask ten times a second, and whoever has them open must be able to act
	}
	if wait := o.callers.take(key); wait > 0 {
		return r, tooMany(wait, "too many requests from %s", who.Name)
	}
	return r, nil
}

// may refuses what the caller may not do. Where there is no Identity only reading is served, and anybody may read.
func (o Options) may(ctx context.Context, action Action) error {
	if o.Identity == nil && action.Verb == ToRead {
		return nil
	}
	what := cut(action.String(), maxReason) // a path may have a name of many kilobytes
	who, known := callerOf(ctx)
	if !known || o.Access == nil {
		return problem(http.StatusForbidden, "nobody may %s here", what)
	}
	v, err := o.Access.Allowed(ctx, who, action)
	if err != nil {
		o.Log.Warn("nobody can tell what the caller may do", "caller", who.Name, "action", what, "error", err)
		return problem(http.StatusServiceUnavailable, "nobody can tell now whether %s may %s; try again", who.Name, what)
	}
	if !v.Allowed {
		return problem(http.StatusForbidden, "%s", strings.TrimSuffix(fmt.Sprintf("%s may not %s: %s", who.Name, what, v.Why), ": "))
	}
	return nil
}

// sees says whether the caller may read something, for lists that show what they may.
func (o Options) sees(ctx context.Context, action Action) (bool, error) {
	action.Verb = ToRead
	err := o.may(ctx, action)
	var p *Problem
	if errors.As(err, &p) && p.Status == http.StatusForbidden {
		return false, nil
	}
	return err == nil, err
}
