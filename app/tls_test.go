package app

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/lab"
)

// strictDaemon runs the daemon, by its configuration, on a real broker that listens with TLS only. It watches that as
// three targets, one for each way to say who it is.
type strictDaemon struct {
	t     *testing.T
	ctx   context.Context
	lab   *lab.Lab
	log   *safeBuffer
	token string // the file
}

func startStrict(ctx context.Context, t *testing.T) *strictDaemon {
	t.Helper()
	l := <-startLabs(t, 1, lab.Options{Nodes: 1, TLSOnly: true, HandshakeTimeout: tableHandshake, Root: os.Getenv("UNSTUCK_RABBITMQ_ROOT")})
	n, files := l.Nodes()[0], l.TLS()
	ctl := func(args ...string) {
		t.Helper()
		if exit, err := l.Exec(ctx, n, append([]string{"rabbitmqctl"}, args...), io.Discard, io.Discard); exit != 0 || err != nil {
			t.Fatalf("rabbitmqctl %s: exit code %d, %v", args[0], exit, err)
		}
	}
	ctl("add_user", lab.CertificateUser, "its-password-is-never-used")
	ctl("set_permissions", "-p", "/", lab.CertificateUser, ".*", ".*", ".*")

	d := &strictDaemon{t: t, ctx: ctx, lab: l, log: new(safeBuffer)}
	dir := t.TempDir()
	d.token = filepath.Join(dir, "token")
	user, password := l.Credentials()
	write(t, filepath.Join(dir, "password"), password)
	d.writeToken(time.Hour)
	text := `listen: {metrics: "127.0.0.1:0", api: "127.0.0.1:0"}
log: {level: debug}
data_dir: data
defaults:
  handshake_timeout: 2s
  tls: {ca_file: ` + files.CA + `, cert_file: ` + files.Cert + `, key_file: ` + files.Key + `, server_name: ` + files.ServerName + `}
  probes: {login: {every: "@every 1s", timeout: 3s, while_suspect: 1s}, roundtrip: {every: "@every 1s", timeout: 4s}}
  policy: {min_duration: 4s}
brokers:
`
	node := fmt.Sprintf("{name: %s, address: %q}", n.Name, n.Address)
	for name, credentials := range map[string]string{
		"password":    "username: " + user + ", password_file: password",
		"certificate": "auth_mechanism: external",
		"token":       "token_file: token",
		"wrong-name":  `auth_mechanism: external, tls: {server_name: "{pod}.elsewhere.test"}`,
		"keyless":     `username: nobody, password_file: password, tls: {cert_file: ` + files.Cert + `, key_file: key.pem}`,
	} {
		text += "  - {name: " + name + ", nodes: [" + node + "], " + credentials + "}\n"
	}
	own, err := os.ReadFile(files.Key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "key.pem"), string(own))
	write(t, filepath.Join(dir, "unstuck.yaml"), text)
	c, err := config.Load(filepath.Join(dir, "unstuck.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "key.pem"), "no key any more")
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- runApp(running, c, d.log) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the daemon ended with %v", err)
		}
		for _, secret := range []string{password, "no key any more"} {
			if strings.Contains(d.log.String(), secret) {
				t.Errorf("the log has %q", secret)
			}
		}
	})
	return d
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// writeToken gives the daemon another token.
func (d *strictDaemon) writeToken(valid time.Duration) {
	d.t.Helper()
	token, err := d.lab.Token(time.Now().Add(valid))
	if err != nil {
		d.t.Fatal(err)
	}
	write(d.t, d.token, token)
}

// scrape gives the daemon's metrics, and nothing before there are any.
func (d *strictDaemon) scrape() string {
	_, address, found := strings.Cut(d.log.String(), "metrics=")
	if !found {
		return ""
	}
	address, _, _ = strings.Cut(address, " ")
	res, err := http.Get("http://" + strings.TrimSpace(address) + "/metrics")
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(text)
}

// await waits until the metrics have all of these lines at once, and none of them says that a node is stuck.
func (d *strictDaemon) await(what string, lines ...string) {
	d.t.Helper()
	for {
		text, missing := d.scrape(), ""
		for _, line := range lines {
			if !strings.Contains(text, line+"\n") {
				missing = line
			}
		}
		if strings.Contains(text, `status="stuck"} 1`) {
			d.t.Fatalf("%s: a node is stuck:\n%s", what, d.log.String())
		}
		if missing == "" {
			return
		}
		select {
		case <-d.ctx.Done():
			d.t.Fatalf("%s: waited in vain for %s\n%s\n%s", what, missing, text, d.log.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func reasonLine(node, kind, reason, targetName string) string {
	return fmt.Sprintf(`unstuck_node_reason{node=%q,probe=%q,reason=%q,target=%q} 1`, node, kind, reason, targetName)
}

// TestTLSOnlyBrokerIsWatchedInEachWay watches a broker that listens with TLS only by password, certificate and token,
// renews its certificates and ours without a restart, lets them expire, and takes our key away. Nothing of it may look
// like a node that a restart would cure.
//
//promise:1
func TestTLSOnlyBrokerIsWatchedInEachWay(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	d := startStrict(ctx, t)
	node := d.lab.Nodes()[0]
	ways := []string{"password", "certificate", "token"}
	all := func(reason string, more ...string) []string {
		for _, way := range ways {
			more = append(more, reasonLine(node.Name, "login", reason, way))
		}
		return more
	}
	var ok []string
	for _, way := range ways {
		ok = append(ok, reasonLine(node.Name, "roundtrip", "ok", way))
	}
	d.await("at first", append(all("ok", ok...),
		reasonLine(node.Name, "login", "tls", "wrong-name"),
		reasonLine(node.Name, "login", "not_run", "keyless"),
		`unstuck_reconcile_degraded{target="keyless"} 1`,
		`unstuck_reconcile_degraded{target="certificate"} 0`)...)
	if !strings.Contains(d.log.String(), "TLS: client certificate ") || !strings.Contains(d.log.String(), "tls: failed to find any PEM data in key input") {
		t.Errorf("the broker whose key is at fault does not say so:\n%s", d.log.String())
	}

	now := time.Now().Truncate(time.Second)
	holds := func(from, until time.Duration) lab.Validity {
		return lab.Validity{From: now.Add(from), Until: now.Add(until)}
	}
	const day = 24 * time.Hour
	renew := func(nodes, own lab.Validity) string {
		t.Helper()
		if err := d.lab.RenewTLS(ctx, nodes, own); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`unstuck_node_certificate_not_after_timestamp_seconds{node=%q,target="certificate"} %v`, node.Name, float64(nodes.Until.Unix()))
	}
	good := holds(-time.Hour, 30*day)
	d.await("renewed by another authority", all("ok", renew(good, good))...)
	d.await("expired", all("tls", renew(holds(-2*time.Hour, -time.Hour), good))...)
	d.await("not valid yet", all("tls", renew(holds(time.Hour, 2*time.Hour), good))...)
	d.await("our own has expired", all("not_run", renew(good, holds(-2*time.Hour, -time.Hour)))...)
	d.await("renewed again", all("ok", renew(holds(-time.Hour, 90*day), good))...)

	d.writeToken(-time.Hour)
	d.await("the token has expired", reasonLine(node.Name, "login", "access_refused", "token"), reasonLine(node.Name, "login", "ok", "certificate"))
	d.writeToken(time.Hour)
	d.await("the token is renewed", all("ok")...)
}
