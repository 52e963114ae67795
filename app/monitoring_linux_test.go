package app

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// monitoring is a real Prometheus that scrapes and a real Alertmanager that it notifies, both on loopback, with files of
// their own that go with the test.
type monitoring struct {
	t            *testing.T
	prometheus   string // its URL
	alertmanager string // its URL

	mu       sync.Mutex
	changed  chan struct{}      // closed and replaced whenever there was a notification
	notified map[string]amAlert // by receiver, alert and node: the latest
}

// amAlert is an alert as Alertmanager sends it to a receiver, and as its API shows it.
type amAlert struct {
	Labels      map[string]string
	Annotations map[string]string
	Status      amStatus
}

// amStatus is firing or resolved when it was sent; active or suppressed when it was asked for.
type amStatus struct {
	State       string
	InhibitedBy []string
}

// UnmarshalJSON takes both: what is sent is one word, the API's answer an object.
func (s *amStatus) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte{'"'}) {
		return json.Unmarshal(data, &s.State)
	}
	type object amStatus
	return json.Unmarshal(data, (*object)(s))
}

// Jobs that are scraped: all replicas, in a namespace as a ServiceMonitor would have it; and the one that leads, by itself
// and as it stands in a file, without a namespace.
const (
	jobAll    = "unstuck"
	jobAlone  = "alone"
	namespace = "tools"
)

// startMonitoring scrapes the replicas, of which the first leads, every second.
func startMonitoring(t *testing.T, replicas ...net.Addr) *monitoring {
	t.Helper()
	m := &monitoring{t: t, changed: make(chan struct{}), notified: make(map[string]amAlert)}
	hook := httptest.NewServer(http.HandlerFunc(m.notify))
	t.Cleanup(hook.Close)

	dir := t.TempDir()
	file := writeYAML(t, dir, "alertmanager.yml", alertmanagerConfig(t, hook.URL))
	m.alertmanager = startServer(t, "Listening on", "prometheus-alertmanager", "--config.file="+file,
		"--storage.path="+dir, "--web.listen-address=127.0.0.1:0", "--cluster.listen-address=")

	type targets struct {
		Targets []string          `yaml:"targets"`
		Labels  map[string]string `yaml:"labels,omitempty"`
	}
	type scrape struct {
		Job     string    `yaml:"job_name"`
		Targets []targets `yaml:"static_configs"`
	}
	var addresses []string
	for _, r := range replicas {
		addresses = append(addresses, r.String())
	}
	file = writeYAML(t, dir, "prometheus.yml", map[string]any{
		"global":     map[string]any{"scrape_interval": "1s", "evaluation_interval": "1s"},
		"rule_files": []string{writeYAML(t, dir, "rules.yml", hurriedRules(t))},
		"scrape_configs": []scrape{
			{jobAll, []targets{{addresses, map[string]string{"namespace": namespace}}}}, {jobAlone, []targets{{addresses[:1], nil}}},
		},
		"alerting": map[string]any{"alertmanagers": []any{
			map[string]any{"static_configs": []targets{{[]string{strings.TrimPrefix(m.alertmanager, "http://")}, nil}}},
		}},
	})
	m.prometheus = startServer(t, "Server is ready to receive web requests.", "prometheus", "--config.file="+file,
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	return m
}

func writeYAML(t *testing.T, dir, name string, v any) string {
	t.Helper()
	data, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	rulesFiles = projectRoot + "/charts/unstuck/rules/*.yaml"
	alertsDoc  = projectRoot + "/docs/alerts.md"
)

// hurry is how many times as fast as in the chart's files time passes in hurriedRules.
const hurry = 30

// hurriedRules are the rules of the chart's files, the same but for three things: for how long an alert's condition must
// hold, how long UnstuckNodeStuck looks on, and how often a group is evaluated are a thirtieth; and what is recorded is
// recorded of jobAlone, too.
func hurriedRules(t *testing.T) any {
	t.Helper()
	files, err := filepath.Glob(rulesFiles)
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files of rules, %v", len(files), err)
	}
	var all struct {
		Groups []struct {
			Name     string           `yaml:"name"`
			Interval string           `yaml:"interval"`
			Rules    []map[string]any `yaml:"rules"`
		} `yaml:"groups"`
	}
	for _, file := range files {
		one := all
		if err := yaml.Unmarshal([]byte(readText(t, file)), &one); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all.Groups = append(all.Groups, one.Groups...)
	}
	for i := range all.Groups {
		g := &all.Groups[i]
		g.Interval = hurried(t, g.Interval)
		for _, rule := range g.Rules {
			expr := rule["expr"].(string)
			if rule["alert"] == nil {
				rule["expr"] = strings.ReplaceAll(expr, `job="unstuck"`, `job=~"`+jobAll+"|"+jobAlone+`"`)
			}
			if held, ok := rule["for"].(string); ok {
				rule["for"] = hurried(t, held)
			}
			if rule["alert"] == "UnstuckNodeStuck" {
				before, found := strings.CutSuffix(strings.TrimSpace(expr), " > 60")
				if !found {
					t.Fatalf("UnstuckNodeStuck does not wait for a minute:\n%s", expr)
				}
				rule["expr"] = before + " > " + strconv.Itoa(60/hurry)
			}
		}
	}
	return all
}

