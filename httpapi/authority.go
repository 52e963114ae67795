package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/cjworkbench/unstuck/auth"
)

type callerKey struct{}

// CallerOf gives who sent the request; false: nobody was asked, since there is no Identity.
func CallerOf(ctx context.Context) (auth.Caller, bool) {
	who, ok := ctx.Value(callerKey{}).(auth.Caller)
	return who, ok
}

// RefreshHeader comes with a page's request for itself, after it was told that something has changed.
const RefreshHeader = "Unstuck-Refresh"

// maxToken bounds a token; those of Kubernetes have some 1,500 bytes.
const maxToken = 8 << 10

// Authenticate finds out who sent the request, and gives the request with that in its context.
func (g *Gate) Authenticate(r *http.Request) (*http.Request, error) {
	if g.identity == nil {
		return r, nil
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if several := len(r.Header.Values("Authorization")) > 1; several || !strings.EqualFold(scheme, "Bearer") ||
		token == "" || len(token) > maxToken {
		return r, NewProblem(http.StatusUnauthorized, "say who you are: send the header Authorization: Bearer TOKEN")
	}
	who, err := g.recognise(r, token)
	if err != nil {
		return r, err
	}
	keepConn(r.Context())
	r = r.WithContext(context.WithValue(r.Context(), callerKey{}, who))
	key := who.Authority + "/" + who.Name
	if r.Method == http.MethodGet && r.Header.Get(RefreshHeader) != "" {
		key += "/refresh" // ten pages that are open ask ten times a second, and their owner must be able to act
	}
	if wait := g.callers.take(key); wait > 0 {
		return r, TooMany(wait, "too many requests from %s", who.Name)
	}
	return r, nil
}

// recognise says whose token it is. Identity comes before charge: who can be told without asking anybody, and whose
// token was good lately, pays for no stranger who comes from the same address, be that a proxy's. All others are
// strangers until they are known, and wait before anybody is asked: to look a token up costs more than to send one.
func (g *Gate) recognise(r *http.Request, token string) (auth.Caller, error) {
	if here, ok := g.identity.(auth.Recaller); ok {
		if who, ok := here.Recall(token); ok {
			return who, nil
		}
	}
	sum := sha256.Sum256([]byte(token))
	if !g.known.has(sum) {
		return g.admit(r, token, sum)
	}
	who, err := g.lookUp(r.Context(), token)
	switch {
	case isUnknown(err):
		g.known.forget(sum)
	case err == nil:
		g.known.remember(sum)
	}
	return who, err
}

// admit says whose token it is that nobody has seen lately. One bad token, of a client that was forgotten behind a
// proxy, keeps no other stranger waiting who comes through it. A build that sends many requests at once has its token
// looked up once.
func (g *Gate) admit(r *http.Request, token string, sum digest) (auth.Caller, error) {
	address := addressOf(r)
	one := address + "/" + hex.EncodeToString(sum[:])
	if wait := g.badTokens.wait(one); wait > 0 {
		return auth.Caller{}, TooMany(wait, "too many failed sign-ins")
	}
	found, err, _ := g.admitting.Do(one, func() (any, error) {
		// The client may go away, and others with the same token wait for the answer.
		ctx, stop := context.WithTimeout(context.WithoutCancel(r.Context()), lookupTimeout)
		defer stop()
		who, err := g.admitOne(ctx, address, token)
		switch {
		case isUnknown(err):
			g.badTokens.take(one)
		case err == nil:
			g.known.remember(sum)
		}
		return who, err
	})
	who, _ := found.(auth.Caller)
	return who, err
}

// admitOne does so if there is a place for it, and if not too many bad ones have come from its address.
func (g *Gate) admitOne(ctx context.Context, address, token string) (auth.Caller, error) {
	if !g.lookups.Open(address) {
		return auth.Caller{}, tryAgain("too many tokens are looked up at this moment")
	}
	defer g.lookups.Close(address)
	// Until it is known, a token counts as a bad one, or any number of them could be tried at the same time.
	if wait := g.badAddresses.take(address); wait > 0 {
		return auth.Caller{}, TooMany(wait, "too many failed sign-ins")
	}
	who, err := g.lookUp(ctx, token)
	if !isUnknown(err) {
		g.badAddresses.give(address)
	}
	return who, err
}

// lookUp asks whose token it is. The error is a Problem.
func (g *Gate) lookUp(ctx context.Context, token string) (auth.Caller, error) {
	who, err := g.identity.Authenticate(ctx, token)
	switch {
	case errors.Is(err, auth.ErrUnknownToken) || (err == nil && who.Name == ""):
		return auth.Caller{}, NewProblem(http.StatusUnauthorized, "%s", auth.ErrUnknownToken)
	case err != nil:
		g.Log.Warn("nobody can tell who is calling", "error", err)
		return auth.Caller{}, NewProblem(http.StatusServiceUnavailable, "nobody can tell now who is calling; try again")
	}
	return who, nil
}

// isUnknown says whether an error of lookUp is that the token is nobody's.
func isUnknown(err error) bool {
	p, ok := errors.AsType[*Problem](err)
	return ok && p.Status == http.StatusUnauthorized
}

// May refuses what the caller may not do. Where there is no Identity only reading is served, and anybody may read.
func (g *Gate) May(ctx context.Context, action auth.Action) error {
	if g.identity == nil && action.Verb == auth.Read {
		return nil
	}
	what := Cut(action.String(), MaxReason) // a path may have a name of many kilobytes
	who, known := CallerOf(ctx)
	if !known || g.access == nil {
		return NewProblem(http.StatusForbidden, "nobody may %s here", what)
	}
	// A caller without rights may ask as often as others, and what the API server is asked about each request waits in one
	// line. So of one caller few questions stand there at once.
	key := who.Authority + "/" + who.Name
	if !g.questions.Open(key) {
		return tryAgain("too many requests of %s are looked at at this moment", who.Name)
	}
	defer g.questions.Close(key)
	v, err := g.access.Allowed(ctx, who, action)
	if err != nil {
		g.Log.Warn("nobody can tell what the caller may do", "caller", who.Name, "action", what, "error", err)
		return NewProblem(http.StatusServiceUnavailable, "nobody can tell now whether %s may %s; try again", who.Name, what)
	}
	if !v.Allowed {
		return NewProblem(http.StatusForbidden, "%s", strings.TrimSuffix(fmt.Sprintf("%s may not %s: %s", who.Name, what,
			v.Why), ": "))
	}
	return nil
}

// Sees says whether the caller may read something, for lists that show what they may.
func (g *Gate) Sees(ctx context.Context, action auth.Action) (bool, error) {
	action.Verb = auth.Read
	return g.Can(ctx, action)
}

// Can says whether the caller may do the action.
func (g *Gate) Can(ctx context.Context, action auth.Action) (bool, error) {
	err := g.May(ctx, action)
	var p *Problem
	if errors.As(err, &p) && p.Status == http.StatusForbidden {
		return false, nil
	}
	return err == nil, err
}
