package app

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/apptest"
	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/kube"
	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/target"
)

func TestTrustOfReadsSecretsAndFiles(t *testing.T) { synctest.Test(t, trustOfReadsSecretsAndFiles) }

func trustOfReadsSecretsAndFiles(t *testing.T) {
	dir := t.TempDir()
	apptest.WriteCertificate(t, dir)
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	read := func(file string) []byte {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	cluster := kubetest.NewCluster(t,
		secretOf("orders", "ca", map[string][]byte{"ca.crt": read(certFile)}),
		secretOf("vault", "client", map[string][]byte{"crt": read(certFile), "key": read(keyFile)}))
	client := kube.New(cluster.Conn(), kube.Options{})
	b := config.DefaultBroker()
	b.Pods = &config.Pods{Namespace: "orders"}
	b.TLS = &config.TLS{
		CASecret: &config.CASecret{Name: "ca", Key: "ca.crt"}, ServerName: "{pod}.nodes.{namespace}",
		CertSecret: &config.CertSecret{Namespace: "vault", Name: "client", CertKey: "crt", KeyKey: "key"},
	}
	trust := trustOf(b, client.SecretValues)
	c, err := trust.Config(t.Context(), target.Node{Name: "rabbit-0"})
	if err != nil || c.ServerName != "rabbit-0.nodes.orders" || c.RootCAs == nil || len(c.Certificates) != 1 {
		t.Errorf("from Secrets: %+v, %v", c, err)
	}
	if got := cluster.Asked("get secrets"); got != 2 {
		t.Errorf("asked for secrets %d times", got)
	}

	// A Secret that has lost its key is said, and what was read before serves on.
	cluster.Put(secretOf("orders", "ca", map[string][]byte{"tls.crt": read(certFile)}))
	time.Sleep(10 * time.Second) // for so long nobody reads it again
	trust.Refused()
	const want = "read secret orders/ca: it has no key ca.crt"
	if _, err := trust.Config(t.Context(), target.Node{}); err != nil || trust.Err() == nil || trust.Err().Error() != want {
		t.Errorf("%v, and the fault %v, want %s", err, trust.Err(), want)
	}

	b.TLS = &config.TLS{CAFile: certFile, CertFile: certFile, KeyFile: keyFile}
	files := trustOf(b, nil)
	if c, err := files.Config(t.Context(), target.Node{}); err != nil || c.RootCAs == nil || len(c.Certificates) != 1 || c.ServerName != "" {
		t.Errorf("from files: %+v, %v", c, err)
	}
	if err := os.WriteFile(keyFile, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	files.Refused()
	if _, err := files.Config(t.Context(), target.Node{}); err != nil || files.Err() == nil || !strings.Contains(files.Err().Error(), filepath.Base(keyFile)) {
		t.Errorf("%v, and the fault %v", err, files.Err())
	}
	if b.TLS = nil; trustOf(b, nil) != nil {
		t.Error("a broker without TLS has some")
	}
}

func TestLoginErrorsAreOneLine(t *testing.T) {
	is := func(text string) func() error {
		return func() error {
			if text == "" {
				return nil
			}
			return errors.New(text)
		}
	}
	for _, row := range []struct{ credentials, certificates, want string }{
		{"", "", ""},
		{"no file", "", "no credentials: no file"},
		{"", "no file", "TLS: no file"},
		{"no file", "no key", "no credentials: no file; TLS: no key"},
	} {
		got := ""
		if err := loginErrors(is(row.credentials), is(row.certificates))(); err != nil {
			got = err.Error()
		}
		if got != row.want {
			t.Errorf("%q, want %q", got, row.want)
		}
	}
	if err := loginErrors(nil, nil)(); err != nil {
		t.Error(err)
	}
}

func TestClusterLoginsReadTheSecretsOfListedNodesToo(t *testing.T) {
	api := kubetest.NewCluster(t, secretOf("vault", "rabbit", map[string][]byte{"name": []byte("u\n"), "password": []byte("p")}))
	c := &cluster{Client: kube.New(api.Conn(), kube.Options{})}
	b := config.DefaultBroker()
	b.Nodes = []target.Node{{Name: "rabbit-0", Address: "rabbit-0.test:5671"}}
	b.Secret = &config.Secret{Namespace: "vault", Name: "rabbit", UsernameKey: "name", PasswordKey: "password"}
	b.TLS = &config.TLS{CASecret: &config.CASecret{Namespace: "vault", Name: "ca", Key: "ca.crt"}}
	var s Supplier
	c.logins(b, "", &s)
	if got, err := s.Credentials(t.Context()); err != nil || got != (target.Credentials{Username: "u", Password: "p"}) {
		t.Errorf("the credentials are %+v, %v", got, err)
	}
	const want = `read secret vault/ca: secrets "ca" not found`
	if _, err := s.trust.Config(t.Context(), b.Nodes[0]); err == nil || err.Error() != want {
		t.Errorf("TLS: %v, want %s", err, want)
	}
}
