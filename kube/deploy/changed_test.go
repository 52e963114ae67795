package deploy

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/release/workload"
)

func TestChangedByNamesTheLastProgramThatIsNotUs(t *testing.T) {
	entry := func(manager, subresource string, minute int) metav1.ManagedFieldsEntry {
		at := metav1.NewTime(longAgo.Add(time.Duration(minute) * time.Minute))
		return metav1.ManagedFieldsEntry{Manager: manager, Subresource: subresource, Time: &at}
	}
	for name, tt := range map[string]struct {
		entries []metav1.ManagedFieldsEntry
		want    string
	}{
		"nobody":             {nil, ""},
		"GitOps after us":    {[]metav1.ManagedFieldsEntry{entry("argocd-controller", "", 3), entry("unstuck", "", 2)}, "argocd-controller at " + longAgo.Add(3*time.Minute).UTC().Format(time.RFC3339)},
		"us after GitOps":    {[]metav1.ManagedFieldsEntry{entry("argocd-controller", "", 1), entry("unstuck", "", 2)}, ""},
		"an autoscaler":      {[]metav1.ManagedFieldsEntry{entry("unstuck", "", 2), entry("keda", "scale", 3)}, "keda at " + longAgo.Add(3*time.Minute).UTC().Format(time.RFC3339)},
		"the status is none": {[]metav1.ManagedFieldsEntry{entry("unstuck", "", 2), entry("kube-controller-manager", "status", 3)}, ""},
		"without a time":     {[]metav1.ManagedFieldsEntry{{Manager: "kubectl"}}, ""},
	} {
		d := cron(func(d *appsv1.Deployment) { d.ManagedFields = tt.entries })
		if got := changedBy(d); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	d := cron(func(d *appsv1.Deployment) { d.ManagedFields = []metav1.ManagedFieldsEntry{entry("kubectl-set", "", 1)} })
	got, err := clusters(kubetest.NewCluster(t, d)).Workload(t.Context(), testEnvironment(), workload.Ref{Deployment: "cron-deployment"})
	if want := "kubectl-set at " + longAgo.Add(time.Minute).UTC().Format(time.RFC3339); err != nil || got.ChangedBy != want {
		t.Errorf("%q, %v, want %q", got.ChangedBy, err, want)
	}
}
