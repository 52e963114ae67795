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
	"github.com/cjworkbench/unstuck/httpapi/brokers"
)

// BenchmarkCostOfDaemon measures the leader with three nodes, and with 5,000 pods in the namespace of which 300 belong to the broker:
// they do not run, for nobody schedules them. docs/performance.md has its figures.
func BenchmarkCostOfDaemon(b *testing.B) {
	s := startSite(b, cluster.BrokerOptions{Namespace: "cost"}, func(b *cluster.Broker) string { return config(b, "observe", "") })
	b.Run("3 nodes", s.cost)
	s.crowd(4700, map[string]string{"app": "other"})
	s.crowd(297, map[string]string{"app.kubernetes.io/name": "rabbitmq-1", "app.kubernetes.io/component": "rabbitmq-server"})
	s.wait(time.Minute, "all 300 are known", func(v brokers.Target) error {
		if len(v.Nodes) != 300 {
			return fmt.Errorf("%d are", len(v.Nodes))
		}
		return nil
	})
	b.Run("5000 pods, 300 of the broker", s.cost)
}

// cost measures the leader for half a minute, after it has come to rest.
func (s *site) cost(b *testing.B) {
	pause(b.Context(), 15*time.Second)
	leader := s.leader()
	read := func(name string) float64 {
		metrics, err := s.daemon.Metrics(within(b, 10*time.Second), leader)
		if err != nil {
			b.Fatal(err)
		}
		for line := range strings.Lines(metrics) {
			if value, ok := strings.CutPrefix(line, name+" "); ok {
				var v float64
				if _, err := fmt.Sscan(value, &v); err != nil {
					b.Fatal(err)
				}
				return v
			}
		}
		b.Fatalf("there is no metric %s", name)
		return 0
	}
	before, began := read("process_cpu_seconds_total"), time.Now()
	pause(b.Context(), 30*time.Second)
	cpu := (read("process_cpu_seconds_total") - before) / time.Since(began).Seconds()
	b.ReportMetric(read("process_resident_memory_bytes")/(1<<20), "MiB")
	b.ReportMetric(100*cpu, "%core")
	b.ReportMetric(0, "ns/op")
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
