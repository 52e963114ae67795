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
	// Looking a token up costs more than sending one, so whoever sends bad ones must wait before anybody is asked. One
	// bad token, of a client that was forgotten behind a proxy, keeps nobody else waiting who comes through it.
	address := addressOf(r)
	sum := sha256.Sum256([]byte(token))
	one := address + "/" + hex.EncodeToString(sum[:8])
	if wait := g.badTokens.wait(one); wait > 0 {
		return r, tooMany(wait, "too many failed sign-ins")
	}
	// Until it is known, a token counts as a bad one, or any number of them could be tried at the same time.
	if wait := g.badAddresses.take(address); wait > 0 {
		return r, tooMany(wait, "too many failed sign-ins")
	}
	who, err := g.identity.Authenticate(r.Context(), token)
	bad := errors.Is(err, auth.ErrUnknownToken) || (err == nil && who.Name == "")
	if !bad {
		g.badAddresses.give(address)
	}
	switch {
	case bad:
		g.badTokens.take(one)
		return r, NewProblem(http.StatusUnauthorized, "%s", auth.ErrUnknownToken)
	case err != nil:
		g.log.Warn("nobody can tell who is calling", "error", err)
		return r, NewProblem(http.StatusServiceUnavailable, "nobody can tell now who is calling; try again")
	}
	r = r.WithContext(context.WithValue(r.Context(), callerKey{}, who))
	key := who.Authority + "/" + who.Name
	if r.Method == http.MethodGet && r.Header.Get(RefreshHeader) != "" {
		key += "/refresh" // ten pages that are open ask ten times a second, and whoever has them open must be able to act
	}
	if wait := g.callers.take(key); wait > 0 {
		return r, tooMany(wait, "too many requests from %s", who.Name)
	}
	return r, nil
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
	v, err := g.access.Allowed(ctx, who, action)
	if err != nil {
		g.log.Warn("nobody can tell what the caller may do", "caller", who.Name, "action", what, "error", err)
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
	err := g.May(ctx, action)
	var p *Problem
	if errors.As(err, &p) && p.Status == http.StatusForbidden {
		return false, nil
	}
	return err == nil, err
}
