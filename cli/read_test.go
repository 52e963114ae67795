package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/remediate"
)

func TestReadCommandsShowWhatThereIs(t *testing.T) {
	for args, want := range map[string][]string{
		"status": {
			"orders  mode observe, 1 node, looked at 0s ago\n  mq-1  stuck  confirmed  confirmed stuck; held back by observe-only\n",
			"staging  9b8a7c6\n  under way: op-1\n  frontend  rolling  2/2  9b8a7c6", "production  9b8a7c6, promoted from staging\n",
			"orders is paused until 2000-01-01 01:00:00 UTC by eve: moving disks (pause-",
		},
		"explain orders mq-1": {
			"mq-1 of orders: stuck, confirmed  (mode observe, decided at 2000-01-01 00:00:00 UTC)\n", "login at 2000-01-01 00:00:00 UTC: stuck (await_tune) after 12.0 s: no answer\n",
			"    means  Login is wedged", "    CLOSED  observe-only  mode is observe\n    open    paused        nobody has\n", "  next  nothing: the mode is observe",
		},
		"incidents":                           {"incident-1  orders  mq-1  2000-01-01 00:00:00 UTC  open  confirmed stuck"},
		"incidents incident-1":                {"mq-1 of orders (uid-1): open\n", "  | 2000-01-01 00:00:00 UTC accepting\n", "first stuck: login\n"},
		"operations":                          {"op-1  waiting  deploy 9b8a7c6 to staging  by ada  2000-01-01 00:00:00 UTC  nightly\n"},
		"operations op-1":                     {"deploy 9b8a7c6 to staging: waiting to begin  (op-1)\n", "not begun  roll frontend\n"},
		"operations --environment production": {"there is no operation\n"},
	} {
		onServedAPI(t, func(t *testing.T, s *servedAPI) {
			c, _ := s.console()
			_, _ = s.Submit(t.Context(), plan.Request{Kind: plan.Deploy, Environment: "staging", Commit: newCommit, Reason: "nightly", By: "ada"})
			s.run(t, c, "pause", "orders", "--for", "1h", "--reason", "moving disks")
			s.pauses[0].By = "eve"
			code, stdout, stderr := s.run(t, c, strings.Fields(args)...)
			if code != 0 || stderr != "" {
				t.Errorf("%s: exit code %d, stderr %q", args, code, stderr)
			}
			for _, text := range want {
				if !strings.Contains(stdout, text) {
					t.Errorf("%s: want %q in\n%s", args, text, stdout)
				}
			}
			if code, stdout, _ := s.run(t, c, append(strings.Fields(args), "-o", "json")...); code != 0 || !json.Valid([]byte(stdout)) || !strings.HasPrefix(stdout, "{\n  ") {
				t.Errorf("%s: exit code %d, JSON %s", args, code, stdout)
			}
		})
	}
}

func TestReadOfTheStatusInJSONHasAllThatIsServed(t *testing.T) {
	for everything, want := range map[bool]string{true: "environments pauses targets", false: "targets"} {
		onServedAPI(t, func(t *testing.T, s *servedAPI) {
			c, _ := s.console()
			code, stdout, stderr := s.run(t, c, "status", "-o", "json")
			var all map[string]json.RawMessage
			if err := json.Unmarshal([]byte(stdout), &all); err != nil || code != 0 {
				t.Fatalf("exit code %d, %v, stderr %q: %s", code, err, stderr, stdout)
			}
			var keys []string
			for key := range all {
				keys = append(keys, key)
			}
			slices.Sort(keys)
			if got := strings.Join(keys, " "); got != want {
				t.Errorf("it has %s, want %s", got, want)
			}
			if code, stdout, _ := s.run(t, c, "status"); code != 0 || strings.Contains(stdout, "staging") != everything {
				t.Errorf("exit code %d: %s", code, stdout)
			}
		}, func(s *servedAPI) {
			if !everything {
				s.options.Identity = nil
			}
		})
	}
}

func TestReadLooksAtANodeNowIfThatIsAskedFor(t *testing.T) {
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, _ := s.console()
		code, stdout, stderr := s.run(t, c, "explain", "orders", "mq-1", "--now")
		// The fake's results are as old as the question, so the second look is newer than the first.
		if code != 0 || stderr != "" || !slices.Equal(s.sent(), []string{"POST /api/v1/targets/orders/nodes/mq-1/probes"}) || !strings.Contains(stdout, "login at 2000-01-01 00:00:01 UTC") {
			t.Errorf("exit code %d, stderr %q, sent %q\n%s", code, stderr, s.sent(), stdout)
		}
	})
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, _ := s.console()
		if code, _, stderr := s.run(t, c, "explain", "orders", "mq-1", "--now"); code != 0 || stderr != "unstuck: no new result within 30s: this is what was seen before\n" {
			t.Errorf("exit code %d, stderr %q", code, stderr)
		}
	}, func(s *servedAPI) {
		snapshot := s.snapshot()
		s.brokers.Snapshots = func() []remediate.Snapshot { return []remediate.Snapshot{snapshot} }
	})
}

