package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/apptest"
	"github.com/cjworkbench/unstuck/cli"
	"github.com/cjworkbench/unstuck/probe"
)

func TestCheckConfigReportsEveryProblemWithItsLine(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	write("password", marker)
	good := write("good.yaml", `data_dir: .
brokers:
  - name: orders
    username: ada
    password_file: password
    nodes:
      - {name: mq-0, address: "127.0.0.1:5672"}
      - {name: mq-1, address: "127.0.0.2:5672"}
  - name: mail
    username: ada
    password_file: password
    nodes:
      - {name: mq-0, address: "127.0.0.3:5672"}
`)
	bad := write("bad.yaml", `brokers:
  - name: orders
    username: ada
    password_file: missing
    colour: green
    nodes:
      - {name: mq-0, address: nowhere}
data_dir: .
`)
	pods := write("pods.yaml", `brokers:
  - name: orders
    username: ada
    password_file: password
    pods: {namespace: shop, selector: app=rabbitmq, container: rabbitmq}
apps:
  - name: web
    pods: {namespace: shop, selector: app=web, container: app}
environments:
  - name: staging
    namespace: shop
    image: 'registry.example/{image}:{commit}'
    services: [{name: web, deployment: web, image: web}]
data_dir: .
`)
	missing := filepath.Join(dir, "missing.yaml")
	summary := good + ": ok: 2 brokers\n  orders: mode observe, 2 nodes\n  mail: mode observe, 1 node\n"
	for name, c := range map[string]struct {
		files []string
		code  int
		want  []string // the lines of the output begin like this, in this order
	}{
		"no problem": {[]string{good}, 0, strings.SplitAfter(summary, "\n")},
		"pods, which nobody has counted": {[]string{pods}, 0, []string{
			pods + ": ok: 1 broker\n", "  orders: mode observe, pods app=rabbitmq in namespace shop\n",
			"  web, an application: mode observe, pods app=web in namespace shop\n", "  staging, an environment: namespace shop, 1 service\n", "",
		}},
		"three problems":          {[]string{bad}, 1, []string{bad + ":4: ", bad + ":5: ", bad + ":7: ", ""}},
		"no such file":            {[]string{missing}, 1, []string{"open " + missing + ": no such file or directory\n", ""}},
		"a bad one before a good": {[]string{missing, good}, 1, append([]string{"open " + missing}, strings.SplitAfter(summary, "\n")...)},
	} {
		code, stdout, stderr := try(t, nil, append([]string{"check-config"}, c.files...)...)
		lines := strings.SplitAfter(stdout, "\n")
		if code != c.code || stderr != "" || len(lines) != len(c.want) || strings.Contains(stdout, marker) {
			t.Errorf("%s: exit code %d, stdout\n%sstderr %q, want %d lines", name, code, stdout, stderr, len(c.want))
			continue
		}
		for i, want := range c.want {
			if !strings.HasPrefix(lines[i], want) {
				t.Errorf("%s: line %d is %q, want it to begin with %q", name, i+1, lines[i], want)
			}
		}
	}
}

func TestCheckConfigReadsStandardInput(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("password", []byte("p"), 0o600); err != nil {
		t.Fatal(err)
	}
	const text = "data_dir: .\nbrokers:\n  - name: orders\n    username: ada\n    password_file: password\n    nodes: [{name: a, address: \"a:5672\"}]\n"
	for input, want := range map[string]string{
		text:                     "stdin: ok: 1 broker\n  orders: mode observe, 1 node\n",
		"colour: green\n" + text: "stdin:1: colour: ",
		text + "#" + strings.Repeat("x", probe.MaxFile): "read stdin: it is larger than ",
	} {
		root := newRootCommand()
		root.SetIn(strings.NewReader(input))
		var out, errs bytes.Buffer
		code := cli.Execute(t.Context(), root, []string{"check-config", "-"}, &out, &errs)
		if (code == 0) != strings.Contains(want, "ok") || !strings.HasPrefix(out.String(), want) || errs.Len() > 0 {
			t.Errorf("exit code %d, %q, stderr %q: want %q", code, out.String(), errs.String(), want)
		}
	}
}

func TestCheckConfigSaysUntilWhenTheCertificateHolds(t *testing.T) {
	now := time.Now().Truncate(time.Second).UTC()
	hour := func(n int) time.Time { return now.Add(time.Duration(n) * time.Hour) }
	for name, c := range map[string]struct {
		from, until time.Time
		want        string
	}{
		"it holds":         {hour(-1), hour(1), "with a certificate until " + hour(1).Format(time.RFC3339)},
		"it has ended":     {hour(-2), hour(-1), "with a certificate that ended on " + hour(-1).Format(time.RFC3339) + ": callers refuse it"},
		"it has not begun": {hour(1), hour(2), "with a certificate that begins on " + hour(1).Format(time.RFC3339) + ": callers refuse it until then"},
	} {
		dir := t.TempDir()
		apptest.WriteCertificateFor(t, dir, c.from, c.until)
		file := filepath.Join(dir, "unstuck.yaml")
		for path, text := range map[string]string{file: `data_dir: .
api: {tls: {cert_file: cert.pem, key_file: key.pem}}
brokers: [{name: rabbit, username: u, password_file: password, nodes: [{name: a, address: "127.0.0.1:1"}]}]
`, filepath.Join(dir, "password"): "secret"} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		code, got, _ := try(t, nil, "check-config", file)
		if want := file + ": ok: 1 broker\n  the API: by TLS, " + c.want + "\n"; code != 0 || !strings.HasPrefix(got, want) {
			t.Errorf("%s: it is %d, %q, want %q", name, code, got, want)
		}
	}
}
