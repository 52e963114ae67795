package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/cli"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/probe/login"
	"github.com/cjworkbench/unstuck/target"
)

const marker = "s3cr3t-MARKER"

// answers stands in for login.New: it gives the result of the address, and remembers what it was asked.
type answers struct {
	mu      sync.Mutex
	results map[string]probe.Result // by host:port; others are healthy
	options []login.Options         // in the order of the targets
	creds   []target.Credentials    // likewise
}

func (a *answers) login(o login.Options) func(context.Context, target.Node) probe.Result {
	creds, err := o.Credentials(context.Background())
	a.mu.Lock()
	defer a.mu.Unlock()
	a.options, a.creds = append(a.options, o), append(a.creds, creds)
	return func(_ context.Context, n target.Node) probe.Result {
		if err != nil {
			return probe.Result{Reason: probe.NotRun, Detail: err.Error()}
		}
		if r, ok := a.results[n.Address]; ok {
			return r
		}
		return healthy()
	}
}

// try runs the command line with `unstuck probe` answered by a.
func try(t *testing.T, a *answers, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	root := newRootCommand()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "probe" && a != nil {
			root.RemoveCommand(cmd)
			root.AddCommand(newProbeCommand(a.login))
		}
	}
	var out, errs bytes.Buffer
	code = cli.Execute(t.Context(), root, args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestProbeExitsWithTheCodeOfTheWorstTarget(t *testing.T) {
	a := &answers{results: map[string]probe.Result{
		"stuck:5672": wedged(), "faulty:5672": {Reason: probe.Refused, Stage: probe.StageTCP}, "unknown:5672": {Reason: probe.Unreachable},
	}}
	for targets, want := range map[string]int{
		"healthy": 0, "faulty": 1, "stuck": 2, "unknown": 3, "healthy unknown healthy": 3, "unknown faulty": 1, "faulty stuck unknown healthy": 2,
	} {
		for _, flags := range [][]string{nil, {"--json"}} {
			args := append([]string{"probe"}, flags...)
			for host := range strings.FieldsSeq(targets) {
				args = append(args, "amqp://guest@"+host)
			}
			code, stdout, stderr := try(t, a, args...)
			if code != want || stderr != "" {
				t.Errorf("%q: exit code %d, want %d; stderr %q", args, code, want, stderr)
			}
			if flags == nil {
				continue
			}
			lines := strings.Split(strings.TrimSpace(stdout), "\n")
			for i, host := range strings.Fields(targets) {
				var line struct{ Target string }
				if err := json.Unmarshal([]byte(lines[i]), &line); err != nil || line.Target != "amqp://guest@"+host+":5672/%2F" {
					t.Errorf("%q: line %d is of %s, %v, want %s", args, i, line.Target, err, host)
				}
			}
		}
	}
}

func TestProbeTakesThePasswordFromURLThenFileThenEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("from-file\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env, url string
		file     bool
		want     target.Credentials
		warns    bool
	}{
		"all three":                       {"from-env", "amqp://ada:from-url@h", true, target.Credentials{Username: "ada", Password: "from-url"}, true},
		"file and environment":            {"from-env", "amqp://ada@h", true, target.Credentials{Username: "ada", Password: "from-file"}, false},
		"environment":                     {"from-env", "amqp://ada@h", false, target.Credentials{Username: "ada", Password: "from-env"}, false},
		"nothing":                         {"", "amqp://h", false, target.Credentials{Username: "guest", Password: "guest"}, false},
		"guest without a password":        {"", "amqp://guest@h", false, target.Credentials{Username: "guest", Password: "guest"}, false},
		"a password and no name":          {"from-env", "amqp://h", false, target.Credentials{Username: "guest", Password: "from-env"}, false},
		"a password and no name, in both": {"from-env", "amqp://:from-url@h", false, target.Credentials{Username: "guest", Password: "from-url"}, true},
	} {
		t.Setenv(passwordVariable, c.env)
		args := []string{"probe", c.url}
		if c.file {
			args = append(args, "--password-file", file)
		}
		var a answers
		code, stdout, stderr := try(t, &a, args...)
		if code != 0 || len(a.creds) != 1 || a.creds[0] != c.want {
			t.Errorf("%s: exit code %d, credentials %#v, want %#v", name, code, a.creds, c.want)
		}
		if warned := strings.HasPrefix(stderr, "warning: target 1: its password is in the URL"); warned != c.warns || strings.Contains(stdout+stderr, "from-") {
			t.Errorf("%s: stdout %q, stderr %q", name, stdout, stderr)
		}
	}
	t.Setenv(passwordVariable, "")
	if code, _, stderr := try(t, &answers{}, "probe", "amqp://guest@h", "amqp://ada@h"); code != 3 ||
		stderr != "unstuck: target 2: no password: use --password-file or the environment variable UNSTUCK_PASSWORD\n" {
		t.Errorf("no password at all: exit code %d, stderr %q", code, stderr)
	}
}

