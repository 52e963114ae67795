package apiserver_test

import (
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/kubetest"
)

func TestOnlyARefusalForWantOfAPermissionIsOne(t *testing.T) {
	pods := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	explain := func(err error) error { return apiserver.Explain(err, "delete", "pods", kubetest.Namespace) }
	want := apiserver.Missing{Verb: "delete", Resource: "pods", Namespace: kubetest.Namespace}
	if err := explain(kubetest.Forbidden("delete", pods, kubetest.Namespace)); !errors.Is(err, want) {
		t.Errorf("%v", err)
	}
	freeze := errors.New("admission webhook denied the request: a freeze is on")
	webhook := apierrors.NewForbidden(pods.GroupResource(), "rabbit-1", freeze)
	if err := explain(webhook); !errors.Is(err, webhook) {
		t.Errorf("%v", err)
	}
	if err := explain(nil); err != nil {
		t.Errorf("%v", err)
	}
}
