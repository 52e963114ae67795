package cli

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// kubeconfigOf writes a kubeconfig whose one context, here, is of an API server at the address, as this user.
func kubeconfigOf(t *testing.T, address, user string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: here\nclusters: [{name: c, cluster: {server: %q, insecure-skip-tls-verify: true}}]\n"+
		"contexts: [{name: here, context: {cluster: c, user: u}}]\nusers: [{name: u, user: %s}]\n", address, user)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestConnectGoesByTheCommandLineBeforeTheEnvironment(t *testing.T) {
	var asked, cluster atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer elsewhere.Close()
	kubernetes := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cluster.Add(1)
		if !strings.Contains(r.URL.Path, "/namespaces/") {
			t.Errorf("the cluster is asked for %s", r.URL.Path)
		}
		if strings.Contains(r.Header.Get("Authorization"), "MARKER") {
			t.Errorf("the cluster is sent the token of $%s's server", serverVariable)
		}
		http.Error(w, "no", http.StatusForbidden)
	}))
	defer kubernetes.Close()
	t.Setenv(serverVariable, elsewhere.URL)
	t.Setenv(tokenVariable, clientToken)
	t.Setenv("KUBECONFIG", kubeconfigOf(t, kubernetes.URL, "{token: theirs}"))
	for args, reached := range map[string]bool{ // the cluster
		"--kubeconfig /does/not/exist":                     false,
		"--context staging":                                false,
		"--context here":                                   true,
		"--namespace unstuck":                              true, // its default, and said all the same
		"--context here --namespace elsewhere":             true,
		"--kubeconfig " + os.Getenv("KUBECONFIG"):          true,
		"--context staging --kubeconfig /does/not/exist":   false,
		"--context=here --token-file /does/not/exist":      false,
		"--context nosuch --namespace unstuck -o json":     false,
		"--kubeconfig " + t.TempDir() + " --context other": false,
	} {
		cluster.Store(0)
		code, stdout, stderr := tryLine(t, append([]string{"status"}, strings.Fields(args)...)...)
		if code == 0 || stdout != "" || asked.Load() != 0 || (cluster.Load() > 0) != reached {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q, asked $%s %d times, the cluster %d times", args, code, stdout, stderr, serverVariable, asked.Load(), cluster.Load())
		}
	}
	if _, _, _ = tryLine(t, "status"); asked.Load() == 0 {
		t.Errorf("without such a flag, $%s is not asked", serverVariable)
	}
}

func TestConnectRefusesFlagsThatContradictEachOther(t *testing.T) {
	t.Setenv(serverVariable, "http://127.0.0.1:1")
	for args, want := range map[string]string{
		"--server http://h --context c":               "flags --server and --context: each says which Unstuck is meant",
		"--kubeconfig k --server http://h":            "flags --server and --kubeconfig: ",
		"--server http://h --namespace unstuck":       "flags --server and --namespace: ",
		"--server http://h --namespace n --context c": "flags --server and --context: ",
		"--server http://h --send-cluster-token":      "flags --server and --send-cluster-token: ",
		"--token-file f --send-cluster-token":         "flags --token-file and --send-cluster-token: each says which token is sent",
		"--context=":                                  "flag --context: its value is empty",
		"--kubeconfig=":                               "flag --kubeconfig: its value is empty",
		"--namespace=":                                "flag --namespace: its value is empty",
		"--server=":                                   "flag --server: its value is empty",
		"--server= --context c":                       "flag --server: its value is empty",
		"--token-file=":                               "flag --token-file: its value is empty",
		"--server http://h --ca-file f":               "flag --ca-file: the address of the server (--server) begins with http://",
		"--server HTTP://h --ca-file f":               "flag --ca-file: the address of the server (--server) begins with http://",
		"--ca-file f":                                 "flag --ca-file: the address of the server ($UNSTUCK_SERVER) begins with http://",
	} {
		code, stdout, stderr := tryLine(t, append([]string{"pause", "--all", "--for", "1h", "--reason", "x"}, strings.Fields(args)...)...)
		if code != ExitUnknown || stdout != "" || !strings.HasPrefix(stderr, "unstuck: "+want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q, want %q", args, code, stdout, stderr, want)
		}
	}
}
