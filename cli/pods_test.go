package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/release"
)

func TestPodsLogsAreAskedForAsTheFlagsSay(t *testing.T) {
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, _ := s.console()
		code, stdout, stderr := s.run(t, c, "logs", "staging", "frontend", "--since", "10m", "--tail", "7", "-c", "app", "-p")
		if code != 0 || stdout != "00:00:00.000 frontend-1 | GET / 200\n" || stderr != "unstuck: pod frontend-2, container app: unread: it starts\n" {
			t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
		}
		want := release.LogQuery{Service: "frontend", Container: "app", Lines: 7, After: time.Now().Add(-10 * time.Minute), Previous: true}
		if len(s.queries) != 1 || s.queries[0] != want {
			t.Errorf("asked for %+v, want %+v", s.queries, want)
		}
		code, stdout, _ = s.run(t, c, "logs", "staging", "frontend", "-o", "json")
		var log release.ServiceLog
		if err := json.Unmarshal([]byte(stdout), &log); code != 0 || err != nil || len(log.Lines) != 1 || len(log.Pods) != 2 {
			t.Errorf("exit code %d, %v: %s", code, err, stdout)
		}
		for tail, code := range map[string]int{"-1": 0, "0": 3, "-2": 3, "x": 3} {
			if got, _, stderr := s.run(t, c, "logs", "staging", "frontend", "--tail="+tail); got != code || code == 0 && s.queries[len(s.queries)-1].Lines != mostLines || code != 0 && !strings.Contains(stderr, "flag --tail: want") {
				t.Errorf("--tail=%s: exit code %d, stderr %q, asked for %+v", tail, got, stderr, s.queries)
			}
		}
		if code, _, stderr := s.run(t, c, "logs", "staging", "frontend", "--tail", "5000"); code != 4 || !strings.Contains(stderr, "want one from 1 to 1000") {
			t.Errorf("exit code %d, stderr %q", code, stderr)
		}
	})
}

func TestPodsLogsAreFollowedUntilCtrlC(t *testing.T) {
	for _, output := range []string{"text", "json"} {
		onServedAPI(t, func(t *testing.T, s *servedAPI) {
			c, _ := s.console()
			file := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(file, []byte(clientToken), 0o600); err != nil {
				t.Fatal(err)
			}
			// Ctrl-C is the end of the command's context, as main has it.
			ctx, stop := context.WithTimeout(t.Context(), 3500*time.Millisecond)
			defer stop()
			root := &cobra.Command{Use: "unstuck", SilenceErrors: true, SilenceUsage: true}
			root.AddCommand(newClientCommands(c)...)
			var out, errs strings.Builder
			code := Execute(ctx, root, []string{"logs", "staging", "frontend", "-f", "-o", output, "--server", "http://localhost", "--token-file", file}, &out, &errs)
			lines := slices.Collect(strings.Lines(out.String()))
			if code != 0 || len(lines) != 4 || strings.Contains(errs.String(), "trying again") {
				t.Errorf("%s: exit code %d, stderr %q: %q", output, code, errs.String(), lines)
			}
			for i, line := range lines {
				var part release.ServiceLog
				at := time.Date(2000, 1, 1, 0, 0, i, 0, time.UTC)
				if output == "json" {
					if err := json.Unmarshal([]byte(line), &part); err != nil || !part.Lines[0].At.Equal(at) {
						t.Errorf("line %d: %v: %s", i, err, line)
					}
				} else if line != at.Format("15:04:05.000")+" frontend-1 | GET / 200\n" {
					t.Errorf("line %d: %q", i, line)
				}
			}
		})
	}
}

func TestPodsVariablesAreShownWithWhereTheyComeFrom(t *testing.T) {
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, _ := s.console()
		for _, pod := range []string{"", "frontend-9"} {
			args := strings.Fields("env staging frontend " + pod)
			code, stdout, stderr := s.run(t, c, args...)
			want := "container app, image r.example/frontend:" + newCommit + "\n  (every key of config_map settings)\n  DEBUG=0\n" +
				"  DSN  (not shown: its name is like that of a secret)\n  PASSWORD  (from secret db, password)\n"
			if code != 0 || stderr != "" || !strings.HasSuffix(stdout, want) || !strings.HasPrefix(stdout, "pod frontend-"+strings.TrimPrefix(pod+"1", "frontend-")[:1]) {
				t.Errorf("%q: exit code %d, stderr %q\n%s", args, code, stderr, stdout)
			}
		}
	})
}
