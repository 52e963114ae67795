package apiserver

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	onQuota  = apierrors.NewConflict(schema.GroupResource{Resource: "resourcequotas"}, "compute", errors.New("the object has been modified"))
	onObject = apierrors.NewConflict(schema.GroupResource{Resource: "configmaps"}, "x", errors.New("the object has been modified"))
	exists   = apierrors.NewAlreadyExists(schema.GroupResource{Resource: "configmaps"}, "x")
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

func TestCreateTriesAgainWhatConflictsOverAQuota(t *testing.T) {
	for name, tc := range map[string]struct {
		answers []error // the last for ever
		calls   int
	}{
		"at once":            {[]error{nil}, 1},
		"the second time":    {[]error{onQuota, nil}, 2},
		"never":              {[]error{onQuota}, creations},
		"it is there by now": {[]error{onQuota, exists}, 2},
		"another conflict":   {[]error{onObject}, 1},
		"another error":      {[]error{apierrors.NewTimeoutError("etcd", 1)}, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			calls := 0
			_, err := Create(t.Context(), func(ctx context.Context, m *corev1.ConfigMap, _ metav1.CreateOptions) (*corev1.ConfigMap, error) {
				calls++
				if _, bounded := ctx.Deadline(); !bounded {
					t.Error("it may last for ever")
				}
				return m, tc.answers[min(calls, len(tc.answers))-1]
			}, &corev1.ConfigMap{})
			if calls != tc.calls || !errors.Is(err, tc.answers[len(tc.answers)-1]) {
				t.Errorf("%s: %d calls, %v", name, calls, err)
			}
		})
	}
}

func TestCreateEndsWithItsContext(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	calls := 0
	_, err := Create(ctx, func(_ context.Context, m *corev1.ConfigMap, _ metav1.CreateOptions) (*corev1.ConfigMap, error) {
		calls++
		stop()
		return m, onQuota
	}, &corev1.ConfigMap{})
	if calls != 1 || !apierrors.IsConflict(err) {
		t.Errorf("%d calls, %v", calls, err)
	}
}

func TestIsConflictIsAboutTheObjectAlone(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want bool
	}{{onObject, true}, {exists, true}, {onQuota, false}, {apierrors.NewInternalError(errors.New("x")), false}, {nil, false}} {
		if IsConflict(tc.err) != tc.want || tc.err != nil && IsConflict(fmt.Errorf("write: %w", tc.err)) != tc.want {
			t.Errorf("%v: want %t", tc.err, tc.want)
		}
	}
}
