package plan

import (
	"errors"
	"strings"
	"testing"
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
			{Name: "frontend", Deployment: "frontend-deployment", Image: "frontend", Kind: Rolling},
			{Name: "fetcher", Deployment: "fetcher-deployment", Image: "fetcher", Kind: Rolling},
			{Name: "cron", Deployment: "cron-deployment", Image: "cron"},
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
