package cli

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/terminal"
)

func TestClientSendsAgainOnlyWhatMayBeSentTwice(t *testing.T) {
	for args, c := range map[string]struct{ code, times int }{
		"status": {0, 3},
		"deploy staging " + newCommit + " --reason x --yes --no-wait": {0, 3},
		"pause orders --for 1h --reason x":                            {5, 1},
		"resume orders --reason x":                                    {5, 1},
		"delete orders mq-1 --reason x --yes --override paused":       {5, 1},
	} {
		times, keys := 0, map[string]bool{}
		onServedAPI(t, func(t *testing.T, s *servedAPI) {
			console, _ := s.console()
			code, _, stderr := s.run(t, console, strings.Fields(args)...)
			if code != c.code || times != c.times || len(keys) != 1 {
				t.Errorf("%s: exit code %d, want %d; sent %d times, want %d; %d keys; %s", args, code, c.code, times, c.times, len(keys), stderr)
			}
		}, func(s *servedAPI) {
			s.through = func(next http.Handler) http.Handler { // the first two are answered by nobody, or a proxy
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					times++
					if keys[r.Header.Get("Idempotency-Key")] = true; times > 2 && strings.HasPrefix(args, "status") {
						times = 3
					}
					switch times {
					case 1:
						panic(http.ErrAbortHandler)
					case 2:
						http.Error(w, "<html>", http.StatusServiceUnavailable)
						return
					}
					next.ServeHTTP(w, r)
				})
			}
		})
	}
}

func TestClientSendsAgainWhenABusyServerHasTime(t *testing.T) {
	times := 0
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, _ := s.console()
		began := time.Now()
		if code, _, stderr := s.run(t, c, "pause", "orders", "--for", "1h", "--reason", "x"); code != 0 || times != 2 || time.Since(began) != 7*time.Second {
			t.Errorf("exit code %d, sent %d times within %s: %s", code, times, time.Since(began), stderr)
		}
	}, func(s *servedAPI) {
		s.through = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if times++; times == 1 {
					w.Header().Set("Content-Type", "application/problem+json")
					w.WriteHeader(http.StatusTooManyRequests)
					_ = json.NewEncoder(w).Encode(httpapi.Problem{Detail: "too many requests", RetryAfter: 7})
					return
				}
				next.ServeHTTP(w, r)
			})
		}
	})
}

func TestClientDoesNotCallFailedWhatIsNotKnown(t *testing.T) {
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, _ := s.console()
		code, _, stderr := s.run(t, c, "deploy", "staging", newCommit, "--reason", "x", "--yes", "--key", "k7")
		if code != 5 || !strings.HasPrefix(stderr, "unstuck: it is not known whether it was begun: the same again with --key k7 does nothing twice") {
			t.Errorf("exit code %d, stderr %q", code, stderr)
		}
		if got := len(s.sent()); got != 4 {
			t.Errorf("%d requests: %q", got, s.sent())
		}
	}, func(s *servedAPI) {
		s.through = func(http.Handler) http.Handler {
			return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		}
	})
}

