package ui

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/auth"
)

// remembers answers again, for a few seconds, that a caller may read something. A page that shows itself anew every
// second would otherwise ask Kubernetes about each broker and environment on it each time, and the API server's
// patience is what a deletion needs. Who calls, refusals, errors and what changes something are asked each time.
type remembers struct {
	auth.Access

	mu      sync.Mutex
	allowed map[string]time.Time // until when
}

// How long it is remembered that somebody may read something, and how many such answers.
const (
	memoryLife  = 5 * time.Second
	maxMemories = 1000
)

func remembering(access auth.Access) auth.Access {
	return &remembers{Access: access, allowed: make(map[string]time.Time)}
}

// Allowed implements auth.Access.
func (m *remembers) Allowed(ctx context.Context, who auth.Caller, action auth.Action) (auth.Grant, error) {
	if action.Verb != auth.Read && action.Verb != auth.Logs {
		return m.Access.Allowed(ctx, who, action)
	}
	key := fmt.Sprintf("%#v %#v", who, action) // which quotes each field: no name can pretend to be two
	if m.recalls(key) {
		return auth.Grant{Allowed: true}, nil
	}
	v, err := m.Access.Allowed(ctx, who, action)
	if err == nil && v.Allowed {
		m.keep(key)
	}
	return v, err
}

func (m *remembers) recalls(key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Before(m.allowed[key])
}

func (m *remembers) keep(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.allowed) >= maxMemories {
		clear(m.allowed)
	}
	m.allowed[key] = time.Now().Add(memoryLife)
}
