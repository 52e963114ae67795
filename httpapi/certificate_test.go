package httpapi

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pair makes a certificate of that name and its key.
func pair(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	return pairUntil(t, name, time.Now().Add(24*365*100*time.Hour))
}

// pairUntil makes one that ends then.
func pairUntil(t *testing.T, name string, until time.Time) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"unstuck"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestACertificateIsReloadedWhenItsFilesChangeAndKeptWhileTheyAreBad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
		oldCert, oldKey := pair(t, "old")
		newCert, newKey := pair(t, "new")
		write(t, certFile, oldCert)
		write(t, keyFile, oldKey)
		var log bytes.Buffer
		c, err := NewCertificate(certFile, keyFile, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		name := func() string { return c.current().Leaf.Subject.CommonName }
		for _, step := range []struct {
			what      string
			cert, key []byte
			want      string
			logged    string
		}{
			{"nothing has changed", oldCert, oldKey, "old", ""},
			{"only the certificate is new yet", newCert, oldKey, "old", "certificate not renewed"},
			{"both are new", newCert, newKey, "new", "certificate renewed"},
			{"a file is empty", nil, newKey, "new", "certificate not renewed"},
			{"a file is huge", bytes.Repeat([]byte{'a'}, maxCertificate+1), newKey, "new", "is larger than"},
			{"all is as it was", newCert, newKey, "new", ""},
		} {
			log.Reset()
			write(t, certFile, step.cert)
			write(t, keyFile, step.key)
			before := name() // too early to look again
			time.Sleep(certificateAge)
			if got := name(); got != step.want {
				t.Errorf("%s: %s (%s before), want %s", step.what, got, before, step.want)
			}
			if !strings.Contains(log.String(), step.logged) || (step.logged == "" && log.Len() > 0) || bytes.Contains(log.Bytes(), []byte("PRIVATE")) {
				t.Errorf("%s: log %q, want %q", step.what, log.String(), step.logged)
			}
		}
		if err := os.Remove(keyFile); err != nil {
			t.Fatal(err)
		}
		time.Sleep(certificateAge)
		if name() != "new" {
			t.Error("a missing file takes the certificate away")
		}
		if _, err := NewCertificate(certFile, keyFile, c.log); err == nil || !strings.Contains(err.Error(), "tls.key") {
			t.Errorf("at the start: %v, want an error that names the file", err)
		}
	})
}

func TestTheValidityOfACertificateIsThatOfTheOneThatCallersGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, began := t.TempDir(), time.Now()
		certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
		put := func(cert, key []byte) {
			write(t, certFile, cert)
			write(t, keyFile, key)
		}
		ended, renewed := began.Add(-time.Minute), began.Add(90*24*time.Hour)
		cert, key := pairUntil(t, "old", ended)
		other, _ := pairUntil(t, "other", renewed) // of an authority: it ends at another time
		put(append(cert, other...), key)
		c, err := NewCertificate(certFile, keyFile, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatalf("one that has ended is not served: %v", err) // nobody would watch the brokers then
		}
		is := func(what string, want time.Time) {
			t.Helper()
			if from, until := c.Validity(); !from.Equal(began.Add(-time.Hour)) || !until.Equal(want) {
				t.Errorf("%s: from %s to %s, want %s", what, from, until, want)
			}
		}
		is("at the beginning", ended)
		cert, key = pairUntil(t, "new", renewed)
		put(cert, key)
		is("before the files are looked at again", ended)
		time.Sleep(certificateAge)
		put(nil, key)
		is("while the files are bad", ended)
		put(cert, key)
		time.Sleep(certificateAge) // and nobody has connected
		is("once it is renewed", renewed)
	})
}

func TestTheAPIIsServedOverTLS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	cert, key := pair(t, "unstuck")
	write(t, certFile, cert)
	write(t, keyFile, key)
	c, err := NewCertificate(certFile, keyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, slog.New(slog.DiscardHandler), Server{Name: "api", Listener: l, Handler: NewAPI(fixture()), TLS: c.Config()})
	}()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "unstuck"}, ForceAttemptHTTP2: true,
	}}
	resp, err := client.Get("https://" + l.Addr().String() + "/api/v1/targets")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.ProtoMajor != 2 || resp.TLS.Version < tls.VersionTLS12 {
		t.Errorf("%d over %s", resp.StatusCode, resp.Proto)
	}
	client.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
