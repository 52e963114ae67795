package apiserver

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestContainerOfIsTheOneThatKubectlTakes(t *testing.T) {
	for _, tc := range []struct{ asked, note, want string }{
		{"", "", "proxy"},
		{"", "app", "app"},
		{"", "setup", "setup"},
		{"", "renamed", "proxy"},
		{"other", "app", "other"},
	} {
		p := &corev1.Pod{Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "setup"}}, Containers: []corev1.Container{{Name: "proxy"}, {Name: "app"}},
		}}
		if tc.note != "" {
			p.Annotations = map[string]string{"kubectl.kubernetes.io/default-container": tc.note}
		}
		if got := ContainerOf(p, tc.asked); got != tc.want {
			t.Errorf("%+v: %q", tc, got)
		}
	}
	if got := ContainerOf(&corev1.Pod{}, ""); got != "" {
		t.Errorf("of no container: %q", got)
	}
}
