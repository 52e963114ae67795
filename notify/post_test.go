package notify

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

func TestPostSendsHeadersAndSignature(t *testing.T) {
	h := newHook(t, nil)
	r := h.receiver(t, "hook", func(r *Receiver) {
		r.TokenFile, r.SigningKeyFile = secretFile(t, "token"), secretFile(t, "key")
		r.HeadersFile = secretFile(t, "X-Scope-OrgID: ops\nContent-Type: text/plain")
	})
	p := &poster{Receiver: r, userAgent: "unstuck/test"}
	if err := p.post(t.Context(), eventOf(t, "i", Opened), began); err != nil {
		t.Fatal(err)
	}
	got, body := h.got[0], h.body[0]
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Authorization": "Bearer token", "User-Agent": "unstuck/test",
		"X-Scope-Orgid":   "ops",
		IdempotencyHeader: "i/opened", SignatureHeader: Sign([]byte("key"), []byte(body), began),
	} {
		if got.Header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want)
		}
	}
	if got.Method != http.MethodPost || got.URL.Path != secretPath {
		t.Errorf("%s %s", got.Method, got.URL.Path)
	}
	if err := os.WriteFile(r.TokenFile, []byte("rotated"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.post(t.Context(), eventOf(t, "i", Opened), began); err != nil {
		t.Fatal(err)
	}
	if got := h.got[1].Header.Get("Authorization"); got != "Bearer rotated" {
		t.Errorf("after a rotation: %q", got)
	}
}

// The example of docs/notify.md.
func TestSignIsThatOfTheDocumentation(t *testing.T) {
	got := Sign([]byte("key"), []byte(`{"version":"1"}`), began)
	page, err := os.ReadFile("../docs/notify.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "\n"+got+"\n") {
		t.Errorf("docs/notify.md does not have %s", got)
	}
}

func TestPostFollowsNoRedirect(t *testing.T) {
	elsewhere := newHook(t, nil)
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		h := newHook(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, status) })
		r := h.receiver(t, "hook", func(r *Receiver) { r.TokenFile = secretFile(t, "hunter2") })
		err := (&poster{Receiver: r}).post(t.Context(), eventOf(t, "i", Opened), began)
		if err == nil || !strings.Contains(err.Error(), "redirects are not followed") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%d: error %v", status, err)
		}
	}
	if told := elsewhere.told(); len(told) > 0 {
		t.Errorf("followed: %v", told)
	}
}

func TestPostTrustsTheAuthoritiesOfTheFile(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	ca := secretFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	r := DefaultReceiver()
	r.Name, r.Type, r.URL = "hook", JSON, server.URL+secretPath
	p := &poster{Receiver: r}
	if err := p.post(t.Context(), eventOf(t, "i", Opened), began); err == nil || !strings.Contains(err.Error(), "unknown authority") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("without the file: error %v", err)
	}
	p = &poster{Receiver: r}
	p.CAFile = secretFile(t, "no certificate")
	if err := p.post(t.Context(), eventOf(t, "i", Opened), began); err == nil || !strings.Contains(err.Error(), "no certificate in PEM") {
		t.Errorf("with another file: error %v", err)
	}
	p.CAFile = ca
	if err := p.post(t.Context(), eventOf(t, "i", Opened), began); err != nil {
		t.Error(err)
	}
}

func TestPostErrorsHoldNoSecret(t *testing.T) {
	e := eventOf(t, "i", Opened)
	for name, change := range map[string]func(*Receiver){
		"no_such_host":   func(r *Receiver) { r.URLFile = secretFile(t, "https://no-such-host.invalid"+secretPath+"?k=hunter2") },
		"no_url":         func(r *Receiver) { r.URLFile = secretFile(t, "::hunter2::") },
		"user":           func(r *Receiver) { r.URLFile = secretFile(t, "https://ada:hunter2@example.com/") },
		"scheme":         func(r *Receiver) { r.URLFile = secretFile(t, "ftp://example.com/hunter2") },
		"two_lines":      func(r *Receiver) { r.URLFile = secretFile(t, "https://example.com/hunter2\nhunter2") },
		"token_missing":  func(r *Receiver) { r.TokenFile = "/nowhere" },
		"token_no_token": func(r *Receiver) { r.TokenFile = secretFile(t, "hunter2\nhunter2") },
		"no_headers":     func(r *Receiver) { r.HeadersFile = secretFile(t, "A: b\nhunter2") },
		"bad_header":     func(r *Receiver) { r.HeadersFile = secretFile(t, "A: hunter2\x01") },
		"bad_token":      func(r *Receiver) { r.TokenFile = secretFile(t, "hunter2\x7f") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newHook(t, nil).receiver(t, "hook", change)
			err := (&poster{Receiver: r}).post(t.Context(), e, began)
			if err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A receiver repeats what it was sent, and a message shows the beginning of its answer, quoted.
func TestPostHidesSecretsBeforeItCutsAndQuotes(t *testing.T) {
	const token, headers = "SECRETSECRETSECRETSECRET42", `Authorization: Digest username="me", response="PASSPHRASE"`
	authorization := func(r *http.Request) string { return r.Header.Get("Authorization") }
	for name, row := range map[string]struct {
		change func(*Receiver)
		answer func(*http.Request) string
		part   string
	}{
		"cut": {
			func(r *Receiver) { r.TokenFile = secretFile(t, token) },
			func(*http.Request) string { return strings.Repeat("x", shownAnswer-10) + token }, token[:5],
		},
		"quoted": {func(r *Receiver) { r.TokenFile = secretFile(t, `SECRET"\token`) }, authorization, "SECRET"},
		"header": {func(r *Receiver) { r.HeadersFile = secretFile(t, headers) }, authorization, "PASSPHRASE"},
		"part": {
			func(r *Receiver) { r.HeadersFile = secretFile(t, headers) },
			func(*http.Request) string { return "no such user with PASSPHRASE" }, "PASSPHRASE",
		},
		"longer": {
			func(r *Receiver) {
				r.TokenFile, r.SigningKeyFile = secretFile(t, "hunter2"), secretFile(t, "hunter2-SIGNING")
			},
			func(*http.Request) string { return "the key is hunter2-SIGNING" }, "SIGNING",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHook(t, func(w http.ResponseWriter, r *http.Request) {
				http.Error(w, row.answer(r), http.StatusBadRequest)
			})
			err := (&poster{Receiver: h.receiver(t, "hook", row.change)}).post(t.Context(), eventOf(t, "i", Opened), began)
			if err == nil || !strings.Contains(err.Error(), "400 Bad Request: ") || strings.Contains(err.Error(), row.part) {
				t.Errorf("error %v, want one without %s", err, row.part)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, "-1": 0, "soon": 0, "999999": time.Hour,
		began.Add(time.Minute).Format(http.TimeFormat): time.Minute, began.Add(-time.Minute).Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(text, began); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
