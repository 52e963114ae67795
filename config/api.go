package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/cjworkbench/unstuck/probe"
)

// API says how the API is served, how callers are known, and how much each of them may ask. Where neither TokensFile
// nor Reviews is set nobody is known: everybody may read, and nothing that changes anything is served.
type API struct {
	CertFile       string // with KeyFile, both in PEM; empty: plain HTTP
	KeyFile        string
	TokensFile     string // what ReadTokens reads; empty: only the cluster knows callers
	KubernetesAuth bool   // whether the cluster is asked who is calling and what they may do

	TrustedProxies []netip.Prefix // that say from where a request comes

	PerSecond int // requests of one caller per second, on average
	Burst     int // and at once
}

// api reads the section of that name.
func (s *section) api(a *API) {
	sub := s.sub("api")
	tls := sub.sub("tls")
	tls.text("cert_file", none, wantFile, &a.CertFile)
	tls.text("key_file", none, wantFile, &a.KeyFile)
	tls.end()
	sub.text("tokens_file", none, wantFile, &a.TokensFile)
	sub.truth("kubernetes_auth", &a.KubernetesAuth)
	sub.networks("trusted_proxies", &a.TrustedProxies)
	rate := sub.sub("rate_limit")
	rate.count("per_second", &a.PerSecond, 1, 1000)
	rate.count("burst", &a.Burst, 1, 10_000)
	rate.end()
	sub.end()
}

// networks reads a list of networks in CIDR notation. All addresses are no network: a reader that believed every
// address would believe whatever a stranger says.
func (s *section) networks(name string, to *[]netip.Prefix) {
	const want = "a network in CIDR notation, such as 10.1.0.0/16 or fd00:1::/64"
	elements := s.few(name, none, "networks", maxTexts)
	if s.listen != nil {
		return
	}
	for _, e := range elements {
		network, err := netip.ParsePrefix(e.node.Value)
		switch {
		case e.node.Kind != yaml.ScalarNode:
			s.problem(e.path, "want %s, not %s", want, kindOf(e.node))
		case isNull(e.node):
			s.problem(e.path, "there is nothing here: want %s", want)
		case err != nil || network.Addr().Is4In6():
			s.problem(e.path, "%s: want %s", quote(e.node.Value), want)
		case network.Bits() == 0:
			s.problem(e.path, "%s is every address: want %s", quote(e.node.Value), want)
		case network != network.Masked():
			s.problem(e.path, "%s has an address within its network: want %s", quote(e.node.Value), network.Masked())
		default:
			*to = append(*to, network)
		}
	}
}

func (d *decoder) checkAPI(c Config) {
	a := c.API
	if a.KubernetesAuth && !c.InCluster() {
		d.problem("api.kubernetes_auth",
			"nothing here is in Kubernetes, whom it would ask: want a broker's pods, apps or environments, or not this")
	}
	switch {
	case a.CertFile != "" && a.KeyFile == "":
		d.problem("api.tls.key_file", "missing: want the key of the certificate in cert_file")
	case a.CertFile == "" && a.KeyFile != "":
		d.problem("api.tls.cert_file", "missing: want the certificate of the key in key_file")
	}
}

// checkAPIFiles notes what is wrong with the certificate, and with the file of tokens.
func (d *decoder) checkAPIFiles(c Config) {
	if c.API.CertFile != "" && c.API.KeyFile != "" {
		if err := checkPair(c.API.CertFile, c.API.KeyFile); err != nil {
			d.problem("api.tls", "%v", err)
		}
	}
	if c.API.TokensFile == "" {
		return
	}
	tokens, err := ReadTokens(c.API.TokensFile)
	if wrong := (*Error)(nil); errors.As(err, &wrong) {
		for _, line := range wrong.lines() {
			d.problem("api.tokens_file", "%s", line)
		}
		return
	}
	if err != nil {
		d.problem("api.tokens_file", "%v", err)
		return
	}
	for _, t := range tokens.all {
		for _, r := range t.Rights {
			d.checkNamed(t, "environment", r.Environments, func(name string) bool {
				return slices.ContainsFunc(c.Environments, func(e Environment) bool { return e.Name == name })
			})
			d.checkNamed(t, "broker or application", r.Targets, func(name string) bool {
				return slices.ContainsFunc(c.Brokers, func(b Broker) bool { return b.Name == name }) ||
					slices.ContainsFunc(c.Apps, func(a App) bool { return a.Name == name })
			})
		}
	}
}

// checkNamed notes rights to what there is not: a slip of the pen there would be found when it is needed most.
func (d *decoder) checkNamed(t Token, what string, names []string, known func(string) bool) {
	for _, name := range names {
		if name != Any && !known(name) {
			d.problem("api.tokens_file", "token %s has a right to %s %s, and there is none of that name", t.Name, what,
				quote(name))
		}
	}
}

// checkPair sees whether a certificate and its key can be read and belong together. No error repeats what is in them.
func checkPair(certFile, keyFile string) error {
	cert, err := probe.ReadFile(certFile, probe.MaxFile)
	if err != nil {
		return fmt.Errorf("read the certificate: %w", err)
	}
	key, err := probe.ReadFile(keyFile, probe.MaxFile)
	if err != nil {
		return fmt.Errorf("read the certificate's key: %w", err)
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return fmt.Errorf("certificate %s, key %s: %w", certFile, keyFile, err)
	}
	return nil
}
