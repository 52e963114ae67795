package e2e

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
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	settings "github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/e2e/cluster"
)

// lasting is a token that stays, to see that it does; brief is one that expires while the test runs, and leaver one that
// is taken out.
const lasting, brief, leaver = "lasting", "brief", "leaver"

// door is the API of an installation that is served by TLS, of which the certificate and the tokens change.
type door struct {
	t *testing.T
	*cluster.Unstuck

	registry *cluster.Registry
	host     string
	tokens   map[string]string
	lines    map[string]string // of the file of tokens
	cert     certificate
}

// Nothing is restarted when a certificate is renewed or a token is revoked, and both count within moments.
//
//promise:35
func TestReleaseFreshReadsCertificateAndTokensAnewWhileItRuns(t *testing.T) {
	t.Parallel()
	base, err := prepared()
	if err != nil {
		t.Fatal(err)
	}
	registry, err := published()
	if err != nil {
		t.Fatal(err)
	}
	const namespace = "unstuck-fresh"
	d := &door{
		t: t, Unstuck: base.In(namespace), registry: registry, host: "unstuck." + namespace + ".svc",
		tokens: map[string]string{}, lines: map[string]string{},
	}
	d.issue(lasting, time.Time{})
	d.issue(leaver, time.Time{})
	first := newCertificate(t, d.host)
	d.cert = first
	d.put(t.Context())
	if err := shared.Apply(t.Context(), "apiVersion: v1\nkind: Namespace\nmetadata: {name: fresh}\n"); err != nil { // there must be something to serve
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		if t.Failed() {
			(&installation{Unstuck: d.Unstuck}).explain(t)
		}
		if err := d.Remove(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := d.Install(within(t, 3*time.Minute), onlyReleases+`
  api:
    tokens_file: `+cluster.FilesDir+`/tokens.yaml
    tls: {cert_file: `+cluster.FilesDir+`/tls.crt, key_file: `+cluster.FilesDir+`/tls.key}
  environments:`+cluster.StandinEnvironment("fresh")+cluster.Mounts); err != nil {
		t.Fatal(err)
	}
	before := d.names()
	d.becomes("with the first certificate", first, lasting, http.StatusOK)
	d.becomes("with the first certificate", first, leaver, http.StatusOK)
	d.as(lasting, first).wants(0, []string{"elsewhere is paused until"}, "pause", "elsewhere", "--for", "1m", "--reason", "a look")

	// Another certificate, of another authority, and a token that does not last.
	second := newCertificate(t, d.host)
	d.cert = second
	d.issue(brief, time.Now().Add(30*time.Second))
	d.put(t.Context())
	d.becomes("before it expires", second, brief, http.StatusOK)
	d.becomes("with the first certificate's authority", first, lasting, 0)
	d.as(lasting, first).wants(5, []string{"certificate"}, "status")
	d.as(lasting, second).wants(0, []string{"elsewhere"}, "status")
	d.becomes("after it has expired", second, brief, http.StatusUnauthorized)
	d.stays(second, lasting)
	d.as(brief, second).wants(4, []string{"expired"}, "status")

	// Nor does one that is taken out, while the others stay good.
	d.becomes("before it is taken out", second, leaver, http.StatusOK)
	delete(d.lines, leaver)
	d.put(t.Context())
	d.becomes("after it was taken out", second, leaver, http.StatusUnauthorized)
	d.stays(second, lasting)
	d.as(leaver, second).wants(4, nil, "status")
	if after := d.names(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the pods were %v and are %v", before, after)
	}
}

// issue makes a token that may pause, until it expires, if ever. It counts once it is put.
func (d *door) issue(name string, expires time.Time) {
	d.t.Helper()
	token, hash, err := settings.NewToken(name)
	if err != nil {
		d.t.Fatal(err)
	}
	d.tokens[name] = token
	d.lines[name] = fmt.Sprintf("- {name: %s, hash: %q, rights: [{verbs: [pause], targets: [\"*\"]}]", name, hash)
	if !expires.IsZero() {
		d.lines[name] += ", expires: " + expires.UTC().Format(time.RFC3339)
	}
	d.lines[name] += "}\n"
}

// put gives the daemon the certificate and the tokens.
func (d *door) put(ctx context.Context) {
	d.t.Helper()
	tokens := "tokens:\n"
	for _, name := range []string{lasting, leaver, brief} {
		tokens += d.lines[name]
	}
	err := d.PutFiles(ctx, map[string]string{
		"tokens.yaml": tokens, "password": "unused", "tls.crt": d.cert.cert, "tls.key": d.cert.key,
	}, d.registry)
	if err == nil {
		err = d.HurryFiles(ctx)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// names gives the daemon's pods and how often they were started again.
func (d *door) names() (names []string) {
	d.t.Helper()
	pods, err := d.Pods(within(d.t, 10*time.Second))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, p := range pods {
		names = append(names, fmt.Sprint(p.Name, p.UID, p.Status.ContainerStatuses[0].RestartCount))
	}
	return names
}

// becomes waits until each replica answers a token with the status; 0: who trusts the certificate's authority does
// not trust the replica.
func (d *door) becomes(when string, c certificate, token string, status int) {
	d.t.Helper()
	ctx := within(d.t, 2*time.Minute)
	began := time.Now()
	if err := until(ctx, func() (bool, error) {
		pods, err := d.Pods(ctx)
		if err != nil {
			return false, err
		}
		for _, p := range pods {
			got, err := d.get(ctx, p.Status.PodIP, c, d.tokens[token])
			if got != status || len(pods) != 2 {
				pause(ctx, 500*time.Millisecond)
				return false, fmt.Errorf("%s of %d replicas answers %d, %w", p.Name, len(pods), got, err)
			}
		}
		return true, nil
	}); err != nil {
		d.t.Fatalf("%s: %s: want %d: %v", token, when, status, err)
	}
	d.t.Logf("%s: %s: %d after %v", token, when, status, time.Since(began).Round(100*time.Millisecond))
}

// stays wants a token to be good, at once: by a file that is at fault no token would be.
func (d *door) stays(c certificate, token string) {
	d.t.Helper()
	ctx := within(d.t, 20*time.Second)
	pods, err := d.Pods(ctx)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, p := range pods {
		if got, err := d.get(ctx, p.Status.PodIP, c, d.tokens[token]); got != http.StatusOK {
			d.t.Errorf("%s answers %s with %d, %v", p.Name, token, got, err)
		}
	}
}

// get asks a replica for the brokers. The status is 0, and err says why, if its certificate is not trusted.
func (d *door) get(ctx context.Context, ip string, c certificate, token string) (status int, err error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(c.cert))
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return shared.Dial(ctx, net.JoinHostPort(ip, "8080"))
		},
		DisableKeepAlives: true,
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+d.host+"/api/v1/targets", nil)
	if err != nil {
		return -1, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := (&http.Client{Transport: transport}).Do(request)
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
		return 0, err
	}
	if err != nil {
		return -1, err
	}
	return response.StatusCode, response.Body.Close()
}

// as is somebody who types commands with a token, and trusts the certificate.
func (d *door) as(token string, c certificate) typist {
	d.t.Helper()
	file := filepath.Join(d.t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, []byte(c.cert), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return newTypist(d.t, d.tokens[token], append(inCluster(d.Namespace), "--ca-file", file)...)
}

// certificate is a server's certificate, which is its own authority, and its key, in PEM.
type certificate struct{ cert, key string }

func newCertificate(t *testing.T, host string) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: host, SerialNumber: serial.String()}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return certificate{
		cert: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		key:  string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})),
	}
}
