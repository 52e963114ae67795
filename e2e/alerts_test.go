package e2e

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/cjworkbench/unstuck/e2e/cluster"
)

// TestAlertsTellOfAStuckNodeItsCureAndADaemonThatIsGone has a real Prometheus scrape both replicas as the
// ServiceMonitor would, with the rules as the chart renders them for this release, and notify a real Alertmanager. Time is
// real: only for UnstuckDown the chart is told not to wait for two minutes. What else there is to say is tested in
// app.
//
//promise:40
func TestAlertsTellOfAStuckNodeItsCureAndADaemonThatIsGone(t *testing.T) {
	t.Parallel()
	values := func(b *cluster.Broker) string {
		return config(b, "observe", quick) + "rules: {for: {UnstuckDown: 10s}}\n"
	}
	s := startSite(t, cluster.BrokerOptions{Namespace: "told", HandshakeTimeout: quickHandshake}, values)
	p := s.startPager()
	s.startPrometheus(values(s.Broker), p.alertmanager)
	labels := func(alert, severity string) map[string]string {
		return map[string]string{"alertname": alert, "severity": severity, "job": "unstuck", "namespace": s.daemon.Namespace}
	}
	p.told(2*time.Minute, "firing", labels("UnstuckDeadMansSwitch", "none"))
	if got := p.all(); len(got) != 1 {
		t.Errorf("everything is healthy, and it tells of %v", got)
	}

	victim := s.Pods()[1]
	before := s.uids()
	if err := s.WedgeLogin(t.Context(), victim); err != nil {
		t.Fatal(err)
	}
	stuck := labels("UnstuckNodeStuck", "warning")
	stuck["target"], stuck["node"] = "rabbitmq", victim
	p.told(4*time.Minute, "firing", stuck)
	s.untouched(before, 0)

	if err := s.renew(victim); err != nil {
		t.Fatal(err)
	}
	p.told(2*time.Minute, "resolved", stuck)

	if got := p.all()["UnstuckDown"]; got.Status != "" {
		t.Errorf("both replicas are there, and it tells of %v", got)
	}
	if err := s.daemon.Scale(within(t, 10*time.Second), 0); err != nil {
		t.Fatal(err)
	}
	p.told(3*time.Minute, "firing", labels("UnstuckDown", "critical"))
	p.told(time.Minute, "resolved", labels("UnstuckDeadMansSwitch", "none"))
}

// pager is a real Alertmanager on this machine, and whom it notifies.
type pager struct {
	t            testing.TB
	alertmanager string // its URL

	mu       sync.Mutex
	changed  chan struct{}     // closed and replaced whenever there was a notification
	received map[string]notice // by alert: the latest
}

// notice is an alert as Alertmanager tells of it.
type notice struct {
	Status string // firing or resolved
	Labels map[string]string
}

// startPager starts an Alertmanager that tells of each alert at once, and of its end. It is stopped when the test ends.
func (s *site) startPager() *pager {
	s.t.Helper()
	p := &pager{t: s.t, changed: make(chan struct{}), received: make(map[string]notice)}
	hook := httptest.NewServer(http.HandlerFunc(p.receive))
	s.t.Cleanup(hook.Close)
	dir := s.t.TempDir()
	s.write(filepath.Join(dir, "alertmanager.json"), map[string]any{
		"route": map[string]any{
			"receiver": "people", "group_by": []string{"..."}, "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h",
		},
		"receivers": []any{map[string]any{
			"name": "people", "webhook_configs": []any{map[string]any{"url": hook.URL, "send_resolved": true}},
		}},
	})
	p.alertmanager = s.run("prometheus-alertmanager", dir, "--config.file="+filepath.Join(dir, "alertmanager.json"),
		"--storage.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0", "--cluster.listen-address=") // alone
	return p
}

