package cli

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/release/plan"
)

func TestChangeOfADeployIsWatchedAndItsEndIsTheExitCode(t *testing.T) {
	for phase, want := range map[plan.Phase]int{plan.Succeeded: 0, plan.Failed: 1, plan.Cancelled: 1, plan.RolledBack: 1} {
		onServedAPI(t, func(t *testing.T, s *servedAPI) {
			c, _ := s.console()
			s.going.Go(func() {
				time.Sleep(time.Second)
				s.ends(theOperation, 10*time.Second, phase, "so it ended")
			})
			code, stdout, stderr := s.run(t, c, "deploy", "staging", newCommit, "--reason", "nightly", "--yes")
			if code != want || stderr != "" {
				t.Errorf("%s: exit code %d, want %d; stderr %q", phase, code, want, stderr)
			}
			for _, line := range []string{
				"deploy 9b8a7c6 to staging  (op-1)\n", "roll frontend: begins\n", "roll frontend | first line\n", "roll frontend | second line\n",
				"roll frontend: " + string(phase) + " after 5s: its detail\n", "deploy 9b8a7c6 to staging: " + string(phase) + "  (op-1)\n",
				"asked for by ada at 2000-01-01 00:00:00 UTC: nightly\n", "so it ended\n",
			} {
				if strings.Count(stdout, line) != 1 {
					t.Errorf("%s: want once %q in\n%s", phase, line, stdout)
				}
			}
			if found := strings.Contains(stdout, "pod frontend-7f, container app: crash: exit code 1\n      | no module\n"); found != (phase == plan.Failed) {
				t.Errorf("%s: the diagnosis is there: %t\n%s", phase, found, stdout)
			}
			if strings.ContainsAny(stdout, "\x1b\r") {
				t.Errorf("there is what only a terminal understands in %q", stdout)
			}
			if len(s.asked) != 1 || s.asked[0].Reason != "nightly" || s.asked[0].Commit != newCommit || s.asked[0].IdempotencyKey == "" || s.asked[0].DryRun {
				t.Errorf("asked for: %+v", s.asked)
			}
		})
	}
}

func TestChangeIsNotMadeWithoutAYes(t *testing.T) {
	for _, c := range []struct {
		answers []string
		code    int
		stderr  string
	}{
		{[]string{"n"}, 6, "unstuck: nothing was changed\n"},
		{[]string{""}, 6, "unstuck: nothing was changed\n"},
		{nil, 6, "unstuck: there is nobody to ask: this is no terminal; give --yes to go ahead all the same, after a look at --dry-run\n"},
		{[]string{"Yes"}, 0, ""},
		{[]string{"y"}, 0, ""},
	} {
		onServedAPI(t, func(t *testing.T, s *servedAPI) {
			console, questions := s.console(c.answers...)
			code, stdout, stderr := s.run(t, console, "deploy", "staging", newCommit, "--reason", "x", "--no-wait")
			if code != c.code || !strings.HasSuffix(stderr, c.stderr) || (code == 0) != (len(s.asked) == 1) || (code == 0) != (stdout == "op-1\n") {
				t.Errorf("%q: exit code %d, stdout %q, stderr %q, asked for %+v", c.answers, code, stdout, stderr, s.asked)
			}
			if want := "1. roll frontend            roll Deployment frontend-deployment\n       app: r.example/frontend:" + oldCommit + " -> r.example/frontend:" + newCommit; !strings.Contains(stderr, want) {
				t.Errorf("%q: the plan is not shown in %s", c.answers, stderr)
			}
			if len(c.answers) > 0 && !cmp.Equal(*questions, []string{"Go ahead? [y/N] "}) {
				t.Errorf("%q: asked %q", c.answers, *questions)
			}
		})
	}
}

func TestChangeIsNotMadeByADryRun(t *testing.T) {
	for _, args := range []string{
		"deploy staging " + newCommit, "promote production", "revert production", "restart staging frontend", "restart staging --secret stripe", "task staging clear-cache",
	} {
		onServedAPI(t, func(t *testing.T, s *servedAPI) {
			c, _ := s.console()
			code, stdout, stderr := s.run(t, c, append(strings.Fields(args), "--reason", "x", "--dry-run")...)
			if code != 0 || stderr != "" || !strings.Contains(stdout, "1. roll frontend") || len(s.asked) != 0 {
				t.Errorf("%s: exit code %d, stdout %q, stderr %q", args, code, stdout, stderr)
			}
			code, stdout, _ = s.run(t, c, append(strings.Fields(args), "--reason", "x", "--dry-run", "-o", "json")...)
			var p plan.Plan
			if err := json.Unmarshal([]byte(stdout), &p); code != 0 || err != nil || len(p.Steps) != 1 || len(s.asked) != 0 {
				t.Errorf("%s: exit code %d, %v: %s", args, code, err, stdout)
			}
		})
	}
}

