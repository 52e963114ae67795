package e2e

import (
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/e2e/cluster"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

// BenchmarkCure measures how long a cure takes with the defaults, but for two that are not about time to the cure: how old a
// pod must be, and how often it may happen. docs/performance.md has its figures.
func BenchmarkCure(b *testing.B) {
	s := startSite(b, cluster.BrokerOptions{Namespace: "times"}, func(b *cluster.Broker) string {
		return config(b, "remediate", "    policy: {startup_grace_period: 5s, cooldown: 1s, storm_cooldown: 1s, per_node_per_day: 100, per_target_per_day: 100}\n")
	})
	for i, fault := range []struct {
		name  string
		cause func(pod string) error
	}{
		{"login wedged", func(pod string) error { return s.WedgeLogin(b.Context(), pod) }},
		{"frozen", func(pod string) error { return s.Freeze(b.Context(), pod) }},
	} {
		b.Run(fault.name, func(b *testing.B) {
			s := &site{t: b, Broker: s.Broker, daemon: s.daemon}
			victim := s.Pods()[i]
			before, deletions := s.uids(), s.deletions()
			if err := fault.cause(victim); err != nil {
				b.Fatal(err)
			}
			began := time.Now()
			s.wait(2*time.Minute, "suspected", phase(victim, decide.PhaseSuspect, decide.PhaseConfirmed))
			b.ReportMetric(time.Since(began).Seconds(), "s-to-suspected")
			a := s.cured(victim, before, deletions, 10*time.Minute)
			b.ReportMetric(a.At.Sub(began).Seconds(), "s-to-deleted")
			b.ReportMetric(a.Settled.Sub(began).Seconds(), "s-to-logins")
			b.ReportMetric(0, "ns/op")
		})
	}
}
