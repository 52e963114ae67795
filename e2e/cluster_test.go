// Package e2e holds the tests that need a real cluster. They share one, which lives as long as the test run.
package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/e2e/artifact"
	"github.com/cjworkbench/unstuck/e2e/cluster"
)

var shared *cluster.Cluster

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	root, err := artifact.FindRoot()
	if err == nil {
		shared, err = cluster.Start(context.Background(), cluster.Options{
			Root: root, Dir: cluster.TestDir(root), Attached: true, Progress: os.Stdout,
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := shared.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// startBroker starts a broker in a namespace of its own, which is stopped when the test ends.
func startBroker(t testing.TB, o cluster.BrokerOptions) *cluster.Broker {
	t.Helper()
	began := time.Now()
	b, err := shared.StartBroker(within(t, 4*time.Minute), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("RabbitMQ %s in %s runs after %v", b.Version, b.Namespace, time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := b.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return b
}

// within gives a context for one step of a test.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestClusterLetsAPodReachTheAPIServerAndResolvesNames(t *testing.T) {
	ctx := within(t, time.Minute)
	const pod = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: visitor, namespace: default}
---
apiVersion: v1
kind: Pod
metadata: {name: visitor, namespace: default}
spec:
  serviceAccountName: visitor
  terminationGracePeriodSeconds: 1
  containers: [{name: tool, image: "` + artifact.ToolImage + `", imagePullPolicy: Never}]
`
	if err := shared.Apply(ctx, pod); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := shared.Kubernetes.CoreV1().Pods("default").Delete(ctx, "visitor", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	if _, err := shared.WaitPod(ctx, "default", "visitor", cluster.Ready); err != nil {
		t.Fatal(err)
	}
	service, err := shared.Kubernetes.CoreV1().Services("default").Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := shared.Dial(ctx, net.JoinHostPort(service.Spec.ClusterIP, "443"))
	if err != nil {
		t.Errorf("from this machine: %v", err)
	} else if err := conn.Close(); err != nil {
		t.Error(err)
	}
	for _, host := range []string{service.Spec.ClusterIP, "kubernetes.default.svc"} {
		out, err := shared.Exec(ctx, "default", "visitor", "tool", "/tool", "fetch", "https://"+host+"/version")
		if err != nil {
			t.Errorf("from a pod: %v", err)
		}
		if !strings.Contains(out, `"gitVersion": "v1.`) {
			t.Errorf("https://%s/version says %q", host, out)
		}
	}
	if out, err := shared.Exec(ctx, "default", "visitor", "tool", "/tool", "fetch",
		"https://kubernetes.default.svc/api/v1/nodes"); err == nil {
		t.Errorf("a service account without a role lists the hosts: %s", out)
	}
	out, err := shared.Exec(ctx, "default", "visitor", "tool", "/tool", "lookup", "kubernetes.default.svc.cluster.local")
	if err != nil || strings.TrimSpace(out) != service.Spec.ClusterIP {
		t.Errorf("the API server's name resolves to %q, %v", out, err)
	}
}
