package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/cjworkbench/unstuck/e2e/artifact"
	"github.com/cjworkbench/unstuck/e2e/cluster"
	"github.com/cjworkbench/unstuck/httpapi"
)

// TestWhatTheDaemonCosts prints the table of docs/performance.md: the leader's memory and CPU with three nodes, and with
// 5,000 pods in the namespace of which 300 belong to the broker. They do not run: nobody schedules them.
func TestWhatTheDaemonCosts(t *testing.T) {
	s := startSite(t, cluster.BrokerOptions{Namespace: "cost"}, func(b *cluster.Broker) string { return config(b, "observe", "") })
	small := s.cost("3 nodes")
	s.crowd(4700, map[string]string{"app": "other"})
	s.crowd(297, map[string]string{"app.kubernetes.io/name": "rabbitmq-1", "app.kubernetes.io/component": "rabbitmq-server"})
	s.wait(time.Minute, "all 300 are known", func(v httpapi.Target) error {
		if len(v.Nodes) != 300 {
			return fmt.Errorf("%d are", len(v.Nodes))
		}
		return nil
	})
	big := s.cost("5,000 pods, 300 of the broker")
	t.Logf("what the leader costs:\n| with | memory | CPU |\n%s%s", small, big)
}

// cost measures the leader for half a minute, after it has come to rest.
func (s *site) cost(what string) string {
	s.t.Helper()
	pause(s.t.Context(), 15*time.Second)
	leader := s.leader()
	read := func(name string) float64 {
		metrics, err := s.daemon.Metrics(within(s.t, 10*time.Second), leader)
		if err != nil {
			s.t.Fatal(err)
		}
		for line := range strings.Lines(metrics) {
			if value, ok := strings.CutPrefix(line, name+" "); ok {
				var v float64
				if _, err := fmt.Sscan(value, &v); err != nil {
					s.t.Fatal(err)
				}
				return v
			}
		}
		s.t.Fatalf("there is no metric %s", name)
		return 0
	}
	before, began := read("process_cpu_seconds_total"), time.Now()
	pause(s.t.Context(), 30*time.Second)
	cpu := (read("process_cpu_seconds_total") - before) / time.Since(began).Seconds()
	memory := read("process_resident_memory_bytes") / (1 << 20)
	return fmt.Sprintf("| %s | %.0f MiB | %.1f %% of a core |\n", what, memory, 100*cpu)
}

// crowd makes pods that nobody schedules, in the broker's namespace.
func (s *site) crowd(count int, labels map[string]string) {
	s.t.Helper()
	fast := rest.CopyConfig(shared.Config)
	fast.QPS, fast.Burst = 1000, 1000
	client, err := kubernetes.NewForConfig(fast)
	if err != nil {
		s.t.Fatal(err)
	}
	pods := client.CoreV1().Pods(s.Namespace)
	group, ctx := errgroup.WithContext(within(s.t, 4*time.Minute))
	group.SetLimit(8)
	for range count {
		group.Go(func() error {
			_, err := pods.Create(ctx, &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{GenerateName: "crowd-", Labels: labels, Annotations: map[string]string{"crowd": "yes"}},
				Spec: corev1.PodSpec{
					SchedulerName: "nobody",
					Containers:    []corev1.Container{{Name: cluster.Container, Image: artifact.ToolImage}},
				},
			}, metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), 2*time.Minute)
		defer cancel()
		zero := int64(0)
		if err := pods.DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &zero}, metav1.ListOptions{FieldSelector: "spec.nodeName="}); err != nil {
			s.t.Error(err)
		}
	})
}
