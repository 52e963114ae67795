package apiserver

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConnectShowsNoSecretOfAKubeconfigThatItCannotUse(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"broken":     "apiVersion: v1\nkind: Config\nusers: [{name: me, user: {token: hunter2}\n",
		"wrong type": "apiVersion: v1\nkind: Config\nusers: [{name: me, user: {token: [hunter2]}}]\n",
		"no cluster": "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{name: x, context: {cluster: none, user: me}}]\nusers: [{name: me, user: {token: hunter2}}]\n",
		"no CA": "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{name: x, context: {cluster: c, user: me}}]\n" +
			"clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1', certificate-authority: /none}}]\nusers: [{name: me, user: {token: hunter2}}]\n",
	} {
		file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Connect(Options{Kubeconfig: file}, slog.New(slog.DiscardHandler))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Connect(Options{Kubeconfig: filepath.Join(dir, "none")}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a file that there is not is no error")
	}
}