func hurried(t *testing.T, text string) string {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.FormatInt((d/hurry).Milliseconds(), 10) + "ms"
}

// alertmanagerConfig is as docs/alerts.md says: what is kept back, where the dead man's switch goes, and how the rest is
// grouped. Only the receivers are ours, and nothing waits for more to come.
func alertmanagerConfig(t *testing.T, hook string) map[string]any {
	t.Helper()
	config := make(map[string]any)
	page := readText(t, alertsDoc)
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(page, -1) {
		if text := block[1]; strings.HasPrefix(text, "inhibit_rules:") || strings.HasPrefix(text, "route:") {
			text = strings.ReplaceAll(text, "https://heartbeat.example/unstuck", hook+"/"+deadMan)
			if err := yaml.Unmarshal([]byte(text), &config); err != nil {
				t.Fatalf("%v in:\n%s", err, text)
			}
		}
	}
	route, ok := config["route"].(map[string]any)
	receivers, are := config["receivers"].([]any)
	if !ok || !are || config["inhibit_rules"] == nil {
		t.Fatalf("%s has no configuration of Alertmanager any more: %v", alertsDoc, config)
	}
	route["receiver"] = people
	route["group_by"] = []string{"alertname", "target", "environment"}
	route["group_wait"], route["group_interval"], route["repeat_interval"] = "0s", "1s", "1h"
	config["receivers"] = append(receivers, map[string]any{
		"name": people, "webhook_configs": []any{map[string]any{"url": hook + "/" + people, "send_resolved": true}},
	})
	return config
}

// Receivers.
const (
	people  = "people"
	deadMan = "dead-man"
)

