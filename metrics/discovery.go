package metrics

import "github.com/prometheus/client_golang/prometheus"

// What became of the resources that discovery has found.
const (
	watchedResource = "watched"
	ignoredResource = "ignored"
	refusedResource = "refused"
)

// discovery counts what was found. Nothing is there while nothing is looked for.
type discovery struct {
	resources *prometheus.GaugeVec
	problems  prometheus.Gauge
}

func newDiscovery() discovery {
	return discovery{
		resources: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "unstuck_discovery_resources",
			Help: "Resources that brokers were looked for by: watched, ignored as they should be, or refused.",
		}, []string{"state"}),
		problems: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "unstuck_discovery_problems",
			Help: "Reasons for which brokers may be missed, or be known as they were a while ago; 0: none.",
		}),
	}
}

// Discovered says how many resources became brokers, are ignored and are refused, and how many problems there are.
func (m *Metrics) Discovered(watched, ignored, refused, problems int) {
	for state, n := range map[string]int{watchedResource: watched, ignoredResource: ignored, refusedResource: refused} {
		m.discovery.resources.WithLabelValues(state).Set(float64(n))
	}
	m.discovery.problems.Set(float64(problems))
}
