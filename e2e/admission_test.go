package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/cjworkbench/unstuck/e2e/artifact"
	"github.com/cjworkbench/unstuck/e2e/cluster"
)

// With the policy Unstuck cures as it does without, and the API server refuses its account every other pod, for which
// its Role would do. `helm test` passes as well.
//
//promise:26
func TestAdmissionRefusesEveryOtherPodAndUnstuckStillCures(t *testing.T) {
	t.Parallel()
	s := startSite(t, cluster.BrokerOptions{Namespace: "admission", HandshakeTimeout: quickHandshake}, func(b *cluster.Broker) string {
		return remediating(b) + "admissionPolicy: {enabled: true, execNames: '" + cluster.BrokerName + "-[0-9]+'}\n"
	})
	if err := s.daemon.Test(within(t, 2*time.Minute)); err != nil {
		t.Error(err)
	}
	bystander(t, s.Namespace)
	as := rest.CopyConfig(shared.Config)
	as.Impersonate.UserName = "system:serviceaccount:" + s.daemon.Namespace + ":unstuck"
	account, err := kubernetes.NewForConfig(as)
	if err != nil {
		t.Fatal(err)
	}
	pods := account.CoreV1().Pods(s.Namespace)
	nobody := metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}

	// The policy is compiled some moments after it was created.
	deadline := within(t, time.Minute)
	for {
		err = pods.Delete(deadline, "bystander", nobody)
		if apierrors.IsForbidden(err) {
			break
		}
		select {
		case <-deadline.Done():
			t.Fatalf("the deletion of another pod is not refused: %v", err)
		case <-time.After(time.Second):
		}
	}
	if err := pods.Delete(within(t, 10*time.Second), "bystander", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) ||
		!strings.Contains(err.Error(), "Unstuck may delete and change none but the pods of its configuration") {
		t.Errorf("to delete another pod gives %v", err)
	}
	if err := pods.Delete(within(t, 10*time.Second), s.Pods()[0], nobody); err != nil {
		t.Errorf("to delete a broker's pod gives %v", err)
	}
	for _, c := range []struct {
		pod, container string
		refused        bool
	}{
		{s.Pods()[0], cluster.Container, false},
		{"bystander", "tool", true},
		{"bystander", cluster.Container, true}, // by its name
	} {
		err := execAs(within(t, 10*time.Second), account, s.Namespace, c.pod, c.container)
		if refused := err != nil && strings.Contains(err.Error(), "Unstuck may exec into none but the containers"); refused != c.refused {
			t.Errorf("exec in %s of %s gives %v, want it refused: %t", c.container, c.pod, err, c.refused)
		}
	}
	if _, err := shared.Kubernetes.CoreV1().Pods(s.Namespace).Get(within(t, 10*time.Second), "bystander", metav1.GetOptions{}); err != nil {
		t.Errorf("the other pod: %v", err)
	}

	victim, before := s.Pods()[1], s.uids()
	if err := s.WedgeLogin(t.Context(), victim); err != nil {
		t.Fatal(err)
	}
	s.cured(victim, before, 0, 5*time.Minute)
}

// bystander starts a pod in a broker's namespace that is none of the broker's.
func bystander(t *testing.T, namespace string) {
	t.Helper()
	err := shared.Apply(within(t, time.Minute), `
apiVersion: v1
kind: Pod
metadata: {name: bystander, namespace: `+namespace+`, labels: {app: bystander}}
spec:
  terminationGracePeriodSeconds: 1
  automountServiceAccountToken: false
  containers:
    - {name: tool, image: "`+artifact.ToolImage+`", imagePullPolicy: Never}
    - {name: `+cluster.Container+`, image: "`+artifact.ToolImage+`", imagePullPolicy: Never}
`)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := shared.Kubernetes.CoreV1().Pods(namespace).Delete(ctx, "bystander", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	if _, err := shared.WaitPod(within(t, time.Minute), namespace, "bystander", cluster.Ready); err != nil {
		t.Fatal(err)
	}
}

// execAs asks for an exec without the protocol that would carry it, so that what passes admission fails thereafter.
func execAs(ctx context.Context, account kubernetes.Interface, namespace, pod, container string) error {
	return account.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: []string{"true"}, Stdout: true}, scheme.ParameterCodec).
		Do(ctx).Error()
}
