package config

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/cjworkbench/unstuck/probe"
)

// ErrNoToken says that a token is nobody's: unknown, or expired.
var ErrNoToken = errors.New("the token is unknown or has expired")

// Tokens are those of a file. It is looked at with each call, so a token that is taken out of it is refused at once;
// and so is every token while the file cannot be read or is at fault, since nobody knows who was to be taken out.
type Tokens struct {
	path string

	mu   sync.Mutex
	data []byte // of the file, as all was read from it
	all  []Token
}

// ReadTokens reads a file of tokens. If its contents are at fault the error is an *Error.
func ReadTokens(path string) (*Tokens, error) {
	t := &Tokens{path: path}
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
	t.data, t.all = data, all
	return all, nil
}

// Authenticate says whose token it is; ErrNoToken: nobody's. Any other error says that it cannot be told. No error
// holds the token. What is no token at all is refused before the file is looked at. A token is compared with every one
// of the file, in the same time each: how long it takes tells nobody which names stand there.
func (t *Tokens) Authenticate(token string) (Token, error) {
	if !isToken(token) {
		return Token{}, ErrNoToken
	}
	all, err := t.current()
	if err != nil {
		return Token{}, err
	}
	name, _, _ := strings.Cut(token, ".")
	hash, found := hashOf(token), Token{}
	for _, o := range all {
		if subtle.ConstantTimeCompare(hash[:], o.hash[:]) == 1 && o.Name == name {
			found = o
		}
	}
	if found.Name == "" || found.expired() {
		return Token{}, ErrNoToken
	}
	return found, nil
}

// Find gives the token of a name, with the rights that it has now; ErrNoToken if there is none, or it has expired.
func (t *Tokens) Find(name string) (Token, error) {
	all, err := t.current()
	if err != nil {
		return Token{}, err
	}
	i := slices.IndexFunc(all, func(t Token) bool { return t.Name == name })
	if i < 0 || all[i].expired() {
		return Token{}, ErrNoToken
	}
	return all[i], nil
}
