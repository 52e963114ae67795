package plan

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/release/workload"
)

const (
	commitA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	commitB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	commitC = "cccccccccccccccccccccccccccccccccccccccc"
)

func testEnvironment() Environment {
	return Environment{
		Name: "staging", Namespace: "staging", Image: "gcr.io/acme/{image}:{commit}", Images: []string{"migrate", "assets"},
		Services: []Service{
			{Name: "frontend", Ref: workload.Ref{Deployment: "frontend-deployment"}, Image: "frontend", Kind: Rolling},
			{Name: "fetcher", Ref: workload.Ref{Deployment: "fetcher-deployment"}, Image: "fetcher", Kind: Rolling},
			{Name: "cron", Ref: workload.Ref{Deployment: "cron-deployment"}, Image: "cron"},
		},
		Jobs: []Job{
			{Name: "migrate", From: TemplateRef{FromCronJob, "migrate"}},
			{Name: "assets", From: TemplateRef{FromPodTemplate, "assets"}, NoMigration: true},
		},
		Tasks: []Task{
			{Name: "import", Exec: Exec{Service: "frontend", Command: []string{"./manage.py", "import"}}},
			{Name: "clear", Warning: "Users will notice.", From: TemplateRef{FromCronJob, "clear"}},
		},
	}
}

func deployOf(commit string) Request {
	return Request{Kind: Deploy, Environment: "staging", Commit: commit, Reason: "a test", By: "ada"}
}

func wantRefusal(t *testing.T, err error, code Code, words ...string) {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) || r.Code != code {
		t.Fatalf("%v, want a refusal %q", err, code)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("refusal %q, want %q in it", err, w)
		}
	}
}

func rolledOut() workload.Workload {
	long := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	return workload.Workload{
		Ref: workload.Ref{Deployment: "web"}, Replicas: 3, Generation: 7, ObservedGeneration: 7, Total: 3, Updated: 3, Available: 3,
		Conditions: []workload.Condition{
			{Type: "Available", Status: "True", Changed: long},
			{Type: "Progressing", Status: "True", Reason: "NewReplicaSetAvailable", Updated: long},
		},
		Pods: []workload.Pod{{Name: "web-1", Phase: "Running", Updated: true, Ready: true, Containers: []workload.ContainerState{{Name: "app", Ready: true}}}},
	}
}
