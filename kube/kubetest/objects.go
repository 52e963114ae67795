package kubetest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Namespace is the one that the objects of these tests are in.
const Namespace = "production"

// LongAgo is when their containers were started.
var LongAgo = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// NewPod gives a pod that is ready, of one label and with a sidecar before its container.
func NewPod(name, container, key, value string, by metav1.OwnerReference) *corev1.Pod {
	by.Controller = new(true)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: Namespace, Name: name, UID: types.UID(name + "-uid"), Labels: map[string]string{key: value},
			OwnerReferences: []metav1.OwnerReference{by},
		},
		Spec: corev1.PodSpec{
			NodeName: "host-of-" + name, Containers: []corev1.Container{{Name: "sidecar"}, {Name: container}},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.0.1.1",
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
			ContainerStatuses: []corev1.ContainerStatus{
				{
					Name: "sidecar",
					State: corev1.ContainerState{
						Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(LongAgo.Add(-time.Hour))},
					},
				},
				{
					Name:  container,
					State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(LongAgo)}},
				},
			},
		},
	}
}

// NotReady has a pod say that it is not ready.
func NotReady(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }

// Answer is what an API server answers.
func Answer(code int, v any) (*http.Response, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	header := http.Header{"Content-Type": {"application/json"}}
	return &http.Response{StatusCode: code, Header: header, Body: io.NopCloser(bytes.NewReader(data))}, nil
}
