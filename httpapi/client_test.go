package httpapi_test

import (
	"crypto/tls"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

// clientModule is the module of the generator, and of the clients that it generates.
const clientModule = "../tools/openapi"

// called remembers which operations of a description were asked for with success.
type called struct {
	http.Handler
	mu  sync.Mutex
	all []string // method and path, as they were asked for
}

func (c *called) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	c.Handler.ServeHTTP(seen, r)
	if seen.status < 300 {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all = append(c.all, r.Method+" "+r.URL.Path)
	}
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// A Go client that is generated from the description calls every operation of the server, over TLS and with a token, and
// has a type for each answer and each refusal.
func TestOpenAPIMakesAClientThatDrivesTheServer(t *testing.T) {
	s := newSite()
	s.releases.Put(apitest.Running())
	d := describe(t, s)
	dir := t.TempDir()
	program := buildClient(t, dir, s.ask(apitest.Request("", "GET", "/api/v1/openapi.json", "")).Body.Bytes())

	cert, key := apitest.Pair(t, "unstuck")
	apitest.Write(t, filepath.Join(dir, "ca.crt"), cert)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	calls := &called{Handler: s.handler}
	s.handler = calls
	address := listeningBy(t, s, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	out, err := exec.CommandContext(t.Context(), program, "https://"+address, filepath.Join(dir, "ca.crt"), apitest.NewCommit,
		apitest.MovingDisks().ID, apitest.Finished().ID, apitest.Running().ID, apitest.OneIncident().ID).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	calls.mu.Lock()
	defer calls.mu.Unlock()
	for path, operations := range d.Paths {
		for method, o := range operations {
			if !slices.ContainsFunc(calls.all, func(one string) bool {
				asked, at, _ := strings.Cut(one, " ")
				return strings.EqualFold(asked, method) && matches(path, at)
			}) {
				t.Errorf("the client has not called %s", o.ID)
			}
		}
	}
}

// buildClient generates a client of a description, and gives the program that drives a server by it.
func buildClient(t *testing.T, dir string, description []byte) (program string) {
	t.Helper()
	generator, err := exec.CommandContext(t.Context(), "go", "tool", "-modfile="+clientModule+"/go.mod", "-n", "oapi-codegen").Output()
	if err != nil {
		t.Fatalf("build the generator: %v", err)
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		copyTo(t, filepath.Join(clientModule, file), filepath.Join(dir, file))
	}
	copyTo(t, "testdata/client/main.go", filepath.Join(dir, "main.go"))
	if err := os.Mkdir(filepath.Join(dir, "client"), 0o700); err != nil {
		t.Fatal(err)
	}
	apitest.Write(t, filepath.Join(dir, "openapi.json"), description)
	program = filepath.Join(dir, "drive")
	for _, args := range [][]string{
		{strings.TrimSpace(string(generator)), "-generate", "types,client", "-package", "client", "-o", "client/client.go", "openapi.json"},
		{"go", "build", "-o", program, "."},
	} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", args[0], err, out)
		}
	}
	return program
}

func copyTo(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	apitest.Write(t, to, data)
}
