package auth

import (
	"context"
	"errors"
	"fmt"
)

// Caller is somebody who was recognised by a token.
type Caller struct {
	Name      string   // a user of Kubernetes, or the name of a token in the file
	Groups    []string // of Kubernetes
	Authority string   // the name of the Authority that knows the caller

	// What else Kubernetes says of a user. Some authorizers go by it: those of clouds, or of tokens with scopes.
	UID   string
	Extra map[string][]string // not to be changed
}

// Grant says whether somebody may do something. The zero value is no.
type Grant struct {
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

// Recaller is an Identity that knows some tokens, or all, without asking anybody, at no cost worth mentioning.
type Recaller interface {
	// Recall says whose token it is; false: Authenticate may know it.
	Recall(token string) (Caller, bool)
}

// Access says what a caller may do.
type Access interface {
	// Allowed says whether the caller may do all of the action. An error says that it cannot be told, which is a no.
	Allowed(ctx context.Context, who Caller, action Action) (Grant, error)
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

// Recall implements Recaller, for those of them that do.
func (all Authorities) Recall(token string) (Caller, bool) {
	for _, a := range all {
		r, ok := a.Identity.(Recaller)
		if !ok {
			continue
		}
		if who, known := r.Recall(token); known && who.Name != "" {
			who.Authority = a.Name
			return who, true
		}
	}
	return Caller{}, false
}

// Allowed implements Access.
func (all Authorities) Allowed(ctx context.Context, who Caller, action Action) (Grant, error) {
	for _, a := range all {
		if a.Name == who.Authority {
			return a.Allowed(ctx, who, action)
		}
	}
	return Grant{Why: "nobody knows the caller"}, nil
}
