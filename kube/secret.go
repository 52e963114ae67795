package kube

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/clock"
	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/target"
)

const (
	// secretAge is how old the contents of a Secret may be when they are used.
	secretAge = 30 * time.Second
	// secretTimeout bounds a read of it, which takes from the time of the login that waits for it.
	secretTimeout = 2 * time.Second
)

// SecretRef says where a user's name and password are.
type SecretRef struct {
	Namespace, Name string
	UsernameKey     string // empty: the name is Username
	PasswordKey     string
	Username        string
}

// Secret is a Secret that credentials are read from: by its name alone, so that the right to read it can be given for
// it alone.
type Secret struct {
	SecretRef

	client *Client

	mu      sync.Mutex
	creds   target.Credentials
	known   bool
	err     error     // why it could not be read when that was last tried
	checked time.Time // when it was last read, or could not be; zero: it must be read before it is used
}

// Secret gives the credentials in a Secret.
func (c *Client) Secret(ref SecretRef) *Secret {
	c.Require(func(need apiserver.Need) { need(ref.Namespace, "secrets", ref.Name, "get") })
	return &Secret{SecretRef: ref, client: c}
}

// Credentials gives the name and the password, at most 30 s old. While the API server is away those that were read last
// serve on, unless a login with them was refused.
func (s *Secret) Credentials(ctx context.Context) (target.Credentials, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.checked.IsZero() && clock.Elapsed(s.checked, time.Now()) < secretAge {
		return s.creds, nil
	}
	creds, err := s.read(ctx)
	if s.err = nil; err != nil {
		s.err = fmt.Errorf("read secret %s/%s: %w", s.Namespace, s.Name, err)
	}
	switch {
	case err == nil:
		s.creds, s.known = creds, true
	case !s.known || s.checked.IsZero():
		return target.Credentials{}, s.err
	}
	s.checked = time.Now()
	return s.creds, nil
}

// Err is why the Secret could not be read when that was last tried, though what was read before may serve on; nil if it
// could.
func (s *Secret) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Refused says that a login with these credentials was refused, so that they are read again before the next.
func (s *Secret) Refused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checked = time.Time{}
}

func (s *Secret) read(ctx context.Context) (target.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	secret, err := s.client.Conn.Secret(ctx, s.Namespace, s.Name)
	if err != nil {
		return target.Credentials{}, err
	}
	creds := target.Credentials{Username: s.Username}
	value := func(key string) (string, error) {
		v, ok := secret.Data[key]
		if !ok {
			return "", fmt.Errorf("it has no key %s", key)
		}
		return strings.TrimRight(string(v), "\r\n"), nil // as files are read, which editors end with a newline
	}
	if s.UsernameKey != "" {
		if creds.Username, err = value(s.UsernameKey); err != nil {
			return target.Credentials{}, err
		}
	}
	creds.Password, err = value(s.PasswordKey)
	return creds, err
}
