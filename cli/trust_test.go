package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/kube"
)

// fakeCluster is the way to the served API as through a cluster.
type fakeCluster struct {
	*servedAPI

	token   string // the kubeconfig user's own
	daemon  kube.Daemon
	wrong   error // in place of the daemon
	plugins int   // how often the token was asked for
	only    kube.Daemon
}

func (*fakeCluster) Host() string { return "unstuck.unstuck.svc" }
func (f *fakeCluster) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f.dial(ctx, network, address)
}

func (f *fakeCluster) Token(context.Context) (string, error)       { f.plugins++; return f.token, nil }
func (f *fakeCluster) Daemon(context.Context) (kube.Daemon, error) { return f.daemon, f.wrong }
func (f *fakeCluster) Only(d kube.Daemon)                          { f.only = d }
func (f *fakeCluster) enter(kube.ForwardOptions) (cluster, error)  { return f, nil }
func (f *fakeCluster) at(answers ...string) (console, *[]string) {
	c, questions := f.console(answers...)
	c.dial, c.enter = nil, f.enter
	return c, questions
}

// tokensSent are those that the API was sent.
func (f *fakeCluster) tokensSent() (tokens []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.requests {
		tokens = append(tokens, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	}
	return tokens
}

// inCluster runs test with the API, in a cluster in which its one pod is known, as somebody who has a token.
func inCluster(t *testing.T, test func(*testing.T, *fakeCluster)) {
	t.Helper()
	t.Setenv(serverVariable, "")
	t.Setenv(tokenVariable, "")
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		test(t, &fakeCluster{servedAPI: s, token: clientToken, daemon: kube.Daemon{
			Cluster: "https://10.0.0.1", Namespace: "unstuck", Deployment: "unstuck", UID: "uid-1", ServiceAccount: "unstuck",
		}})
	})
}

func lineAt(t *testing.T, c console, line string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Execute(t.Context(), testRoot(c), strings.Fields(line), &out, &errs)
	if strings.Contains(out.String()+errs.String(), "MARKER") {
		t.Errorf("%s: the token is printed", line)
	}
	return code, out.String(), errs.String()
}

func TestTrusterIsAskedOnceForEachUnstuck(t *testing.T) {
	inCluster(t, func(t *testing.T, f *fakeCluster) {
		asked := func(want int, sent bool, code int, answers ...string) string {
			t.Helper()
			before := len(f.tokensSent())
			c, questions := f.at(answers...)
			got, _, stderr := lineAt(t, c, "status")
			if len(*questions) != want || (len(f.tokensSent()) > before) != sent || got != code {
				t.Errorf("exit code %d, want %d; asked %q, want %d; sent %d tokens; %s", got, code, *questions, want, len(f.tokensSent())-before, stderr)
			}
			if want > 0 && len(*questions) > 0 && !strings.Contains((*questions)[0], f.daemon.String()) {
				t.Errorf("asked %q, which does not say where to", *questions)
			}
			return stderr
		}
		stderr := asked(0, false, exitUnconfirmed)
		for _, want := range []string{"this is no terminal", "--send-cluster-token", "--token-file", "Deployment unstuck (service account unstuck) in namespace unstuck of the cluster at https://10.0.0.1"} {
			if !strings.Contains(stderr, want) {
				t.Errorf("want %q in %q", want, stderr)
			}
		}
		asked(1, false, exitUnconfirmed, "n")
		asked(1, true, 0, "y")
		if f.only != f.daemon {
			t.Errorf("connected to any pod: %+v", f.only)
		}
		asked(0, true, 0)
		f.daemon.UID = "uid-2" // somebody made another Deployment of that name
		asked(0, false, exitUnconfirmed)
		asked(1, true, 0, "yes")
		f.daemon.Cluster = "https://10.0.0.2"
		asked(1, false, exitUnconfirmed, "")
		f.daemon.Cluster = "https://10.0.0.1"
		asked(0, true, 0)
		f.daemon.ServiceAccount = "other"
		asked(0, false, exitUnconfirmed)
		for _, name := range []string{"trusted.json", "."} {
			if info, err := os.Stat(filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "unstuck", name)); err != nil || info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s: %v, %v", name, info, err)
			}
		}
	})
}

