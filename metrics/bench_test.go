package metrics

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/remediate"
)

// full gives metrics about so many brokers of so many nodes each. All nodes have had every probe, and all but the
// first of each broker are healthy, with one guard closed.
func full(targets, nodes int) (*Metrics, []remediate.Snapshot) {
	m, now := New("1.2.3"), time.Now()
	var snapshots []remediate.Snapshot
	for b := range targets {
		s := snapshot(now)
		s.Target = fmt.Sprintf("broker-%d", b)
		m.Watch(s.Target)
		healthy, ill := s.Nodes[0], s.Nodes[1]
		healthy.Decision.Guards[0].Open = false
		s.Nodes = nil
		for n := range nodes {
			node := healthy
			if n == 0 {
				node = ill
			}
			node.Name = fmt.Sprintf("rabbit-%d", n)
			s.Nodes = append(s.Nodes, node)
			for _, r := range results(now)[:5] {
				r.Target, r.Node = s.Target, node.Name
				m.ProbeDone(r)
			}
		}
		m.Reconciled(s)
		snapshots = append(snapshots, s)
	}
	return m, snapshots
}

// discard counts what is written to it.
type discard struct {
	http.ResponseWriter
	written int
}

func (d *discard) Write(p []byte) (int, error) {
	d.written += len(p)
	return io.Discard.Write(p)
}

// BenchmarkMetricsHandler is what one scrape costs, encoding included and compression not: of one small broker, of 3,000 nodes in
// large, middling and small brokers, and of the 10,000 nodes that docs/scaling.md gives one replica.
func BenchmarkMetricsHandler(b *testing.B) {
	for _, shape := range []struct{ brokers, nodes int }{{1, 3}, {1, 3000}, {100, 30}, {1000, 3}, {500, 20}} {
		b.Run(fmt.Sprintf("brokers=%d/nodes=%d", shape.brokers, shape.nodes), func(b *testing.B) {
			m, _ := full(shape.brokers, shape.nodes)
			handler := m.Handler()
			request := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/metrics", nil)
			series := countSeries(b, m)
			runtime.GC()
			b.ReportAllocs()
			var w discard
			for b.Loop() {
				w = discard{ResponseWriter: httptest.NewRecorder()}
				handler.ServeHTTP(&w, request)
			}
			b.ReportMetric(float64(series), "series")
			b.ReportMetric(float64(w.written)/1e6, "MB/scrape")
		})
	}
}

func countSeries(b *testing.B, m *Metrics) int {
	families, err := m.registry.Gather()
	if err != nil {
		b.Fatal(err)
	}
	series := 0
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			series++
			if h := metric.GetHistogram(); h != nil {
				series += len(h.GetBucket()) + 2 // +Inf, sum and count
			}
		}
	}
	return series
}

// BenchmarkMetricsProbeDone is what counting one login costs.
func BenchmarkMetricsProbeDone(b *testing.B) {
	m, _ := full(1, 3000)
	r := results(time.Now())[0]
	r.Target = "broker-0"
	b.ReportAllocs()
	for b.Loop() {
		m.ProbeDone(r)
	}
}

// BenchmarkMetricsReconciled is what one reconcile costs.
func BenchmarkMetricsReconciled(b *testing.B) {
	for _, nodes := range []int{3, 3000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			m, snapshots := full(1, nodes)
			b.ReportAllocs()
			for b.Loop() {
				m.Reconciled(snapshots[0])
			}
		})
	}
}
