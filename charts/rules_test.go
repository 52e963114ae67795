package charts_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

// rule is a rule of Prometheus: one that records a series, or an alert.
type rule struct {
	Record      string            `yaml:"record,omitempty"`
	Alert       string            `yaml:"alert,omitempty"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

type ruleGroup struct {
	Name     string `yaml:"name"`
	Interval string `yaml:"interval"`
	Rules    []rule `yaml:"rules"`
}

// ruleGroups gives the groups of all files of rules, in the files' order.
func ruleGroups(t *testing.T) []ruleGroup {
	t.Helper()
	files, err := filepath.Glob(chart + "/rules/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files of rules, %v", len(files), err)
	}
	var all []ruleGroup
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var one struct {
			Groups []ruleGroup `yaml:"groups"`
		}
		d := yaml.NewDecoder(bytes.NewReader(data))
		d.KnownFields(true)
		if err := d.Decode(&one); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, one.Groups...)
	}
	return all
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	for _, g := range ruleGroups(t) {
		all = append(all, g.Rules...)
	}
	return all
}

// alerts gives the rules that are alerts, in the files' order.
func alerts(t *testing.T) []rule {
	t.Helper()
	return slices.DeleteFunc(rules(t), func(r rule) bool { return r.Alert == "" })
}

// promtool runs Prometheus' own tool.
func promtool(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool is missing: on Debian and Ubuntu `make deps` as root, or apt-get install --no-install-recommends prometheus")
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	return string(out), err
}

func TestRulesAreTakenByPrometheus(t *testing.T) {
	files, err := filepath.Glob(chart + "/rules/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := promtool(t, append([]string{"check", "rules", "--lint=all", "--lint-fatal"}, files...)...); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

//promise:40
func TestRulesFireEachAlertWhenTheyMustWithItsWordsOnly(t *testing.T) {
	files, err := filepath.Glob("testdata/rules/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files of tests, %v", len(files), err)
	}
	fires, silent := make(map[string]bool), make(map[string]bool)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var tests struct {
			Tests []struct {
				Alerts []struct {
					Name string           `yaml:"alertname"`
					Want []map[string]any `yaml:"exp_alerts"`
				} `yaml:"alert_rule_test"`
			} `yaml:"tests"`
		}
		if err := yaml.Unmarshal(data, &tests); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, test := range tests.Tests {
			for _, a := range test.Alerts {
				if len(a.Want) > 0 {
					fires[a.Name] = true
				} else {
					silent[a.Name] = true
				}
			}
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			if out, err := promtool(t, "test", "rules", file); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	for _, a := range alerts(t) {
		if !fires[a.Alert] || !silent[a.Alert] {
			t.Errorf("%s: tested that it fires: %t, and that it does not: %t", a.Alert, fires[a.Alert], silent[a.Alert])
		}
		delete(fires, a.Alert)
	}
	for name := range fires {
		t.Errorf("there is no alert %s", name)
	}
}

func TestRulesSayOfEachAlertWhatTheyMust(t *testing.T) {
	name := regexp.MustCompile(`^Unstuck([A-Z][a-z]+)+$`)
	seen := make(map[string]bool)
	for _, a := range alerts(t) {
		if !name.MatchString(a.Alert) || seen[a.Alert] {
			t.Errorf("%s is no good name, or another alert's", a.Alert)
		}
		seen[a.Alert] = true
		if !slices.Contains([]string{"critical", "warning", "info", "none"}, a.Labels["severity"]) || len(a.Labels) != 1 {
			t.Errorf("%s: its labels are %v, want a severity", a.Alert, a.Labels)
		}
		if len(a.Annotations) != 3 || a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s: its annotations are %v", a.Alert, a.Annotations)
		}
		if want := "https://github.com/cjworkbench/unstuck/blob/main/docs/runbooks/" + a.Alert + ".md"; a.Annotations["runbook_url"] != want {
			t.Errorf("%s: its runbook is at %s, want %s", a.Alert, a.Annotations["runbook_url"], want)
		}
		// What it is about stands in its words.
		outermost := grouping.FindStringSubmatch(a.Expr)
		for _, label := range []string{"target", "node", "environment"} {
			about := len(outermost) > 0 && slices.Contains(strings.Split(outermost[1], ", "), label)
			if about && !strings.Contains(a.Annotations["description"], "$labels."+label) {
				t.Errorf("%s does not say which %s", a.Alert, label)
			}
		}
	}
}

// table gives the cells of the rows of the table in a page whose first column has this head.
func table(t *testing.T, page, head string) (rows [][]string) {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(data), "\n| "+head+" |")
	if !found {
		t.Fatalf("%s has no table of %s", page, head)
	}
	text, _, _ = strings.Cut(text, "\n\n")
	for _, line := range strings.Split(text, "\n")[2:] {
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.ReplaceAll(strings.TrimSpace(cell), "`", ""))
		}
		rows = append(rows, cells)
	}
	return rows
}

