package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/e2e/artifact"
	"github.com/cjworkbench/unstuck/e2e/cluster"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

func remediating(b *cluster.Broker) string { return config(b, "remediate", quick) }

//promise:14
func TestCureDeletesAStuckNodeWhoseSuccessorAcceptsLogins(t *testing.T) {
	t.Parallel()
	for _, version := range artifact.RabbitMQVersions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := startSite(t, cluster.BrokerOptions{Namespace: "cure-" + strings.ReplaceAll(version, ".", "-"), Version: version, HandshakeTimeout: quickHandshake}, remediating)
			for i, fault := range []struct {
				name  string
				cause func(pod string) error
			}{
				{"login wedged", func(pod string) error { return s.WedgeLogin(t.Context(), pod) }},
				{"start wedged", func(pod string) error { return s.WedgeStart(t.Context(), pod) }},
				{"frozen", func(pod string) error { return s.Freeze(t.Context(), pod) }},
			} {
				t.Run(fault.name, func(t *testing.T) {
					s := &site{t: t, Broker: s.Broker, daemon: s.daemon}
					victim := s.Pods()[i]
					before, deletions := s.uids(), s.deletions()
					if err := fault.cause(victim); err != nil {
						t.Fatal(err)
					}
					a := s.cured(victim, before, deletions, 5*time.Minute)
					s.toldAlike(a)
				})
			}
		})
	}
}

//promise:18
func TestCureEndsAPodThatWouldTerminateForAWeekWithinTheGrace(t *testing.T) {
	t.Parallel()
	const week = 7 * 24 * time.Hour
	s := startSite(t, cluster.BrokerOptions{
		Namespace: "week", HandshakeTimeout: quickHandshake, Grace: week, PreStop: "sleep 604800",
	}, remediating)
	victim := s.Pods()[1]
	before := s.uids()
	if err := s.WedgeLogin(t.Context(), victim); err != nil {
		t.Fatal(err)
	}
	a := s.cured(victim, before, 0, 4*time.Minute)
	pod, err := s.Pod(within(t, 10*time.Second), victim)
	if err != nil {
		t.Fatal(err)
	}
	// The policy's grace is 10 s; what comes on top is Kubernetes' own.
	if took := pod.CreationTimestamp.Sub(a.At); took > 25*time.Second {
		t.Errorf("the pod was gone after %v", took)
	}
}

//promise:24
func TestCureFollowsOnceTheAPIServerIsBackAndDeletesNothingBefore(t *testing.T) {
	s := startSite(t, cluster.BrokerOptions{Namespace: "away", HandshakeTimeout: quickHandshake}, remediating)
	victim := s.Pods()[2]
	before := s.uids()
	if err := s.WedgeLogin(t.Context(), victim); err != nil {
		t.Fatal(err)
	}
	s.wait(time.Minute, "suspected", phase(victim, decide.PhaseSuspect))
	if err := shared.StopAPIServer(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	pause(t.Context(), time.Minute)
	if err := shared.StartAPIServer(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	a := s.cured(victim, before, 0, 4*time.Minute)
	if a.At.Before(back) {
		t.Errorf("deleted at %v, and the API server was back only at %v", a.At, back)
	}
}

//promise:21
func TestCureKeepsToItsBudgetOverRestartsOfTheDaemon(t *testing.T) {
	t.Parallel()
	s := startSite(t, cluster.BrokerOptions{Namespace: "budget", HandshakeTimeout: quickHandshake}, func(b *cluster.Broker) string {
		return replace(remediating(b), "per_node_per_day: 100", "per_node_per_day: 1")
	})
	victim := s.Pods()[0]
	before := s.uids()
	if err := s.WedgeLogin(t.Context(), victim); err != nil {
		t.Fatal(err)
	}
	s.cured(victim, before, 0, 4*time.Minute)

	before = s.uids()
	if err := s.WedgeLogin(t.Context(), victim); err != nil {
		t.Fatal(err)
	}
	s.wait(2*time.Minute, "held back by the budget", heldBack(victim, decide.GuardBudget))
	pods, err := s.daemon.Pods(within(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	for i := range pods {
		if err := s.daemon.Kill(&pods[i]); err != nil {
			t.Fatal(err)
		}
	}
	s.wait(3*time.Minute, "held back by the budget, by a new daemon", heldBack(victim, decide.GuardBudget))
	for range 10 {
		pause(t.Context(), 2*time.Second)
		s.untouched(before, 1)
	}
}
