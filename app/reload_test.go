package app

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/config"
)

// mounted is a directory as Kubernetes mounts a ConfigMap: a change swaps a symbolic link to what is in it.
type mounted struct {
	t    *testing.T
	dir  string
	data int
}

func mount(t *testing.T) *mounted {
	t.Helper()
	m := &mounted{t: t, dir: t.TempDir()}
	if err := os.Symlink("..data/unstuck.yaml", m.path()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.dir, "password"), []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mounted) path() string { return filepath.Join(m.dir, "unstuck.yaml") }

// write gives the file these brokers, and more, as Kubernetes does.
func (m *mounted) write(more string, brokers ...string) {
	m.t.Helper()
	text := more + "\nlisten: {metrics: '127.0.0.1:0', api: '127.0.0.1:0'}\nbrokers:\n"
	for _, b := range brokers {
		name, keys, _ := strings.Cut(b, " ")
		text += "  - {name: " + name + ", username: u, password_file: password, nodes: [{name: a, address: '127.0.0.1:1'}]" + keys + "}\n"
	}
	m.data++
	now := "..of-" + strings.Repeat("i", m.data)
	if err := os.Mkdir(filepath.Join(m.dir, now), 0o700); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.dir, now, "unstuck.yaml"), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Symlink(now, filepath.Join(m.dir, "..tmp")); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(m.dir, "..tmp"), filepath.Join(m.dir, "..data")); err != nil {
		m.t.Fatal(err)
	}
}

// reloads gives an App with the configuration that is mounted, what looks at the file, and the log.
func reloads(t *testing.T, m *mounted) (*App, *reloader, *bytes.Buffer) {
	t.Helper()
	c, err := config.Load(m.path())
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	log, level := NewLogger(c.Log, &text)
	a, err := New(t.Context(), Options{Config: c, Log: log, Level: level})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := a.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	r := &reloader{app: a, level: level, began: c}
	r.look()
	text.Reset()
	return a, r, &text
}

func TestReloaderLookPutsWhatChangedIntoForce(t *testing.T) {
	m := mount(t)
	m.write("data_dir: data", "a", "b")
	a, r, log := reloads(t, m)
	before := a.fleet.all()
	r.look()
	if !slices.Equal(before, a.fleet.all()) || log.Len() > 0 {
		t.Errorf("nothing has changed, and the log has %q", log)
	}
	m.write("data_dir: data\nlog: {level: debug}", "c", "a", "b , policy: {per_target_per_day: 9}")
	r.look()
	if diff := cmp.Diff([]string{"c", "a", "b"}, a.names()); diff != "" {
		t.Errorf("watched (-want +got):\n%s", diff)
	}
	if a.fleet.find("a") != before[0] {
		t.Error("the broker that did not change begins anew")
	}
	if got := a.fleet.find("b").loop.Policy.PerTargetPerDay; got != 9 {
		t.Errorf("the policy that changed has %d deletions a day", got)
	}
	if !a.log.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("the level of the log has not changed")
	}
	m.write("data_dir: data", "a")
	r.look()
	if diff := cmp.Diff([]string{"a"}, a.names()); diff != "" {
		t.Errorf("watched (-want +got):\n%s", diff)
	}
	for _, want := range []string{`watched from now on" target=c`, `begins anew" target=b`, `no longer watched" target=c`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %q:\n%s", want, log)
		}
	}
	if text := scraped(t, a); !strings.Contains(text, "unstuck_config_last_reload_successful 1") ||
		strings.Contains(text, `target="b"`) {
		t.Errorf("the metrics are\n%s", text)
	}
}

func TestReloaderLookLeavesTheOldOneInForceWhereTheFileIsBad(t *testing.T) {
	m := mount(t)
	m.write("data_dir: data", "a", "b")
	a, r, log := reloads(t, m)
	before := a.fleet.all()
	for name, bad := range map[string]func(){
		"a key that is not known": func() { m.write("data_dir: data\nnonsense: 1", "a", "c") },
		"no YAML":                 func() { m.write("{", "a") },
		"no broker":               func() { m.write("data_dir: data") },
		"a file that it names":    func() { m.write("data_dir: data", "a , tls: {ca_file: nowhere}") },
		"no file": func() {
			if err := os.Remove(filepath.Join(m.dir, "..data")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		bad()
		for range 3 {
			r.look()
		}
		if !slices.Equal(before, a.fleet.all()) {
			t.Errorf("%s: watched are %q", name, a.names())
		}
		if n := strings.Count(log.String(), "cannot be put into force"); n != 1 {
			t.Errorf("%s: the log says so %d times:\n%s", name, n, log)
		}
		if text := scraped(t, a); !strings.Contains(text, "unstuck_config_last_reload_successful 0") {
			t.Errorf("%s: the metrics do not tell", name)
		}
		log.Reset()
	}
	m.write("data_dir: data", "a", "c")
	refusing := newSupply()
	refusing.refuses["c"] = true
	a.wants.suppliers = refusing
	if r.look(); !slices.Equal(before, a.fleet.all()) || !strings.Contains(log.String(), "nothing of it is: broker c: nobody supplies it") {
		t.Errorf("a broker that nobody supplies: watched are %q\n%s", a.names(), log)
	}
	a.wants.suppliers = listed{}
	r.look()
	if diff := cmp.Diff([]string{"a", "c"}, a.names()); diff != "" || !strings.Contains(log.String(), "is in force") {
		t.Errorf("once it is good again (-want +got):\n%s\n%s", diff, log)
	}
	if text := scraped(t, a); !strings.Contains(text, "unstuck_config_last_reload_successful 1") {
		t.Error("the metrics do not tell that it is good again")
	}
}

func TestReloaderLookTellsWhatTakesARestart(t *testing.T) {
	m := mount(t)
	m.write("data_dir: data", "a")
	a, r, log := reloads(t, m)
	m.write("data_dir: data\napi: {rate_limit: {burst: 9}}\nkubernetes: {lease: other}", "a", "b")
	for range 3 {
		r.look()
	}
	if n := strings.Count(log.String(), `keys="api.rate_limit, kubernetes"`); n != 1 {
		t.Errorf("the log says so %d times:\n%s", n, log)
	}
	if diff := cmp.Diff([]string{"a", "b"}, a.names()); diff != "" {
		t.Errorf("the rest is not in force (-want +got):\n%s", diff)
	}
	if !strings.Contains(scraped(t, a), "unstuck_config_restart_pending 1") {
		t.Error("the metrics do not tell")
	}
	m.write("data_dir: data\nkubernetes: {lease: third}",
		"a , pods: {namespace: mq, selector: a=b, container: c}")
	text, err := os.ReadFile(m.path())
	if err != nil {
		t.Fatal(err)
	}
	pods := strings.Replace(string(text), ", nodes: [{name: a, address: '127.0.0.1:1'}]", "", 1)
	if err := os.WriteFile(m.path(), []byte(pods), 0o600); err != nil {
		t.Fatal(err)
	}
	r.look()
	if !strings.Contains(log.String(), `keys="kubernetes, brokers"`) || !slices.Equal(a.names(), []string{"a", "b"}) {
		t.Errorf("the first pods: watched are %q\n%s", a.names(), log)
	}
	m.write("data_dir: data", "a")
	r.look()
	if !strings.Contains(scraped(t, a), "unstuck_config_restart_pending 0") {
		t.Error("the file asks for what is in force again, and the metrics say that a restart is pending")
	}
}