// measured gives what is measured: the labels of each metric, those that are recorded among them; and the values of each
// label that has a closed list.
func measured(t *testing.T) (labels, values map[string][]string) {
	t.Helper()
	labels, values = make(map[string][]string), make(map[string][]string)
	for _, cells := range table(t, "../docs/metrics.md", "metric") { // which a test of package metrics holds to the code
		labels[cells[0]] = strings.Split(cells[2], ", ")
		if cells[1] == "histogram" {
			labels[cells[0]+"_count"], labels[cells[0]+"_sum"] = labels[cells[0]], labels[cells[0]]
		}
	}
	for _, cells := range table(t, "../docs/metrics.md", "label") {
		if !strings.HasPrefix(cells[1], "see ") {
			values[cells[0]] = strings.Split(cells[1], ", ")
		}
	}
	for _, v := range probe.Verdicts() {
		values["reason"] = append(values["reason"], string(v.Reason))
	}
	for _, g := range decide.Guards() {
		values["guard"] = append(values["guard"], string(g.Guard))
	}
	labels["up"] = nil
	for _, r := range rules(t) {
		if r.Record != "" {
			labels[r.Record] = []string{"target"}
		}
	}
	return labels, values
}

var (
	series    = regexp.MustCompile(`\b(unstuck[_:][a-z0-9_:]+|up)\b(\{[^}]*\})?`)
	matcher   = regexp.MustCompile(`([a-z_]+)(=~|=)"([^"]*)"`)
	grouping  = regexp.MustCompile(`\b(?:by|on|without|ignoring) \(([^)]*)\)`)
	scrapers  = []string{"job", "namespace", "instance", "pod", "exported_namespace"}
	recording = regexp.MustCompile(`^unstuck:[a-z_]+(:ratio(_[0-9]+[mhd])?)?$`)
)

func TestRulesAskOnlyForSeriesThatAreMeasured(t *testing.T) {
	labels, values := measured(t)
	asked := 0
	for _, r := range rules(t) {
		name := r.Alert + r.Record
		if r.Record != "" && !recording.MatchString(r.Record) {
			t.Errorf("%s: no good name for what is recorded", name)
		}
		known := slices.Clone(scrapers)
		for _, s := range series.FindAllStringSubmatch(r.Expr, -1) {
			asked++
			has, ok := labels[s[1]]
			if !ok {
				t.Errorf("%s asks for %s, which does not exist", name, s[1])
			}
			known = append(known, has...)
			if !strings.Contains(s[2], `job="unstuck"`) {
				t.Errorf("%s asks for the %s of everybody: %s", name, s[1], s[2])
			}
			for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
				if m[1] != "job" && !slices.Contains(has, m[1]) {
					t.Errorf("%s: %s has no label %s", name, s[1], m[1])
				}
				for v := range strings.SplitSeq(m[3], "|") {
					if closed := values[m[1]]; closed != nil && !slices.Contains(closed, v) {
						t.Errorf("%s: %s is never %q", name, m[1], v)
					}
				}
			}
		}
		for _, g := range grouping.FindAllStringSubmatch(r.Expr, -1) {
			for label := range strings.SplitSeq(g[1], ", ") {
				if !slices.Contains(known, label) {
					t.Errorf("%s groups by %s, which none of its series has", name, label)
				}
			}
		}
	}
	if asked < 60 {
		t.Errorf("only %d series were looked at", asked)
	}
}

// excluded is what an alert is not about.
var excluded = regexp.MustCompile(`unless on \([^)]*\) \w+\{[^}]*\}`)

// What a restart does not cure must be told, and told once.
func TestRulesHaveOneAlertForEachFaultyReason(t *testing.T) {
	told := make(map[probe.Reason][]string)
	for _, a := range alerts(t) {
		for _, s := range series.FindAllStringSubmatch(excluded.ReplaceAllString(a.Expr, ""), -1) {
			for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
				for v := range strings.SplitSeq(m[3], "|") {
					if s[1] == "unstuck_node_reason" && m[1] == "reason" {
						told[probe.Reason(v)] = append(told[probe.Reason(v)], a.Alert)
					}
				}
			}
		}
	}
	for _, v := range probe.Verdicts() {
		if v.Status == probe.Faulty && len(told[v.Reason]) != 1 {
			t.Errorf("%s is told by %q", v.Reason, told[v.Reason])
		}
	}
}

// Whatever is said of a broker or a node is said by who speaks for it, and once for all replicas.
func TestRulesFireNoAlertOnceForEachReplica(t *testing.T) {
	each := []string{"UnstuckReplicaDown"} // and is about them
	for _, a := range alerts(t) {
		aggregated := regexp.MustCompile(`(?s)^(time\(\) - )?(max|min|sum|count) by \(([^)]*)\)`).FindStringSubmatch(strings.TrimSpace(a.Expr))
		budget := strings.Contains(a.Expr, "unstuck:broker_login_errors") // which is recorded once
		switch {
		case slices.Contains(each, a.Alert), budget, strings.HasPrefix(a.Expr, "absent("):
		case aggregated == nil:
			t.Errorf("%s is not aggregated:\n%s", a.Alert, a.Expr)
		case strings.Contains(aggregated[3], "instance") || strings.Contains(aggregated[3], "pod"):
			t.Errorf("%s fires for each replica:\n%s", a.Alert, a.Expr)
		}
	}
}