func TestProbeIsReachedByTheFlags(t *testing.T) {
	for args, want := range map[string]struct {
		level              probe.Kind
		timeout, handshake time.Duration
		notes              bool
	}{
		"":                                      {probe.Login, 12 * time.Second, 10 * time.Second, false},
		"--level=roundtrip":                     {probe.Roundtrip, 20 * time.Second, 10 * time.Second, false},
		"--level=roundtrip --timeout=13s":       {probe.Roundtrip, 13 * time.Second, 10 * time.Second, false},
		"--handshake-timeout=1s --timeout=1.2s": {probe.Login, 1200 * time.Millisecond, time.Second, false},
		"--timeout=10s":                         {probe.Login, 10 * time.Second, 10 * time.Second, true},
		"--timeout=10.5s":                       {probe.Login, 10500 * time.Millisecond, 10 * time.Second, true},
		"--timeout=3s":                          {probe.Login, 3 * time.Second, 10 * time.Second, true},
		"--handshake-timeout=30s":               {probe.Login, 12 * time.Second, 30 * time.Second, true},
	} {
		var a answers
		code, _, stderr := try(t, &a, append([]string{"probe", "amqp://h/v", "amqps://h"}, strings.Fields(args)...)...)
		if code != 0 || len(a.options) != 2 {
			t.Fatalf("%s: exit code %d, stderr %s", args, code, stderr)
		}
		o := a.options[0]
		if o.Level != want.level || o.Timeout != want.timeout || o.HandshakeTimeout != want.handshake || o.Vhost != "v" || o.TLS != nil ||
			o.Name != "unstuck probe" || o.Version == "" {
			t.Errorf("%s: the probe got %+v", args, o)
		}
		if a.options[1].TLS == nil {
			t.Errorf("%s: amqps without TLS", args)
		}
		if notes := strings.HasPrefix(stderr, "note: --timeout"); notes != want.notes {
			t.Errorf("%s: stderr %q", args, stderr)
		}
	}
}

