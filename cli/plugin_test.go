package cli

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/release/plan"
)

func TestAsCalledSpeaksAsThePluginOfKubectl(t *testing.T) {
	run := func(called string, args ...string) (code int, stdout, stderr string) {
		root := testRoot(newConsole())
		root.Long, root.RunE = `Begin with "unstuck status".`, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		var out, errs bytes.Buffer
		code = Execute(t.Context(), root, AsCalled(root, append([]string{called}, args...)), &out, &errs)
		return code, out.String(), errs.String()
	}
	for called, plugin := range map[string]bool{
		"unstuck": false, "/usr/local/bin/unstuck": false, "./unstuck-demo": false,
		"kubectl-unstuck": true, "/root/.krew/bin/kubectl-unstuck": true, "/c/kubectl-unstuck.exe": true,
	} {
		want, not := "unstuck", "kubectl unstuck"
		if plugin {
			want = not
		}
		for _, args := range [][]string{{"--help"}, {}, {"help"}, {"deploy", "--help"}, {"operations", "-h"}, {"completion", "--help"}, {"completion", "bash", "--help"}} {
			code, stdout, stderr := run(called, args...)
			bare := strings.ReplaceAll(stdout, "kubectl unstuck", "")
			if code != 0 || stderr != "" || !strings.Contains(stdout, "Usage:\n  "+want+" ") || plugin && strings.Contains(bare, "unstuck deploy") ||
				plugin && strings.Contains(bare, "unstuck operations") || plugin && strings.Contains(bare, "unstuck completion") || !plugin && strings.Contains(stdout, not) {
				t.Errorf("%s %q: exit code %d, stderr %q, stdout:\n%s", called, args, code, stderr, stdout)
			}
		}
		for _, args := range [][]string{{"deploy"}, {"nosuch"}, {"http://h"}, {"deploy", "--nosuch"}, {"operations", "--follow", "--server", "http://h"}, {"completion"}} {
			if _, _, stderr := run(called, args...); strings.Contains(stderr, not) != plugin || !strings.Contains(stderr, want+" ") {
				t.Errorf("%s %q: %q", called, args, stderr)
			}
		}
	}
}

func TestAsCalledCompletesForKubectl(t *testing.T) {
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		t.Setenv(tokenVariable, clientToken)
		t.Setenv(serverVariable, "http://localhost")
		c, _ := s.console()
		root := testRoot(c)
		args := AsCalled(root, []string{"/usr/bin/kubectl_complete-unstuck", "deploy", "st"})
		var out, errs bytes.Buffer
		if code := Execute(t.Context(), root, args, &out, &errs); code != 0 || !strings.HasPrefix(out.String(), "staging\t") {
			t.Errorf("%q: exit code %d, %q, %q", args, code, out.String(), errs.String())
		}
	})
	if got := AsCalled(testRoot(newConsole()), []string{"kubectl-unstuck", "status"}); !slices.Equal(got, []string{"status"}) {
		t.Errorf("%q", got)
	}
	if got := AsCalled(testRoot(newConsole()), nil); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

// What people are told to run is what they can run.
func TestSessionTellsAPluginsUserWhatToRunAsThePlugin(t *testing.T) {
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		t.Setenv(tokenVariable, clientToken)
		t.Setenv(serverVariable, "http://localhost")
		c, _ := s.console()
		for _, line := range []string{"delete orders mq-1 --reason x --yes --override observe-only", "operations " + theOperation + " --cancel --reason x"} {
			for called, want := range map[string]string{"kubectl-unstuck": ": kubectl unstuck ", "unstuck": ": unstuck "} {
				_, _ = s.Submit(t.Context(), plan.Request{Kind: plan.Deploy, Environment: "staging", Commit: newCommit, Reason: "x", By: "ada"})
				root := testRoot(c)
				var out, errs bytes.Buffer
				if code := Execute(t.Context(), root, AsCalled(root, append([]string{called}, strings.Fields(line)...)), &out, &errs); code != 0 || !strings.Contains(out.String(), want) {
					t.Errorf("%s %s: exit code %d, %q, %q", called, line, code, out.String(), errs.String())
				}
			}
		}
	})
}