func TestReadBeginsAndEndsPauses(t *testing.T) {
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, _ := s.console()
		for _, step := range []struct {
			args   string
			code   int
			stdout string
		}{
			{"pause orders --for 1h --reason x", 0, "orders is paused until 2000-01-01 01:00:00 UTC by ada: x (pause-7ae1d3fdd1)\n"},
			{"pause --all --until 2000-01-02T00:00:00Z --reason y", 0, "orders is paused until 2000-01-01 01:00:00 UTC by ada: x (pause-7ae1d3fdd1)\nevery broker is paused until 2000-01-02 00:00:00 UTC by ada: y (pause-f09693f2a4)\n"},
			{"resume orders --reason done", 0, "every broker is paused until 2000-01-02 00:00:00 UTC by ada: y (pause-f09693f2a4)\n"},
			{"resume --id pause-0000000000 --reason done", 4, ""},
			{"resume --id pause-f09693f2a4 --reason done", 0, "nothing is paused there\n"},
			{"resume --all --reason done", 0, "nothing is paused there\n"},
			{"resume orders --id pause-f09693f2a4 --reason done", 3, ""},
			{"resume --all --id pause-f09693f2a4 --reason done", 3, ""},
			{"resume --id pause-f09693f2a4", 3, ""},
			{"incidents --limit -1", 3, ""},
			{"operations --limit -1", 3, ""},
			{"resume --reason done", 3, ""},
			{"resume orders --all --reason done", 3, ""},
			{"resume orders", 3, ""},
			{"resume --all", 3, ""},
			{"pause orders --reason x", 3, ""},
			{"pause orders --for 1h --until 2000-01-02T00:00:00Z --reason x", 3, ""},
			{"pause orders --for 1h", 3, ""},
			{"pause orders --for 100d --reason x", 4, ""},
			{"pause other --for 1h --reason x", 4, ""},
		} {
			if code, stdout, stderr := s.run(t, c, strings.Fields(step.args)...); code != step.code || stdout != step.stdout || (code == 0) != (stderr == "") {
				t.Errorf("%s: exit code %d, stdout %q, stderr %q", step.args, code, stdout, stderr)
			}
		}
		if len(s.pauses) != 0 {
			t.Errorf("left: %+v", s.pauses)
		}
	})
}

func TestReadOfARefusalIsInWordsThatHelpAtTheCommandLine(t *testing.T) {
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, _ := s.console()
		for args, want := range map[string]string{
			"operations nosuch":                      "unstuck: there is no operation \"nosuch\"\n",
			"pause orders --for 40d --reason x":      "\"40d\" is no duration of hours (h), minutes (m) and seconds (s), as days are not known",
			"operations nosuch --follow -o json":     "unstuck: there is no operation \"nosuch\"\n",
			"operations no/such --cancel --reason x": "unstuck: there is no operation \"no/such\"\n",
		} {
			if code, _, stderr := s.run(t, c, strings.Fields(args)...); code == 0 || !strings.Contains(stderr, want) || strings.Contains(stderr, "/api/") {
				t.Errorf("%s: exit code %d, stderr %q", args, code, stderr)
			}
		}
	})
}

func TestSessionDeleteNodeGoesByTheUIDThatWasLookedAt(t *testing.T) {
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, _ := s.console("n", "y")
		code, _, stderr := s.run(t, c, "delete", "orders", "mq-1", "--reason", "wedged", "--yes")
		if want := "closed: observe-only: mode is observe\n"; code != 4 || !strings.Contains(stderr, want) || len(s.deleted) != 0 {
			t.Errorf("held back: exit code %d, stderr %q, deleted %+v", code, stderr, s.deleted)
		}
		override := []string{"delete", "orders", "mq-1", "--reason", "wedged", "--override", "observe-only,paused"}
		if code, _, stderr = s.run(t, c, override...); code != 6 || len(s.deleted) != 1 || !s.deleted[0].DryRun {
			t.Errorf("not meant: exit code %d, stderr %q, deleted %+v", code, stderr, s.deleted)
		}
		code, stdout, _ := s.run(t, c, override...)
		if code != 0 || len(s.deleted) != 3 || stdout != "mq-1 (uid-1) is deleted: unstuck incidents incident-1 tells how it goes on\n" {
			t.Errorf("meant: exit code %d, stdout %q, deleted %+v", code, stdout, s.deleted)
		}
		if d := s.deleted[2]; d.DryRun || d.UID != "uid-1" || d.Reason != "wedged" || d.By != "ada" || len(d.Override) != 2 {
			t.Errorf("deleted %+v", d)
		}
		s.deleted, s.replaced = nil, true
		code, _, stderr = s.run(t, c, append(override, "--yes")...)
		if code != 4 || !strings.Contains(stderr, "mq-1 has been replaced: its UID is uid-2 now") || len(s.deleted) != 1 || !s.deleted[0].DryRun {
			t.Errorf("replaced meanwhile: exit code %d, stderr %q, deleted %+v", code, stderr, s.deleted)
		}
		code, _, stderr = s.run(t, c, "delete", "orders", "mq-1", "--reason", "x", "--override", "nonsense", "--dry-run")
		if code != 4 || !strings.Contains(stderr, `there is no guard "nonsense"`) {
			t.Errorf("exit code %d, stderr %q", code, stderr)
		}
	})
}

