package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/release"
)

// notes is a buffer that one writes and another reads.
type notes struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buf.Write(p)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buf.String()
}

// restartedWhileItsLogIsFollowed restarts the frontend while somebody follows its log, who sees what the new pods say, too. What
// the old and the new ones said is merged in the order of time.
func (s *scene) restartedWhileItsLogIsFollowed(c typist) {
	s.t.Helper()
	ctx := within(s.t, 4*time.Minute)
	follow := c.command(ctx, "logs", s.Namespace, "frontend", "--follow")
	var out, complaints notes
	follow.Stdout, follow.Stderr = &out, &complaints
	if err := follow.Start(); err != nil {
		s.t.Fatal(err)
	}
	heard := func(what string, pods []string) {
		s.t.Helper()
		if err := until(ctx, func() (bool, error) {
			text := out.String()
			quiet := slices.DeleteFunc(slices.Clone(pods), func(p string) bool { return strings.Contains(text, p+" | GET /healthz 200\n") })
			pause(ctx, 200*time.Millisecond)
			return len(quiet) == 0, fmt.Errorf("nothing of %v", quiet)
		}); err != nil {
			s.t.Fatalf("%s: %v\n%s%s", what, err, out.String(), complaints.String())
		}
	}
	old := s.pods("frontend")
	heard("before the restart", old)
	c.wants(0, nil, "restart", s.Namespace, "frontend", "--reason", "it leaks", "--yes")
	now := s.pods("frontend")
	heard("after the restart", now)
	if err := follow.Process.Signal(os.Interrupt); err != nil {
		s.t.Fatal(err)
	}
	if err := follow.Wait(); err != nil {
		s.t.Errorf("to follow a log is ended by Ctrl-C with %v: %s", err, complaints.String())
	}

	var log release.ServiceLog
	if p := s.ask(http.MethodGet, s.path+"/services/frontend/logs?lines=20", nil, &log); p != nil {
		s.t.Fatal(p)
	}
	// Within the last lines both have said something: each says something every second. One of before may still be ending.
	silent := slices.DeleteFunc(slices.Clone(now), func(pod string) bool {
		return slices.ContainsFunc(log.Lines, func(l release.LogLine) bool { return l.Pod == pod })
	})
	inOrder := slices.IsSortedFunc(log.Lines, func(a, b release.LogLine) int { return a.At.Compare(b.At) })
	if len(silent) > 0 || !inOrder || len(log.Lines) > 20 {
		s.t.Errorf("of the pods %v there are %d lines, in order: %v: %+v", now, len(log.Lines), inOrder, log.Lines)
	}
	c.wants(0, now, "logs", s.Namespace, "frontend", "--tail", "20")
}

// showsVariablesButNoSecret wants the variables of a pod to be shown, and of the one that is a secret only where it is from.
func (s *scene) showsVariablesButNoSecret(c typist) {
	s.t.Helper()
	secret, err := shared.Kubernetes.CoreV1().Secrets(s.Namespace).Get(within(s.t, 10*time.Second), "database", metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	password := string(secret.Data["password"])
	shown := c.wants(0, []string{"container app", "DATABASE_PASSWORD", "database, password"}, "env", s.Namespace, "frontend")
	shown += c.wants(0, nil, "env", s.Namespace, "frontend", s.pods("frontend")[0], "-o", "json")
	if password == "" || strings.Contains(shown, password) {
		s.t.Error("the password is shown")
	}
	var env release.PodEnv
	if p := s.ask(http.MethodGet, s.path+"/services/frontend/env", nil, &env); p != nil {
		s.t.Fatal(p)
	}
	for _, container := range env.Containers {
		for _, v := range container.Variables {
			if v.Name == "DATABASE_PASSWORD" && v.From != nil && v.From.Name == "database" && v.Value == nil {
				return
			}
		}
	}
	s.t.Errorf("it is not said where DATABASE_PASSWORD is from: %+v", env)
}
