package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/cjworkbench/unstuck/e2e/cluster"
)

// TestAPrometheusWithTheChartsRulesTellsOfAStuckNode scrapes both replicas as the ServiceMonitor would, with the rules as
// the chart renders them for this release, and in real time. What follows from there is tested in cmd/unstuck.
func TestAPrometheusWithTheChartsRulesTellsOfAStuckNode(t *testing.T) {
	t.Parallel()
	values := func(b *cluster.Broker) string { return config(b, "observe", quick) }
	s := startSite(t, cluster.BrokerOptions{Namespace: "told", HandshakeTimeout: quickHandshake}, values)
	prometheus := s.startPrometheus(values(s.Broker))
	s.fires(prometheus, 2*time.Minute, map[string]string{
		"alertname": "UnstuckDeadMansSwitch", "severity": "none", "job": "unstuck", "namespace": s.daemon.Namespace,
	})
	victim := s.Pods()[1]
	before := s.uids()
	if err := s.WedgeLogin(t.Context(), victim); err != nil {
		t.Fatal(err)
	}
	s.fires(prometheus, 4*time.Minute, map[string]string{
		"alertname": "UnstuckNodeStuck", "severity": "warning", "job": "unstuck", "namespace": s.daemon.Namespace,
		"broker": "rabbitmq", "node": victim,
	})
	s.untouched(before, 0)
}

// startPrometheus starts a real one on this machine, which scrapes every replica and is stopped when the test ends. It
// gives its URL.
func (s *site) startPrometheus(values string) string {
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
	})
	return s.run("prometheus", dir, "--config.file="+filepath.Join(dir, "prometheus.json"),
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

// fires waits until an alert with exactly these labels fires.
func (s *site) fires(prometheus string, d time.Duration, labels map[string]string) {
	s.t.Helper()
	ctx := within(s.t, d)
	began := time.Now()
	for ; ; pause(ctx, time.Second) {
		var answer struct {
			Data struct {
				Alerts []struct {
					Labels map[string]string
					State  string
				}
			}
		}
		err := getJSON(ctx, prometheus+"/api/v1/alerts", &answer)
		for _, a := range answer.Data.Alerts {
			if a.State == "firing" && maps.Equal(a.Labels, labels) {
				s.t.Logf("%s fires: after %v", labels["alertname"], time.Since(began).Round(time.Second))
				return
			}
		}
		if ctx.Err() != nil {
			s.t.Fatalf("not within %v: %v; there are %+v (%v)", d, labels, answer.Data.Alerts, err)
		}
	}
}

func getJSON(ctx context.Context, address string, answer any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(body, answer)
}
