package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cjworkbench/unstuck/e2e/artifact"
	"github.com/cjworkbench/unstuck/e2e/cluster"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
)

// prepared is our image, in the cluster, and helm: made once, when the first test asks for it.
var prepared = sync.OnceValues(func() (*cluster.Unstuck, error) {
	root, err := artifact.FindRoot()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute) // helm is big, and on a new machine nothing is built
	defer cancel()
	return shared.PrepareUnstuck(ctx, &artifact.Maker{Root: root, Progress: os.Stdout})
})

// quick is how a broker is watched with every threshold shortened: its handshake_timeout is 3 s, and the rest follows.
const quick = `
    handshake_timeout: 3s
    probes:
      login: {every: "@every 3s", timeout: 4s, while_suspect: 2s, while_confirmed: 5s}
      roundtrip: {every: "@every 15s", timeout: 8s}
      log: {every: "@every 5s", max_age: 20s}
    policy:
      min_duration: 12s
      recheck_after: 5s
      startup_grace_period: 5s
      cooldown: 1s
      recovery_timeout: 4m
      result_ttl: 40s
      grace_period: 10s
      storm_cooldown: 5s
      per_node_per_day: 100
      per_target_per_day: 100
`

const quickHandshake = 3 * time.Second

// config gives the chart's values that watch a broker, with more of its keys, or others, in YAML.
func config(b *cluster.Broker, mode, keys string) string {
	return fmt.Sprintf(`
config:
  log: {format: json, level: debug}
  brokers:
  - name: rabbitmq
    username: %s
    secret: {name: %s-secret, password_key: rabbitmq-pass}
    mode: %s
    pods: {namespace: %s, selector: "%s", container: %s}
%s`, cluster.User, cluster.BrokerName, mode, b.Namespace, cluster.Selector, cluster.Container, keys)
}

// site is a broker, and Unstuck that watches it.
type site struct {
	t testing.TB
	*cluster.Broker
	daemon *cluster.Unstuck
	target string // what Unstuck calls the broker; empty: rabbitmq
}

// startSite starts a broker and installs Unstuck with these values, in a namespace of its own, so that several tests can
// run side by side. Both go when the test ends.
func startSite(t testing.TB, o cluster.BrokerOptions, values func(*cluster.Broker) string) *site {
	t.Helper()
	base, err := prepared()
	if err != nil {
		t.Fatal(err)
	}
	daemon := base.In("unstuck-" + o.Namespace)
	s := &site{t: t, Broker: startBroker(t, o), daemon: daemon}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		if t.Failed() {
			s.explain(ctx)
		}
		if err := daemon.Remove(ctx); err != nil {
			t.Error(err)
		}
	})
	s.install(values(s.Broker))
	return s
}

// install installs Unstuck anew, or changes its values, and waits until it has seen that everything is healthy.
func (s *site) install(values string) {
	s.t.Helper()
	if err := s.daemon.Install(within(s.t, 3*time.Minute), values); err != nil {
		s.t.Fatal(err)
	}
	s.wait(2*time.Minute, "every node is healthy", s.allHealthy)
}

// explain writes down what there is to know about a test that failed.
func (s *site) explain(ctx context.Context) {
	pods, err := s.daemon.Pods(ctx)
	if err != nil {
		s.t.Log(err)
	}
	for _, p := range pods {
		logs, err := s.daemon.Logs(ctx, p.Name, 4000)
		var kept []string
		for line := range strings.Lines(logs) {
			if !strings.Contains(line, `"level":"DEBUG"`) {
				kept = append(kept, line)
			}
		}
		s.t.Logf("log of %s (%v):\n%s", p.Name, err, strings.Join(kept, ""))
	}
	if v, err := s.view(ctx); err == nil {
		for _, n := range v.Nodes {
			s.t.Logf("%s: %s, %s: %s; closed: %v", n.Node, n.Status, n.Phase, n.Reason, n.Closed)
		}
	}
}

// view gives what the leader says of the broker.
func (s *site) view(ctx context.Context) (v brokers.Target, err error) {
	leader, err := s.daemon.Leader(ctx)
	if err == nil && leader == nil {
		err = errors.New("nobody leads")
	}
	if err == nil {
		err = s.daemon.API(ctx, leader, "/api/v1/targets/"+cmp.Or(s.target, "rabbitmq"), &v)
	}
	return v, err
}