// notify takes a notification of Alertmanager's.
func (m *monitoring) notify(w http.ResponseWriter, r *http.Request) {
	var sent struct{ Alerts []amAlert }
	if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
		m.t.Errorf("a notification that cannot be read: %v", err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range sent.Alerts {
		m.notified[strings.Trim(r.URL.Path, "/")+" "+a.Labels["alertname"]+" "+a.Labels["node"]] = a
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

// until waits until a receiver was told that an alert, about a node or about none, is firing or resolved.
func (m *monitoring) until(ctx context.Context, receiver, alert, node, state string) amAlert {
	m.t.Helper()
	key := receiver + " " + alert + " " + node
	for {
		m.mu.Lock()
		a, changed := m.notified[key], m.changed
		m.mu.Unlock()
		if a.Status.State == state {
			return a
		}
		select {
		case <-changed:
		case <-ctx.Done():
			m.t.Fatalf("waited in vain until the receiver %s hears that %s is %s; Alertmanager has %+v",
				receiver, alert, state, m.alerts(context.WithoutCancel(ctx)))
		}
	}
}

// alerts asks Alertmanager for the alerts that it has, by name and node.
func (m *monitoring) alerts(ctx context.Context) map[string]amAlert {
	m.t.Helper()
	var all []amAlert
	if err := m.ask(ctx, m.alertmanager+"/api/v2/alerts", &all); err != nil {
		m.t.Fatal(err)
	}
	by := make(map[string]amAlert)
	for _, a := range all {
		by[strings.TrimSpace(a.Labels["alertname"]+" "+a.Labels["node"])] = a
	}
	return by
}

// gone waits until Alertmanager shows an alert no more, by name and node.
func (m *monitoring) gone(ctx context.Context, alert string) {
	m.t.Helper()
	m.settles(ctx, func() string {
		if got, still := m.alerts(ctx)[alert]; still {
			return fmt.Sprintf("Alertmanager still shows %+v", got)
		}
		return ""
	})
}

// settles gives a minute to what must be so in the end, though perhaps not at each moment: two servers and two replicas
// are told of a change one after the other, and a guard may close for the second that a busy machine takes from a peer.
func (m *monitoring) settles(ctx context.Context, wrong func() string) {
	m.t.Helper()
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	for {
		said := wrong()
		if said == "" {
			return
		}
		if !sleep(ctx, time.Second) {
			m.t.Fatalf("for a minute: %s", said)
		}
	}
}

// sample is a series and its value at one moment.
type sample struct {
	Metric map[string]string
	Value  promValue
}

// promValue is a number as Prometheus writes it: after its time, as text.
type promValue float64

// UnmarshalJSON takes [time, "value"].
func (v *promValue) UnmarshalJSON(data []byte) error {
	var number string
	if err := json.Unmarshal(data, &[]any{new(float64), &number}); err != nil {
		return fmt.Errorf("a sample of Prometheus: %w", err)
	}
	f, err := strconv.ParseFloat(number, 64)
	*v = promValue(f)
	return err
}

// query asks Prometheus for what an expression gives at a moment.
func (m *monitoring) query(ctx context.Context, expr string, at time.Time) ([]sample, error) {
	var answer struct {
		Warnings []string
		Data     struct {
			ResultType string
			Result     []sample
		}
	}
	params := url.Values{"query": {expr}, "time": {at.Format(time.RFC3339Nano)}}
	if err := m.ask(ctx, m.prometheus+"/api/v1/query?"+params.Encode(), &answer); err != nil {
		return nil, err
	}
	if len(answer.Warnings) > 0 || answer.Data.ResultType != "vector" {
		return nil, fmt.Errorf("a %s, with the warnings %q", answer.Data.ResultType, answer.Warnings)
	}
	return answer.Data.Result, nil
}

// ask gets what an address answers in JSON.
func (m *monitoring) ask(ctx context.Context, address string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", res.Status, body)
	}
	return json.Unmarshal(body, answer)
}

var listensOn = regexp.MustCompile(`msg="Listening on" address=(\S+)`)

// startServer starts one of Prometheus' servers on a free port, and gives its URL once it has logged that it is ready.
// It is stopped when the test ends, and dies with the test's process, however that ends.
func startServer(t *testing.T, ready, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: `make deps` as root installs it on Debian and Ubuntu", name)
	}
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log safeBuffer
	address, started, ended := make(chan string, 1), make(chan error, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the kernel ties Pdeathsig to the thread, which must live as long as the process
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		at := ""
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			line := lines.Text()
			fmt.Fprintln(&log, line)
			if m := listensOn.FindStringSubmatch(line); m != nil {
				at = "http://" + m[1]
			}
			if at != "" && strings.Contains(line, ready) {
				address <- at
				ready = "\x00" // once
			}
		}
		ended <- cmd.Wait()
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("stop %s: %v", name, err)
		}
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if t.Failed() {
			t.Logf("%s warned:\n%s", name, regexp.MustCompile(`(?m)^.*\blevel=(info|debug)\b.*\n`).ReplaceAllString(log.String(), ""))
		}
	})
	select {
	case at := <-address:
		return at
	case err := <-ended:
		ended <- err
		t.Fatalf("%s ended: %v\n%s", name, err, log.String())
	case <-t.Context().Done():
		t.Fatalf("%s is not ready: %v\n%s", name, t.Context().Err(), log.String())
	}
	return ""
}

// sleep waits, and says whether ctx has not ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
