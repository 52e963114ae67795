package httpapi

import (
	"crypto/sha256"
	"maps"
	"sync"
	"time"
)

// knownFor is for how long a token that was good lets its owner pass the limits of strangers: from one shift of people
// on call to the next. Whether it still is good is asked each time, so a token that was taken back is worth nothing.
const knownFor = 24 * time.Hour

// maxKnownTokens bounds how many tokens are remembered: only good ones are, and nobody has ten thousand callers.
const maxKnownTokens = 10_000

// digest is what is remembered of a token.
type digest = [sha256.Size]byte

// knownTokens remembers which tokens were good lately.
type knownTokens struct {
	mu    sync.Mutex
	until map[digest]time.Time
}

func newKnownTokens() *knownTokens { return &knownTokens{until: make(map[digest]time.Time)} }

func (k *knownTokens) has(token digest) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return time.Now().Before(k.until[token])
}

func (k *knownTokens) forget(token digest) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.until, token)
}

// remember keeps a token. If there are too many, those go that have been kept for too long, or else any one.
func (k *knownTokens) remember(token digest) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	delete(k.until, token)
	if len(k.until) >= maxKnownTokens {
		maps.DeleteFunc(k.until, func(_ digest, until time.Time) bool { return !now.Before(until) })
	}
	for other := range k.until {
		if len(k.until) < maxKnownTokens {
			break
		}
		delete(k.until, other)
	}
	k.until[token] = now.Add(knownFor)
}
