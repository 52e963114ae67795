package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/e2e/cluster"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

// A broker that the ConfigMap names from now on is watched, and one that it names no longer is not, while the pods of
// Unstuck and what they watch besides go on.
func TestReloadWatchesABrokerThatTheConfigMapNamesFromNowOn(t *testing.T) {
	t.Parallel()
	s := startSite(t, cluster.BrokerOptions{Namespace: "reload", Replicas: 1, HandshakeTimeout: quickHandshake}, remediating)
	more := startBroker(t, cluster.BrokerOptions{Namespace: "reload-more", Replicas: 1, HandshakeTimeout: quickHandshake})
	before := s.daemonPods()
	both := remediating(s.Broker) + strings.Replace(strings.SplitN(config(more, "observe", quick), "brokers:\n", 2)[1], "name: rabbitmq", "name: more", 1)
	if err := s.daemon.Reconfigure(within(t, 3*time.Minute), both); err != nil {
		t.Fatal(err)
	}
	s.eventually(4*time.Minute, "the new broker is watched", func(ctx context.Context) error {
		var v brokers.Target
		if err := s.ask(ctx, "/api/v1/targets/more", &v); err != nil {
			return err
		}
		if len(v.Nodes) != 1 || v.Nodes[0].Phase != decide.PhaseHealthy {
			return fmt.Errorf("it has %+v", v.Nodes)
		}
		return nil
	})
	if err := s.daemon.Reconfigure(within(t, 3*time.Minute), remediating(s.Broker)); err != nil {
		t.Fatal(err)
	}
	s.eventually(4*time.Minute, "it is watched no longer", func(ctx context.Context) error {
		var all brokers.Targets
		if err := s.ask(ctx, "/api/v1/targets", &all); err != nil {
			return err
		}
		if len(all.Targets) != 1 {
			return fmt.Errorf("%d targets", len(all.Targets))
		}
		return nil
	})
	if after := s.daemonPods(); !maps.Equal(before, after) {
		t.Errorf("the pods of Unstuck were %v, and are %v", before, after)
	}
	for _, pod := range slices.Collect(maps.Keys(before)) {
		logs, err := s.daemon.Logs(within(t, 10*time.Second), pod, 4000)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(logs, "begins anew") || strings.Contains(logs, "cannot be put into force") {
			t.Errorf("the log of %s says that what did not change began anew, or that the file is bad", pod)
		}
	}
}

// daemonPods gives the pods of Unstuck with how often their containers have started.
func (s *site) daemonPods() map[string]int32 {
	s.t.Helper()
	pods, err := s.daemon.Pods(within(s.t, 10*time.Second))
	if err != nil {
		s.t.Fatal(err)
	}
	all := make(map[string]int32)
	for _, p := range pods {
		for _, c := range p.Status.ContainerStatuses {
			all[p.Name] = c.RestartCount
		}
	}
	return all
}

// ask asks the replica that leads.
func (s *site) ask(ctx context.Context, path string, v any) error {
	leader, err := s.daemon.Leader(ctx)
	if err != nil {
		return err
	}
	if leader == nil {
		return errors.New("nobody leads")
	}
	return s.daemon.API(ctx, leader, path, v)
}

// eventually waits until ok gives no error.
func (s *site) eventually(d time.Duration, what string, ok func(context.Context) error) {
	s.t.Helper()
	began, ctx := time.Now(), within(s.t, d)
	for err := ok(ctx); err != nil; err = ok(ctx) {
		if pause(ctx, time.Second); ctx.Err() != nil {
			s.t.Fatalf("%s: not within %v: %v", what, d, err)
		}
	}
	s.t.Logf("%s: after %v", what, time.Since(began).Round(100*time.Millisecond))
}
