package config

import (
	"context"
	"fmt"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// The mechanisms by which a login says who it is (SASL).
const (
	Plain    = "plain"    // with name and password
	External = "external" // with the client's certificate
)

// maxToken bounds a token, in bytes. RabbitMQ itself takes no more than 8 KB.
const maxToken = 16 << 10

// credentials reads the user's name and the password, or where they stand. Each takes the place of one from the
// defaults.
func (s *section) credentials(b *Broker) {
	own, mechanism := s.ownCredentials(), ""
	s.oneOf("auth_mechanism", Plain, []string{Plain, External}, func(v string) { mechanism = v })
	if mechanism != "" {
		b.AuthMechanism = mechanism
	}
	if b.AuthMechanism == External {
		for _, key := range []string{"username", "username_file", "password_file", "token_file", "secret"} {
			if _, there := s.lines[s.key(key)]; there {
				s.problem(s.key(key), "auth_mechanism is external: want none, for the certificate says who we are")
			}
		}
		b.Username, b.UsernameFile, b.PasswordFile, b.TokenFile, b.Secret = "", "", "", "", nil
		return
	}
	if own.PasswordFile != "" || own.TokenFile != "" || own.Secret != nil {
		b.PasswordFile, b.TokenFile, b.Secret = own.PasswordFile, own.TokenFile, own.Secret
		if own.Secret != nil && own.Secret.UsernameKey != "" {
			b.Username, b.UsernameFile = "", ""
		}
	}
	if own.Username != "" || own.UsernameFile != "" {
		b.Username, b.UsernameFile = own.Username, own.UsernameFile
		if b.Secret != nil {
			b.Secret.UsernameKey = ""
		}
	}
}

// ownCredentials reads what this section says, and notes where it says two things.
func (s *section) ownCredentials() Broker {
	var own Broker
	s.text("username", none, wantUsername, &own.Username)
	s.text("username_file", none, wantFile, &own.UsernameFile)
	s.text("password_file", none, wantFile, &own.PasswordFile)
	s.text("token_file", none, wantFile, &own.TokenFile)
	own.Secret = s.secret()
	const oneOfThem = "there is a %s too: want one of them"
	named := own.Username != "" || own.UsernameFile != ""
	switch {
	case own.PasswordFile != "" && own.Secret != nil:
		s.problem(s.key("password_file"), oneOfThem, "secret")
	case own.TokenFile != "" && own.Secret != nil:
		s.problem(s.key("token_file"), oneOfThem, "secret")
	case own.TokenFile != "" && own.PasswordFile != "":
		s.problem(s.key("token_file"), oneOfThem, "password_file")
	}
	switch {
	case own.Username != "" && own.UsernameFile != "":
		s.problem(s.key("username_file"), oneOfThem, "username")
	case named && own.Secret != nil && own.Secret.UsernameKey != "":
		s.problem(s.key("secret.username_key"), oneOfThem, "username")
	}
	return own
}

// Credentials reads the user's name and the password or the token, each time anew: secrets are rotated while we run.
// The end of the line does not count. With External they are empty. It is what login.Options asks for.
func (b Broker) Credentials(ctx context.Context) (target.Credentials, error) {
	if err := ctx.Err(); err != nil {
		return target.Credentials{}, err
	}
	var c target.Credentials
	var err error
	if b.AuthMechanism == External {
		return c, nil
	}
	if c.Username, err = b.User(); err != nil {
		return target.Credentials{}, err
	}
	if b.TokenFile != "" {
		if c.Password, err = probe.ReadSecret(b.TokenFile, maxToken); err != nil {
			return target.Credentials{}, fmt.Errorf("read the token: %w", err)
		}
		return c, nil
	}
	if c.Password, err = probe.ReadSecret(b.PasswordFile, probe.MaxSecret); err != nil {
		return target.Credentials{}, fmt.Errorf("read the password: %w", err)
	}
	return c, nil
}

// User gives the user's name, from its file if there is one. It is empty if it stands in a Secret of the cluster, and
// may be with a token.
func (b Broker) User() (string, error) {
	if b.UsernameFile == "" {
		return b.Username, nil
	}
	name, err := probe.ReadSecret(b.UsernameFile, probe.MaxSecret)
	if err != nil {
		return "", fmt.Errorf("read the user name: %w", err)
	}
	return name, nil
}
