package web

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"
)

// remembers answers again, for a few seconds, what was just answered of who calls and what they may read. A page that
// shows itself anew every second would otherwise ask Kubernetes a dozen questions each time, and the API server's patience
// is what a deletion needs. Refusals, errors and whatever changes something are always asked anew.
type remembers struct {
	Identity
	Access

	mu       sync.Mutex
	callers  map[[sha256.Size]byte]memory[Caller]
	verdicts map[string]memory[Verdict]
}

type memory[T any] struct {
	value T
	until time.Time
}

// How long an answer is remembered, and how many of a kind.
const (
	memoryLife  = 5 * time.Second
	maxMemories = 1000
)

// remembering gives the options with such a memory. Without callers there is nothing to remember.
func (o Options) remembering() Options {
	if o.Identity == nil || o.Access == nil {
		return o
	}
	m := &remembers{
		Identity: o.Identity, Access: o.Access,
		callers: make(map[[sha256.Size]byte]memory[Caller]), verdicts: make(map[string]memory[Verdict]),
	}
	o.Identity, o.Access = m, m
	return o
}

// Authenticate implements Identity.
func (m *remembers) Authenticate(ctx context.Context, token string) (Caller, error) {
	key := sha256.Sum256([]byte(token))
	if who, ok := recall(m, m.callers, key); ok {
		return who, nil
	}
	who, err := m.Identity.Authenticate(ctx, token)
	if err == nil && who.Name != "" {
		keep(m, m.callers, key, who)
	}
	return who, err
}

// Allowed implements Access.
func (m *remembers) Allowed(ctx context.Context, who Caller, act Act) (Verdict, error) {
	if act.Verb != ToRead {
		return m.Access.Allowed(ctx, who, act)
	}
	key := fmt.Sprintf("%q %q %q %+v", who.Authority, who.Name, who.Groups, act)
	if v, ok := recall(m, m.verdicts, key); ok {
		return v, nil
	}
	v, err := m.Access.Allowed(ctx, who, act)
	if err == nil && v.Allowed {
		keep(m, m.verdicts, key, v)
	}
	return v, err
}

func recall[K comparable, T any](m *remembers, in map[K]memory[T], key K) (T, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	one := in[key]
	return one.value, time.Now().Before(one.until)
}

func keep[K comparable, T any](m *remembers, in map[K]memory[T], key K, value T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(in) >= maxMemories {
		clear(in)
	}
	in[key] = memory[T]{value, time.Now().Add(memoryLife)}
}
