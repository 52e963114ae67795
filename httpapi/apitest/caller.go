package apitest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cjworkbench/unstuck/auth"
)

// Tokens is an authority that knows callers by the token "token-of-" and their name.
type Tokens map[string][]Right

// Right is what somebody may do, and where.
type Right struct {
	Verbs                 []auth.Verb
	Environments, Brokers string // a name, or * for all
}

// Authenticate knows whose token it is.
func (t Tokens) Authenticate(_ context.Context, token string) (auth.Caller, error) {
	name, ok := strings.CutPrefix(token, "token-of-")
	if _, known := t[name]; !ok || !known {
		return auth.Caller{}, auth.ErrUnknownToken
	}
	return auth.Caller{Name: name}, nil
}

// Allowed says yes to what a right covers, and to reading there.
func (t Tokens) Allowed(_ context.Context, who auth.Caller, action auth.Action) (auth.Grant, error) {
	for _, r := range t[who.Name] {
		if action.Verb != auth.Read && !slices.Contains(r.Verbs, action.Verb) {
			continue
		}
		if to := map[bool]string{true: r.Environments, false: r.Brokers}[action.Environment != ""]; to == "*" ||
			(to != "" && to == action.Environment+action.Target) {
			return auth.Grant{Allowed: true}, nil
		}
	}
	return auth.Grant{Why: "the token gives no right to that"}, nil
}

// Flaky is an authority that cannot be reached for the token "token-of-flaky", and knows no other.
type Flaky struct{}

// Authenticate knows nobody.
func (Flaky) Authenticate(_ context.Context, token string) (auth.Caller, error) {
	if token == "token-of-flaky" {
		return auth.Caller{}, errors.New("connection refused")
	}
	return auth.Caller{}, auth.ErrUnknownToken
}

// Allowed allows nothing.
func (Flaky) Allowed(context.Context, auth.Caller, auth.Action) (auth.Grant, error) {
	return auth.Grant{}, nil
}

// Request makes a request of a caller's; headers are pairs.
func Request(who, method, path, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body)) //nolint:noctx // as a server gets it
	if who != "" {
		r.Header.Set("Authorization", "Bearer token-of-"+who)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

// Cancelled gives a context that has ended.
func Cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// Callers are those whom the API knows. Ada may do everything, ci may deploy to staging, bob has a token and no right,
// and nobody knows "flaky" at the moment.
func Callers() auth.Authorities {
	tokens := Tokens{
		"ada": {{Verbs: auth.Verbs(), Environments: "*", Brokers: "*"}},
		"ci":  {{Verbs: []auth.Verb{auth.Deploy}, Environments: "staging"}},
		"bob": nil,
	}
	return auth.Authorities{{Name: "flaky", Identity: Flaky{}, Access: Flaky{}}, {
		Name: "tokens", Identity: tokens, Access: tokens,
	}}
}

// AuditLog is an audit that remembers its events.
type AuditLog[E any] struct {
	mu  sync.Mutex
	All []E
}

// Record remembers one.
func (a *AuditLog[E]) Record(_ context.Context, one E) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.All = append(a.All, one)
}

// Last gives the last, or none.
func (a *AuditLog[E]) Last() (last E) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.All) > 0 {
		last = a.All[len(a.All)-1]
	}
	return last
}

// Deploys is where deploys to staging are asked for, and DeployBody how, with more fields.
const Deploys = "/api/v1/environments/staging/deploys"

// DeployBody is the body of such a request.
func DeployBody(more string) string {
	return `{"commit":"` + NewCommit + `","reason":"nightly"` + more + `}`
}

// Decode reads an answer.
func Decode[T any](t *testing.T, body []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("answer is not JSON: %v\n%s", err, body)
	}
	return v
}
