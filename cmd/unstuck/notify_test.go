package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNotifyTestTriesAReceiver(t *testing.T) {
	var bodies []string
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		bodies = append(bodies, string(body))
		w.WriteHeader(status)
	}))
	defer server.Close()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"url": server.URL + "/" + marker, "password": "x",
		"unstuck.yaml": `data_dir: .
brokers: [{name: orders, username: u, password_file: password, nodes: [{name: n, address: "127.0.0.1:5672"}]}]
notify: [{name: chat, type: slack, url_file: url}]
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "unstuck.yaml")
	code, stdout, stderr := try(t, nil, "notify-test", "chat", "--config", file)
	if code != 0 || stdout != "receiver chat (slack) took the test\n" || stderr != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if len(bodies) != 2 || !strings.Contains(bodies[0], "nothing has happened") {
		t.Errorf("sent %q", bodies)
	}
	status = http.StatusForbidden
	code, stdout, stderr = try(t, nil, "notify-test", "chat", "--config", file)
	if code != 1 || stdout != "" || !strings.Contains(stderr, "it answered 403 Forbidden") || strings.Contains(stderr, marker) {
		t.Errorf("refused: exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	code, stdout, stderr = try(t, nil, "notify-test", "chat", "--config", file, "-o", "json")
	if code != 1 || stdout != `{"receiver":"chat","type":"slack","took":false,"error":"it answered 403 Forbidden"}`+"\n" || stderr != "" {
		t.Errorf("refused, as JSON: exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	code, _, stderr = try(t, nil, "notify-test", "mail", "--config", file)
	if code != 1 || !strings.Contains(stderr, `there is no receiver "mail": want one of chat`) {
		t.Errorf("no such receiver: exit code %d, stderr %q", code, stderr)
	}
}
