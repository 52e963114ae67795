package apptest

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// WriteCertificate writes a certificate for example.com, cert.pem, and its key, key.pem, and gives who trusts it.
func WriteCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	writePair(t, dir, s.Certificate().Raw, s.TLS.Certificates[0].PrivateKey)
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

// WriteCertificateFor writes a certificate that holds from then until then, and its key.
func WriteCertificateFor(t *testing.T, dir string, from, until time.Time) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	writePair(t, dir, der, private)
}

func writePair(t *testing.T, dir string, der []byte, private any) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
