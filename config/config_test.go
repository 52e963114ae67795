package config

import (
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

var update = flag.Bool("update", false, "write the expected messages anew")

func TestLoadRefusesEachBadFileWithTheseWords(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d bad files, error %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			c, err := loadHere(t, file)
			if err == nil {
				t.Fatalf("it was taken: %+v", c)
			}
			got := strings.ReplaceAll(err.Error(), "testdata/bad/", "") + "\n"
			here, err := os.Getwd()
			if err != nil {
				t.Fatal(err)
			}
			got = strings.ReplaceAll(got, here, "HERE")
			if strings.Contains(got, "hunter") {
				t.Errorf("the message gives a secret away: %s", got)
			}
			expected := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(expected, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(expected)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// loadHere is Load with a data_dir for which nobody needs to be root.
func loadHere(t *testing.T, file string) (*Config, error) {
	t.Helper()
	base := defaults()
	base.DataDir = t.TempDir()
	return load(file, base)
}

func loaded(t *testing.T, file string) *Config {
	t.Helper()
	c, err := loadHere(t, file)
	if err != nil {
		t.Fatalf("load %s:\n%v", file, err)
	}
	return c
}

func TestLoadGivesTheSmallestFileTheDefaults(t *testing.T) {
	c := loaded(t, "testdata/good/smallest.yaml")
	if diff := cmp.Diff(Listen{Metrics: ":9090", API: "127.0.0.1:8080"}, c.Listen); diff != "" {
		t.Errorf("listen (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Log{Level: slog.LevelInfo, Format: "text"}, c.Log); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if dir := defaults().DataDir; dir != "/var/lib/unstuck" {
		t.Errorf("data_dir is %q", dir)
	}
	if len(c.Brokers) != 1 {
		t.Fatalf("%d brokers", len(c.Brokers))
	}
	b := c.Brokers[0]
	if diff := cmp.Diff(decide.DefaultPolicy(), b.Policy); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(DefaultBroker().Probes, b.Probes); diff != "" {
		t.Errorf("probes (-want +got):\n%s", diff)
	}
	want := []target.Node{{Target: "rabbitmq", Name: "rabbit-0", Address: "127.0.0.1:5672"}}
	if diff := cmp.Diff(want, b.Nodes); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	if b.Vhost != "/" || b.TLS != nil || b.HandshakeTimeout != 10*time.Second {
		t.Errorf("vhost %q, TLS %v, handshake_timeout %s", b.Vhost, b.TLS, b.HandshakeTimeout)
	}
}

func TestLoadTakesEveryKeyOfTheFullFile(t *testing.T) {
	c := loaded(t, "testdata/good/full.yaml")
	if diff := cmp.Diff(Listen{Metrics: ":9419", API: "127.0.0.1:8081"}, c.Listen); diff != "" {
		t.Errorf("listen (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Log{Level: slog.LevelDebug, Format: "json"}, c.Log); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	b := c.Brokers[0]
	wantPolicy := decide.Policy{
		Mode: decide.Observe, FailureThreshold: 4, Window: 6, MinDuration: 2 * time.Minute,
		RecheckAfter: 30 * time.Second, AboveBaseline: 40, LogSilence: 3 * time.Minute,
		ResultTTL: 4 * time.Minute, EvidenceTTL: 20 * time.Minute,
		StartupGracePeriod: 15 * time.Minute, Cooldown: 20 * time.Minute, RecoveryTimeout: 25 * time.Minute, GracePeriod: 45 * time.Second,
		SingleNode: true, MaxStuck: 2, StormCooldown: 30 * time.Minute, PerNodePerDay: 2, PerTargetPerDay: 5,
		MaintenanceWindows: []decide.MaintenanceWindow{
			{Days: [7]bool{1: true, 2: true, 3: true, 4: true, 5: true}, From: 8 * time.Hour, To: 18 * time.Hour},
			{Days: [7]bool{0: true, 6: true}, From: 22 * time.Hour, To: 4 * time.Hour},
		},
	}
	if diff := cmp.Diff(wantPolicy, b.Policy); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
	var wantProbes Probes
	wantProbes.Login.Every = schedule(t, "@every 20s")
	wantProbes.Login.Timeout = 25 * time.Second
	wantProbes.Login.WhileSuspect = 5 * time.Second
	wantProbes.Login.WhileConfirmed = 90 * time.Second
	wantProbes.Roundtrip.Every = schedule(t, "*/10 * * * *")
	wantProbes.Roundtrip.Timeout = 30 * time.Second
	wantProbes.MaybeStuck.Every = schedule(t, "@daily")
	wantProbes.MaybeStuck.Timeout = time.Minute
	wantProbes.MaybeStuck.AboveBaseline = 30
	wantProbes.MaybeStuck.Share = 0.1
	wantProbes.Log.Every = schedule(t, "@every 1m")
	wantProbes.Log.MaxAge = 10 * time.Minute
	sameLocation := cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })
	if diff := cmp.Diff(wantProbes, b.Probes, sameLocation); diff != "" {
		t.Errorf("probes (-want +got):\n%s", diff)
	}
	if b.Username != "monitor" || b.Vhost != "/jobs" || b.TLS == nil || b.HandshakeTimeout != 20*time.Second {
		t.Errorf("username %q, vhost %q, TLS %v, handshake_timeout %s", b.Username, b.Vhost, b.TLS, b.HandshakeTimeout)
	}
}

func schedule(t *testing.T, spec string) Schedule {
	t.Helper()
	s, err := ParseSchedule(spec)
	if err != nil {
		t.Fatal(err)
	}
	return Schedule{Spec: spec, Schedule: s}
}

// A field of the policy without a key could never be set. Two are left out: the first broker only observes, and whether
// it is an application is not for a key to say.
func TestLoadHasAKeyForEveryFieldOfThePolicy(t *testing.T) {
	full := reflect.ValueOf(loaded(t, "testdata/good/full.yaml").Brokers[0].Policy)
	standard := reflect.ValueOf(decide.DefaultPolicy())
	for i := range full.NumField() {
		name := full.Type().Field(i).Name
		if name != "Mode" && name != "App" && reflect.DeepEqual(full.Field(i).Interface(), standard.Field(i).Interface()) {
			t.Errorf("full.yaml leaves %s at its default", name)
		}
	}
}

func TestBrokerInheritsWhatItDoesNotSay(t *testing.T) {
	c, err := Parse([]byte(`
defaults:
  username_file: shared-name
  password_file: shared
  vhost: /shared
  tls: {ca_file: ca.pem, server_name: shared}
  probes: {login: {timeout: 14s}, roundtrip: {every: never}}
  policy: {failure_threshold: 2, maintenance_windows: ["08:00-18:00"]}
brokers:
  - name: one
    nodes: [{name: a, address: "localhost:5671"}]
  - name: two
    username: mine
    vhost: /mine
    tls: {server_name: mine}
    probes: {login: {timeout: 13s}}
    policy: {maintenance_windows: []}
    nodes: [{name: a, address: "localhost:5671"}]
`))
	if err != nil {
		t.Fatal(err)
	}
	one, two := c.Brokers[0], c.Brokers[1]
	if one.UsernameFile != "shared-name" || one.Vhost != "/shared" || one.TLS.ServerName != "shared" ||
		one.Probes.Login.Timeout != 14*time.Second || len(one.Policy.MaintenanceWindows) != 1 {
		t.Errorf("one did not inherit everything: %+v, TLS %+v", one, one.TLS)
	}
	if two.Username != "mine" || two.UsernameFile != "" || two.Vhost != "/mine" || two.TLS.ServerName != "mine" ||
		two.Probes.Login.Timeout != 13*time.Second || len(two.Policy.MaintenanceWindows) != 0 {
		t.Errorf("two did not have its own way: %+v, TLS %+v", two, two.TLS)
	}
	if two.TLS.CAFile != "ca.pem" || two.Policy.FailureThreshold != 2 || two.PasswordFile != "shared" || two.Probes.Roundtrip.Every.Schedule != nil {
		t.Errorf("two did not inherit the rest: %+v, TLS %+v", two, two.TLS)
	}
}

func TestLoadTakesPathsRelativeToTheFile(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "secret"), "hunter2\n")
	write(t, filepath.Join(dir, "unstuck.yaml"), `
data_dir: data
brokers:
  - name: rabbitmq
    username_file: `+filepath.Join(dir, "secret")+`
    password_file: secret
    nodes: [{name: a, address: "localhost:5672"}]
`)
	c := loaded(t, filepath.Join(dir, "unstuck.yaml"))
	if want := filepath.Join(dir, "data"); c.DataDir != want {
		t.Errorf("data_dir is %s, want %s", c.DataDir, want)
	}
	got, err := c.Brokers[0].Credentials(t.Context())
	if want := (target.Credentials{Username: "hunter2", Password: "hunter2"}); err != nil || got != want {
		t.Errorf("got the credentials %v, error %v", got, err)
	}
}

func TestBrokerCredentialsReadsARotatedPasswordAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	b := Broker{Username: "unstuck", PasswordFile: file}
	for _, password := range []string{"first", "second with spaces "} {
		write(t, file, password+"\r\n")
		got, err := b.Credentials(t.Context())
		if want := (target.Credentials{Username: "unstuck", Password: password}); err != nil || got != want {
			t.Errorf("got another password than %q, error %v", password, err)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Credentials(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the file: error %v", err)
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLoadNamesAFileThatIsNotThere(t *testing.T) {
	_, err := Load("testdata/nowhere.yaml")
	var notConfig *Error
	if !errors.Is(err, os.ErrNotExist) || errors.As(err, &notConfig) || !strings.Contains(err.Error(), "testdata/nowhere.yaml") {
		t.Errorf("got %v", err)
	}
}

func TestLoadChecksTheDataDirAndDoesNotCreateIt(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "password"), "hunter2\n")
	write(t, filepath.Join(dir, "file"), "")
	for dataDir, want := range map[string]string{
		".":            "",
		"new/and/deep": "",
		"file":         "data_dir: " + filepath.Join(dir, "file") + ": " + filepath.Join(dir, "file") + " is no directory: want a directory",
		"file/in/it":   "data_dir: stat " + filepath.Join(dir, "file", "in", "it") + ": not a directory: want a directory",
	} {
		file := filepath.Join(dir, "unstuck.yaml")
		write(t, file, `brokers:
  - {name: rabbitmq, username: unstuck, password_file: password, nodes: [{name: a, address: "localhost:5672"}]}
data_dir: `+dataDir)
		_, err := Load(file)
		if (err == nil) != (want == "") || (err != nil && !strings.HasPrefix(err.Error(), file+":3: "+want)) {
			t.Errorf("data_dir %s: error %v, want %q", dataDir, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was created: %v", err)
	}
}

func TestDecoderCheckDataDirRefusesWhatMayNotBeWrittenTo(t *testing.T) {
	dir := t.TempDir()
	d := newDecoder()
	d.checkDataDir(filepath.Join(dir, "new", "deep"), func(path string, mode uint32) error {
		if path != dir || mode != 0b011 {
			t.Errorf("asked for the rights %b to %s", mode, path)
		}
		return syscall.EACCES
	})
	want := "data_dir: " + filepath.Join(dir, "new", "deep") + ": write to " + dir + ": permission denied: want a directory"
	if err := d.err(""); err == nil || !strings.HasPrefix(err.Error(), "line 1: "+want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestLoadShowsAPathInFullWhereverTheDaemonWasStarted(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write(t, "unstuck.yaml", `brokers:
  - {name: rabbitmq, username: unstuck, password_file: nowhere, nodes: [{name: a, address: "localhost:5672"}]}
data_dir: .
`)
	want := "unstuck.yaml:2: brokers[0].password_file: open " + filepath.Join(dir, "nowhere") +
		": no such file or directory: want a file with one line, of at most 4096 bytes"
	if _, err := Load("unstuck.yaml"); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
