package config

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

func TestEnvironmentsArriveAsReleaseTakesThem(t *testing.T) {
	c := loaded(t, "testdata/good/full.yaml")
	here, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	staging := DefaultEnvironment()
	staging.Name, staging.Namespace, staging.Image = "staging", "staging", "registry.example/acme/{image}:{commit}"
	staging.Services = []plan.Service{{Name: "web", Ref: workload.Ref{Deployment: "web-deployment"}, Image: "web", Kind: plan.Rolling}}
	production := Environment{
		Kubeconfig: filepath.Join(here, "password"),
		Registry:   &RegistrySecret{Namespace: "tools", Name: "registry", Key: "config.json"}, Identity: AzureIdentity,
		Environment: plan.Environment{
			Name: "production", Namespace: "default", Context: "production", PromoteFrom: "staging",
			Image:  "registry.example/acme/{image}:v-{commit}",
			Images: []string{"migrate", "registry.example:5000/assets/upload"},
			Services: []plan.Service{
				{Name: "frontend", Ref: workload.Ref{Deployment: "frontend-deployment"}, Image: "frontend", Kind: plan.Rolling},
				{Name: "cron", Ref: workload.Ref{Deployment: "cron-deployment"}, Image: "registry.example:5000/acme/cron"},
				{Name: "search", Ref: workload.Ref{StatefulSet: "search"}, Image: "search", Kind: plan.Rolling},
				{Name: "agent", Ref: workload.Ref{DaemonSet: "agent"}, Image: "agent", Kind: plan.Rolling},
			},
			Jobs: []plan.Job{
				{
					Name: "migrate", From: plan.TemplateRef{Kind: plan.FromCronJob, Name: "migrate"},
					Patterns: plan.Patterns{Migrated: []string{"^applied [1-9]"}, Nothing: []string{"^up to date$"}},
				},
				{Name: "upload-assets", From: plan.TemplateRef{Kind: plan.FromPodTemplate, Name: "upload-assets"}, NoMigration: true},
			},
			Tasks: []plan.Task{
				{
					Name: "import-plans", Warning: "People who pay just now have to try again.",
					Exec: plan.Exec{Service: "frontend", Container: "app", Command: []string{"./manage.py", "import-plans"}},
				},
				{Name: "restart-blog", From: plan.TemplateRef{Kind: plan.FromPodTemplate, Name: "restart-blog"}},
				{Name: "clean-up-now", From: plan.TemplateRef{Kind: plan.FromCronJob, Name: "clean-up"}},
			},
			Settings: plan.Settings{
				RolloutDeadline: 20 * time.Minute, StopDeadline: 6 * time.Minute, JobDeadline: 40 * time.Minute, TaskDeadline: 50 * time.Minute,
				ResumeDeadline: 7 * time.Minute, HealthyFor: 15 * time.Minute, OnFailure: plan.Rollback, GitOps: plan.AllowGitOps,
			},
		},
	}
	if diff := cmp.Diff([]Environment{staging, production}, c.Environments); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !c.InCluster() {
		t.Error("environments are not taken for something in Kubernetes")
	}
}

