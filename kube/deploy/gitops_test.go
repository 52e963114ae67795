package deploy

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/release/plan"
)

func TestKeptByNamesTheToolAndItsMark(t *testing.T) {
	for name, tc := range map[string]struct {
		labels, annotations map[string]string
		want                string
	}{
		"nobody's":                        {nil, nil, ""},
		"a chart's":                       {map[string]string{"app.kubernetes.io/instance": "web", "app.kubernetes.io/managed-by": "Helm"}, nil, ""},
		"Argo CD's":                       {nil, map[string]string{"argocd.argoproj.io/tracking-id": "web:apps/Deployment:prod/web"}, "Argo CD (annotation argocd.argoproj.io/tracking-id)"},
		"Argo CD's by label":              {map[string]string{"argocd.argoproj.io/instance": "web"}, nil, "Argo CD (label argocd.argoproj.io/instance)"},
		"Flux's":                          {map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"}, nil, "Flux (label kustomize.toolkit.fluxcd.io/name)"},
		"Flux's by Helm":                  {map[string]string{"helm.toolkit.fluxcd.io/name": "web"}, nil, "Flux (label helm.toolkit.fluxcd.io/name)"},
		"Config Sync's":                   {nil, map[string]string{"configsync.gke.io/declared-fields": "{}"}, "Config Sync (annotation configsync.gke.io/declared-fields)"},
		"Fleet's":                         {nil, map[string]string{"objectset.rio.cattle.io/id": "web"}, "Rancher's Fleet or k3s (annotation objectset.rio.cattle.io/id)"},
		"left alone by Flux":              {map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"}, map[string]string{"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}, ""},
		"left to its first apply by Flux": {map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"}, map[string]string{"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"}, ""},
		"left alone by another":           {map[string]string{"argocd.argoproj.io/instance": "web"}, map[string]string{"kustomize.toolkit.fluxcd.io/ssa": "Ignore"}, "Argo CD (label argocd.argoproj.io/instance)"},
		"of two, and left alone by one":   {map[string]string{"argocd.argoproj.io/instance": "web", "helm.toolkit.fluxcd.io/name": "web"}, map[string]string{"helm.toolkit.fluxcd.io/driftDetection": "disabled"}, "Argo CD (label argocd.argoproj.io/instance)"},
		"not left alone":                  {map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"}, map[string]string{"kustomize.toolkit.fluxcd.io/reconcile": "enabled"}, "Flux (label kustomize.toolkit.fluxcd.io/name)"},
	} {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Labels: tc.labels, Annotations: tc.annotations}}
		if got := ofDeployment(d).seen.KeptBy; got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestUnmarkedJobsAreNoToolsOwn(t *testing.T) {
	template := batchv1.JobTemplateSpec{ObjectMeta: metav1.ObjectMeta{
		Labels: map[string]string{
			"app.kubernetes.io/instance": "web", "argocd.argoproj.io/instance": "web", "kustomize.toolkit.fluxcd.io/name": "apps", "app": "web",
		},
		Annotations: map[string]string{"argocd.argoproj.io/tracking-id": "web:batch/CronJob:prod/migrate", "note": "x"},
	}}
	job, err := newJob("prod", plan.JobRun{Name: "migrate-1", Operation: "deploy-1"}, template)
	if err != nil {
		t.Fatal(err)
	}
	if kept := keptBy(job); kept != "" || job.Labels["app"] != "web" || job.Annotations["note"] != "x" || job.Labels["app.kubernetes.io/instance"] != "" {
		t.Errorf("kept by %q: labels %v, annotations %v", kept, job.Labels, job.Annotations)
	}
	if len(template.Labels) != 4 {
		t.Errorf("the template has now %v", template.Labels)
	}
}
