package e2e

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/e2e/cluster"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/kube"
	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

//promise:25
func TestRightsThatAreMissingAreNamedAndNothingIsDeletedWithoutThem(t *testing.T) {
	t.Parallel()
	s := startSite(t, cluster.BrokerOptions{Namespace: "rights", HandshakeTimeout: quickHandshake}, remediating)
	victim := s.Pods()[1]
	before := s.uids()

	// Without exec there is no corroboration, and without logs an incident has none.
	giveBack := s.take("pods/exec", "create", "get")
	giveLogs := s.take("pods/log", "get")
	s.restart()
	s.named("pods/exec create", "pods/exec get", "pods/log get")
	if err := s.WedgeLogin(t.Context(), victim); err != nil {
		t.Fatal(err)
	}
	s.wait(2*time.Minute, "suspected for want of corroboration", func(v brokers.Target) error {
		if err := phase(victim, decide.PhaseSuspect)(v); err != nil {
			return err
		}
		for _, n := range v.Nodes {
			if n.Node == victim && !strings.Contains(n.Reason, "not corroborated") {
				return errors.New(n.Reason)
			}
		}
		return nil
	})
	s.untouched(before, 0)
	giveLogs() // each gives the Role back as it was: the last one first
	giveBack()

	// Without delete it is confirmed, and the attempt fails with the name of what is missing.
	giveBack = s.take("pods", "delete")
	s.restart()
	s.named("pods delete")
	s.wait(5*time.Minute, "the deletion has failed", func(v brokers.Target) error {
		for _, a := range v.Deletions {
			if a.Cause == target.CauseNotAllowed && strings.Contains(a.Why, "delete pods in namespace "+s.Namespace) {
				return nil
			}
		}
		return errors.New("no deletion names the permission")
	})
	for name, uid := range s.uids() {
		if uid != before[name] {
			t.Errorf("%s has been replaced", name)
		}
	}
	giveBack()
}

// take takes verbs on a resource away from the chart's Role in the broker's namespace, and gives what gives them back.
func (s *site) take(resource string, verbs ...string) func() {
	s.t.Helper()
	var undo []func()
	for _, verb := range verbs {
		back, err := shared.TakeVerb(within(s.t, 10*time.Second), s.Namespace, "unstuck."+s.daemon.Namespace, resource, verb)
		if err != nil {
			s.t.Fatal(err)
		}
		undo = append(undo, func() {
			if err := back(within(s.t, 10*time.Second)); err != nil {
				s.t.Error(err)
			}
		})
	}
	return func() {
		for _, u := range slices.Backward(undo) {
			u()
		}
	}
}

// restart has the daemon look at its permissions at once: it does so when it starts, and then every few minutes.
func (s *site) restart() {
	s.t.Helper()
	pods, err := s.daemon.Pods(within(s.t, 10*time.Second))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range pods {
		if err := s.daemon.Kill(&pods[i]); err != nil {
			s.t.Fatal(err)
		}
	}
}

// named waits until the missing permissions, as "resource verb", are in the leader's metrics and in its log.
func (s *site) named(permissions ...string) {
	s.t.Helper()
	s.wait(2*time.Minute, "named as missing", func(brokers.Target) error {
		ctx := within(s.t, 10*time.Second)
		leader := s.leader()
		metrics, err := s.daemon.Metrics(ctx, leader)
		if err != nil {
			return err
		}
		log, err := s.daemon.Logs(ctx, leader.Name, 5000)
		if err != nil {
			return err
		}
		for _, p := range permissions {
			resource, verb, _ := strings.Cut(p, " ")
			if want := `unstuck_permission_missing{namespace="` + s.Namespace + `",resource="` + resource + `",verb="` + verb + `"} 1`; !strings.Contains(metrics, want) {
				return errors.New("not in the metrics: " + want)
			}
			if want := `"verb":"` + verb + `","resource":"` + resource + `","namespace":"` + s.Namespace + `"`; !strings.Contains(log, want) {
				return errors.New("not in the log: " + want)
			}
		}
		return nil
	})
}

//promise:17
func TestRightsToDeleteTouchNoPodThatReplacedTheOneThatWasMeant(t *testing.T) {
	t.Parallel()
	s := startSite(t, cluster.BrokerOptions{Namespace: "stale", Replicas: 1, HandshakeTimeout: quickHandshake}, remediating)
	path, err := shared.AccountKubeconfig(within(t, 10*time.Second), s.daemon.Namespace, "unstuck")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := apiserver.Connect(apiserver.Options{Kubeconfig: path, Namespace: s.daemon.Namespace}, discard)
	if err != nil {
		t.Fatal(err)
	}
	client := kube.New(conn, kube.Options{Lease: "another"})
	pods, err := client.Watch(kube.Target{Name: "rabbitmq", Namespace: s.Namespace, Selector: cluster.Selector, Container: cluster.Container, Port: 5672})
	if err != nil {
		t.Fatal(err)
	}
	pod := s.Pods()[0]
	now, err := s.Pod(within(t, 10*time.Second), pod)
	if err != nil {
		t.Fatal(err)
	}
	n := target.Node{Target: "rabbitmq", Name: pod, UID: "00000000-0000-0000-0000-000000000000"}
	if err := pods.Delete(within(t, 30*time.Second), n, 10*time.Second); !errors.Is(err, target.ErrChanged) {
		t.Errorf("with a stale UID: %v, want %v", err, target.ErrChanged)
	}
	// And should it ever get past our own look, the API server itself refuses.
	err = s.Delete(within(t, 10*time.Second), pod, "00000000-0000-0000-0000-000000000000", 10*time.Second)
	if err == nil || !strings.Contains(err.Error(), "the UID in the precondition") {
		t.Errorf("the API server says %v", err)
	}
	after, err := s.Pod(within(t, 10*time.Second), pod)
	if err != nil || after.UID != now.UID || after.DeletionTimestamp != nil {
		t.Errorf("the pod was %s and is %+v, %v", now.UID, after.ObjectMeta, err)
	}
}
