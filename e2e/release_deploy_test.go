package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cjworkbench/unstuck/e2e/artifact"
	"github.com/cjworkbench/unstuck/release/plan"
)

//promise:28
func TestReleaseDeployIsPromotedAndRevertedOnlyWhereThatIsSafe(t *testing.T) {
	t.Parallel()
	staging := sharedStage(t, "staging")
	production := sharedStage(t, "production")
	staging.ready()
	production.ready()

	// Both environments at once, to the commit that runs: this says that it is good, and what it migrated.
	first := []plan.Operation{staging.deploy(commitOne), production.deploy(commitOne)}
	for _, op := range first {
		staging.over(op.ID, plan.Succeeded)
	}

	t.Run("a dry run plans and changes nothing", func(t *testing.T) { staging.on(t).plans() })
	t.Run("the jobs run first, then every container moves, and no singleton twice", func(t *testing.T) {
		s := staging.on(t)
		op := s.deploy(commitTwo)
		s.follow(op.ID, 2*time.Minute, func(op plan.Operation) bool { return step(t, op, "roll frontend").Phase == plan.Running })
		production.on(t).refused(production.path+"/promotions", body{"reason": "too early"}, http.StatusConflict, plan.NotReady, "staging")
		s.deployed(s.over(op.ID, plan.Succeeded))
	})
	t.Run("what is not uniform is not promoted", func(t *testing.T) {
		s := staging.on(t)
		s.set("teardown-sandboxes", artifact.StandinImage("frontend", commitOne))
		p := production.on(t)
		p.refused(p.path+"/promotions", body{"reason": "not uniform"}, http.StatusConflict, plan.NotReady, "teardown-sandboxes", commitOne)
		s.set("teardown-sandboxes", artifact.StandinImage("frontend", commitTwo))
		s.ready()
	})
	t.Run("what runs in staging is promoted to production", func(t *testing.T) {
		p := production.on(t)
		var op plan.Operation
		var refusal error
		ctx := within(t, time.Minute) // it must have been healthy for a second
		if err := until(ctx, func() (bool, error) {
			problem := p.ask(http.MethodPost, p.path+"/promotions", body{"reason": "a test"}, &op)
			if problem != nil {
				refusal = problem
				pause(ctx, 500*time.Millisecond)
			}
			return problem == nil, refusal
		}); err != nil {
			t.Fatal(err)
		}
		if op = p.over(op.ID, plan.Succeeded); op.Commit != commitTwo {
			t.Errorf("it promoted %s", op.Commit)
		}
		p.at(commitTwo)
		p.alone(commitTwo)
	})
	t.Run("a revert does not cross a migration unless that risk is accepted", func(t *testing.T) { staging.on(t).revert() })
}

func (s *scene) plans() {
	var shown plan.Plan
	if p := s.ask(http.MethodPost, s.path+"/deploys", body{"commit": commitTwo, "reason": "a look", "dry_run": true}, &shown); p != nil {
		s.t.Fatal(p)
	}
	var steps []string
	for _, one := range shown.Steps {
		steps = append(steps, fmt.Sprint(one.Stage, " ", one.ID))
	}
	want := []string{"0 check images", "1 job migrate", "1 job upload-assets", "2 roll frontend", "3 replace cron", "3 replace cron-delta-deleter"}
	if !slices.Equal(steps, want) {
		s.t.Errorf("the plan is %q, want %q", steps, want)
	}
	s.at(commitOne)
	if runs, err := s.Migrations(); err != nil || len(runs) != 1 {
		s.t.Errorf("the migrations are %v, %v: want that of the first deploy alone", runs, err)
	}
}

// deployed checks what a deploy of commit two has done.
func (s *scene) deployed(op plan.Operation) {
	s.at(commitTwo)
	migrate, roll := step(s.t, op, "job migrate"), step(s.t, op, "roll frontend")
	if log := strings.Join(migrate.Log, "\n"); !strings.Contains(log, "Successfully applied 1 migration") {
		s.t.Errorf("the job's log is not kept: %q", log)
	}
	if migrate.Migrated == nil || *migrate.Migrated != plan.DidMigrate {
		s.t.Errorf("it is not said that it migrated: %+v", migrate)
	}
	upload := step(s.t, op, "job upload-assets")
	if !slices.Contains(upload.Log, "uploaded asset 20 of 20") {
		s.t.Errorf("the log of upload-assets is %q", upload.Log)
	}
	if upload.Started.After(migrate.Ended) {
		s.t.Error("the jobs did not run side by side")
	}
	if roll.Started.Before(migrate.Ended) || roll.Started.Before(upload.Ended) {
		s.t.Error("it rolled before the jobs had ended")
	}
	for _, id := range []string{"replace cron", "replace cron-delta-deleter"} {
		if step(s.t, op, id).Started.Before(roll.Ended) {
			s.t.Errorf("%s began before the frontend had rolled", id)
		}
	}
	if runs, err := s.Migrations(); err != nil || !slices.Equal(runs, []string{commitOne, commitTwo}) {
		s.t.Errorf("the migrations are %v, %v", runs, err)
	}
	if lives := s.alone(commitTwo); lives["cron"] != 2 || lives["cron-delta-deleter"] != 2 {
		s.t.Errorf("the singletons lived %v times", lives)
	}
	if op.Request.By != "oncall" || op.Request.Reason != "a test" || op.Request.From == "" {
		s.t.Errorf("it is recorded as asked for by %q from %q, because %q", op.Request.By, op.Request.From, op.Request.Reason)
	}
}

// revert goes back from commit two, which migrated, to commit one.
func (s *scene) revert() {
	p := s.refused(s.path+"/reverts", body{"reason": "it is slow"}, http.StatusConflict, plan.Migrated, "migration")
	if len(p.Crossed) != 1 || p.Crossed[0].Commit != commitTwo || p.Crossed[0].Migrated != plan.DidMigrate {
		s.t.Errorf("it would cross %+v", p.Crossed)
	}
	s.at(commitTwo)
	op := s.submit(s.path+"/reverts", body{"reason": "it is slow", "accept_migration_risk": true})
	op = s.over(op.ID, plan.Succeeded)
	if op.Commit != commitOne {
		s.t.Errorf("it went back to %s", op.Commit)
	}
	s.at(commitOne)
	s.alone(commitOne)
	if runs, err := s.Migrations(); err != nil || len(runs) != 2 {
		s.t.Errorf("an older commit's migration ran: %v, %v", runs, err)
	}
}

// set gives a container of the frontend another image, as `kubectl set image` does.
func (s *scene) set(container, image string) {
	s.t.Helper()
	patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":%q,"image":%q}]}}}}`, container, image)
	_, err := shared.Kubernetes.AppsV1().Deployments(s.Namespace).Patch(within(s.t, 10*time.Second), "frontend-deployment",
		types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
}
