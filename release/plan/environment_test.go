package plan

import (
	"strings"
	"testing"
)

func TestEnvironmentValidateReportsAllThatIsWrongAtOnce(t *testing.T) {
	if err := testEnvironment().Validate(); err != nil {
		t.Errorf("a good one: %v", err)
	}
	e := testEnvironment()
	e.Name, e.Namespace, e.PromoteFrom, e.Image = "Staging", "", "Staging", "gcr.io/acme/app:latest"
	e.RolloutDeadline, e.OnFailure = -1, "panic"
	e.Services[1].Name = "frontend"
	e.Services[2].Deployment = "frontend-deployment"
	e.Images = []string{"gcr.io/acme/assets:7"}
	e.Jobs[0].From.Kind = "deployment"
	e.Jobs[1].Patterns.Nothing = []string{"("}
	e.Tasks[0].Exec.Service = "nobody"
	e.Tasks[1].From = TemplateRef{}
	err := e.Validate()
	if err == nil {
		t.Fatal("it is taken for good")
	}
	for _, want := range []string{
		`name "Staging"`, `namespace ""`, `promote from "Staging"`, `image "gcr.io/acme/app:latest": want {commit} once`, "a time of -1ns",
		`on failure "panic"`, `service "frontend": want a name of its own`, "service cron: Deployment frontend-deployment: want one workload of its own",
		`image "gcr.io/acme/assets:7"`, "job migrate: start from", `job assets: pattern "("`, `task import: service "nobody": want one of`,
		"task clear: want either a command",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
}

func TestRepositoryOfReadsNamesAsRegistriesMeanThem(t *testing.T) {
	for image, want := range map[string]string{
		"redis": "docker.io/library/redis", "redis:7": "docker.io/library/redis", "docker.io/redis": "docker.io/library/redis",
		"acme/app:1": "docker.io/acme/app", "index.docker.io/acme/app": "docker.io/acme/app",
		"localhost:5000/app:1": "localhost:5000/app", "localhost/app": "localhost/app",
		"gcr.io/acme/app@sha256:00": "gcr.io/acme/app", "gcr.io/acme/app:1@sha256:00": "gcr.io/acme/app",
	} {
		if got := repositoryOf(image); got != want {
			t.Errorf("%s: %s, want %s", image, got, want)
		}
	}
}
