package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// brokerOf reads a broker with pods, and with these lines in the defaults and in the broker itself.
func brokerOf(t *testing.T, inDefaults, own string) Broker {
	t.Helper()
	c, err := Parse([]byte("defaults: {" + inDefaults + "}\nbrokers:\n  - {name: b, " + own +
		", pods: {namespace: n, selector: app=b, container: rabbitmq}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return c.Brokers[0]
}

func TestTLSTakesThePlaceOfTheDefaultsPartByPart(t *testing.T) {
	for name, row := range map[string]struct {
		defaults, own string
		want          TLS
	}{
		"a secret instead of a file": {
			"ca_file: ca.pem, server_name: x", "ca_secret: {name: s}",
			TLS{CASecret: &CASecret{Name: "s", Key: "ca.crt"}, ServerName: "x"},
		},
		"a file instead of a secret": {"ca_secret: {name: s}", "ca_file: ca.pem", TLS{CAFile: "ca.pem"}},
		"the certificate's files instead of its secret": {
			"cert_secret: {name: s}, ca_file: ca.pem", "cert_file: a.crt, key_file: a.key",
			TLS{CAFile: "ca.pem", CertFile: "a.crt", KeyFile: "a.key"},
		},
		"the certificate's secret instead of its files": {
			"cert_file: a.crt, key_file: a.key", "cert_secret: {name: s, key_key: k}",
			TLS{CertSecret: &CertSecret{Name: "s", CertKey: "tls.crt", KeyKey: "k"}},
		},
		"nothing of its own": {"ca_secret: {name: s}", "", TLS{CASecret: &CASecret{Name: "s", Key: "ca.crt"}}},
	} {
		const creds = "username: u, password_file: p, "
		b := brokerOf(t, creds+"tls: {"+row.defaults+"}", "tls: {"+row.own+"}")
		if diff := cmp.Diff(&row.want, b.TLS); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestTLSAndCredentialsTakeThePlaceOfTheDefaults(t *testing.T) {
	for name, row := range map[string]struct {
		defaults, own string
		want          Broker
	}{
		"a token instead of a password": {
			"username: u, password_file: p", "token_file: t", Broker{AuthMechanism: Plain, Username: "u", TokenFile: "t"},
		},
		"a token needs no name": {"vhost: v", "token_file: t", Broker{AuthMechanism: Plain, TokenFile: "t"}},
		"a secret instead of a token": {
			"token_file: t", "username: u, secret: {name: s}",
			Broker{AuthMechanism: Plain, Username: "u", Secret: &Secret{Name: "s", PasswordKey: "password"}},
		},
		"the certificate instead of a password": {
			"username: u, password_file: p", "auth_mechanism: external, tls: {cert_secret: {name: s}}",
			Broker{AuthMechanism: External},
		},
		"a password instead of the certificate": {
			"auth_mechanism: external, tls: {cert_secret: {name: s}}", "auth_mechanism: plain, username: u, password_file: p",
			Broker{AuthMechanism: Plain, Username: "u", PasswordFile: "p"},
		},
	} {
		b := brokerOf(t, row.defaults, row.own)
		got := Broker{
			AuthMechanism: b.AuthMechanism, Username: b.Username, UsernameFile: b.UsernameFile, PasswordFile: b.PasswordFile,
			TokenFile: b.TokenFile, Secret: b.Secret,
		}
		if diff := cmp.Diff(row.want, got, cmp.AllowUnexported(Schedule{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
