package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/release/plan"
)

//promise:31
func TestReleaseAgainRestartsRunsTasksAndTakesTheSameRequestOnce(t *testing.T) {
	t.Parallel()
	s := sharedStage(t, "again")
	s.ready()

	t.Run("a rolling restart, for a reason", func(t *testing.T) {
		s := s.on(t)
		before := s.pods("frontend")
		s.refused(s.path+"/services/frontend/restarts", body{}, http.StatusBadRequest, plan.Invalid, "reason")
		op := s.submit(s.path+"/services/frontend/restarts", body{"reason": "it leaks", "bug_report": "https://bugs.example/1"})
		op = s.over(op.ID, plan.Succeeded)
		if op.Request.Reason != "it leaks" || op.Request.BugReport != "https://bugs.example/1" {
			t.Errorf("it is recorded as %+v", op.Request)
		}
		after := s.pods("frontend")
		if len(after) != 2 || slices.ContainsFunc(after, func(p string) bool { return slices.Contains(before, p) }) {
			t.Errorf("the pods were %v and are %v", before, after)
		}
		s.at(commitOne)
	})
	t.Run("what reads a Secret, and nothing else", func(t *testing.T) {
		s := s.on(t)
		frontends, others := s.pods("frontend"), s.pods("cron-delta-deleter")
		s.refused(s.path+"/secrets/nobodys/restarts", body{"reason": "rotated"}, http.StatusNotFound, plan.NotFound, "nobodys")
		op := s.submit(s.path+"/secrets/database/restarts", body{"reason": "rotated"})
		op = s.over(op.ID, plan.Succeeded)
		var steps []string
		for _, one := range op.Steps {
			steps = append(steps, one.ID)
		}
		if want := []string{"roll frontend", "replace cron"}; !slices.Equal(steps, want) {
			t.Errorf("the steps were %q, want %q", steps, want)
		}
		if lives := s.alone(commitOne); lives["cron"] != 2 || lives["cron-delta-deleter"] != 1 {
			t.Errorf("the singletons lived %v times", lives)
		}
		if now := s.pods("frontend"); slices.ContainsFunc(now, func(p string) bool { return slices.Contains(frontends, p) }) {
			t.Errorf("the frontend's pods were %v and are %v", frontends, now)
		}
		if now := s.pods("cron-delta-deleter"); !slices.Equal(now, others) {
			t.Errorf("what does not read it was replaced: %v, %v", others, now)
		}
	})
	t.Run("a task by a job, whose warning is to be confirmed", func(t *testing.T) {
		s := s.on(t)
		const path = "/tasks/clear-render-cache/runs"
		s.refused(s.path+path, body{"reason": "stale"}, http.StatusConflict, plan.Unconfirmed, "Users will notice a slowdown")
		op := s.submit(s.path+path, body{"reason": "stale", "confirm": true})
		s.streamed(op.ID, "job clear-render-cache", "cleared shard")
	})
	t.Run("a task by a command, asked for twice with one key", func(t *testing.T) {
		s := s.on(t)
		s.key = "import-1"
		path := s.path + "/tasks/import-plans/runs"
		op := s.submit(path, body{"reason": "new plans"})
		if again := s.submit(path, body{"reason": "new plans"}); again.ID != op.ID {
			t.Errorf("the same key gave %s and %s", op.ID, again.ID)
		}
		s.refused(s.path+"/tasks/clear-render-cache/runs", body{"reason": "new plans", "confirm": true}, http.StatusUnprocessableEntity, plan.KeyReused, op.ID)
		s.key = ""
		s.streamed(op.ID, "command import-plans", "imported plan")
	})
	t.Run("two deploys at once, of which one is refused", func(t *testing.T) { s.on(t).twice() })
}

// pods gives the names of a service's pods that are not on their way out.
func (s *scene) pods(service string) []string {
	s.t.Helper()
	pods, err := s.Pods(within(s.t, 10*time.Second), service)
	if err != nil {
		s.t.Fatal(err)
	}
	var names []string
	for _, p := range pods {
		names = append(names, p.Name)
	}
	return names
}

// streamed wants a step's twenty lines of output to come one after the other, while it runs, and to be kept.
func (s *scene) streamed(id, step, what string) {
	s.t.Helper()
	var seen []int
	op := s.follow(id, time.Minute, func(op plan.Operation) bool {
		for _, one := range op.Steps {
			if one.ID == step && one.Phase == plan.Running && !slices.Contains(seen, len(one.Log)) {
				seen = append(seen, len(one.Log))
			}
		}
		return false
	})
	if op.Phase != plan.Succeeded {
		s.t.Fatal(told(op))
	}
	if !slices.ContainsFunc(seen, func(n int) bool { return n > 0 && n < 20 }) {
		s.t.Errorf("its output did not come while it ran: %v lines", seen)
	}
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprintf("%s %d of 20", what, i+1))
	}
	if got := op.Steps[0].Log; !slices.Equal(got, want) {
		s.t.Errorf("its output is %q", got)
	}
}

func (s *scene) twice() {
	if err := s.Hold(); err != nil {
		s.t.Fatal(err)
	}
	type answer struct {
		op      plan.Operation
		problem *httpapi.Problem
	}
	answers := make(chan answer, 2)
	var both sync.WaitGroup
	for _, commit := range []string{commitTwo, commitThree} {
		both.Go(func() {
			var a answer
			a.problem = s.ask(http.MethodPost, s.path+"/deploys", body{"commit": commit, "reason": "at once"}, &a.op)
			answers <- a
		})
	}
	both.Wait()
	a, b := <-answers, <-answers
	if a.problem != nil {
		a, b = b, a
	}
	switch {
	case a.problem != nil:
		s.t.Fatalf("neither was taken on: %v; %v", a.problem, b.problem)
	case b.problem == nil:
		s.t.Fatalf("both were taken on: %s and %s", a.op.ID, b.op.ID)
	case b.problem.Code != plan.Busy || b.problem.RetryAfter == 0:
		s.t.Errorf("the other was answered with %+v", b.problem)
	}
	s.follow(a.op.ID, time.Minute, migrating)
	p := s.refused(s.path+"/services/frontend/restarts", body{"reason": "meanwhile"}, http.StatusConflict, plan.Busy)
	if !strings.Contains(p.Detail, a.op.ID) {
		s.t.Errorf("it does not say what is under way: %s", p.Detail)
	}
	if p := s.ask(http.MethodPost, "/api/v1/operations/"+a.op.ID+"/cancel", body{"reason": "seen enough"}, nil); p != nil {
		s.t.Fatal(p)
	}
	s.over(a.op.ID, plan.Cancelled)
}
