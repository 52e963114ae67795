package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/config"
)

// tokenAuthority knows callers by the tokens of a file, and gives each the rights that stand there at that moment.
type tokenAuthority struct{ tokens *config.Tokens }

// Authenticate implements auth.Identity.
func (a tokenAuthority) Authenticate(_ context.Context, token string) (auth.Caller, error) {
	t, err := a.tokens.Authenticate(token)
	if errors.Is(err, config.ErrNoToken) {
		return auth.Caller{}, auth.ErrUnknownToken
	}
	if err != nil {
		return auth.Caller{}, fmt.Errorf("look a token up: %w", err)
	}
	return auth.Caller{Name: t.Name}, nil
}

// Recall implements auth.Recaller: to look into the file costs next to nothing.
func (a tokenAuthority) Recall(token string) (auth.Caller, bool) {
	t, err := a.tokens.Authenticate(token)
	return auth.Caller{Name: t.Name}, err == nil
}

// Allowed implements auth.Access.
func (a tokenAuthority) Allowed(_ context.Context, who auth.Caller, act auth.Action) (auth.Grant, error) {
	t, err := a.tokens.Find(who.Name)
	if errors.Is(err, config.ErrNoToken) { // it was taken out of the file just now
		return auth.Grant{Why: "the token is no longer good"}, nil
	}
	if err != nil {
		return auth.Grant{}, fmt.Errorf("look up what token %s may do: %w", who.Name, err)
	}
	if !t.May(act.Verb, act.Environment, act.Target) {
		return auth.Grant{Why: "the file of tokens gives it no such right"}, nil
	}
	return auth.Grant{Allowed: true}, nil
}

// authorities are those that know callers: the file of tokens first, for it sends the token nowhere, and then the
// cluster, where reviews are given.
func authorities(api config.API, reviews *auth.Reviews) (auth.Authorities, error) {
	var all auth.Authorities
	if api.TokensFile != "" {
		tokens, err := config.ReadTokens(api.TokensFile)
		if err != nil {
			return nil, fmt.Errorf("api.tokens_file: %w", err)
		}
		a := tokenAuthority{tokens}
		all = append(all, auth.Authority{Name: "tokens", Identity: a, Access: a})
	}
	if reviews != nil {
		all = append(all, auth.Authority{Name: "kubernetes", Identity: reviews, Access: reviews})
	}
	return all, nil
}
