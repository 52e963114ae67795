package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/cli"
	"github.com/cjworkbench/unstuck/config"
)

// made runs `unstuck token`.
func made(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Execute(t.Context(), newRootCommand(), append([]string{"token"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func TestMakeTokenMakesATokenThatSignsInWhereItsHashStands(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ci.token")
	_, shown, _ := made(t, "ci")
	code, hashAlone, stderr := made(t, "ci", "--token-file", file)
	if code != 0 || stderr != "" || strings.Count(shown, "\n") != 2 || strings.Count(hashAlone, "\n") != 1 {
		t.Fatalf("exit code %d, %q, %q, %q", code, shown, hashAlone, stderr)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	first, hash, _ := strings.Cut(shown, "\n")
	for token, hash := range map[string]string{first: hash, strings.TrimSpace(readText(t, file)): hashAlone} {
		list := filepath.Join(dir, "tokens.yaml")
		entry := "tokens:\n  - name: ci\n    " + hash + "    rights:\n      - {verbs: [deploy], environments: [staging]}\n"
		if err := os.WriteFile(list, []byte(entry), 0o600); err != nil {
			t.Fatal(err)
		}
		tokens, err := config.ReadTokens(list)
		if err != nil {
			t.Fatal(err)
		}
		if who, err := tokens.Authenticate(token); err != nil || who.Name != "ci" {
			t.Errorf("%+v, %v", who, err)
		}
		if secret := strings.TrimPrefix(token, "ci."); secret == token || len(secret) != 49 || strings.Contains(hashAlone, secret) {
			t.Errorf("a token of %d characters, beside %q", len(token), hashAlone)
		}
	}
}

func TestMakeTokenTakesAGoodNameAloneAndOverwritesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "there")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"MARKER.secret"}, cli.ExitUnknown, "the name is not right: want lower-case letters, digits and dashes"},
		{[]string{""}, cli.ExitUnknown, "the name is not right"},
		{nil, cli.ExitUnknown, "want a name"},
		{[]string{"ci", "cd"}, cli.ExitUnknown, "want a name"},
		{[]string{"ci", "--token-file", file}, cli.ExitFailed, "write the token: open " + file + ": file exists"},
	} {
		code, stdout, stderr := made(t, c.args...)
		if code != c.code || stdout != "" || !strings.Contains(stderr, c.want) || strings.Contains(stderr, "MARKER") {
			t.Errorf("%q: exit code %d, %q, %q", c.args, code, stdout, stderr)
		}
	}
	if text := readText(t, file); text != "mine" {
		t.Errorf("the file has %q", text)
	}
}
