package e2e

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/e2e/artifact"
	"github.com/cjworkbench/unstuck/e2e/cluster"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

var discard = slog.New(slog.DiscardHandler)

const frontend = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: frontend-deployment, namespace: %s}
spec:
  replicas: 3
  selector: {matchLabels: {app: frontend-app}}
  template:
    metadata: {labels: {app: frontend-app}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - {name: app, image: %q, imagePullPolicy: Never, args: [log]}
      - {name: teardown-sandboxes, image: %[2]q, imagePullPolicy: Never}
`

//promise:27
func TestAppReportsASilentPodAndWhereAskedReplacesItAlone(t *testing.T) {
	t.Parallel()
	app := func(mode string) func(*cluster.Broker) string {
		return func(b *cluster.Broker) string {
			return remediating(b) + fmt.Sprintf(`
  apps:
  - name: frontend
    pods: {namespace: %s, selector: app=frontend-app, container: app}
    mode: %s
    log: {every: "@every 3s", max_age: 10s}
    policy: {min_duration: 6s, startup_grace_period: 5s, recovery_timeout: 1m, grace_period: 5s, cooldown: 1s, storm_cooldown: 5s}
`, b.Namespace, mode)
		}
	}
	s := startSite(t, cluster.BrokerOptions{Namespace: "front", Replicas: 1, HandshakeTimeout: quickHandshake}, app("observe"))
	if err := shared.Apply(within(t, 10*time.Second), fmt.Sprintf(frontend, s.Namespace, artifact.ToolImage)); err != nil {
		t.Fatal(err)
	}
	s.app("all three write", func(v brokers.Target) error {
		for _, n := range v.Nodes {
			if n.Phase != decide.PhaseHealthy {
				return errors.New(n.Reason)
			}
		}
		if len(v.Nodes) != 3 {
			return fmt.Errorf("%d pods", len(v.Nodes))
		}
		return nil
	})
	before := s.frontends()
	victim := before[1]
	if _, err := shared.Exec(within(t, 10*time.Second), s.Namespace, victim.Name, "app", "/tool", "silence"); err != nil {
		t.Fatal(err)
	}
	s.app("held back", heldBack(victim.Name, decide.GuardObserveOnly))
	metrics, err := s.daemon.Metrics(within(t, 10*time.Second), s.leader())
	if err != nil {
		t.Fatal(err)
	}
	if want := `unstuck_node_status{node="` + victim.Name + `",status="stuck",target="frontend"} 1`; !strings.Contains(metrics, want) {
		t.Errorf("the metrics lack %s", want)
	}
	if now := s.frontends(); len(now) != 3 || now[1].UID != victim.UID {
		t.Error("it was replaced while the mode is observe")
	}

	s.install(app("remediate")(s.Broker))
	s.app("replaced", func(v brokers.Target) error {
		if len(v.Deletions) == 1 && v.Deletions[0].Outcome == decide.Recovered {
			return nil
		}
		return fmt.Errorf("deletions: %+v", v.Deletions)
	})
	left := map[string]bool{}
	for _, p := range s.frontends() {
		left[p.Name] = true
	}
	if len(left) != 3 || left[victim.Name] || !left[before[0].Name] || !left[before[2].Name] {
		t.Errorf("%s was silent of %s, %s and %s; now there are %v", victim.Name, before[0].Name, before[1].Name, before[2].Name, left)
	}
	if err := s.event(within(t, 20*time.Second), "frontend-deployment", "Deleted"); err != nil {
		t.Error(err)
	}
}

// app waits until ok gives no error of what the leader says of the frontend.
func (s *site) app(what string, ok func(brokers.Target) error) {
	s.t.Helper()
	ctx := within(s.t, 2*time.Minute)
	began := time.Now()
	for err := errors.New("not asked yet"); err != nil; pause(ctx, 300*time.Millisecond) {
		if ctx.Err() != nil {
			s.t.Fatalf("%s: %v", what, err)
		}
		var v brokers.Target
		if err = s.daemon.API(ctx, s.leader(), "/api/v1/targets/frontend", &v); err == nil {
			err = ok(v)
		}
	}
	s.t.Logf("%s: after %v", what, time.Since(began).Round(100*time.Millisecond))
}

// frontends gives the frontend's pods that are not on their way out, by name.
func (s *site) frontends() []corev1.Pod {
	s.t.Helper()
	list, err := shared.Kubernetes.CoreV1().Pods(s.Namespace).List(within(s.t, 10*time.Second), metav1.ListOptions{LabelSelector: "app=frontend-app"})
	if err != nil {
		s.t.Fatal(err)
	}
	var pods []corev1.Pod
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			pods = append(pods, p)
		}
	}
	return pods
}
