package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAPIKeysArrive(t *testing.T) {
	got := loaded(t, "testdata/good/full.yaml").API
	if filepath.Base(got.TokensFile) != "tokens.yaml" || !filepath.IsAbs(got.TokensFile) {
		t.Errorf("the file of tokens is %q", got.TokensFile)
	}
	got.TokensFile = ""
	proxies := []netip.Prefix{
		netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/64"), netip.MustParsePrefix("192.0.2.7/32"),
	}
	if diff := cmp.Diff(proxies, got.TrustedProxies, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("the proxies (-want +got):\n%s", diff)
	}
	got.TrustedProxies = nil
	if diff := cmp.Diff(API{KubernetesAuth: true, PerSecond: 5, Burst: 25}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(API{PerSecond: 10, Burst: 40}, loaded(t, "testdata/good/smallest.yaml").API); diff != "" {
		t.Errorf("by default (-want +got):\n%s", diff)
	}
}

func TestAPICertificateIsRead(t *testing.T) {
	dir := t.TempDir()
	cert, key := pair(t)
	otherCert, _ := pair(t)
	write(t, filepath.Join(dir, "cert.pem"), cert)
	write(t, filepath.Join(dir, "other.pem"), otherCert)
	write(t, filepath.Join(dir, "key.pem"), key)
	write(t, filepath.Join(dir, "password"), "hunter2\n")
	for certFile, want := range map[string]string{
		"cert.pem":    "",
		"other.pem":   "api.tls: certificate " + filepath.Join(dir, "other.pem") + ", key " + filepath.Join(dir, "key.pem") + ": tls: private key does not match",
		"nowhere.pem": "api.tls: read the certificate: open " + filepath.Join(dir, "nowhere.pem") + ": no such file",
	} {
		file := filepath.Join(dir, "unstuck.yaml")
		write(t, file, `brokers:
  - {name: rabbitmq, username: unstuck, password_file: password, nodes: [{name: a, address: "localhost:5672"}]}
api: {tls: {cert_file: `+certFile+`, key_file: key.pem}}
`)
		c, err := loadHere(t, file)
		if want == "" {
			if err != nil || c.API.CertFile != filepath.Join(dir, "cert.pem") || c.API.KeyFile != filepath.Join(dir, "key.pem") {
				t.Errorf("got %+v, error %v", c, err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), file+":3: "+want) || strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("%s: error %v, want %s", certFile, err, want)
		}
	}
}

// pair gives a certificate and its key, in PEM.
func pair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}
