package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/release/plan"
)

func TestListReadsEveryPageOrAsManyAsAreAskedFor(t *testing.T) {
	onServedAPI(t, func(t *testing.T, s *servedAPI) {
		const there = 120 // the server gives 50 at once
		for i := range there {
			id := fmt.Sprintf("op-%03d", i)
			s.ops[id] = plan.Operation{
				ID: id, Kind: plan.Deploy, Environment: "staging", Created: time.Now().Add(time.Duration(i) * time.Second),
				Request: plan.Request{Kind: plan.Deploy, Environment: "staging", Commit: newCommit, Reason: "nightly", By: "ada"},
			}
		}
		c, _ := s.console()
		for args, want := range map[string]int{
			"operations": there, "operations --limit 0": there, "operations --limit 1": 1, "operations --limit 70": 70, "operations --limit 1000": there,
			"operations --environment production": 0, "operations --environment staging --limit 51": 51,
		} {
			code, stdout, stderr := s.run(t, c, strings.Fields(args)...)
			if got := strings.Count(stdout, "nightly\n"); code != 0 || got != want {
				t.Errorf("%s: exit code %d, %d lines, want %d: %s", args, code, got, want, stderr)
			}
			if want > 0 && !strings.HasPrefix(stdout, "op-119 ") {
				t.Errorf("%s: does not begin with the newest: %.80s", args, stdout)
			}
			_, stdout, _ = s.run(t, c, append(strings.Fields(args), "-o", "json")...)
			if got := strings.Count(stdout, `"reason": "nightly"`); got != want || strings.Contains(stdout, `"next"`) != (want > 0 && want < there) {
				t.Errorf("%s: %d in JSON, want %d: %.300s", args, got, want, stdout)
			}
		}
	})
}
