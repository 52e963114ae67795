package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/e2e/cluster"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

// TestHowLongACureTakesWithTheDefaults prints the table of docs/performance.md.
//
//promise:16
func TestHowLongACureTakesWithTheDefaults(t *testing.T) {
	t.Parallel()
	s := startSite(t, cluster.BrokerOptions{Namespace: "times"}, func(b *cluster.Broker) string {
		// The defaults but for two that are not about time to the cure: how old a pod must be, and how often it may happen.
		return config(b, "remediate", "    policy: {startup_grace_period: 5s, cooldown: 1s, storm_cooldown: 1s, per_node_per_day: 100, per_target_per_day: 100}\n")
	})
	var table strings.Builder
	fmt.Fprintln(&table, "| fault | suspected | confirmed and deleted | accepts logins again |")
	for i, fault := range []struct {
		name  string
		cause func(pod string) error
	}{
		{"login wedged", func(pod string) error { return s.WedgeLogin(t.Context(), pod) }},
		{"frozen", func(pod string) error { return s.Freeze(t.Context(), pod) }},
	} {
		victim := s.Pods()[i]
		before, deletions := s.uids(), s.deletions()
		if err := fault.cause(victim); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		s.wait(2*time.Minute, "suspected", phase(victim, decide.PhaseSuspect, decide.PhaseConfirmed))
		suspected := time.Since(began)
		a := s.cured(victim, before, deletions, 10*time.Minute)
		since := func(at time.Time) time.Duration { return at.Sub(began).Round(time.Second) }
		fmt.Fprintf(&table, "| %s | %v | %v | %v |\n", fault.name, suspected.Round(time.Second), since(a.At), since(a.Settled))
	}
	t.Logf("on Kubernetes, RabbitMQ %s, with the default thresholds:\n%s", s.Version, table.String())
}
