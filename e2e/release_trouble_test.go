package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/e2e/artifact"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

//promise:29
func TestReleaseTroubleSaysWhyADeployFailsAndLeavesNothingHalfDone(t *testing.T) {
	t.Parallel()
	s := sharedStage(t, "trouble")
	s.ready()

	t.Run("an image that is not published", func(t *testing.T) {
		s := s.on(t)
		op := s.over(s.deploy(commitUnpublished).ID, plan.Failed)
		if missing := artifact.StandinImage("cron", commitUnpublished); !strings.Contains(op.Outcome, "not published: "+missing) {
			t.Errorf("it does not name %s alone: %s", missing, op.Outcome)
		}
		s.untouched(op)
	})
	t.Run("a migration that fails", func(t *testing.T) {
		s := s.on(t)
		op := s.over(s.deploy(commitBad).ID, plan.Failed)
		job := step(t, op, "job migrate")
		if job.Diagnosis == nil || job.Diagnosis.Container != "migrate" || job.Diagnosis.Why != workload.Crash {
			t.Errorf("the diagnosis is %+v", job.Diagnosis)
		}
		if !strings.Contains(strings.Join(job.Log, "\n"), `Migration of schema "public" to version "3 - shape" failed!`) {
			t.Errorf("the job's log is not kept: %q", job.Log)
		}
		if m := op.Migrated(); m != plan.DidMigrate { // by its own words it had begun to
			t.Errorf("migrated: %v", m)
		}
		s.untouched(op)
	})
	t.Run("one that is cancelled while its migration runs", func(t *testing.T) { s.on(t).cancelled() })
	t.Run("a frontend that does not come up, and the old images put back", func(t *testing.T) { s.on(t).crash() })
}

// untouched wants an operation that failed before it touched any Deployment.
func (s *scene) untouched(op plan.Operation) {
	s.t.Helper()
	for _, one := range op.Steps {
		if (one.Do == plan.Roll || one.Do == plan.Replace) && !one.Started.IsZero() {
			s.t.Errorf("%s was begun", one.ID)
		}
	}
	s.at(commitOne)
	if lives := s.alone(commitOne); lives["cron"] != 1 {
		s.t.Errorf("the singletons lived %v times", lives)
	}
}

func (s *scene) cancelled() {
	if err := s.Hold(); err != nil {
		s.t.Fatal(err)
	}
	op := s.deploy(commitThree)
	s.follow(op.ID, time.Minute, migrating)
	var answer plan.Operation
	if p := s.ask(http.MethodPost, "/api/v1/operations/"+op.ID+"/cancel", body{"reason": "the wrong commit"}, &answer); p != nil {
		s.t.Fatal(p)
	}
	op = s.over(op.ID, plan.Cancelled)
	if op.Cancel == nil || op.Cancel.By != "oncall" || op.Cancel.Reason != "the wrong commit" {
		s.t.Errorf("it is recorded as cancelled by %+v", op.Cancel)
	}
	_, err := shared.Kubernetes.BatchV1().Jobs(s.Namespace).Get(within(s.t, 10*time.Second), step(s.t, op, "job migrate").Job.Name, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		s.t.Errorf("the job is still there: %v", err)
	}
	s.untouched(op)
	s.refused("/api/v1/operations/"+op.ID+"/cancel", body{"reason": "again"}, http.StatusConflict, plan.NotRunning)
	if err := s.LetGo(); err != nil {
		s.t.Fatal(err)
	}
}

// migrating says whether the migration of a deploy has begun to write its log.
func migrating(op plan.Operation) bool {
	return slices.ContainsFunc(op.Steps, func(s plan.StepRun) bool { return s.Name == "migrate" && len(s.Log) > 0 })
}

func (s *scene) crash() {
	op := s.submit(s.path+"/deploys", body{"commit": commitCrash, "reason": "a test", "on_failure": "rollback"})
	op = s.over(op.ID, plan.RolledBack)
	d := step(s.t, op, "roll frontend").Diagnosis
	switch {
	case d == nil:
		s.t.Fatalf("there is no diagnosis: %s", told(op))
	case !strings.HasPrefix(d.Pod, "frontend-deployment-") || d.Container != "app" || d.Why != workload.Crash:
		s.t.Errorf("the diagnosis is %s", d)
	case !strings.Contains(strings.Join(d.Log, "\n"), "no such column: colour"):
		s.t.Errorf("the log of the diagnosis is %q", d.Log)
	}
	if !strings.Contains(op.Outcome, d.Pod) || !strings.Contains(op.Outcome, "exit code 1") {
		s.t.Errorf("the outcome does not say which pod ended how: %s", op.Outcome)
	}
	s.at(commitOne)
	s.ready()
	s.alone(commitOne)
}
