package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/e2e/artifact"
	"github.com/cjworkbench/unstuck/release/plan"
)

// command is our own program, built for this machine.
var command = sync.OnceValues(func() (string, error) {
	root, err := artifact.FindRoot()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	return (&artifact.Maker{Root: root, Progress: os.Stdout}).Command(ctx)
})

// typist types commands.
type typist struct {
	t       *testing.T
	program string
	flags   []string // that say where the server is, and who calls
}

func newTypist(t *testing.T, token string, flags ...string) typist {
	t.Helper()
	program, err := command()
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		flags = append(slices.Clone(flags), "--token-file", file)
	}
	return typist{t, program, flags}
}

// inCluster are the flags with which the Unstuck of a namespace is found in the cluster: the replica that leads.
func inCluster(namespace string) []string {
	return []string{"--kubeconfig", shared.Kubeconfig(), "--namespace", namespace}
}

func (c typist) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.program, append(args, c.flags...)...)
	cmd.Env = append(os.Environ(), "UNSTUCK_SERVER=", "UNSTUCK_TOKEN=")
	return cmd
}

// types runs a command without a terminal, and gives what it printed, what it complained about, and its exit code.
func (c typist) types(args ...string) (out, complaints string, code int) {
	c.t.Helper()
	cmd := c.command(within(c.t, 3*time.Minute), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else if err != nil {
		c.t.Fatal(err)
	}
	c.t.Logf("unstuck %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout.String(), stderr.String())
	return stdout.String(), stderr.String(), code
}

// wants runs a command and wants its exit code, and words in what it prints or complains about.
func (c typist) wants(code int, words []string, args ...string) string {
	c.t.Helper()
	out, complaints, got := c.types(args...)
	if got != code {
		c.t.Errorf("unstuck %s: exit code %d, want %d", strings.Join(args, " "), got, code)
	}
	for _, w := range words {
		if !strings.Contains(out+complaints, w) {
			c.t.Errorf("unstuck %s does not say %q", strings.Join(args, " "), w)
		}
	}
	return out
}

// eventually runs a command again and again until it gives the exit code.
func (c typist) eventually(d time.Duration, code int, args ...string) {
	c.t.Helper()
	ctx := within(c.t, d)
	for {
		_, _, got := c.types(args...)
		switch {
		case got == code:
			return
		case ctx.Err() != nil:
			c.t.Fatalf("unstuck %s: exit code %d after %v, want %d", strings.Join(args, " "), got, d, code)
		}
		pause(ctx, 500*time.Millisecond)
	}
}

//promise:34
func TestReleaseTypedPullsEachTriggerFromTheCommandLine(t *testing.T) {
	t.Parallel()
	s := sharedStage(t, "typed")
	source := sharedStage(t, "typed-source")
	service, err := shared.Kubernetes.CoreV1().Services(s.installation.Namespace).Get(t.Context(), "unstuck", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	at, err := shared.Forward(t.Context(), "127.0.0.1:0", net.JoinHostPort(service.Spec.ClusterIP, "8080"))
	if err != nil {
		t.Fatal(err)
	}
	server := []string{"--server", "http://" + at}
	oncall, ci := newTypist(t, s.tokens["oncall"], server...), newTypist(t, s.tokens["ci"], server...)
	s.ready()
	source.ready()

	// The exit codes are those of docs/cli.md: 1 it did not succeed, 4 refused, 6 nobody could be asked.
	oncall.wants(0, []string{"roll frontend", "replace cron"}, "deploy", "typed", commitTwo, "--reason", "a look", "--dry-run")
	oncall.wants(6, []string{"--yes"}, "deploy", "typed", commitTwo, "--reason", "a look")
	s.at(commitOne)
	ci.wants(4, []string{"may not deploy"}, "deploy", "typed", commitTwo, "--reason", "not mine", "--yes")
	oncall.wants(4, []string{"commit"}, "deploy", "typed", "main", "--reason", "no commit", "--yes")
	oncall.wants(0, []string{"WARNING: not published", "/cron:"}, "deploy", "typed", commitUnpublished, "--reason", "too early", "--dry-run")
	oncall.wants(1, []string{"not published", "/cron:"}, "deploy", "typed", commitUnpublished, "--reason", "too early", "--yes")
	oncall.eventually(time.Minute, 0, "promote", "typed", "--reason", "a look", "--dry-run") // its source must have been healthy for a second
	oncall.wants(0, []string{"job migrate", commitOne[:7]}, "promote", "typed", "--reason", "the first", "--yes")
	s.at(commitOne)
	oncall.wants(0, []string{"job migrate", "roll frontend", "replace cron"}, "deploy", "typed", commitTwo, "--reason", "the second", "--yes")
	s.at(commitTwo)
	oncall.wants(4, []string{"migration"}, "revert", "typed", "--reason", "it is slow", "--yes")
	s.restartedWhileItsLogIsFollowed(oncall)
	ci.wants(4, []string{"may not"}, "logs", "typed", "frontend")
	s.showsVariablesButNoSecret(oncall)
	ci.wants(4, []string{"may not"}, "env", "typed", "frontend")
	oncall.wants(0, []string{"typed", commitTwo[:7], "promoted from typed-source", "cron-delta-deleter"}, "status")
	oncall.wants(4, []string{"Users will notice a slowdown"}, "task", "typed", "clear-render-cache", "--reason", "stale", "--yes")
	oncall.wants(0, []string{"imported plan 20 of 20"}, "task", "typed", "import-plans", "--reason", "new plans", "--yes")
	oncall.wants(0, []string{"frontend", commitTwo[:7]}, "operations", "--environment", "typed")

	var list struct {
		Operations []struct {
			Kind  plan.Kind
			Phase plan.Phase
		}
	}
	out := oncall.wants(0, nil, "operations", "--environment", "typed", "-o", "json")
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list.Operations) < 4 {
		t.Errorf("as JSON: %d operations, %v", len(list.Operations), err)
	}

	// Without --server it is found in the cluster, and the token is that of the kubeconfig's user.
	if err := shared.Apply(t.Context(), strings.ReplaceAll(typedAccount, "UNSTUCK", s.installation.Namespace)); err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := shared.AccountKubeconfig(within(t, 10*time.Second), "typed", "typist")
	if err != nil {
		t.Fatal(err)
	}
	found := newTypist(t, "", "--kubeconfig", kubeconfig, "--namespace", s.installation.Namespace)
	found.wants(6, []string{"--send-cluster-token"}, "restart", "typed", "cron", "--reason", "it hangs", "--dry-run")
	found.flags = append(found.flags, "--send-cluster-token")
	found.wants(0, []string{"replace cron"}, "restart", "typed", "cron", "--reason", "it hangs", "--dry-run")
	found.wants(4, []string{"patch deployments.apps frontend-deployment in namespace typed"}, "restart", "typed", "frontend", "--reason", "it hangs", "--dry-run")
}

// typedAccount may reach Unstuck's pods, and restart cron.
const typedAccount = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: typist, namespace: typed}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: typist, namespace: typed}
rules: [{apiGroups: [apps], resources: [deployments], resourceNames: [cron-deployment], verbs: [patch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: typist, namespace: typed}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: typist}
subjects: [{kind: ServiceAccount, name: typist, namespace: typed}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: typist, namespace: UNSTUCK}
rules:
- {apiGroups: [""], resources: [pods, services], verbs: [get, list]}
- {apiGroups: [""], resources: [pods/portforward], verbs: [get, create]}
- {apiGroups: [apps], resources: [deployments, replicasets], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: typist, namespace: UNSTUCK}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: typist}
subjects: [{kind: ServiceAccount, name: typist, namespace: typed}]
`
