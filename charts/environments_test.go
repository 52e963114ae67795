package charts_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

func TestEnvironmentsOfTheProductionExampleDeployAndDoAllOfIt(t *testing.T) {
	commit := strings.Repeat("5", 40)
	var images []string
	for _, name := range []string{"cron", "fetcher", "frontend", "migrate", "renderer", "upload-assets"} {
		images = append(images, "gcr.io/workbenchdata-ci/"+name+":"+commit)
	}
	template := func(name string) plan.TemplateRef {
		return plan.TemplateRef{Kind: plan.FromPodTemplate, Name: name}
	}
	services := []plan.Service{
		{Name: "frontend", Ref: workload.Ref{Deployment: "frontend-deployment"}, Image: "frontend", Kind: plan.Rolling},
		{Name: "fetcher", Ref: workload.Ref{Deployment: "fetcher-deployment"}, Image: "fetcher", Kind: plan.Rolling},
		{Name: "renderer", Ref: workload.Ref{Deployment: "renderer-deployment"}, Image: "renderer", Kind: plan.Rolling},
		{Name: "cron", Ref: workload.Ref{Deployment: "cron-deployment"}, Image: "cron"},
		{Name: "cron-delta-deleter", Ref: workload.Ref{Deployment: "cron-delta-deleter-deployment"}, Image: "cron"},
		{Name: "cron-expired-session-deleter", Ref: workload.Ref{Deployment: "cron-expired-session-deleter-deployment"}, Image: "cron"},
		{Name: "cron-lesson-workflow-deleter", Ref: workload.Ref{Deployment: "cron-lesson-workflow-deleter-deployment"}, Image: "cron"},
	}
	jobs := []plan.Job{
		{Name: "migrate", From: template("migrate")},
		{Name: "upload-assets", From: template("upload-assets"), NoMigration: true},
	}
	manage := func(command string) plan.Task {
		return plan.Task{Name: command, Exec: plan.Exec{Service: "frontend", Container: "app", Command: []string{"./manage.py", command}}}
	}
	tasks := []plan.Task{
		{Name: "clear-render-cache", Warning: "Users will notice a slowdown for a few minutes.", From: template("clear-render-cache")},
		manage("import-plans-from-stripe"),
		manage("import-modules"),
		{Name: "restart-wordpress", Warning: "The blog is away for a minute.", From: template("restart-wordpress")},
	}
	c := configuration(t, example(t, "production", "production-environments"))
	if len(c.Environments) != 2 {
		t.Fatalf("there are %d environments", len(c.Environments))
	}
	for i, name := range []string{"staging", "production"} {
		e := c.Environments[i]
		if e.Name != name || e.Namespace != name || e.Context != "" || e.Registry == nil || e.Registry.Name != "workbenchdata-ci" ||
			e.Registry.Namespace != name || e.RolloutDeadline != 20*time.Minute || e.OnFailure != plan.Leave {
			t.Errorf("%s is %+v", name, e)
		}
		for what, diff := range map[string]string{
			"images":   cmp.Diff(images, e.ImagesAt(commit)),
			"services": cmp.Diff(services, e.Services),
			"jobs":     cmp.Diff(jobs, e.Jobs),
			"tasks":    cmp.Diff(tasks, e.Tasks),
		} {
			if diff != "" {
				t.Errorf("the %s of %s (-want +got):\n%s", what, name, diff)
			}
		}
	}
	if p := c.Environments[1]; p.PromoteFrom != "staging" || p.HealthyFor != 10*time.Minute || c.Environments[0].PromoteFrom != "" {
		t.Errorf("production is promoted from %q, healthy for %s; staging from %q", p.PromoteFrom, p.HealthyFor, c.Environments[0].PromoteFrom)
	}
	if c.API.TokensFile != "/etc/unstuck-tokens/tokens.yaml" {
		t.Errorf("the tokens are in %q", c.API.TokensFile)
	}
	if !c.API.KubernetesAuth {
		t.Error("the cluster is not asked who is calling")
	}
}

func TestEnvironmentsInClustersOfTheirOwnAreTaken(t *testing.T) {
	values := withEnvironment("promote_from: staging\n      healthy_for: 5m") + `    - name: staging
      namespace: prod
      cluster: {kubeconfig: /etc/staging/kubeconfig, context: staging}
      image: 'registry.example/{image}:{commit}'
      services: [{name: web, deployment: web, image: web}]
  api: {rate_limit: {per_second: 20, burst: 1000}, tls: {cert_file: /etc/tls/tls.crt, key_file: /etc/tls/tls.key}}
mounts: [{secret: staging, path: /etc/staging}, {secret: tls, path: /etc/tls}]
`
	c := configuration(t, values)
	if e := c.Environments; e[0].Context != "" || e[1].Context != "staging" || e[1].Kubeconfig != "/etc/staging/kubeconfig" {
		t.Errorf("they are %+v", e)
	}
	if a := c.API; a.PerSecond != 20 || a.Burst != 1000 || a.CertFile != "/etc/tls/tls.crt" || a.KeyFile != "/etc/tls/tls.key" {
		t.Errorf("the API is %+v", a)
	}
}
