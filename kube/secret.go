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
	// secretRetry is how long one is not asked for again that was just read, or could not be, whatever becomes of logins.
	secretRetry = 10 * time.Second
)

// SecretRef says where a user's name and password are.
type SecretRef struct {
	Namespace, Name string
	UsernameKey     string // empty: the name is Username
	PasswordKey     string
	Username        string
}

// Secret is a Secret that credentials are read from.
type Secret struct {
	SecretRef
	*SecretValues
}

// Secret gives the credentials in a Secret. Until its Stop the permission to read it is among those that are needed.
func (c *Client) Secret(ref SecretRef) *Secret {
	keys := []string{ref.PasswordKey}
	if ref.UsernameKey != "" {
		keys = append(keys, ref.UsernameKey)
	}
	return &Secret{SecretRef: ref, SecretValues: c.SecretValues(ref.Namespace, ref.Name, keys...)}
}

// Credentials gives the name and the password, at most 30 s old. While the API server is away those that were read last
// serve on, unless a login with them was refused.
func (s *Secret) Credentials(ctx context.Context) (target.Credentials, error) {
	values, err := s.Get(ctx)
	if err != nil {
		return target.Credentials{}, err
	}
	line := func(key string) string {
		return strings.TrimRight(string(values[key]), "\r\n") // as files are read, which editors end with a newline
	}
	creds := target.Credentials{Username: s.Username, Password: line(s.PasswordKey)}
	if s.UsernameKey != "" {
		creds.Username = line(s.UsernameKey)
	}
	return creds, nil
}

// SecretValues are the values of some keys of a Secret, which is read by its name alone, so that the right to read it
// can be given for it alone.
type SecretValues struct {
	namespace, name string
	keys            []string
	client          *Client
	withdraw        func() // the need of the permission to read it

	mu      sync.Mutex
	values  map[string][]byte // nil: never read
	err     error             // why it could not be read when that was last tried
	tried   time.Time         // when that was; zero: never, or the login that waited for it was stopped
	checked time.Time         // when it was last read, or could not be; zero: it must be read before it is used
}

// SecretValues gives the values of these keys, each of which the Secret must have. Until its Stop the permission to
// read the Secret is among those that are needed.
func (c *Client) SecretValues(namespace, name string, keys ...string) *SecretValues {
	withdraw := c.Require(func(need apiserver.Need) { need(namespace, "secrets", name, "get") })
	return &SecretValues{namespace: namespace, name: name, keys: keys, client: c, withdraw: withdraw}
}

// Stop says that the Secret is needed no longer.
func (s *SecretValues) Stop() { s.withdraw() }

// Get gives the values by their keys, at most 30 s old. While the API server is away, or a key is missing, those that
// were read last serve on, unless they were refused. The error names the Secret, and never repeats what is in it.
func (s *SecretValues) Get(ctx context.Context) (map[string][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.checked.IsZero() && clock.Elapsed(s.checked, time.Now()) < secretAge {
		return s.values, nil
	}
	if clock.Elapsed(s.tried, time.Now()) < secretRetry { // or each of many logins asks, and waits for the others' reads
		if s.err != nil {
			return nil, s.err
		}
		return s.values, nil
	}
	values, err := s.read(ctx)
	if s.tried = time.Now(); err != nil && ctx.Err() != nil {
		s.tried = time.Time{} // that the login stops says nothing
	}
	if s.err = nil; err != nil {
		s.err = fmt.Errorf("read secret %s/%s: %w", s.namespace, s.name, err)
	}
	switch {
	case err == nil:
		s.values = values
	case s.values == nil || s.checked.IsZero():
		return nil, s.err
	}
	s.checked = time.Now()
	return s.values, nil
}

// Err is why the Secret could not be read when that was last tried, though what was read before may serve on; nil if it
// could.
func (s *SecretValues) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Refused says that a login with these values was refused, so that they are read again before the next: at once, or
// 10 s after they were read last.
func (s *SecretValues) Refused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checked = time.Time{}
}

func (s *SecretValues) read(ctx context.Context) (map[string][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	secret, err := s.client.Conn.Secret(ctx, s.namespace, s.name)
	if err != nil {
		return nil, err
	}
	values := make(map[string][]byte, len(s.keys))
	for _, key := range s.keys {
		v, ok := secret.Data[key]
		if !ok {
			return nil, fmt.Errorf("it has no key %s", key)
		}
		values[key] = v
	}
	return values, nil
}
