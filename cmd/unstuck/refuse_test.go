package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/config"
)

func TestTheDaemonRefusesWhatItReadsAndDoesNotServeYet(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"environments: [{name: a, namespace: a, image: 'r.example/{image}:{commit}', services: [{name: s, deployment: s, image: s}]}]\n", "environments"},
		{"api: {tokens_file: tokens.yaml}\n", "api.tokens_file"},
		{"api: {rate_limit: {per_second: 10}}\n", "api.rate_limit"}, // as by default, and said all the same
		{"api: {rate_limit: {burst: 7}, tokens_file: tokens.yaml}\n", "api.rate_limit, api.tokens_file"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "tokens.yaml"), []byte(aToken), 0o600); err != nil {
			t.Fatal(err)
		}
		loaded, err := config.Load(writeConfig(t, dir, c.text))
		if err != nil {
			t.Fatal(err)
		}
		err = runDaemon(t.Context(), loaded, io.Discard)
		if err == nil || !strings.HasPrefix(err.Error(), c.want+": this version reads and checks") || !strings.Contains(err.Error(), "does not serve it yet") {
			t.Errorf("%sthe error is %v", c.text, err)
		}
		if _, err := os.Stat(loaded.DataDir); err == nil {
			t.Errorf("%sit has begun, and made its data_dir", c.text)
		}
	}
	// A certificate would have to be made for the file to be taken; either half of it will do here.
	for _, api := range []config.API{{CertFile: "/c"}, {KeyFile: "/k"}} {
		if err := refuseNotServed(&config.Config{API: api}); err == nil || !strings.HasPrefix(err.Error(), "api.tls: ") {
			t.Errorf("%+v: the error is %v", api, err)
		}
	}
}

func TestTheDaemonTakesAFileThatSetsNoneOfThatOrLeavesItEmpty(t *testing.T) {
	for _, text := range []string{"", "environments: []\n"} {
		c, err := config.Load(writeConfig(t, t.TempDir(), text))
		if err != nil {
			t.Fatal(err)
		}
		if err := refuseNotServed(c); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// aToken is a file of one token.
const aToken = `tokens:
  - name: ci
    hash: pbkdf2-sha256:100000:Lf3jjTKFrI2lAVpOMre5pw:h0LIk7LiQdL+Q8E9q0LKvPDSSZN1Q9xeiMg8wYV15vs
    rights: [{verbs: [pause], brokers: [rabbit]}]
`

// writeConfig writes a configuration of one broker, with more, and gives its path.
func writeConfig(t *testing.T, dir, more string) string {
	t.Helper()
	path := filepath.Join(dir, "unstuck.yaml")
	text := more + `data_dir: data
brokers: [{name: rabbit, username: u, password_file: password, nodes: [{name: a, address: "h:5672"}]}]
`
	for file, content := range map[string]string{path: text, filepath.Join(dir, "password"): "p"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}
