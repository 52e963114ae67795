package login

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tlsPair writes a self-signed certificate for name, and its key, and gives the two files.
func tlsPair(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	return tlsPairFor(t, dir, name, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
}

// tlsPairFor is tlsPair for a certificate that holds from then until then.
func tlsPairFor(t *testing.T, dir, name string, from, until time.Time) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile = tlsFile(t, dir, name+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	keyFile = tlsFile(t, dir, name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	return certFile, keyFile
}

func tlsFile(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// tlsShake does a TLS handshake between the two and gives the client's and the server's errors.
func tlsShake(t *testing.T, client, server *tls.Config) (clientErr, serverErr error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, s := net.Pipe()
	defer c.Close()
	defer s.Close()
	done := make(chan error, 1)
	go func() {
		conn := tls.Server(s, server)
		err := conn.HandshakeContext(ctx)
		if err == nil {
			_, err = conn.Write([]byte("x"))
		}
		_ = s.Close()
		done <- err
	}()
	conn := tls.Client(c, client)
	if clientErr = conn.HandshakeContext(ctx); clientErr == nil {
		_, clientErr = io.ReadAll(conn) // TLS 1.3 refuses a client's certificate only now
		if errors.Is(clientErr, io.ErrUnexpectedEOF) {
			clientErr = nil
		}
	}
	_ = c.Close()
	return clientErr, <-done
}

func TestLoadTLSTrustsTheAuthorityAndShowsTheClientsCertificate(t *testing.T) {
	dir := t.TempDir()
	serverCert, serverKey := tlsPair(t, dir, "mq.example")
	clientCert, clientKey := tlsPair(t, dir, "unstuck.example")
	server, err := LoadTLS("", serverCert, serverKey, "")
	if err != nil {
		t.Fatal(err)
	}
	clients, err := LoadAuthorities(clientCert)
	if err != nil {
		t.Fatal(err)
	}
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, clients

	good, err := LoadTLS(serverCert, clientCert, clientKey, "mq.example")
	if err != nil {
		t.Fatal(err)
	}
	if c, s := tlsShake(t, good, server); c != nil || s != nil {
		t.Errorf("a fitting configuration: client %v, server %v", c, s)
	}
	for name, change := range map[string]func(*tls.Config){
		"the wrong server name":     func(c *tls.Config) { c.ServerName = "other.example" },
		"another authority":         func(c *tls.Config) { c.RootCAs = clients },
		"no certificate of its own": func(c *tls.Config) { c.Certificates = nil },
	} {
		bad := good.Clone()
		change(bad)
		if c, s := tlsShake(t, bad, server); c == nil && s == nil {
			t.Errorf("%s: the handshake went well", name)
		}
	}
	old := server.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if c, _ := tlsShake(t, good, old); c == nil || !strings.Contains(c.Error(), "version") {
		t.Errorf("a server that knows only TLS 1.1: %v, want the version refused", c)
	}
}

func TestLoadTLSTrustsTheSystemWithoutFiles(t *testing.T) {
	cfg, err := LoadTLS("", "", "", "")
	if err != nil || cfg.RootCAs != nil || len(cfg.Certificates) != 0 || cfg.MinVersion != tls.VersionTLS12 || cfg.InsecureSkipVerify {
		t.Errorf("%+v, %v", cfg, err)
	}
}

func TestLoadTLSReadsEveryAuthorityInAFile(t *testing.T) {
	dir := t.TempDir()
	var bundle []byte
	for _, name := range []string{"a.example", "b.example"} {
		cert, _ := tlsPair(t, dir, name)
		data, err := os.ReadFile(cert)
		if err != nil {
			t.Fatal(err)
		}
		bundle = append(bundle, data...)
	}
	cfg, err := LoadTLS(tlsFile(t, dir, "bundle.pem", append([]byte("# two of them\n"), bundle...)), "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	serverCert, serverKey := filepath.Join(dir, "b.example.crt"), filepath.Join(dir, "b.example.key")
	server, err := LoadTLS("", serverCert, serverKey, "")
	if err != nil {
		t.Fatal(err)
	}
	cfg.ServerName = "b.example"
	if c, s := tlsShake(t, cfg, server); c != nil || s != nil {
		t.Errorf("the second authority of the file is not trusted: client %v, server %v", c, s)
	}
}

func TestLoadTLSNamesABadFileAndNotItsContent(t *testing.T) {
	dir := t.TempDir()
	cert, key := tlsPair(t, dir, "mq.example")
	_, otherKey := tlsPair(t, dir, "other.example")
	const marker = "hunter2hunter2"
	text := tlsFile(t, dir, "text.pem", []byte(marker))
	broken := tlsFile(t, dir, "broken.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(marker)}))
	missing := filepath.Join(dir, "missing.pem")
	for name, c := range map[string]struct{ ca, cert, key, want string }{
		"no CA file":                     {missing, "", "", "read CA certificates: open " + missing + ": no such file or directory"},
		"a CA file without certificates": {text, "", "", "CA certificates " + text + ": there is no PEM certificate in it"},
		"a CA file that is a key":        {key, "", "", "CA certificates " + key + ": entry 1 is a PRIVATE KEY, not a CERTIFICATE"},
		"a CA file that is broken":       {broken, "", "", "CA certificates " + broken + ": entry 1: x509: malformed certificate"},
		"a certificate without its key":  {"", cert, "", "client certificate " + cert + ": its key is not given"},
		"a key without its certificate":  {"", "", key, "client key " + key + ": its certificate is not given"},
		"no certificate file":            {"", missing, key, "read client certificate: open " + missing + ": no such file or directory"},
		"no key file":                    {"", cert, missing, "read client key: open " + missing + ": no such file or directory"},
		"a key that does not fit": {"", cert, otherKey, "client certificate " + cert + " with key " + otherKey +
			": tls: private key does not match public key"},
		"a key that is text": {"", cert, text, "client certificate " + cert + " with key " + text +
			": tls: failed to find any PEM data in key input"},
	} {
		_, err := LoadTLS(c.ca, c.cert, c.key, "")
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), marker) {
			t.Errorf("%s: the error shows what is in the file", name)
		}
	}
}
