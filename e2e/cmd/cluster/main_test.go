package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/e2e/sandbox"
)

func TestRunExplainsEachCommandAndSaysWhereALineIsWrong(t *testing.T) {
	for _, args := range [][]string{{"-h"}, {"--help"}, {"help"}, {"up", "-h"}} {
		var out strings.Builder
		if err := run(t.Context(), args, &out); err != nil {
			t.Errorf("%v: %v", args, err)
		}
		for _, c := range (where{}).commands() {
			if !strings.Contains(out.String(), c.name) || !strings.Contains(out.String(), c.help) {
				t.Errorf("%v does not explain %s:\n%s", args, c.name, out.String())
			}
		}
		for _, flag := range []string{"-dir", "-rabbitmq"} {
			if !strings.Contains(out.String(), flag) {
				t.Errorf("%v does not explain %s", args, flag)
			}
		}
	}
	dir := t.TempDir()
	for line, want := range map[string]string{
		"":                         "-h",
		"start":                    `"start"`,
		"up now":                   `"now"`,
		"wedge one two":            `"two"`,
		"-verbose up":              "-verbose",
		"-dir " + dir + " status":  "no cluster runs",
		"-dir " + dir + " wedge":   "no cluster runs",
		"-dir " + dir + " wedge 1": "no cluster runs",
	} {
		var out strings.Builder
		err := run(t.Context(), strings.Fields(line), &out)
		if err == nil || !strings.Contains(err.Error(), want) || out.Len() > 0 {
			t.Errorf("cluster %s: %v, and it prints %q; want an error with %q", line, err, out.String(), want)
		}
	}
}

// said are commands in the place of those that the lines call, which say with what they are called.
const said = `
set -eu
say() { printf '<%s>' "$@"; echo; }
kubectl() { say kubectl "$@" "$KUBECONFIG" "${PATH%%:*}"; }
helm() { say helm "$@"; }
make() { say make "$@"; }
curl() { say curl "$@"; }
bin/unstuck() { say "$PWD" "$@" "${UNSTUCK_SERVER:-}" "${UNSTUCK_TOKEN:-}"; }
`

//promise:49
func TestWhereExplainPrintsLinesThatWorkWhereverTheProjectIs(t *testing.T) {
	root := filepath.Join(t.TempDir(), `it's a "project" & $(more)`)
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(root, "token")
	if err := os.WriteFile(token, []byte("oncall.secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	w := where{root: root, dir: root, out: &out}
	e := explained{
		Root: quote(root), Kubeconfig: quote(filepath.Join(root, "kubeconfig")), Tools: quote(w.tools()), Server: "https://127.0.0.1:1",
		Unstuck: true, API: "http://127.0.0.1:2", Metrics: "http://127.0.0.1:3", Token: quote(token), Curl: quote(w.curl()),
		Node: wedgedNode, First: firstCommit, Second: secondCommit, Budget: budget,
	}
	if err := e.write(w); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "oncall.secret") {
		t.Error("the token is printed")
	}
	script := said
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "  ") {
			script += line
		}
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	cmd.Dir, cmd.Env = t.TempDir(), []string{"PATH=" + os.Getenv("PATH")}
	got, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	for _, want := range []string{
		"<kubectl><get><pods><--all-namespaces><" + root + "/kubeconfig><" + root + "/tools>",
		"<" + root + "><status><><>",
		"<" + root + "><status><http://127.0.0.1:2><oncall.secret>",
		"<make><cluster-wedge><NODE=" + wedgedNode + ">",
		"<" + root + "><deploy><staging><" + secondCommit + "><--reason><a look><><>",
		"<curl><-s><-K><" + root + "/token.curl><http://127.0.0.1:2/api/v1/targets?pretty>",
		"<curl><-s><http://127.0.0.1:3/metrics>",
	} {
		if !strings.Contains(string(got), want+"\n") {
			t.Errorf("no line does %s:\n%s", want, got)
		}
	}
}

func TestWhereInterruptedRemovesWhatWasStarted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	if err := sandbox.Claim(dir); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := (where{dir: dir, out: &out}).interrupted(nil); err == nil || !strings.Contains(err.Error(), "nothing of the cluster is left") {
		t.Errorf("it says %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its directory is still there: %v", err)
	}
	if !strings.Contains(out.String(), "Interrupted") {
		t.Errorf("it says nothing while it removes it: %q", out.String())
	}
}