func TestClientTakesAnswersOfSomethingElseNotForUnstucks(t *testing.T) {
	for want, h := range map[string]http.HandlerFunc{
		"is the address that of Unstuck's API?":     func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"404 Not Found, and not in Unstuck's words": http.NotFound,
		"which the token does not follow": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://elsewhere/", http.StatusFound)
		},
		"is it of another version than this command": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"targets": 7}`) },
		"400 Bad Request, and not in Unstuck's words": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusBadRequest)
		},
	} {
		onServedAPI(t, func(t *testing.T, s *servedAPI) {
			c, _ := s.console()
			code, stdout, stderr := s.run(t, c, "status")
			if code == 0 || stdout != "" || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 || len(s.requests) != 1 {
				t.Errorf("exit code %d, stdout %q, stderr %q, %d requests", code, stdout, stderr, len(s.requests))
			}
		}, func(s *servedAPI) { s.through = func(http.Handler) http.Handler { return h } })
	}
}

// hostile is what no terminal may get: escape sequences of 7 and of 8 bits, a backspace, text that runs backwards.
const hostile = " \x1b]0;owned\x07\x1b[2J\u009b31m\b\u202e\U000e0041"

func TestClientLetsNothingThatTheServerSaysTouchTheTerminal(t *testing.T) {
	for _, args := range []string{
		"status", "explain orders mq-1", "incidents", "incidents incident-1", "logs staging frontend", "env staging frontend", "operations", "operations op-1", "operations op-1 --follow",
		"deploy staging " + newCommit + " --reason x --dry-run", "deploy staging " + newCommit + " --reason x", "delete orders mq-1 --reason x",
	} {
		for _, output := range []string{"text", "json"} {
			onServedAPI(t, func(t *testing.T, s *servedAPI) {
				c, _ := s.console()
				s.hostile = hostile
				_, _ = s.Submit(t.Context(), plan.Request{Kind: plan.Deploy, Environment: "staging", Commit: newCommit, Reason: "x", By: "ada"})
				s.ends(theOperation, 2*time.Second, plan.Failed, "failed"+hostile)
				if !strings.Contains(args, "--follow") {
					time.Sleep(3 * time.Second)
				}
				_, stdout, stderr := s.run(t, c, append(strings.Fields(args), "-o", output)...)
				for _, r := range stdout + stderr {
					if !unicode.IsPrint(r) && r != '\n' {
						t.Errorf("%s: %q is printed in %q", args, r, stdout+stderr)
						break
					}
				}
				if stdout != "" && output == "json" && !json.Valid([]byte(stdout)) {
					t.Errorf("%s: no JSON: %s", args, stdout)
				}
				if stdout+stderr == "" || !strings.Contains(stdout+stderr, "owned") {
					t.Errorf("%s: the text has not come at all: %q", args, stdout+stderr)
				}
			})
		}
	}
	var same string
	if err := json.Unmarshal([]byte(terminal.Escape(`"`+strings.ReplaceAll(hostile, "\x1b", "")+`"`)), &same); err != nil || same != strings.ReplaceAll(hostile, "\x1b", "") {
		t.Errorf("what is escaped reads as %q, %v", same, err)
	}
}

func TestServerFlagsConnectRefusesServerAndTokenWithoutRepeatingThem(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"two": clientToken + "\nsecond", "empty": "\n", "large": strings.Repeat("x", maxSmallFile+1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(tokenVariable, "")
	for _, c := range []struct {
		flags []string
		want  string
	}{
		{[]string{"--server", "unstuck.example"}, "want http://host:port"},
		{[]string{"--server", "http://u:MARKER@h"}, "want http://host:port"},
		{[]string{"--server", "https://h/?token=MARKER"}, "want http://host:port"},
		{[]string{"--server", "http://[MARKER"}, "want http://host:port"},
		{[]string{"--server", "http://h", "--token-file", filepath.Join(dir, "two")}, "want it alone, on one line"},
		{[]string{"--server", "http://h", "--token-file", filepath.Join(dir, "empty")}, "there is no token in"},
		{[]string{"--server", "http://h", "--token-file", filepath.Join(dir, "large")}, "too large"},
		{[]string{"--server", "http://h", "--token-file", filepath.Join(dir, "none")}, "no such file"},
		{[]string{"--server", "https://h", "--ca-file", filepath.Join(dir, "two")}, "there is no certificate in"},
		{[]string{"--kubeconfig", filepath.Join(dir, "none")}, "no --server, and none in a cluster: "},
		{[]string{"--server", "http://h", "-o", "yaml"}, "flag --output: want a format, text or json"},
	} {
		code, stdout, stderr := tryLine(t, append([]string{"status"}, c.flags...)...)
		if code != 3 || stdout != "" || !strings.Contains(stderr, c.want) || strings.Contains(stderr, "MARKER") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", c.flags, code, stdout, stderr)
		}
	}
	var stderr strings.Builder
	for base, want := range map[string]bool{"http://unstuck.example:80": true, "http://127.0.0.1:1": false, "http://localhost": false, "https://unstuck.example": false} {
		stderr.Reset()
		t.Setenv(tokenVariable, clientToken)
		if _, err := (&serverFlags{server: base + "/"}).connect(t.Context(), newConsole(), nil, &stderr); err != nil || strings.Contains(stderr.String(), "unencrypted") != want {
			t.Errorf("%s: %v, %q", base, err, stderr.String())
		}
	}
}

func TestClientRefusesATokenThatIsNobodysWithAHint(t *testing.T) {
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, _ := s.console()
		code, _, stderr := s.run(t, c, "status")
		want := "unstuck: the token is unknown or has expired\nunstuck: a token is given with --token-file or $UNSTUCK_TOKEN\n"
		if code != 4 || stderr != want {
			t.Errorf("exit code %d, stderr %q", code, stderr)
		}
	}, func(s *servedAPI) {
		s.options.Identity = onlyToken{}
		s.through = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Header.Set("Authorization", "Bearer other")
				next.ServeHTTP(w, r)
			})
		}
	})
}

func TestClientChecksTheServersCertificate(t *testing.T) {
	s := newServedAPI()
	var asked atomic.Int32
	api := s.api().Handler(nil)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		api.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	defer server.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(serverVariable, server.URL)
	t.Setenv(tokenVariable, clientToken)
	if code, stdout, stderr := tryLine(t, "status", "--ca-file", file); code != 0 || stderr != "" || !strings.HasPrefix(stdout, "orders  mode observe") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	before := asked.Load()
	if code, _, stderr := tryLine(t, "pause", "--all", "--for", "1h", "--reason", "x"); code != 5 || !strings.Contains(stderr, "certificate") || asked.Load() != before {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	other := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(nil, other, other, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := tryLine(t, "pause", "--all", "--for", "1h", "--reason", "x", "--ca-file", file); code != 5 || !strings.Contains(stderr, "certificate") || asked.Load() != before {
		t.Errorf("another authority: exit code %d, stderr %q", code, stderr)
	}
}

// tryLine runs a command line on a server that its flags name.
func tryLine(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Execute(t.Context(), testRoot(newConsole()), args, &out, &errs)
	return code, out.String(), errs.String()
}
