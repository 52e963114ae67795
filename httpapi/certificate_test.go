package httpapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

func TestCertificateIsReloadedWhenItsFilesChangeAndKeptWhileTheyAreBad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
		oldCert, oldKey := apitest.Pair(t, "old")
		newCert, newKey := apitest.Pair(t, "new")
		apitest.Write(t, certFile, oldCert)
		apitest.Write(t, keyFile, oldKey)
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
			apitest.Write(t, certFile, step.cert)
			apitest.Write(t, keyFile, step.key)
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

func TestCertificateValidityIsThatOfTheOneThatCallersGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, began := t.TempDir(), time.Now()
		certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
		put := func(cert, key []byte) {
			apitest.Write(t, certFile, cert)
			apitest.Write(t, keyFile, key)
		}
		ended, renewed := began.Add(-time.Minute), began.Add(90*24*time.Hour)
		cert, key := apitest.PairUntil(t, "old", ended)
		other, _ := apitest.PairUntil(t, "other", renewed) // of an authority: it ends at another time
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
		cert, key = apitest.PairUntil(t, "new", renewed)
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

func TestServeServesTheAPIOverTLS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	cert, key := apitest.Pair(t, "unstuck")
	apitest.Write(t, certFile, cert)
	apitest.Write(t, keyFile, key)
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
		done <- Serve(ctx, slog.New(slog.DiscardHandler), Server{Name: "api", Listener: l, Handler: New(Options{}).Handler(nil), TLS: c.Config()})
	}()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "unstuck"}, ForceAttemptHTTP2: true,
	}}
	resp, err := client.Get("https://" + l.Addr().String() + "/api/v1/openapi.json")
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
