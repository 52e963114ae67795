package deploy

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/kube/apiserver"
)

func TestPodOfPutsTheContainerThatLogsAreOfFirst(t *testing.T) {
	for name, tc := range map[string]struct{ note, want string }{
		"no annotation":                      {"", "istio-proxy"},
		"it names one":                       {"app", "app"},
		"it names one that the pod has not":  {"old-app", "istio-proxy"},
		"it names the one that stands first": {"istio-proxy", "istio-proxy"},
	} {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"kubectl.kubernetes.io/default-container": tc.note}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "istio-proxy"}, {Name: "extra"}, {Name: "app"}}},
			Status:     corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "app"}, {Name: "extra"}, {Name: "istio-proxy"}}},
		}
		if logs := apiserver.ContainerOf(p, ""); logs != tc.want {
			t.Errorf("%s: logs of %s", name, logs)
		}
		if got := podOf(p).Containers; got[0].Name != tc.want || len(got) != 3 {
			t.Errorf("%s: commands in %+v", name, got)
		}
	}
}
