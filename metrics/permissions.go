package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cjworkbench/unstuck/auth"
)

func newPermissions() *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "unstuck_permission_missing",
		Help: "Always 1, and only for what we need to be allowed to do in the cluster and are not.",
	}, []string{"verb", "resource", "namespace"})
}

// PermissionsMissing says which permissions are missing now.
func (m *Metrics) PermissionsMissing(missing []auth.ResourceAttributes) {
	m.permissions.Reset()
	for _, p := range missing {
		m.permissions.WithLabelValues(valid(p.Verb), valid(p.Path()), valid(p.Namespace)).Set(1)
	}
}
