package app

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/apptest"
	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/remediate/store"
)

func TestAppServesItsAPIWithTLSAndTokensWithoutACluster(t *testing.T) {
	s := newSite(t)
	pool := apptest.WriteCertificate(t, s.dir)
	s.writeTokens("oncall")
	s.write("unstuck.yaml", `listen: {metrics: "127.0.0.1:0", api: "127.0.0.1:0"}
data_dir: data
api: {tokens_file: tokens.yaml, tls: {cert_file: cert.pem, key_file: key.pem}, rate_limit: {per_second: 1, burst: 2}}
brokers: [{name: rabbit, username: u, password_file: password, nodes: [{name: a, address: "127.0.0.1:1"}]}]
`)
	c, err := config.Load(filepath.Join(s.dir, "unstuck.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	d := s.serveWith(c)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "example.com", MinVersion: tls.VersionTLS13}}}
	defer client.CloseIdleConnections()
	for _, c := range []struct {
		token string
		want  int
	}{{"", 401}, {s.tokens["oncall"], 200}, {s.tokens["oncall"], 200}, {s.tokens["oncall"], 429}} {
		r, err := http.NewRequestWithContext(d.ctx, http.MethodGet, "https://"+d.address("api")+"/api/v1/targets", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if c.token != "" {
			r.Header.Set("Authorization", "Bearer "+c.token)
		}
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil || res.StatusCode != c.want {
			t.Errorf("%s, want %d (%v)", res.Status, c.want, err)
		}
	}
	if status, _ := d.ask(http.MethodGet, "/api/v1/targets", s.tokens["oncall"], ""); status != 400 {
		t.Errorf("without TLS it answers %d", status)
	}
}

func TestAppDoesNotStartWithHalfOfWhatItIsToServe(t *testing.T) {
	s := newSite(t)
	s.kubeconfig(s.dir, "elsewhere")
	for name, c := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"a context that is not in the kubeconfig": {func(c *config.Config) {
			c.Environments[0].Kubeconfig, c.Environments[0].Context = filepath.Join(s.dir, "elsewhere"), "nowhere"
		}, `environment production: connect to Kubernetes: context "nowhere" does not exist`},
		"a certificate that is gone": {func(c *config.Config) { c.API.CertFile, c.API.KeyFile = "/nowhere", "/nowhere" }, "api.tls: read the certificate: "},
		"tokens that are gone":       {func(c *config.Config) { c.API.TokensFile = "/nowhere" }, "api.tokens_file: read the tokens: "},
	} {
		configuration := s.configure()
		c.change(configuration)
		if err := runApp(t.Context(), configuration, &safeBuffer{}); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
}

func TestAppTellAccessSaysWhenTokensPassUnencrypted(t *testing.T) {
	beyond, here := &net.TCPAddr{IP: net.IPv4zero, Port: 8080}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}
	for name, c := range map[string]struct {
		api     api
		address net.Addr
		want    bool
	}{
		"beyond loopback": {api{Options: httpapi.Options{Identity: auth.Authorities{}}}, beyond, true},
		"on loopback":     {api{Options: httpapi.Options{Identity: auth.Authorities{}}}, here, false},
		"with TLS": {
			api{Options: httpapi.Options{Identity: auth.Authorities{}}, tls: &tls.Config{MinVersion: tls.VersionTLS12}}, beyond, false,
		},
		"where there are no tokens": {api{}, beyond, false},
	} {
		var log bytes.Buffer
		d := &App{api: c.api, log: slog.New(slog.NewTextHandler(&log, nil))}
		d.tellAccess(&config.Config{}, c.address)
		if got := strings.Contains(log.String(), "tokens reach the API unencrypted"); got != c.want {
			t.Errorf("%s: the log has %q", name, log.String())
		}
	}
}

func TestAppWatchFilesTellsInMetricsWhichFilesAreGood(t *testing.T) {
	s := newSite(t)
	apptest.WriteCertificate(t, s.dir)
	s.api = "tokens_file: tokens.yaml, tls: {cert_file: cert.pem, key_file: key.pem}"
	d := s.serve()
	files := []string{"certificate", "configuration", "tokens"}
	text := func() string {
		t.Helper()
		r, err := http.NewRequestWithContext(d.ctx, http.MethodGet, "http://"+d.address("metrics")+"/metrics", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		_, text := do(t, r)
		return text
	}
	is := func(bad string) {
		t.Helper()
		text := text()
		for _, file := range files {
			want := fmt.Sprintf("unstuck_file_valid{file=%q} 1\n", file)
			if file == bad || (file == "configuration" && bad != "") { // which names the others: nothing starts with it
				want = strings.Replace(want, " 1", " 0", 1)
			}
			if !strings.Contains(text, want) {
				t.Errorf("while %q is bad there is no %s", bad, want)
			}
		}
	}
	is("")
	for name, at := range map[string]string{"before": "1970-01-01 00:00:00", "after": "2084-01-29 16:00:00"} { // net/http/httptest's own
		want, err := time.Parse(time.DateTime, at)
		if err != nil {
			t.Fatal(err)
		}
		got := regexp.MustCompile(`(?m)^unstuck_certificate_not_` + name + `_timestamp_seconds (.*)$`).FindStringSubmatch(text())
		if seconds, err := strconv.ParseFloat(append(got, "", "")[1], 64); err != nil || int64(seconds) != want.Unix() {
			t.Errorf("the certificate does not hold %s %v, want %v", name, got, want)
		}
	}
	for file, name := range map[string]string{"certificate": "key.pem", "configuration": "unstuck.yaml", "tokens": "tokens.yaml"} {
		good, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		s.write(name, "nonsense")
		is(file)
		s.write(name, string(good))
		is("")
	}
}

func TestAppOpenAPIServesAnEndedCertificateAndWarnsOfIt(t *testing.T) {
	now := time.Now().Truncate(time.Second).UTC()
	hour := func(n int) time.Time { return now.Add(time.Duration(n) * time.Hour) }
	for name, c := range map[string]struct {
		from, until time.Time
		warned      bool
	}{
		"it holds":         {hour(-1), hour(1), false},
		"it has ended":     {hour(-2), hour(-1), true},
		"it has not begun": {hour(1), hour(2), true},
	} {
		s := newSite(t)
		apptest.WriteCertificateFor(t, s.dir, c.from, c.until)
		s.write("unstuck.yaml", `data_dir: .
api: {tls: {cert_file: cert.pem, key_file: key.pem}}
brokers: [{name: rabbit, username: u, password_file: password, nodes: [{name: a, address: "127.0.0.1:1"}]}]
`)
		file := filepath.Join(s.dir, "unstuck.yaml")
		configuration, err := config.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		d := newApp(store.New(nil), slog.New(slog.NewTextHandler(&log, nil)))
		if err := d.openAPI(configuration, nil); err != nil {
			t.Errorf("%s: %v", name, err) // nobody would watch the brokers
		}
		if got := strings.Contains(log.String(), "does not hold now"); got != c.warned {
			t.Errorf("%s: the log has %q", name, log.String())
		}
	}
}
