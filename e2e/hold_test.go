package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cjworkbench/unstuck/e2e/cluster"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

func replace(s, old, with string) string {
	if !strings.Contains(s, old) {
		panic("there is no " + old)
	}
	return strings.Replace(s, old, with, 1)
}

// holding is for how long nothing may happen once a fault has been seen: longer than it takes to confirm and delete.
const holding = 25 * time.Second

// hold is one trouble that must not lead to a deletion.
type hold struct {
	name  string
	cause func() error
	seen  func(brokers.Target) error // the daemon has noticed
	undo  func() error
}

// wedgedTwice is that two of three nodes would be deleted, were each alone.
func wedgedTwice(s *site) hold {
	ctx := s.t.Context()
	pods := s.Pods()
	return hold{"two of three nodes wedged", func() error {
		return errors.Join(s.WedgeLogin(ctx, pods[0]), s.WedgeLogin(ctx, pods[1]))
	}, func(v brokers.Target) error {
		return errors.Join(phase(pods[0], decide.PhaseConfirmed)(v), phase(pods[1], decide.PhaseConfirmed)(v))
	}, func() error { return errors.Join(s.renew(pods[0]), s.renew(pods[1])) }}
}

// frozen is the last one: after it the nodes may need a while to find together.
func frozen(s *site) hold {
	ctx := s.t.Context()
	pods := s.Pods()
	return hold{
		"all three frozen", func() error {
			return errors.Join(s.Freeze(ctx, pods[0]), s.Freeze(ctx, pods[1]), s.Freeze(ctx, pods[2]))
		},
		func(v brokers.Target) error {
			return errors.Join(phase(pods[0], decide.PhaseSuspect, decide.PhaseConfirmed)(v), phase(pods[1], decide.PhaseSuspect, decide.PhaseConfirmed)(v), phase(pods[2], decide.PhaseSuspect, decide.PhaseConfirmed)(v))
		},
		func() error { return errors.Join(s.Thaw(ctx, pods[0]), s.Thaw(ctx, pods[1]), s.Thaw(ctx, pods[2])) },
	}
}

// holds are the troubles that reach the daemon through Kubernetes, each of which is tried on one RabbitMQ. Those of the broker
// alone, an alarm say, are rows of the table of faults, on every RabbitMQ.
func holds(s *site) []hold {
	ctx := s.t.Context()
	one := s.Pods()[1]
	var mend func(context.Context) error
	return []hold{
		{"a stopped app", func() error { return s.StopApp(ctx, one) }, phase(one, decide.PhaseFaulty), func() error { return s.StartApp(ctx, one) }},
		{"a log that nobody reads", func() error { return s.LoseLog(ctx, one) }, s.counted(`probe="log",reason="log_silent"`), func() error { return s.RegainLog(ctx, one) }},
		{"a rotated secret", func() error { return s.RotatePassword(ctx) }, s.counted(`probe="login",reason="access_refused"`), func() error { return s.StorePassword(ctx) }},
		{"a network that is cut", func() (err error) { mend, err = s.cut(); return err }, phase(one, decide.PhaseUnknown), func() error { return mend(ctx) }},
		{"a rolling update", func() error {
			// One that waits for somebody to delete the pods: each would come back as another revision.
			return errors.Join(s.update(`{"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":null},"template":{"metadata":{"annotations":{"e2e":"new"}}}}}`), s.WedgeLogin(ctx, one))
		}, heldBack(one, decide.GuardRollout), func() error {
			return errors.Join(s.update(`{"spec":{"updateStrategy":{"type":"RollingUpdate"},"template":{"metadata":{"annotations":{"e2e":null}}}}}`), s.renew(one))
		}},
		{"a pause", func() error { return errors.Join(s.pauseFor(10*time.Minute), s.WedgeLogin(ctx, one)) }, heldBack(one, decide.GuardPaused), func() error {
			return errors.Join(s.renew(one), s.pauseFor(-time.Minute))
		}},
		{"a pod that terminates", func() error {
			if err := s.Freeze(ctx, one); err != nil { // it does not even see that it is to end
				return err
			}
			return s.renewLater(one, 80*time.Second)
		}, closedAndStuck(one, decide.GuardRollout), func() error { return s.back(one) }},
	}
}

//promise:10
func TestHoldDeletesNothingThatARestartDoesNotCureOrIsNotCertain(t *testing.T) {
	t.Parallel()
	for half, version := range []string{"4.0", "3.10"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := startSite(t, cluster.BrokerOptions{Namespace: "hold-" + strings.ReplaceAll(version, ".", "-"), Version: version, HandshakeTimeout: quickHandshake}, remediating)
			all := []hold{wedgedTwice(s)}
			for i, h := range holds(s) {
				if i%2 == half {
					all = append(all, h)
				}
			}
			for _, h := range append(all, frozen(s)) {
				t.Run(h.name, func(t *testing.T) {
					s.during(t, h)
				})
			}
		})
	}
}

// during brings a trouble about and checks that nothing is deleted.
func (s *site) during(t *testing.T, h hold) {
	t.Helper()
	s = &site{t: t, Broker: s.Broker, daemon: s.daemon}
	before, deletions := s.uids(), s.deletions()
	if err := h.cause(); err != nil {
		t.Fatal(err)
	}
	s.wait(3*time.Minute, "seen", h.seen)
	pause(t.Context(), holding)
	s.untouched(before, deletions)
	if err := h.undo(); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitReady(within(t, 3*time.Minute)); err != nil {
		t.Fatal(err)
	}
	s.wait(3*time.Minute, "every node is healthy again", s.allHealthy)
	if got := s.deletions(); got != deletions {
		t.Errorf("%d deletions before, %d after", deletions, got)
	}
}

