package app

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/release/plan"
)

// The commits of the tests: one that runs, one that is published, and one that is not.
var (
	running     = strings.Repeat("a", 40)
	published   = strings.Repeat("b", 40)
	unpublished = strings.Repeat("c", 40)
)

// startRegistry is a registry that has the image web of one commit, for who has the password. It gives its host.
func startRegistry(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		switch {
		case user != "puller" || password != "hunter2":
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/v2/":
		case r.URL.Path == "/v2/web/manifests/"+published:
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			w.Header().Set("Content-Length", "2")
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("d", 64))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// site is a cluster with one environment, and a directory with all the files of a daemon that serves it.
type site struct {
	*apiServer

	t       *testing.T
	dir     string
	tokens  map[string]string // by name
	api     string            // the section of the configuration, less its tokens_file
	cluster string            // of the environment; empty: the daemon's own
}

// newSite makes one in which ci may deploy, and oncall do everything.
func newSite(t *testing.T) *site {
	t.Helper()
	registry := startRegistry(t)
	s := &site{t: t, dir: t.TempDir(), tokens: make(map[string]string)}
	s.apiServer = startAPIServer(t, webDeployment(registry+"/web:"+running), dockerSecret(registry, "puller", "hunter2"))
	s.write("registry", registry)
	s.write("password", "p")
	s.kubeconfig(s.dir, "kubeconfig")
	s.writeTokens("ci", "oncall")
	s.api = "tokens_file: tokens.yaml"
	return s
}

func (s *site) write(file, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, file), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// writeTokens writes the file of tokens, with these and no others.
func (s *site) writeTokens(names ...string) {
	s.t.Helper()
	rights := map[string]string{
		"ci":     `[{verbs: [deploy], environments: [production]}]`,
		"oncall": `[{verbs: [deploy, restart, revert, logs, env], environments: ["*"]}, {verbs: [pause, probe, delete], targets: ["*"]}]`,
	}
	text := "tokens:\n"
	for _, name := range names {
		token, hash, err := config.NewToken(name)
		if err != nil {
			s.t.Fatal(err)
		}
		s.tokens[name] = token
		text += fmt.Sprintf("  - {name: %s, hash: %q, rights: %s}\n", name, hash, rights[name])
	}
	s.write("tokens.yaml", text)
}

// configure writes the configuration, and gives what it says.
func (s *site) configure() *config.Config {
	s.t.Helper()
	registry, err := os.ReadFile(filepath.Join(s.dir, "registry"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("unstuck.yaml", `listen: {metrics: "127.0.0.1:0", api: "127.0.0.1:0"}
log: {level: debug}
kubernetes: {kubeconfig: kubeconfig}
api: {`+s.api+`}
brokers: [{name: rabbit, username: u, password_file: password, probes: {login: {every: "@every 1s"}}, nodes: [{name: a, address: "127.0.0.1:1"}]}]
environments:
  - name: production
    namespace: prod
    image: `+string(registry)+`/{image}:{commit}
    registry_secret: {name: registry}
    services: [{name: web, deployment: web-deployment, image: web, kind: rolling}]
`+s.cluster)
	c, err := config.Load(filepath.Join(s.dir, "unstuck.yaml"))
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// served is a daemon that runs.
type served struct {
	t     *testing.T
	ctx   context.Context
	log   safeBuffer
	end   context.CancelFunc
	ended chan error
	stop  func() error // stops it, and gives what it ended with
}

// serve runs the daemon, as `unstuck run` does, until the test ends at the latest.
func (s *site) serve() *served {
	s.t.Helper()
	return s.serveWith(s.configure())
}

func (s *site) serveWith(c *config.Config) *served {
	s.t.Helper()
	ctx, end := context.WithTimeout(s.t.Context(), time.Minute)
	d := &served{t: s.t, ctx: ctx, end: end, ended: make(chan error, 1)}
	go func() { d.ended <- runApp(ctx, c, &d.log) }()
	var over bool
	d.stop = func() error {
		if over {
			return nil
		}
		over = true
		end()
		return <-d.ended
	}
	s.t.Cleanup(func() {
		if err := d.stop(); err != nil {
			s.t.Errorf("the daemon ended with %v", err)
		}
	})
	d.await(" version=")
	return d
}

// await waits for words in the log.
func (d *served) await(words string) {
	d.t.Helper()
	for !strings.Contains(d.log.String(), words) {
		select {
		case err := <-d.ended:
			d.t.Fatalf("the daemon ended: %v\n%s", err, d.log.String())
		case <-d.ctx.Done():
			d.t.Fatalf("waited in vain for %q in the log:\n%s", words, d.log.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// address gives where a listener is: "api" or "metrics".
func (d *served) address(which string) string {
	_, rest, _ := strings.Cut(d.log.String(), " "+which+"=127")
	rest, _, _ = strings.Cut(rest, " ")
	return "127" + rest
}

// ask sends a request, and gives the status and the body.
func (d *served) ask(method, path, token, body string) (int, string) {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.ctx, method, "http://"+d.address("api")+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return do(d.t, r)
}

func do(t *testing.T, r *http.Request) (int, string) {
	t.Helper()
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// begin has an operation taken on.
func (d *served) begin(path, token, body string) plan.Operation {
	d.t.Helper()
	status, text := d.ask(http.MethodPost, path, token, body)
	var o plan.Operation
	if err := json.Unmarshal([]byte(text), &o); err != nil || status != http.StatusAccepted {
		d.t.Fatalf("%s: %d %s", path, status, text)
	}
	return o
}

// follow reads an operation's events until it is as wanted, or over.
func (d *served) follow(id, token string, wanted func(plan.Operation) bool) plan.Operation {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.ctx, http.MethodGet, "http://"+d.address("api")+"/api/v1/operations/"+id+"/events", http.NoBody)
	if err != nil {
		d.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	var o plan.Operation
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		if err := json.Unmarshal([]byte(data), &o); err != nil {
			d.t.Fatal(err)
		}
		if wanted(o) || o.Phase.Over() {
			return o
		}
	}
	d.t.Fatalf("the events of %s ended: %v; the last was %+v", id, lines.Err(), o)
	return o
}

func over(o plan.Operation) bool { return o.Phase.Over() }

// audited counts the lines of the audit.
func (d *served) audited() int { return strings.Count(d.log.String(), " msg=audit ") }

// runApp does what `unstuck run` does, and writes the log to out.
func runApp(ctx context.Context, c *config.Config, out io.Writer) error {
	log, level := NewLogger(c.Log, out)
	a, err := New(ctx, Options{Config: c, Log: log, Level: level})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}