func TestChangeCommandsAskForWhatTheyAreNamedAfter(t *testing.T) {
	for args, want := range map[string]plan.Request{
		"deploy staging " + newCommit + " --on-failure rollback": {Kind: plan.Deploy, Environment: "staging", Commit: newCommit, OnFailure: plan.Rollback},
		"promote production --bug-report https://b.example/1":    {Kind: plan.Promotion, Environment: "production", BugReport: "https://b.example/1"},
		"promote production --accept-migration-risk":             {Kind: plan.Promotion, Environment: "production", AcceptMigrationRisk: true},
		"revert production " + oldCommit:                         {Kind: plan.Revert, Environment: "production", Commit: oldCommit},
		"revert production --accept-migration-risk":              {Kind: plan.Revert, Environment: "production", AcceptMigrationRisk: true},
		"restart staging frontend":                               {Kind: plan.Restart, Environment: "staging", Service: "frontend"},
		"restart staging --secret stripe":                        {Kind: plan.Restart, Environment: "staging", Secret: "stripe"},
		"task staging clear-cache --confirm":                     {Kind: plan.RunTask, Environment: "staging", Task: "clear-cache", Confirm: true},
	} {
		onServedAPI(t, func(t *testing.T, s *servedAPI) {
			c, _ := s.console()
			code, stdout, stderr := s.run(t, c, append(strings.Fields(args), "--reason", "why", "--yes", "--no-wait", "--key", "k1", "-o", "json")...)
			want.Reason, want.IdempotencyKey, want.By, want.From = "why", "k1", "ada", "pipe"
			if code != 0 || stderr != "" || len(s.asked) != 1 || !cmp.Equal(s.asked[0], want) {
				t.Errorf("%s: exit code %d, stderr %q: %s", args, code, stderr, cmp.Diff([]plan.Request{want}, s.asked))
			}
			var op plan.Operation
			if err := json.Unmarshal([]byte(stdout), &op); err != nil || op.ID != theOperation {
				t.Errorf("%s: %v: %s", args, err, stdout)
			}
		})
	}
}

func TestChangeByARevertGoesToTheCommitThatWasShown(t *testing.T) {
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, _ := s.console("y")
		code, _, stderr := s.run(t, c, "revert", "production", "--reason", "x", "--no-wait")
		if code != 0 || !strings.Contains(stderr, "revert in production  "+oldCommit+"\n") || s.asked[0].Commit != oldCommit {
			t.Errorf("exit code %d, stderr %q, asked for %+v", code, stderr, s.asked)
		}
	})
}

func TestChangeByAPromotionOfAnotherCommitThanWasShownIsSaid(t *testing.T) {
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, _ := s.console("y")
		_, _, stderr := s.run(t, c, "promote", "production", "--reason", "x", "--no-wait")
		_, _, again := s.run(t, c, "promote", "production", "--reason", "x", "--no-wait", "--yes")
		if want := "unstuck: warning: the commit is " + newCommit + " by now, and not the " + oldCommit + " of the plan\n"; strings.Contains(stderr, want) == strings.Contains(again, "warning") {
			t.Errorf("stderr %q, and where nothing was shown %q", stderr, again)
		}
		// The commit of the plan is expected, so that the daemon refuses another; where nobody saw a plan, any is.
		if len(s.asked) != 2 || s.asked[0].ExpectCommit != oldCommit || s.asked[1].ExpectCommit != "" {
			t.Errorf("asked for %+v", s.asked)
		}
	}, func(s *servedAPI) { s.environments.Operations = movingSource{s} })
}

func TestChangeByATaskWithAWarningNeedsSomebodyWhoReadIt(t *testing.T) {
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, _ := s.console("y")
		if code, _, stderr := s.run(t, c, "task", "staging", "clear-cache", "--reason", "x", "--yes", "--no-wait"); code != 4 || !strings.Contains(stderr, taskWarning) || len(s.asked) > 0 {
			t.Errorf("unconfirmed: exit code %d, %q", code, stderr)
		}
		if code, _, stderr := s.run(t, c, "task", "staging", "clear-cache", "--reason", "x", "--no-wait"); code != 0 || !strings.Contains(stderr, "WARNING: "+taskWarning) || len(s.asked) != 1 {
			t.Errorf("shown and confirmed: exit code %d, %q", code, stderr)
		}
	})
}

