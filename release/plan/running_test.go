package plan

import (
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/release/workload"
)

func TestEnvironmentRunningReadsTheCommitOffAllImagesOfAService(t *testing.T) {
	env := testEnvironment()
	state := State{Workloads: []workload.Workload{
		{Ref: workload.Ref{Deployment: "frontend-deployment"}, Containers: []workload.Container{
			{Name: "app", Image: "gcr.io/acme/frontend:" + commitA},
			{Name: "sidecar", Image: "gcr.io/acme/fetcher:" + commitA},
			{Name: "proxy", Image: "gcr.io/else/proxy:1"},
		}},
		{Ref: workload.Ref{Deployment: "fetcher-deployment"}, Containers: []workload.Container{
			{Name: "app", Image: "gcr.io/acme/fetcher:" + commitB},
			{Name: "sidecar", Image: "gcr.io/acme/frontend:" + commitA},
		}},
	}}
	for service, want := range map[string]struct{ commit, why string }{
		"frontend": {commit: commitA},
		"fetcher":  {why: "container sidecar of fetcher runs " + commitA},
		"cron":     {why: "there is no Deployment cron-deployment"},
		"nobody":   {why: "there is no service nobody"},
	} {
		commit, why := env.Running(service, state)
		if commit != want.commit || !strings.Contains(why, want.why) || (why == "") != (want.why == "") {
			t.Errorf("%s runs %q (%s), want %q (%s)", service, commit, why, want.commit, want.why)
		}
	}
	if len(env.Services) != 3 || len(env.Images) != 2 {
		t.Error("asking has changed the environment")
	}
}
