package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestReadyWaitsUntilItIs(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []string // "STATUS BODY", the last one for ever
		wait    string
		want    string
		fails   bool
	}{
		{"at once", []string{`200 {"status": "ready", "targets": [{"target": "a"}]}`}, "20s", "ready: targets that reconcile: 1", false},
		{"later", []string{`503 {"detail": "late"}`, `200 {"status": "ready", "targets": []}`}, "20s", "ready: targets that reconcile: 0", false},
		{"never", []string{`503 {"detail": "loops are late", "late": ["a", "b"]}`}, "300ms", "not ready in time: loops are late (a, b)", true},
		{"something else", []string{`200 <html>`}, "300ms", "not ready in time: the answer is not that of an Unstuck", true},
		{"a broken proxy", []string{`502 <html>`}, "300ms", "not ready in time: the answer is 502", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/readyz" {
					t.Errorf("it asks for %s", r.URL.Path)
				}
				answer := c.answers[min(int(asked.Add(1)), len(c.answers))-1]
				status, body, _ := strings.Cut(answer, " ")
				var code int
				_, _ = fmt.Sscan(status, &code)
				w.WriteHeader(code)
				_, _ = w.Write([]byte(body))
			}))
			defer server.Close()
			var out bytes.Buffer
			root := newRootCommand()
			root.SilenceErrors, root.SilenceUsage = true, true
			root.SetOut(&out)
			root.SetArgs([]string{"ready", server.URL, "--wait", c.wait})
			err := root.ExecuteContext(t.Context())
			got := strings.TrimSpace(out.String())
			if err != nil {
				got = err.Error()
			}
			if (err != nil) != c.fails || got != c.want {
				t.Errorf("it says %q (%v), want %q", got, err, c.want)
			}
		})
	}
}

func TestReadyRefusesWhatIsNoURLAndRepeatsNoneOfIt(t *testing.T) {
	for _, text := range []string{"", "host:9090", "ftp://host", "http://", "http://u:secret@host", "http://host?secret"} {
		if _, err := readyURL(text); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: error %v", text, err)
		}
	}
	if at, err := readyURL("http://host:9090/"); err != nil || at != "http://host:9090/readyz" {
		t.Errorf("it asks at %q (%v)", at, err)
	}
}
