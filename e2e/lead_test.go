package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/e2e/cluster"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
)

// A leader that dies in the midst of a remediation has a successor that deletes nothing twice and forgets nothing. Here it
// dies at three points, of which the first two cost minutes: until it is known that nothing was deleted. That any point
// will do is tested in remediate.
//
//promise:22
func TestLeadGoesOnWhereItWasWhenTheLeaderIsKilled(t *testing.T) {
	t.Parallel()
	s := startSite(t, cluster.BrokerOptions{Namespace: "lead", HandshakeTimeout: quickHandshake}, remediating)
	documents := func() (int, error) { // how long those of the deletions are
		list, err := shared.Kubernetes.CoreV1().ConfigMaps(s.daemon.Namespace).List(t.Context(), metav1.ListOptions{
			LabelSelector: "unstuck.cjworkbench.org/kind=deletions",
		})
		if err != nil {
			return 0, err
		}
		n := 0
		for _, m := range list.Items {
			n += len(m.Data["document"])
		}
		return n, nil
	}
	for i, point := range []struct {
		name  string
		after func(victim string, deletions int) (bool, error) // the moment has come
	}{
		{"while it captures the incident", func(victim string, _ int) (bool, error) {
			v, err := s.view(t.Context())
			if err != nil {
				return false, err
			}
			for _, n := range v.Nodes {
				if n.Node == victim && n.Phase == decide.PhaseConfirmed {
					return true, nil
				}
			}
			return false, nil
		}},
		{"between the intent and the delete", func(_ string, deletions int) (bool, error) {
			n, err := documents()
			return n != deletions, err
		}},
		{"between the delete and the verification", func(victim string, deletions int) (bool, error) {
			n, err := documents()
			if err != nil || n == deletions {
				return false, err
			}
			p, err := s.Pod(t.Context(), victim)
			return apierrors.IsNotFound(err) || (err == nil && p.DeletionTimestamp != nil), err
		}},
	} {
		t.Run(point.name, func(t *testing.T) {
			s := &site{t: t, Broker: s.Broker, daemon: s.daemon}
			s.wait(2*time.Minute, "every node is healthy", s.allHealthy)
			victim := s.Pods()[i%3]
			before, deletionsBefore := s.uids(), s.deletions()
			deletions, err := documents()
			if err != nil {
				t.Fatal(err)
			}
			leader := s.leader()
			if err := s.WedgeLogin(t.Context(), victim); err != nil {
				t.Fatal(err)
			}
			if err := until(within(t, 4*time.Minute), func() (bool, error) { return point.after(victim, deletions) }); err != nil {
				t.Fatalf("the moment did not come: %v", err)
			}
			if err := s.daemon.Kill(leader); err != nil {
				t.Fatal(err)
			}
			t.Logf("killed %s", leader.Name)
			a := s.cured(victim, before, deletionsBefore, 5*time.Minute)
			// The lease may still name the killed process, whose successor in the same pod shows what it sees and writes
			// nothing until it leads.
			var c store.Incident
			if err := until(within(t, time.Minute), func() (bool, error) {
				err := s.daemon.API(t.Context(), s.leader(), "/api/v1/incidents/"+a.Incident, &c)
				return err == nil && !c.Closed.IsZero(), err
			}); err != nil {
				t.Errorf("the incident is not closed: %v", err)
			}
			if c.Outcome != string(decide.Recovered) {
				t.Errorf("the incident is left with the outcome %q", c.Outcome)
			}
			replicas, err := s.daemon.Pods(t.Context())
			if err != nil || len(replicas) != 2 {
				t.Errorf("%d replicas, %v", len(replicas), err)
			}
		})
	}
}

// until asks again and again, quickly, until the answer is yes.
func until(ctx context.Context, ask func() (bool, error)) error {
	for ; ; pause(ctx, 20*time.Millisecond) {
		yes, err := ask()
		if yes {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}