// receive takes a notification.
func (p *pager) receive(w http.ResponseWriter, r *http.Request) {
	var sent struct{ Alerts []notice }
	if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
		p.t.Errorf("a notification that cannot be read: %v", err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range sent.Alerts {
		p.received[n.Labels["alertname"]] = n
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// all gives the latest that was told of each alert.
func (p *pager) all() map[string]notice {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.received)
}

// told waits until Alertmanager has told that the alert with exactly these labels is firing, or resolved.
func (p *pager) told(d time.Duration, status string, labels map[string]string) {
	p.t.Helper()
	ctx := within(p.t, d)
	began := time.Now()
	for {
		p.mu.Lock()
		latest, changed := p.received[labels["alertname"]], p.changed
		p.mu.Unlock()
		if latest.Status == status && maps.Equal(latest.Labels, labels) {
			p.t.Logf("%s is %s: after %v", labels["alertname"], status, time.Since(began).Round(time.Second))
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			p.t.Fatalf("not told within %v that %v is %s; the latest of each alert: %+v", d, labels, status, p.all())
		}
	}
}

// startPrometheus starts a real one on this machine, which scrapes every replica, notifies the Alertmanager at that URL,
// and is stopped when the test ends.
func (s *site) startPrometheus(values, alertmanager string) {
	s.t.Helper()
	ctx := within(s.t, time.Minute)
	pods, err := s.daemon.Pods(ctx)
	if err != nil || len(pods) != 2 {
		s.t.Fatalf("there are %d replicas: %v", len(pods), err)
	}
	type scraped struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	var targets []scraped
	for i := range pods {
		at, err := s.daemon.ForwardMetrics(ctx, &pods[i])
		if err != nil {
			s.t.Fatal(err)
		}
		targets = append(targets, scraped{[]string{at}, map[string]string{"namespace": s.daemon.Namespace, "pod": pods[i].Name}})
	}
	rendered, err := s.daemon.Rules(ctx, values)
	if err != nil {
		s.t.Fatal(err)
	}
	var rules struct{ Spec json.RawMessage }
	if err := yaml.Unmarshal(rendered, &rules); err != nil {
		s.t.Fatal(err)
	}
	dir := s.t.TempDir()
	s.write(filepath.Join(dir, "rules.json"), rules.Spec)
	s.write(filepath.Join(dir, "prometheus.json"), map[string]any{
		"global":         map[string]any{"scrape_interval": "5s"},
		"rule_files":     []string{filepath.Join(dir, "rules.json")},
		"scrape_configs": []any{map[string]any{"job_name": "unstuck", "static_configs": targets}},
		"alerting": map[string]any{"alertmanagers": []any{map[string]any{
			"static_configs": []scraped{{Targets: []string{strings.TrimPrefix(alertmanager, "http://")}}},
		}}},
	})
	s.run("prometheus", dir, "--config.file="+filepath.Join(dir, "prometheus.json"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
}

// write writes JSON, which is YAML, too.
func (s *site) write(path string, v any) {
	s.t.Helper()
	data, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

var listening = regexp.MustCompile(`msg="Listening on" address=(\S+)`)

// run runs one of Prometheus' servers until the test ends, and gives its URL once it listens.
func (s *site) run(name, dir string, args ...string) string {
	s.t.Helper()
	path := filepath.Join(dir, "log")
	log, err := os.Create(path)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(name, args...)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("%v: `make cluster-deps` as root installs it on Debian and Ubuntu", err)
	}
	s.t.Cleanup(func() {
		if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait(), log.Close()); err != nil {
			s.t.Errorf("stop %s: %v", name, err)
		}
	})
	ctx := within(s.t, 30*time.Second)
	for ; ; pause(ctx, 100*time.Millisecond) {
		said, err := os.ReadFile(path)
		if m := listening.FindSubmatch(said); m != nil {
			return "http://" + string(m[1])
		}
		if ctx.Err() != nil {
			s.t.Fatalf("%s does not listen (%v):\n%s", name, err, said)
		}
	}
}