func TestTrusterTakesTheFlagForAYes(t *testing.T) {
	inCluster(t, func(t *testing.T, f *fakeCluster) {
		c, questions := f.at()
		if code, _, stderr := lineAt(t, c, "status --send-cluster-token"); code != 0 || stderr != "" || len(*questions) > 0 || len(f.tokensSent()) == 0 {
			t.Errorf("exit code %d, %q, asked %q", code, stderr, *questions)
		}
		t.Setenv(tokenVariable, "other") // before which the command line counts
		if code, _, stderr := lineAt(t, c, "status --send-cluster-token"); code != 0 {
			t.Errorf("exit code %d, %q", code, stderr)
		}
		t.Setenv(tokenVariable, "")
		if code, _, _ := lineAt(t, c, "status"); code != exitUnconfirmed {
			t.Errorf("it holds for the next command, too: exit code %d", code)
		}
		// The flag is no word on whose pod it is, and --yes is none on the token.
		f.wrong = fmt.Errorf("pod x: %w: no ReplicaSet controls it", kube.ErrNotDaemon)
		before := len(f.tokensSent())
		code, _, stderr := lineAt(t, c, "deploy staging "+newCommit+" --reason x --yes --send-cluster-token")
		if code != ExitUnknown || !strings.Contains(stderr, "own token is not sent: pod x: it is not known to be Unstuck's: no ReplicaSet controls it: give another with --token-file") || len(f.tokensSent()) != before {
			t.Errorf("exit code %d, %q", code, stderr)
		}
		f.wrong = errors.New("not allowed: get replicasets.apps in namespace unstuck")
		if code, _, stderr := lineAt(t, c, "status --send-cluster-token"); code != exitUnclear || !strings.Contains(stderr, "not allowed: get replicasets.apps") || len(f.tokensSent()) != before {
			t.Errorf("exit code %d, %q", code, stderr)
		}
		f.wrong = nil
		if code, _, _ := lineAt(t, c, "deploy staging "+newCommit+" --reason x --yes"); code != exitUnconfirmed || len(f.tokensSent()) != before {
			t.Errorf("--yes alone: exit code %d", code)
		}
	})
}

func TestTrusterForgetsAFileThatItCannotRead(t *testing.T) {
	inCluster(t, func(t *testing.T, f *fakeCluster) {
		file, err := trustedFile()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("[{"), 0o600); err != nil {
			t.Fatal(err)
		}
		c, questions := f.at("y")
		if code, _, stderr := lineAt(t, c, "status"); code != 0 || len(*questions) != 1 || !strings.Contains(stderr, "this answer cannot be remembered: read "+file) {
			t.Errorf("exit code %d, asked %q: %s", code, *questions, stderr)
		}
	})
}

func TestOwnTokenIsNeverSentToCompleteAWord(t *testing.T) {
	inCluster(t, func(t *testing.T, f *fakeCluster) {
		c, questions := f.at("y", "y", "y")
		if code, _, _ := lineAt(t, c, "status"); code != 0 || len(*questions) != 1 {
			t.Fatalf("exit code %d, asked %q", code, *questions)
		}
		before, plugins := len(f.tokensSent()), f.plugins
		for _, line := range []string{"__complete deploy ", "__complete deploy --send-cluster-token ", "__completeNoDesc explain "} {
			_, stdout, _ := complete(t, c, append(strings.Fields(line), ""))
			if strings.Contains(stdout, "staging") || strings.Contains(stdout, "orders") || len(f.tokensSent()) != before || f.plugins != plugins || len(*questions) != 1 {
				t.Errorf("%s: %q, asked %q, sent %d tokens, asked for %d", line, stdout, *questions, len(f.tokensSent())-before, f.plugins-plugins)
			}
		}
		t.Setenv(tokenVariable, clientToken) // which is for Unstuck alone
		if _, stdout, _ := complete(t, c, []string{"__complete", "deploy", ""}); !strings.Contains(stdout, "staging") {
			t.Errorf("with a token for Unstuck: %q", stdout)
		}
	})
}

func TestOwnTokenIsNotNeededToAsk(t *testing.T) {
	inCluster(t, func(t *testing.T, f *fakeCluster) {
		f.token = "" // a client certificate
		f.wrong = errors.New("nobody needs to know whose pod it is")
		c, questions := f.at()
		code, stdout, stderr := lineAt(t, c, "status")
		if tokens := f.tokensSent(); len(tokens) == 0 || tokens[0] != "" || len(*questions) > 0 {
			t.Errorf("sent %q, asked %q", tokens, *questions)
		}
		for _, want := range []string{"client certificate", "cannot pass that on", "kubectl -n NAMESPACE create token SERVICEACCOUNT", "--token-file"} {
			if code != exitRefused || stdout != "" || !strings.Contains(stderr, want) {
				t.Errorf("exit code %d, stdout %q, want %q in %q", code, stdout, want, stderr)
			}
		}
	})
	// Where no callers are known, reading needs no token at all.
	t.Setenv(serverVariable, "")
	t.Setenv(tokenVariable, "")
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, _ := (&fakeCluster{servedAPI: s}).at()
		if code, stdout, stderr := lineAt(t, c, "status"); code != 0 || !strings.HasPrefix(stdout, "orders  ") || stderr != "" {
			t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
		}
	}, func(s *servedAPI) { s.options.Identity, s.options.Access = nil, nil })
}
