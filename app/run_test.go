package app

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/lab"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// TestNewGivesBackWhatItTookIfItFails starts a daemon after one that could not: the data_dir must be free again.
func TestNewGivesBackWhatItTookIfItFails(t *testing.T) {
	c := &config.Config{DataDir: t.TempDir(), Listen: config.Listen{Metrics: "127.0.0.1:0", API: "127.0.0.1:0"}}
	log := slog.New(slog.DiscardHandler)
	c.API.TokensFile = "/nowhere"
	if _, err := New(t.Context(), Options{Config: c, Log: log}); err == nil {
		t.Fatal("it starts without its tokens")
	}
	c.API.TokensFile = ""
	for range 2 { // and again after it has run
		a, err := New(t.Context(), Options{Config: c, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := a.Run(ctx); err != nil {
			t.Error(err)
		}
	}
}

func TestLockDirLetsOneDaemonAtATimeUseADataDir(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(dir); err == nil || !strings.Contains(err.Error(), "another daemon uses "+dir) {
		t.Errorf("the second daemon gets the error %v", err)
	}
	unlock()
	unlock, err = lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

// TestAppRunWatchesNodesThatItKnowsByAddress runs the daemon by its configuration, as `unstuck run` does, on a real
// broker: a node whose login is wedged is found and explained, and left alone.
func TestAppRunWatchesNodesThatItKnowsByAddress(t *testing.T) {
	t.Parallel()
	l := <-startLabs(t, 1, lab.Options{HandshakeTimeout: tableHandshake, Root: os.Getenv("UNSTUCK_RABBITMQ_ROOT")})
	dir := t.TempDir()
	user, password := l.Credentials()
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	text := `listen: {metrics: "127.0.0.1:0", api: "127.0.0.1:0"}
log: {level: debug}
data_dir: data
brokers:
  - name: rabbit
    username: ` + user + `
    password_file: password
    handshake_timeout: 2s
    probes: {login: {every: "@every 1s", timeout: 3s, while_suspect: 1s, while_confirmed: 1s}}
    policy: {min_duration: 4s}
    nodes:
`
	for _, n := range l.Nodes() {
		text += "      - {name: " + n.Name + ", address: \"" + n.Address + "\"}\n"
	}
	path := filepath.Join(dir, "unstuck.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var log safeBuffer
	ended := make(chan error, 1)
	go func() { ended <- runApp(ctx, c, &log) }()

	waitForLog := func(what string) {
		t.Helper()
		for !strings.Contains(log.String(), what) {
			select {
			case err := <-ended:
				t.Fatalf("the daemon ended: %v\n%s", err, log.String())
			case <-ctx.Done():
				t.Fatalf("waited in vain for %q in the log:\n%s", what, log.String())
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	waitForLog("node=rabbit-2 from=unknown to=healthy")
	waitForLog("node=rabbit-1 from=unknown to=healthy")
	if err := l.WedgeLogin(ctx, "rabbit-1"); err != nil {
		t.Fatal(err)
	}
	waitForLog("incident opened")
	waitForLog("commands cannot be run next to it")
	_, api, _ := strings.Cut(log.String(), "api=")
	api, _, _ = strings.Cut(api, " ")
	res, err := http.Get("http://" + api + "/api/v1/targets/rabbit/nodes/rabbit-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("the API says %s: %v", res.Status, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
	if strings.Contains(log.String(), password) {
		t.Error("the password is in the log")
	}
	if got := l.Deletions(); len(got) > 0 {
		t.Errorf("deleted %+v", got)
	}
}

func TestFixedNodesCannotBeDeleted(t *testing.T) {
	f := fixedNodes{nodes: []target.Node{{Name: "a", Address: "a:5672"}}, isLeader: alone}
	if err := f.Delete(t.Context(), target.Node{Name: "a"}, time.Second); err == nil {
		t.Error("deleted")
	}
	v, err := f.View(t.Context(), "b")
	if err != nil || v.Expected != 1 || v.Nodes[0].UID != "a" || v.Nodes[0].Target != "b" || v.IsLeader != target.Yes {
		t.Errorf("the view is %+v: %v", v, err)
	}
	_, decisions := decide.Decide(decide.State{}, decide.Observation{View: v}, decide.DefaultPolicy(), time.Now())
	if closed := len(decisions[0].Closed()); closed < 8 {
		t.Errorf("only %d guards are closed about a node of which nothing is known", closed)
	}
}
