package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/release/plan"
)

// Killed at any step, a daemon has a successor that goes on where it was: nothing is done twice that must not be, and
// nothing is left out.
//
//promise:30
func TestReleaseKilledAgainAndAgainIsFinishedByTheOthers(t *testing.T) {
	t.Parallel()
	i, err := install(within(t, 5*time.Minute), "unstuck-killed", onlyReleases, []string{"killed"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			i.explain(t)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		if err := i.Remove(ctx); err != nil {
			t.Error(err)
		}
	})
	s := stage(t, i, "killed")
	s.ready()
	if err := s.Hold(); err != nil {
		t.Fatal(err)
	}
	op := s.deploy(commitTwo)
	var killed []string
	for _, point := range []struct {
		name string
		come func(plan.Operation) bool
	}{
		{"while the migration runs", migrating},
		{"while the frontend rolls", running("roll frontend")},
		{"while a singleton is replaced", func(op plan.Operation) bool {
			at := step(t, op, "replace cron")
			return at.Phase == plan.Running && at.Mark != ""
		}},
	} {
		now := s.follow(op.ID, 2*time.Minute, func(now plan.Operation) bool {
			return !slices.Contains(killed, now.Runner) && point.come(now)
		})
		if now.Phase.Over() {
			t.Fatalf("%s: the moment did not come: %s", point.name, told(now))
		}
		s.kill(now.Runner)
		killed = append(killed, now.Runner)
		t.Logf("%s, after %v: killed %s", point.name, time.Since(op.Created).Round(100*time.Millisecond), now.Runner)
		if err := s.LetGo(); err != nil {
			t.Fatal(err)
		}
	}
	op = s.over(op.ID, plan.Succeeded)
	if slices.Contains(killed, op.Runner) {
		t.Errorf("%s was killed, and finished it", op.Runner)
	}
	s.at(commitTwo)
	if lives := s.alone(commitTwo); lives["cron"] != 2 || lives["cron-delta-deleter"] != 2 {
		t.Errorf("the singletons lived %v times", lives)
	}
	if runs, err := s.Migrations(); err != nil || !slices.Equal(runs, []string{commitTwo}) {
		t.Errorf("the migrations are %v, %v: want one", runs, err)
	}
	if m := op.Migrated(); m != plan.DidMigrate {
		t.Errorf("migrated: %v", m)
	}
}

func running(id string) func(plan.Operation) bool {
	return func(op plan.Operation) bool {
		return slices.ContainsFunc(op.Steps, func(s plan.StepRun) bool { return s.ID == id && s.Phase == plan.Running })
	}
}

// kill kills the replica that runs an operation.
func (s *scene) kill(runner string) {
	s.t.Helper()
	pods, err := s.installation.Pods(within(s.t, 10*time.Second))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range pods {
		if strings.HasPrefix(runner, pods[i].Name+"-") {
			if err := s.Kill(&pods[i]); err != nil {
				s.t.Fatal(err)
			}
			return
		}
	}
	s.t.Fatalf("no replica is %s", runner)
}