// wait waits until ok gives no error of what the leader says.
func (s *site) wait(d time.Duration, what string, ok func(brokers.Target) error) brokers.Target {
	s.t.Helper()
	began := time.Now()
	ctx := within(s.t, d)
	var v brokers.Target
	err := errors.New("not asked yet")
	for ; err != nil; pause(ctx, 300*time.Millisecond) {
		if ctx.Err() != nil {
			s.t.Fatalf("%s: not within %v: %v", what, d, err)
		}
		now, viewErr := s.view(ctx)
		if viewErr != nil {
			err = viewErr
			continue
		}
		v, err = now, ok(now)
	}
	s.t.Logf("%s: after %v", what, time.Since(began).Round(100*time.Millisecond))
	return v
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (s *site) allHealthy(v brokers.Target) error {
	if len(v.Nodes) != s.Replicas {
		return fmt.Errorf("it knows %d nodes", len(v.Nodes))
	}
	for _, n := range v.Nodes {
		if n.Phase != decide.PhaseHealthy {
			return fmt.Errorf("%s is %s: %s", n.Node, n.Phase, n.Reason)
		}
	}
	for _, a := range v.Deletions {
		if a.Outcome == decide.Pending {
			return fmt.Errorf("the deletion of %s is not settled", a.Node)
		}
	}
	return nil
}

// phase wants a node to have come to one of the phases.
func phase(node string, phases ...decide.Phase) func(brokers.Target) error {
	return func(v brokers.Target) error {
		for _, n := range v.Nodes {
			if n.Node != node {
				continue
			}
			if slices.Contains(phases, n.Phase) {
				return nil
			}
			return fmt.Errorf("%s is %s: %s (closed: %v)", node, n.Phase, n.Reason, n.Closed)
		}
		return fmt.Errorf("%s is not known", node)
	}
}

// heldBack wants a node to be confirmed stuck and held back by the guard.
func heldBack(node string, guard decide.Guard) func(brokers.Target) error {
	return func(v brokers.Target) error {
		for _, n := range v.Nodes {
			if n.Node != node {
				continue
			}
			for _, g := range n.Closed {
				if g == guard && n.Phase == decide.PhaseConfirmed {
					return nil
				}
			}
			return fmt.Errorf("%s is %s, closed: %v: %s", node, n.Phase, n.Closed, n.Reason)
		}
		return fmt.Errorf("%s is not known", node)
	}
}

// uids gives the UIDs of the broker's pods by name.
func (s *site) uids() map[string]types.UID {
	s.t.Helper()
	all := make(map[string]types.UID)
	for _, name := range s.Pods() {
		pod, err := s.Pod(within(s.t, 10*time.Second), name)
		if err != nil {
			s.t.Fatal(err)
		}
		all[name] = pod.UID
	}
	return all
}

// untouched checks that every pod is the one that it was, and that nothing was deleted since.
func (s *site) untouched(before map[string]types.UID, deletions int) {
	s.t.Helper()
	for name, uid := range s.uids() {
		if uid != before[name] {
			s.t.Errorf("%s has been replaced", name)
		}
	}
	v, err := s.view(within(s.t, 10*time.Second))
	if err != nil {
		s.t.Fatal(err)
	}
	if len(done(v)) != deletions {
		s.t.Errorf("want %d deletions, got %+v", deletions, v.Deletions)
	}
}

// deletions gives how many deletions are known.
func (s *site) deletions() int {
	s.t.Helper()
	v, err := s.view(within(s.t, 10*time.Second))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(done(v))
}

// done gives the deletions that deleted something. An aborted one is an intent that a leader wrote down before it was killed.
func done(v brokers.Target) []decide.Deletion {
	return slices.DeleteFunc(slices.Clone(v.Deletions), func(a decide.Deletion) bool { return a.Outcome == decide.Aborted })
}

// cured waits until the victim alone has been replaced and accepts logins, and checks that the deletion, the incident, the Events and
// the metrics say the same of it.
func (s *site) cured(victim string, before map[string]types.UID, deletions int, d time.Duration) decide.Deletion {
	s.t.Helper()
	v := s.wait(d, victim+" is cured", func(v brokers.Target) error {
		if len(done(v)) <= deletions {
			return fmt.Errorf("nothing was deleted yet: %w", phase(victim, "")(v))
		}
		return s.allHealthy(v)
	})
	if len(done(v)) != deletions+1 {
		s.t.Fatalf("want one more deletion than %d, got %+v", deletions, v.Deletions)
	}
	a := done(v)[deletions]
	for name, uid := range s.uids() {
		if (name == victim) == (uid == before[name]) {
			s.t.Errorf("%s has the UID %s, it had %s", name, uid, before[name])
		}
		if name == victim && string(uid) != a.NewUID {
			s.t.Errorf("the deletion says that the new UID is %s, it is %s", a.NewUID, uid)
		}
		if err := s.WaitLogin(within(s.t, 30*time.Second), name); err != nil {
			s.t.Error(err)
		}
	}
	if a.Outcome != decide.Recovered || a.Node != victim || a.UID != string(before[victim]) {
		s.t.Errorf("the deletion is %+v", a)
	}
	return a
}

// toldAlike checks that the incident, the Events and the metrics say what the deletion says.
func (s *site) toldAlike(a decide.Deletion) {
	s.t.Helper()
	ctx := within(s.t, time.Minute)
	leader, err := s.daemon.Leader(ctx)
	if err != nil || leader == nil {
		s.t.Fatal("nobody leads: ", err)
	}
	var c store.Incident
	if err := s.daemon.API(ctx, leader, "/api/v1/incidents/"+a.Incident, &c); err != nil {
		s.t.Fatal(err)
	}
	if c.Node != a.Node || c.UID != a.UID || c.Outcome != string(decide.Recovered) || c.Closed.IsZero() || c.Deletion == nil || c.Deletion.ID != a.ID {
		s.t.Errorf("the incident is about %s %s, outcome %q, deletion %+v", c.Node, c.UID, c.Outcome, c.Deletion)
	}
	// While a node is frozen its peers may not be able to tell how the cluster is, and the incident says so.
	if len(c.Results) == 0 || len(c.Logs) == 0 || (c.Cluster == "" && len(c.Missing) == 0) {
		s.t.Errorf("the incident has %d results, %d log lines, the cluster as seen by %q: %v; missing: %v", len(c.Results), len(c.Logs), c.Peer, c.Cluster != "", c.Missing)
	}
	metrics, err := s.daemon.Metrics(ctx, leader)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, want := range []string{`unstuck_deletions_total{target="rabbitmq"}`, `unstuck_deletion_outcomes_total{outcome="recovered",target="rabbitmq"}`} {
		if !strings.Contains(metrics, want) || strings.Contains(metrics, want+" 0\n") {
			s.t.Errorf("the leader's metrics do not count in %s", want)
		}
	}
	for _, object := range []string{a.Node, cluster.BrokerName} {
		for _, reason := range []string{"Stuck", "Deleted", "Recovered"} {
			if err := s.event(ctx, object, reason); err != nil {
				s.t.Error(err)
			}
		}
	}
}

// event waits for an Event of ours.
func (s *site) event(ctx context.Context, object, reason string) error {
	for {
		list, err := shared.Kubernetes.CoreV1().Events(s.Namespace).List(ctx, metav1.ListOptions{
			FieldSelector: "involvedObject.name=" + object + ",reason=" + reason,
		})
		if err == nil && len(list.Items) > 0 {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("there is no Event %s about %s: %w", reason, object, errors.Join(ctx.Err(), err))
		}
		pause(ctx, 300*time.Millisecond)
	}
}

// leader gives the replica that leads.
func (s *site) leader() *corev1.Pod {
	s.t.Helper()
	ctx := within(s.t, time.Minute)
	for ; ; pause(ctx, 200*time.Millisecond) {
		leader, err := s.daemon.Leader(ctx)
		if leader != nil {
			return leader
		}
		if ctx.Err() != nil {
			s.t.Fatal("nobody leads: ", err)
		}
	}
}