func TestCompleterOffersTheShellWhatTheServerHas(t *testing.T) {
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, _ := s.console()
		_, _ = s.Submit(t.Context(), plan.Request{Kind: plan.Deploy, Environment: "staging", Commit: newCommit, Reason: "x", By: "ada"})
		for args, want := range map[string]string{
			"deploy ":           "production\t9b8a7c6 staging\t9b8a7c6",
			"deploy st":         "staging\t9b8a7c6",
			"deploy staging ":   "",
			"restart staging ":  "frontend\trolling",
			"task staging ":     "clear-cache\t" + taskWarning,
			"explain ":          "orders\t1 node",
			"explain orders ":   "mq-1\tstuck",
			"delete orders m":   "mq-1\tstuck",
			"explain nobody ":   "",
			"incidents ":        "incident-1\tconfirmed stuck; held back by observe-only",
			"operations ":       "op-1\tdeploy 9b8a7c6 to staging",
			"status -o ":        "json text",
			"restart --secret ": "",
		} {
			words := strings.Split(args, " ")
			last := len(words) - 1
			line := slices.Concat([]string{"__complete"}, words[:1], []string{"--server", "http://localhost"}, words[1:])
			t.Setenv(tokenVariable, clientToken)
			code, stdout, stderr := complete(t, c, line)
			var got []string
			for text := range strings.Lines(stdout) {
				if text = strings.TrimSpace(text); text != "" && !strings.HasPrefix(text, ":") {
					got = append(got, text)
				}
			}
			slices.Sort(got)
			if code != 0 || strings.Join(got, " ") != want || !strings.HasPrefix(stderr, "Completion ended with directive: ") {
				t.Errorf("%q (%q): exit code %d, %q, want %q; stderr %q", args, words[last], code, got, want, stderr)
			}
		}
	})
}

func TestSessionUnservedSaysThatThereAreNoEnvironments(t *testing.T) {
	deploy := "deploy staging " + newCommit + " --reason x"
	for _, args := range []string{
		"operations", "operations --environment staging", "operations -o json", "operations op-1", "operations op-1 --follow", "operations op-1 --cancel --reason x", deploy + " --dry-run", deploy + " --yes",
		"promote production --reason x --yes", "revert production --reason x --yes", "restart staging frontend --reason x --yes", "restart staging --secret db --reason x --yes",
		"task staging clear-cache --reason x --yes", "logs staging frontend", "logs staging frontend --follow", "env staging frontend", "env staging frontend frontend-1",
	} {
		onServedAPI(t, func(t *testing.T, s *servedAPI) {
			c, _ := s.console()
			code, stdout, stderr := s.run(t, c, strings.Fields(args)...)
			says := strings.Contains(stderr, "environments") && strings.Contains(stderr, "configured") && strings.Count(stderr, "\n") == 1
			if code != exitRefused || stdout != "" || !says || strings.Contains(stderr, "known") || strings.Contains(stderr, "/api/") {
				t.Errorf("%s: exit code %d, stdout %q, stderr %q", args, code, stdout, stderr)
			}
		}, func(s *servedAPI) { s.environments = nil })
	}
	// Where it comes of something else, the server's own word counts.
	for want, change := range map[string]func(*servedAPI){
		"knows no callers":                 func(s *servedAPI) { s.environments, s.options.Identity, s.options.Access = nil, nil, nil },
		`there is no environment "nosuch"`: func(*servedAPI) {},
	} {
		onServedAPI(t, func(t *testing.T, s *servedAPI) {
			c, _ := s.console()
			if code, _, stderr := s.run(t, c, "logs", "nosuch", "frontend"); code != exitRefused || !strings.Contains(stderr, want) {
				t.Errorf("exit code %d, stderr %q, want %q", code, stderr, want)
			}
		}, change)
	}
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		c, _ := s.console()
		if code, _, stderr := s.run(t, c, "explain", "nosuch", "mq-1"); code != exitRefused || strings.Contains(stderr, "environments") {
			t.Errorf("exit code %d, stderr %q", code, stderr)
		}
	}, func(s *servedAPI) { s.environments = nil })
}