func TestChangeAsksForReasonAndBugReportWhereSomebodyIs(t *testing.T) {
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, questions := s.console("leaks memory", "https://b.example/1", "y")
		code, _, stderr := s.run(t, c, "restart", "staging", "frontend", "--no-wait")
		if code != 0 || len(*questions) != 3 || s.asked[0].Reason != "leaks memory" || s.asked[0].BugReport != "https://b.example/1" {
			t.Errorf("exit code %d, stderr %q, asked %q for %+v", code, stderr, *questions, s.asked)
		}
		c, questions = s.console("y")
		if code, _, _ := s.run(t, c, "restart", "staging", "frontend", "--yes", "--no-wait"); code != 3 || len(*questions) > 0 {
			t.Errorf("--yes without a reason: exit code %d, asked %q", code, *questions)
		}
		c, _ = s.console()
		if code, _, stderr := s.run(t, c, "deploy", "staging", newCommit); code != 3 || stderr != "unstuck: a reason is required, for the record: give --reason\n" {
			t.Errorf("nobody there: exit code %d, %q", code, stderr)
		}
	})
}

func TestChangeThatIsRefusedSaysWhatWouldBeRight(t *testing.T) {
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, _ := s.console()
		s.refusal = &plan.Refusal{
			Code: plan.Migrated, Why: "going back crosses a migration", Hint: "accept the migration risk",
			Crossed: []plan.Crossing{
				{Operation: "deploy-1", Commit: newCommit, Migrated: plan.DidMigrate}, {Operation: "task-1", Migrated: plan.DidMigrate},
			},
		}
		code, stdout, stderr := s.run(t, c, "revert", "production", "--reason", "x", "--yes")
		want := "unstuck: going back crosses a migration; accept the migration risk\nunstuck: crosses: deploy-1 of 9b8a7c6, never: migrated: yes\nunstuck: crosses: task-1, never: migrated: yes\nunstuck: the risk is accepted with --accept-migration-risk\n"
		if code != 4 || stdout != "" || stderr != want {
			t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
		}
		code, _, stderr = s.run(t, c, "deploy", "prod", newCommit, "--reason", "x", "--yes")
		if want := "unstuck: there is no environment \"prod\": known are production, staging\n"; code != 4 || stderr != want {
			t.Errorf("exit code %d, stderr %q", code, stderr)
		}
	})
}

func TestChangeThatFailedWithAKeySaysThatARetryNeedsAnother(t *testing.T) {
	const hint = "unstuck: with --key build-7 it is this operation each time, which is over: to try again, give another key\n"
	for _, c := range []struct {
		flags string
		phase plan.Phase
		want  bool
	}{
		{"--key build-7", plan.Failed, true},
		{"--key build-7 -o json", plan.Failed, true},
		{"--key build-7", plan.RolledBack, true},
		{"--key build-7", plan.Cancelled, true},
		{"--key build-7", plan.Succeeded, false},
		{"", plan.Failed, false},
	} {
		onServedAPI(t, func(t *testing.T, s *servedAPI) {
			console, _ := s.console()
			s.going.Go(func() {
				time.Sleep(time.Second)
				s.ends(theOperation, 4*time.Second, c.phase, "so it ended")
			})
			args := append([]string{"deploy", "staging", newCommit, "--reason", "x", "--yes"}, strings.Fields(c.flags)...)
			code, _, stderr := s.run(t, console, args...)
			if (code == ExitFailed) != (c.phase != plan.Succeeded) || (stderr == hint) != c.want || !c.want && stderr != "" {
				t.Errorf("%s, %s: exit code %d, stderr %q", c.flags, c.phase, code, stderr)
			}
		})
	}
	// The retry is answered with the operation that has failed already, watched or not.
	for _, flags := range []string{"", "--no-wait", "--no-wait -o json"} {
		onServedAPI(t, func(t *testing.T, s *servedAPI) {
			console, _ := s.console()
			args := append([]string{"deploy", "staging", newCommit, "--reason", "x", "--yes", "--key", "build-7"}, strings.Fields(flags)...)
			if _, _, stderr := s.run(t, console, args...); stderr != hint {
				t.Errorf("%q: stderr %q", flags, stderr)
			}
		}, func(s *servedAPI) { s.environments.Operations = failedBefore{s} })
	}
}

// failedBefore answers a request with the operation that it was the first time, which failed.
type failedBefore struct{ *servedAPI }

func (f failedBefore) Submit(ctx context.Context, r plan.Request) (plan.Operation, error) {
	op, err := f.servedAPI.Submit(ctx, r)
	op.Phase, op.Outcome, op.Ended = plan.Failed, "the image is not published", time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops[op.ID] = op
	return op, err
}
