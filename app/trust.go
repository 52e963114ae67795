package app

import (
	"cmp"
	"context"
	"fmt"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/kube"
	"github.com/cjworkbench/unstuck/probe/login"
	"github.com/cjworkbench/unstuck/target"
)

// secrets gives the values of some keys of a Secret of the cluster.
type secrets func(namespace, name string, keys ...string) *kube.SecretValues

// trustOf gives a broker's TLS; nil: it has none. Without a cluster there are no Secrets, and the configuration names
// none.
func trustOf(b config.Broker, from secrets) *login.Trust {
	if b.TLS == nil {
		return nil
	}
	t, o, home := *b.TLS, login.TrustOptions{}, ""
	if b.Pods != nil {
		home = b.Pods.Namespace
	}
	var named []*kube.SecretValues
	read := func(namespace, name string, keys ...string) func(context.Context) (map[string][]byte, error) {
		values := from(cmp.Or(namespace, home), name, keys...)
		named = append(named, values)
		return func(ctx context.Context) (map[string][]byte, error) {
			v, err := values.Get(ctx)
			return v, cmp.Or(err, values.Err())
		}
	}
	switch {
	case t.CASecret != nil:
		s := *t.CASecret
		get := read(s.Namespace, s.Name, s.Key)
		o.CAName = fmt.Sprintf("CA certificates in secret %s/%s, key %s", cmp.Or(s.Namespace, home), s.Name, s.Key)
		o.CA = func(ctx context.Context) ([]byte, error) {
			v, err := get(ctx)
			return v[s.Key], err
		}
	case t.CAFile != "":
		o.CAFile(t.CAFile)
	}
	switch {
	case t.CertSecret != nil:
		s := *t.CertSecret
		get := read(s.Namespace, s.Name, s.CertKey, s.KeyKey)
		o.PairName = fmt.Sprintf("client certificate in secret %s/%s, keys %s and %s", cmp.Or(s.Namespace, home), s.Name,
			s.CertKey, s.KeyKey)
		o.Pair = func(ctx context.Context) (cert, key []byte, err error) {
			v, err := get(ctx)
			return v[s.CertKey], v[s.KeyKey], err
		}
	case t.CertFile != "":
		o.PairFiles(t.CertFile, t.KeyFile)
	}
	if t.ServerName != "" {
		o.ServerName = func(n target.Node) string { return t.ServerName.Of(n.Name, home) }
	}
	o.Again = func() {
		for _, values := range named {
			values.Refused()
		}
	}
	return login.NewTrust(o)
}

// loginErrors gives one error of the two that keep everybody from logging in, whatever the nodes are like: no
// credentials, and certificates of ours that are at fault. Either function may be nil.
func loginErrors(credentials, certificates func() error) func() error {
	return func() error {
		var noCredentials, noTLS error
		if credentials != nil {
			if err := credentials(); err != nil {
				noCredentials = fmt.Errorf("no credentials: %w", err)
			}
		}
		if certificates != nil {
			if err := certificates(); err != nil {
				noTLS = fmt.Errorf("TLS: %w", err)
			}
		}
		if noCredentials != nil && noTLS != nil {
			return fmt.Errorf("%w; %w", noCredentials, noTLS)
		}
		return cmp.Or(noCredentials, noTLS)
	}
}
