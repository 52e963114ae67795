package login

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// given is where a Trust reads from in these tests.
type given struct {
	ca, cert, key []byte
	err           error
	reads         int
}

func (g *given) options() TrustOptions {
	return TrustOptions{
		CA:     func(context.Context) ([]byte, error) { g.reads++; return g.ca, g.err },
		CAName: "CA certificates in secret a/ca",
		Pair:   func(context.Context) ([]byte, []byte, error) { return g.cert, g.key, nil }, PairName: "client certificate in secret a/cert",
	}
}

func TestTrustSaysWhatIsWrongAndTheNodeIsUnknown(t *testing.T) {
	certs := newFakeCerts(t)
	b := newFakeBroker(t, nil)
	b.setTLS(&tls.Config{Certificates: []tls.Certificate{certs.Server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: certs.Pool})
	other := newFakeCerts(t)
	const marker = "hunter2hunter2"
	for name, row := range map[string]struct {
		given given
		want  string
	}{
		"no secret":                  {given{err: errors.New(`read secret a/ca: secrets "ca" not found`)}, `read secret a/ca: secrets "ca" not found`},
		"a CA that does not parse":   {given{ca: []byte(marker), cert: certs.ClientCert, key: certs.ClientKey}, "CA certificates in secret a/ca: there is no PEM certificate in it"},
		"a key that does not fit":    {given{ca: certs.CA, cert: certs.ClientCert, key: other.ClientKey}, "client certificate in secret a/cert: tls: private key does not match public key"},
		"a certificate that is none": {given{ca: certs.CA, cert: []byte(marker), key: certs.ClientKey}, "client certificate in secret a/cert: tls: failed to find any PEM data in certificate input"},
	} {
		g := row.given
		trust := NewTrust(g.options())
		r := New(testLogin(Options{TLS: trust.Config}))(t.Context(), target.Node{Address: b.Addr})
		if r.Reason != probe.NotRun || r.Status() != probe.Unknown || r.Detail != "TLS: "+row.want {
			t.Errorf("%s: %s (%s), want not_run (TLS: %s)", name, r.Reason, r.Detail, row.want)
		}
		if err := trust.Err(); err == nil || err.Error() != row.want || strings.Contains(r.Detail, marker) {
			t.Errorf("%s: the fault is %v", name, err)
		}
		g.ca, g.cert, g.key, g.err = certs.CA, certs.ClientCert, certs.ClientKey, nil
		if r := New(testLogin(Options{TLS: trust.Config}))(t.Context(), target.Node{Address: b.Addr}); r.Reason != probe.OK || trust.Err() != nil {
			t.Errorf("%s, mended: %s (%s), fault %v", name, r.Reason, r.Detail, trust.Err())
		}
	}
}

func TestTrustTakesWhatIsRenewedAndKeepsWhatServedWhileThatIsHalfDone(t *testing.T) {
	old, renewed := newFakeCerts(t), newFakeCerts(t)
	synctest.Test(t, func(t *testing.T) {
		g := given{ca: old.CA, cert: old.ClientCert, key: old.ClientKey}
		trust := NewTrust(g.options())
		now := func() *tls.Config {
			t.Helper()
			c, err := trust.Config(t.Context(), target.Node{})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		first := now()
		if again := now(); !again.RootCAs.Equal(first.RootCAs) || g.reads != 1 {
			t.Errorf("read %d times for two logins", g.reads)
		}
		g.cert = renewed.ClientCert // its key comes a moment later
		time.Sleep(trustAge)
		if half := now(); !half.RootCAs.Equal(first.RootCAs) || trust.Err() == nil {
			t.Errorf("half renewed, the fault is %v", trust.Err())
		}
		g.ca, g.key = renewed.CA, renewed.ClientKey
		trust.Refused()
		if got := now(); got.RootCAs.Equal(first.RootCAs) || string(got.Certificates[0].Certificate[0]) == string(first.Certificates[0].Certificate[0]) || trust.Err() != nil {
			t.Errorf("what was renewed is not used; the fault is %v", trust.Err())
		}
		g.err = errors.New("gone")
		time.Sleep(time.Hour)
		if got := now(); got.RootCAs.Equal(first.RootCAs) || trust.Err() == nil {
			t.Errorf("what was read last does not serve on; the fault is %v", trust.Err())
		}
	})
}

func TestTrustConfigExpectsTheNameOfTheNode(t *testing.T) {
	trust := NewTrust(TrustOptions{ServerName: func(n target.Node) string { return n.Name + ".nodes.test" }})
	for _, pod := range []string{"rabbit-0", "rabbit-1"} {
		if c, err := trust.Config(t.Context(), target.Node{Name: pod}); err != nil || c.ServerName != pod+".nodes.test" || c.RootCAs != nil || len(c.Certificates) != 0 {
			t.Errorf("%s: %+v, %v", pod, c, err)
		}
	}
}

func TestTrustRefusedHasSecretsReadAgain(t *testing.T) {
	again := 0
	NewTrust(TrustOptions{Again: func() { again++ }}).Refused()
	if again != 1 {
		t.Errorf("told %d times", again)
	}
}

func TestTrustSaysThatOurOwnCertificateIsOutOfDateAndTheNodeIsUnknown(t *testing.T) {
	dir, certs := t.TempDir(), newFakeCerts(t)
	server := certs.Server
	b := newFakeBroker(t, nil)
	for name, row := range map[string]struct {
		from, until time.Duration
		want        string
		reason      probe.Reason
	}{
		"expired":       {-2 * time.Hour, -time.Hour, "expired at ", probe.NotRun},
		"not valid yet": {time.Hour, 2 * time.Hour, "is not valid before ", probe.NotRun},
		"valid":         {-time.Hour, time.Hour, "", probe.OK},
		"of others":     {-time.Hour, time.Hour, "", probe.TLS},
	} {
		certFile, keyFile := tlsPairFor(t, dir, "unstuck.example", time.Now().Add(row.from), time.Now().Add(row.until))
		clients, err := LoadAuthorities(certFile)
		if err != nil {
			t.Fatal(err)
		}
		if row.reason == probe.TLS {
			clients = certs.Pool
		}
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			b.setTLS(&tls.Config{
				Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients, MaxVersion: version,
			})
			o := TrustOptions{CA: func(context.Context) ([]byte, error) { return certs.CA, nil }}
			o.PairFiles(certFile, keyFile)
			trust := NewTrust(o)
			r := New(testLogin(Options{TLS: trust.Config}))(t.Context(), target.Node{Address: b.Addr})
			fault := ""
			if err := trust.Err(); err != nil {
				fault = err.Error()
			}
			if r.Reason != row.reason || !strings.Contains(r.Detail, row.want) || (fault != "") != (row.want != "") || !strings.Contains(fault, row.want) {
				t.Errorf("%s, TLS %x: %s (%s), fault %q; want %s", name, version, r.Reason, r.Detail, fault, row.reason)
			}
		}
	}
}

// A proxy before the node may close the connection without the alert of TLS that says why. What the broker never asked
// for is no reason.
func TestLoginIsNotRunWhereOurCertificateIsOutOfDateAndTheOtherSideClosesWithoutAnAlert(t *testing.T) {
	dir, certs := t.TempDir(), newFakeCerts(t)
	for name, row := range map[string]struct {
		until  time.Duration
		ask    tls.ClientAuthType
		reason probe.Reason
	}{
		"expired":        {-time.Hour, tls.RequireAnyClientCert, probe.NotRun},
		"never asked":    {-time.Hour, tls.NoClientCert, probe.ClosedEarly},
		"still in force": {time.Hour, tls.RequireAnyClientCert, probe.ClosedEarly},
	} {
		certFile, keyFile := tlsPairFor(t, dir, "unstuck.example", time.Now().Add(-2*time.Hour), time.Now().Add(row.until))
		o := TrustOptions{CA: func(context.Context) ([]byte, error) { return certs.CA, nil }}
		o.PairFiles(certFile, keyFile)
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			for _, within := range []bool{true, false} { // the handshake, or right after it
				b := newFakeBroker(t, script{onStart: eof})
				config := &tls.Config{Certificates: []tls.Certificate{certs.Server}, ClientAuth: row.ask, MaxVersion: version}
				if within && row.ask != tls.NoClientCert {
					b.setScript(script{onAccept: func(c *fakeConn, _ []byte) error {
						silent := config.Clone()
						silent.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return c.raw.Close() }
						c.Conn = tls.Server(c.raw, silent)
						_ = c.Conn.(*tls.Conn).Handshake()
						return errHungUp
					}})
				}
				b.setTLS(config)
				r := New(testLogin(Options{TLS: NewTrust(o).Config}))(t.Context(), target.Node{Address: b.Addr})
				if says := strings.Contains(r.Detail, "our client certificate expired at "); r.Reason != row.reason || says != (row.reason == probe.NotRun) {
					t.Errorf("%s, TLS %x, within the handshake %t: %s (%s), want %s", name, version, within, r.Reason, r.Detail, row.reason)
				}
			}
		}
	}
}