func TestDefaultEnvironmentIsThatOfRelease(t *testing.T) {
	e := DefaultEnvironment().Environment
	e.Name, e.Namespace, e.Image = "a", "b", "c/{image}:{commit}"
	e.Settings = plan.Settings{}
	r, err := release.NewRunner(release.Options{Environments: []plan.Environment{e}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.Environments[0].Settings, DefaultEnvironment().Settings); diff != "" {
		t.Errorf("(-release +config):\n%s", diff)
	}
}

const leastEnvironments = `
brokers: [{name: b, username: u, password_file: p, nodes: [{name: n, address: "h:1"}]}]
environments:
`

func TestEnvironmentElsewhereHasTheKubeconfigThatHoldsForAll(t *testing.T) {
	const services = `image: "r/{image}:{commit}", services: [{name: s, deployment: d, image: i}], registry_secret: {name: pull}`
	c, err := Parse([]byte("kubernetes: {kubeconfig: /all}\n" + leastEnvironments + `
  - {name: here, namespace: n, ` + services + `}
  - {name: there, namespace: n, cluster: {context: there}, ` + services + `}
  - {name: beyond, namespace: n, cluster: {kubeconfig: /own, context: there}, ` + services + `}
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range c.Environments {
		got = append(got, e.Name+" "+e.Context+" "+e.Kubeconfig+" "+e.Registry.Namespace+"/"+e.Registry.Name+" "+e.Registry.Key)
	}
	const secret = " n/pull .dockerconfigjson"
	if diff := cmp.Diff([]string{"here  " + secret, "there there /all" + secret, "beyond there /own" + secret}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEnvironmentsImagesAreThoseOfRegistries(t *testing.T) {
	for image, good := range map[string]bool{
		"frontend": true, "front-end_2.x": true, "acme/app": true, "localhost:5000/app": true, "gcr.io/a/b/c": true,
		"": false, "Frontend": false, "app:1": false, "app@sha256:00": false, "/app": false, "acme//app": false, "acme/": false,
		"app-": false, "host:port/app": false, "https://gcr.io/app": false, "{image}": false,
	} {
		if got := imageForm.MatchString(image); got != good {
			t.Errorf("the name %q is taken: %v, want %v", image, got, good)
		}
	}
	for pattern, good := range map[string]bool{
		"gcr.io/acme/{image}:{commit}": true, "localhost:5000/{image}:v1-{commit}": true, "{image}:{commit}": true,
		"acme/app-{image}:{commit}-x": true, "acme/all:{commit}": true,
		"acme/{image}": false, "acme/{image}:latest": false, "acme/{commit}:{image}": false, "acme/{image}:{image}-{commit}": false,
		"acme/{image}:{commit}{commit}": false, "acme/{name}:{commit}": false, "acme/{image}@{commit}": false, ":{commit}": false,
		"https://acme/{image}:{commit}": false,
	} {
		if got := patternForm.MatchString(pattern); got != good {
			t.Errorf("the pattern %q is taken: %v, want %v", pattern, got, good)
		}
	}
}

func TestEnvironmentHasBoundedLists(t *testing.T) {
	many := func(n int, one string) string { return "[" + strings.Repeat(one+", ", n) + "]" }
	_, err := Parse([]byte(leastEnvironments + `
  - name: a
    namespace: a
    image: "r/{image}:{commit}"
    images: ` + many(101, "i") + `
    services: ` + many(101, "{name: s, deployment: d, image: i}")))
	for _, want := range []string{
		"line 8: environments[0].images: there are 101: want at most 100\n", "line 9: environments[0].services: there are 101: want at most 100\n",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %.300v", want, err)
		}
	}
	_, err = Parse([]byte(leastEnvironments + strings.Repeat("  - {}\n", 101)))
	if want := "environments: there are 101: want at most 100\n"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%q is missing in %.300v", want, err)
	}
}

func TestEnvironmentHasNoMoreThanADeployHasStepsFor(t *testing.T) {
	list := func(n int, one string) string {
		var all []string
		for i := range n {
			all = append(all, strings.ReplaceAll(one, "N", strconv.Itoa(i)))
		}
		return "[" + strings.Join(all, ", ") + "]"
	}
	for jobs, want := range map[int]string{40: "", 41: "60 services and 41 jobs: want at most 100 of both, for a deploy has a step for each"} {
		_, err := Parse([]byte(leastEnvironments + `
  - name: a
    namespace: a
    image: "r/{image}:{commit}"
    services: ` + list(60, "{name: sN, deployment: sN, image: i}") + `
    jobs: ` + list(jobs, "{name: jN, from: {cronjob: jN}}")))
		if want == "" {
			if err != nil {
				t.Errorf("%d jobs: %v", jobs, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d jobs: %v, want %q", jobs, err, want)
		}
	}
}
