package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/web"
)

// tokenAuthority knows callers by the tokens of a file, and gives each the rights that stand there at that moment.
type tokenAuthority struct{ tokens *config.Tokens }

// Authenticate implements web.Identity.
func (a tokenAuthority) Authenticate(ctx context.Context, token string) (web.Caller, error) {
	t, err := a.tokens.Authenticate(ctx, token)
	if errors.Is(err, config.ErrNoToken) {
		return web.Caller{}, web.ErrUnknownToken
	}
	if err != nil {
		return web.Caller{}, fmt.Errorf("look a token up: %w", err)
	}
	return web.Caller{Name: t.Name}, nil
}

// Allowed implements web.Access.
func (a tokenAuthority) Allowed(_ context.Context, who web.Caller, act web.Action) (web.Verdict, error) {
	t, err := a.tokens.Find(who.Name)
	if errors.Is(err, config.ErrNoToken) { // it was taken out of the file just now
		return web.Verdict{Why: "the token is no longer good"}, nil
	}
	if err != nil {
		return web.Verdict{}, fmt.Errorf("look up what token %s may do: %w", who.Name, err)
	}
	if !t.May(config.Verb(act.Verb), act.Environment, act.Target) {
		return web.Verdict{Why: "the file of tokens gives it no such right"}, nil
	}
	return web.Verdict{Allowed: true}, nil
}

// authorities are those that know callers: the file of tokens first, for it sends the token nowhere, and then the
// cluster, where reviews are given.
func authorities(api config.API, reviews *web.Reviews) (web.Authorities, error) {
	var all web.Authorities
	if api.TokensFile != "" {
		tokens, err := config.ReadTokens(api.TokensFile)
		if err != nil {
			return nil, fmt.Errorf("api.tokens_file: %w", err)
		}
		a := tokenAuthority{tokens}
		all = append(all, web.Authority{Name: "tokens", Identity: a, Access: a})
	}
	if reviews != nil {
		all = append(all, web.Authority{Name: "kubernetes", Identity: reviews, Access: reviews})
	}
	return all, nil
}