//promise:19
func TestHoldLeavesAloneAPodThatJustStartedAndAllWhileObserving(t *testing.T) {
	t.Parallel()
	s := startSite(t, cluster.BrokerOptions{Namespace: "young", HandshakeTimeout: quickHandshake}, func(b *cluster.Broker) string {
		return replace(remediating(b), "startup_grace_period: 5s", "startup_grace_period: 2h")
	})
	victim := s.Pods()[1]
	before := s.uids()
	if err := s.WedgeLogin(t.Context(), victim); err != nil {
		t.Fatal(err)
	}
	s.wait(2*time.Minute, "held back", heldBack(victim, decide.GuardStartupGrace))
	pause(t.Context(), holding)
	s.untouched(before, 0)

	if err := s.daemon.Install(within(t, 3*time.Minute), config(s.Broker, "observe", quick)); err != nil {
		t.Fatal(err)
	}
	s.wait(2*time.Minute, "observed", heldBack(victim, decide.GuardObserveOnly))
	pause(t.Context(), holding)
	s.untouched(before, 0)

	if err := s.daemon.Install(within(t, 3*time.Minute), remediating(s.Broker)); err != nil {
		t.Fatal(err)
	}
	s.cured(victim, before, 0, 4*time.Minute) // or the two holds above would prove nothing
}

// closedAndStuck wants a node to be stuck in whatever phase, with the guard closed.
func closedAndStuck(node string, guard decide.Guard) func(brokers.Target) error {
	return func(v brokers.Target) error {
		for _, n := range v.Nodes {
			for _, g := range n.Closed {
				if n.Node == node && g == guard && (n.Phase == decide.PhaseSuspect || n.Phase == decide.PhaseConfirmed) {
					return nil
				}
			}
		}
		return fmt.Errorf("%s is not stuck with the guard %s closed", node, guard)
	}
}

// counted wants the leader to have counted a probe's result with these labels, since now.
func (s *site) counted(labels string) func(brokers.Target) error {
	before := -1
	count := func() int {
		metrics, err := s.daemon.Metrics(within(s.t, 10*time.Second), s.leader())
		if err != nil {
			return before
		}
		n := 0
		for line := range strings.Lines(metrics) {
			var v float64
			if strings.HasPrefix(line, "unstuck_probe_results_total{") && strings.Contains(line, labels) {
				if _, err := fmt.Sscan(line[strings.LastIndex(line, " ")+1:], &v); err == nil {
					n += int(v)
				}
			}
		}
		return n
	}
	return func(brokers.Target) error {
		now := count()
		if before < 0 {
			before = now
		}
		if now > before || (now > 0 && before == now && now > 2) {
			return nil
		}
		return fmt.Errorf("there are %d results with %s", now, labels)
	}
}

// renew replaces a pod, as an administrator would.
func (s *site) renew(pod string) error {
	if err := s.renewLater(pod, time.Second); err != nil {
		return err
	}
	return s.back(pod)
}

// renewLater deletes a pod with a grace period and does not wait.
func (s *site) renewLater(pod string, grace time.Duration) error {
	p, err := s.Pod(s.t.Context(), pod)
	if err != nil {
		return err
	}
	return s.Delete(s.t.Context(), pod, p.UID, grace)
}

// back waits until a pod that was deleted is back.
func (s *site) back(pod string) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Minute)
	defer cancel()
	_, err := shared.WaitPod(ctx, s.Namespace, pod, func(p *corev1.Pod) error {
		if p.DeletionTimestamp != nil {
			return errors.New("it terminates")
		}
		return cluster.Ready(p)
	})
	if err != nil {
		return err
	}
	return s.WaitLogin(ctx, pod)
}

// cut cuts all replicas off from the broker's pods.
func (s *site) cut() (func(context.Context) error, error) {
	var to []string
	for _, name := range s.Pods() {
		p, err := s.Pod(s.t.Context(), name)
		if err != nil {
			return nil, err
		}
		to = append(to, p.Status.PodIP)
	}
	replicas, err := s.daemon.Pods(s.t.Context())
	if err != nil {
		return nil, err
	}
	var undo []func(context.Context) error
	for _, r := range replicas {
		u, err := shared.Cut(s.t.Context(), r.Status.PodIP, to...)
		if err != nil {
			return nil, err
		}
		undo = append(undo, u)
	}
	return func(ctx context.Context) error {
		var errs []error
		for _, u := range undo {
			errs = append(errs, u(ctx))
		}
		return errors.Join(errs...)
	}, nil
}

// update patches the broker's StatefulSet.
func (s *site) update(patch string) error {
	_, err := shared.Kubernetes.AppsV1().StatefulSets(s.Namespace).Patch(s.t.Context(), cluster.BrokerName, types.StrategicMergePatchType,
		[]byte(patch), metav1.PatchOptions{})
	return err
}

// pauseFor writes down a pause as docs/safety.md says that one does.
func (s *site) pauseFor(d time.Duration) error {
	pauses, err := json.Marshal([]decide.Pause{{Target: "rabbitmq", Reason: "a test", By: "e2e", Until: time.Now().Add(d)}})
	if err != nil {
		return err
	}
	return shared.Apply(s.t.Context(), fmt.Sprintf(`
apiVersion: v1
kind: ConfigMap
metadata:
  name: unstuck-pauses-pauses
  namespace: %s
  labels: {app.kubernetes.io/managed-by: unstuck, unstuck.cjworkbench.org/kind: pauses}
  annotations: {unstuck.cjworkbench.org/name: pauses}
data:
  document: '%s'
`, s.daemon.Namespace, pauses))
}
