package config

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/probe"
)

// ErrNoToken says that a token is nobody's: unknown, or expired.
var ErrNoToken = errors.New("the token is unknown or has expired")

// Tokens are those of a file. It is looked at with each call, so a token that is taken out of it is refused at once;
// and so is every token while the file cannot be read or is at fault, since nobody knows who was to be taken out.
type Tokens struct {
	path     string
	deriving chan struct{} // holds one while a hash is derived: whoever guesses tokens gets one core and no more

	mu    sync.Mutex
	data  []byte // of the file, as all was read from it
	all   []Token
	known map[string][sha256.Size]byte // by name, the digest of a token that matched its hash
}

// ReadTokens reads a file of tokens. If its contents are at fault the error is an *Error.
func ReadTokens(path string) (*Tokens, error) {
	t := &Tokens{path: path, deriving: make(chan struct{}, 1)}
	_, err := t.current()
	return t, err
}

// current gives the tokens that the file has now.
func (t *Tokens) current() ([]Token, error) {
	data, err := probe.ReadFile(t.path, probe.MaxFile)
	if err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all != nil && bytes.Equal(data, t.data) {
		return t.all, nil
	}
	all, err := parseTokens(newDecoder(), data, t.path)
	if err != nil {
		return nil, err
	}
	t.data, t.all, t.known = data, all, make(map[string][sha256.Size]byte)
	return all, nil
}

// Authenticate says whose token it is; ErrNoToken: nobody's. Any other error says that it cannot be told. No error
// holds the token.
func (t *Tokens) Authenticate(ctx context.Context, token string) (Token, error) {
	name, _, _ := strings.Cut(token, ".")
	found, err := t.Find(name)
	if err != nil {
		return Token{}, err
	}
	digest := sha256.Sum256([]byte(token))
	if t.recognises(found, digest) {
		return found, nil
	}
	select {
	case t.deriving <- struct{}{}:
		defer func() { <-t.deriving }()
	case <-ctx.Done():
		return Token{}, fmt.Errorf("wait to look at a token: %w", ctx.Err())
	}
	good, err := found.hash.matches(token)
	switch {
	case err != nil:
		return Token{}, err
	case !good:
		return Token{}, ErrNoToken
	}
	t.remember(found, digest)
	return found, nil
}

// Find gives the token of a name, with the rights that it has now; ErrNoToken if there is none, or it has expired.
func (t *Tokens) Find(name string) (Token, error) {
	all, err := t.current()
	if err != nil {
		return Token{}, err
	}
	i := slices.IndexFunc(all, func(t Token) bool { return t.Name == name })
	if i < 0 || (!all[i].Expires.IsZero() && !time.Now().Before(all[i].Expires)) {
		return Token{}, ErrNoToken
	}
	return all[i], nil
}

// recognises says whether a token of that digest has matched the hash before.
func (t *Tokens) recognises(found Token, digest [sha256.Size]byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	known, ok := t.known[found.Name]
	return ok && subtle.ConstantTimeCompare(known[:], digest[:]) == 1
}

// remember keeps that a token matched, unless the file has another hash for it by now.
func (t *Tokens) remember(found Token, digest [sha256.Size]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	same := func(o Token) bool { return o.Name == found.Name && o.hash.String() == found.hash.String() }
	if slices.ContainsFunc(t.all, same) {
		t.known[found.Name] = digest
	}
}