func TestProbeAnswersAWrongCommandLineWithOneLineAndExitCode3(t *testing.T) {
	dir := t.TempDir()
	empty, lines := filepath.Join(dir, "empty"), filepath.Join(dir, "lines")
	for file, content := range map[string]string{empty: "\n", lines: marker + "\n" + marker + "\n"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	missing := filepath.Join(dir, marker)
	for args, want := range map[string]string{
		"probe": `want at least one URL, such as amqp://user@host:5672/vhost: see "unstuck probe --help"`,
		"probe amqp://h http://a:" + marker + "@h":           "target 2: " + errShape.Error(),
		"probe amqp://u:1/" + marker + "@h":                  "target 1: " + errVhost.Error(),
		"probe amqp://h --level " + marker:                   "flag --level: want login or roundtrip",
		"probe --timeout amqp://u:" + marker + "@h amqp://h": `flag --timeout: want a duration: see "unstuck probe --help"`,
		"probe amqp://h --timeout 0s":                        "flags --timeout and --handshake-timeout: want more than 0s",
		"probe amqp://h --handshake-timeout=-1s":             "flags --timeout and --handshake-timeout: want more than 0s",
		"probe amqp://h --watch=10ms":                        "flag --watch: want at least 1s, as each attempt costs a stuck node a socket",
		"probe amqp://h --watch=0s":                          "flag --watch: want at least 1s, as each attempt costs a stuck node a socket",
		"probe amqp://h --watch 5s":                          "target 2 is no URL: did you mean --watch=5s?",
		"probe --watch 1m30s amqp://h":                       "target 1 is no URL: did you mean --watch=1m30s?",
		"probe amqp://h 5s":                                  "target 2: " + errShape.Error(),
		"completion":                                         `want a shell, one of bash, fish, powershell, zsh: see "unstuck completion --help"`,
		"completion foo":                                     `want a shell, one of bash, fish, powershell, zsh: see "unstuck completion --help"`,
		"completion bash foo":                                `want no argument, got 1 argument: see "unstuck completion bash --help"`,
		"probe amqp://h --level":                             `flag --level wants a value: see "unstuck probe --help"`,
		"probe amqp://h --password=" + marker:                `there is no flag --password: see "unstuck probe --help"`,
		"probe amqp://h --" + marker:                         `there is no such flag: see "unstuck probe --help"`,
		"probe amqp://h -p" + marker:                         `there is no such flag: see "unstuck probe --help"`,
		"deploy staging x --accept-migration-risks":          `there is no flag --accept-migration-risks: see "unstuck deploy --help"`,
		"probe amqp://h -c":                                  `there is no flag -c: see "unstuck probe --help"`,
		"probe amqp://h -c=" + marker:                        `there is no flag -c: see "unstuck probe --help"`,
		"probe amqp://h -Z x":                                `there is no flag -Z: see "unstuck probe --help"`,
		"probe amqp://h -c" + marker:                         `there is no such flag: see "unstuck probe --help"`,
		"probe amqp://h ---" + marker:                        `there is no such flag: see "unstuck probe --help"`,
		"probe amqp://u@h --password-file " + missing:        "flag --password-file: cannot open the file: no such file or directory",
		"probe amqp://u@h --password-file " + dir:            "flag --password-file: cannot read the file: it is a directory, not a regular file",
		"probe amqp://u@h --password-file /dev/zero":         "flag --password-file: cannot read the file: it is a device, not a regular file",
		"probe amqp://u@h --password-file " + empty:          "flag --password-file: want one line with the password in the file",
		"probe amqp://u@h --password-file " + lines:          "flag --password-file: want one line with the password in the file",
		"probe amqp://h --ca-file x":                         "flags --ca-file, --cert-file, --key-file, --server-name: they are for amqps, and no target is amqps",
		"probe amqps://h --ca-file " + empty:                 "CA certificates " + empty + ": there is no PEM certificate in it",
		"prob amqp://u:" + marker + "@h":                     `there is no command "prob": did you mean "probe"?`,
		"nonsense":                                           `there is no command "nonsense": see "unstuck --help"`,
		"amqp://u:" + marker + "@h":                          `want a command before the arguments, such as "unstuck probe amqp://user@host": see "unstuck --help"`,
		marker:                                               `want a command before the arguments, such as "unstuck probe amqp://user@host": see "unstuck --help"`,
		"--timeout=" + marker:                                `there is no flag --timeout: see "unstuck --help"`,
		"version " + marker:                                  `want no argument, got 1 argument: see "unstuck version --help"`,
		"check-config":                                       `want at least one file: see "unstuck check-config --help"`,
	} {
		t.Setenv(passwordVariable, "")
		code, stdout, stderr := try(t, &answers{}, strings.Fields(args)...)
		if code != 3 || stdout != "" || stderr != "unstuck: "+want+"\n" {
			t.Errorf("%s: exit code %d, stdout %q\nstderr %q\nwant   %q", args, code, stdout, stderr, "unstuck: "+want+"\n")
		}
		if strings.Contains(stdout+stderr, marker) {
			t.Errorf("%s: the output shows what may be a secret", args)
		}
	}
}

func TestProbeShowsThePasswordNowhereWhateverTheResult(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(marker), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, v := range probe.Verdicts() {
		a := &answers{results: map[string]probe.Result{"h:5672": {Reason: v.Reason, Stage: probe.StageTune, Took: time.Second}}}
		for _, flags := range [][]string{
			{"amqp://ada:" + marker + "@h"},
			{"amqp://ada@h", "--password-file", file},
			{"amqp://ada:" + marker + "@h", "--json"},
			{"amqp://ada:" + marker + "@h", "amqp://ada:" + marker + "@h:1", "--timeout=1s"},
		} {
			_, stdout, stderr := try(t, a, append([]string{"probe"}, flags...)...)
			if strings.Contains(stdout+stderr, marker) || !strings.Contains(stdout, v.Status.String()) {
				t.Errorf("%s %q: stdout %s stderr %s", v.Reason, flags, stdout, stderr)
			}
		}
	}
}

// listener gives the address of a listener that treats each connection with serve.
func listener(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return l.Addr().String()
}

func TestProbeJudgesRealListenersEndToEnd(t *testing.T) {
	silent := listener(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	rude := listener(t, func(net.Conn) {})
	foreign := listener(t, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") })
	closed := listener(t, func(net.Conn) {})
	if l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"); err == nil {
		closed = l.Addr().String()
		_ = l.Close()
	}
	web := httptest.NewUnstartedServer(http.NotFoundHandler()) // it waits for the end of a line, which AMQP never sends
	web.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	web.StartTLS()
	defer web.Close()
	secure := web.Listener.Addr().String()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	quick := []string{"--json", "--handshake-timeout=200ms", "--timeout=400ms"}
	for name, c := range map[string]struct {
		args []string
		code int
		want probe.Reason
	}{
		"silence beyond the handshake timeout": {append(slices.Clone(quick), "amqp://"+silent), 2, probe.AwaitStart},
		"silence that is too short":            {[]string{"--json", "--timeout=200ms", "amqp://" + silent}, 3, probe.Cancelled},
		"nothing listens":                      {append(slices.Clone(quick), "amqp://"+closed), 1, probe.Refused},
		"closed at once":                       {append(slices.Clone(quick), "amqp://"+rude), 1, probe.ClosedEarly},
		"another protocol":                     {append(slices.Clone(quick), "amqp://"+foreign), 1, probe.Protocol},
		"a certificate nobody vouches for":     {append(slices.Clone(quick), "amqps://"+secure), 1, probe.TLS},
		"a certificate for another name":       {append(slices.Clone(quick), "amqps://"+secure, "--ca-file", ca, "--server-name", "mq.invalid"), 1, probe.TLS},
		"TLS that fits, and then silence":      {append(slices.Clone(quick), "amqps://"+secure, "--ca-file", ca, "--server-name", "example.com"), 2, probe.AwaitStart},
	} {
		code, stdout, stderr := try(t, nil, append([]string{"probe"}, c.args...)...)
		for attempt := 1; attempt < 20 && strings.Contains(stdout, "our own process did not run"); attempt++ { // the machine is busy
			code, stdout, stderr = try(t, nil, append([]string{"probe"}, c.args...)...)
		}
		var line struct{ Reason probe.Reason }
		if err := json.Unmarshal([]byte(stdout), &line); err != nil || code != c.code || line.Reason != c.want {
			t.Errorf("%s: exit code %d, want %d with %s: %v\n%s%s", name, code, c.code, c.want, err, stdout, stderr)
		}
	}
}

func TestProbeHasCompletionsForItsArguments(t *testing.T) {
	for args, want := range map[string]string{
		"probe ":                 "amqp://\namqps://\n:2\n",
		"probe --level ":         "login\nroundtrip\n:4\n",
		"check-config ":          "yaml\nyml\n:8\n",
		"probe --password-file ": ":0\n",
	} {
		code, stdout, _ := try(t, nil, append([]string{cobra.ShellCompNoDescRequestCmd}, strings.Split(args, " ")...)...)
		if code != 0 || stdout != want {
			t.Errorf("%q: exit code %d, completions %q, want %q", args, code, stdout, want)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, stdout, _ := try(t, nil, "completion", shell); code != 0 || !strings.Contains(stdout, "unstuck") {
			t.Errorf("completion for %s: exit code %d", shell, code)
		}
	}
}
