package charts_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// rendered gives the groups of the PrometheusRule that the chart makes of values.
func rendered(t *testing.T, values string) []ruleGroup {
	t.Helper()
	spec, err := yaml.Marshal(at[any](only(t, render(t, values), "PrometheusRule"), "spec", "groups"))
	if err != nil {
		t.Fatal(err)
	}
	var groups []ruleGroup
	if err := yaml.Unmarshal(spec, &groups); err != nil {
		t.Fatal(err)
	}
	return groups
}

func TestRulesChartRendersTheRulesAsTheyAre(t *testing.T) {
	if of := ofKind(render(t, least), "PrometheusRule"); len(of) > 0 {
		t.Error("it does so unasked")
	}
	// So what promtool has tested of the files holds of what is rendered, too.
	if diff := cmp.Diff(ruleGroups(t), rendered(t, least+"rules: {enabled: true, selector: 'job=\"unstuck\"'}\n")); diff != "" {
		t.Errorf("(-files +rendered):\n%s", diff)
	}
}

func TestRulesChartRendersWhatItIsToldAboutTheRules(t *testing.T) {
	values := least + `
rules:
  enabled: true
  labels: {release: prometheus}
  runbooks: https://wiki.example/unstuck/
  objective: 0.9995
  for: {UnstuckPausedForLong: 2d, UnstuckNodeStuck: 1m}
  severity: {UnstuckNodeStuck: critical}
  disabled: [UnstuckOperationFailed, UnstuckOperationStalled, UnstuckLockHeld, UnstuckLogLost]
`
	want := ruleGroups(t)
	ours := strings.NewReplacer(`job="unstuck"`, `job="watcher", namespace="tools"`, "(1 - 0.999)", "(1 - 0.9995)")
	for i := range want {
		want[i].Rules = slices.DeleteFunc(want[i].Rules, func(r rule) bool {
			return slices.Contains([]string{"UnstuckOperationFailed", "UnstuckOperationStalled", "UnstuckLockHeld", "UnstuckLogLost"}, r.Alert)
		})
		for j := range want[i].Rules {
			r := &want[i].Rules[j]
			r.Expr = ours.Replace(r.Expr)
			if r.Alert != "" {
				r.Annotations["runbook_url"] = "https://wiki.example/unstuck/" + r.Alert + ".md"
			}
			switch r.Alert {
			case "UnstuckPausedForLong":
				r.For = "2d"
			case "UnstuckNodeStuck":
				r.For, r.Labels["severity"] = "1m", "critical"
			}
		}
	}
	want = slices.DeleteFunc(want, func(g ruleGroup) bool { return len(g.Rules) == 0 })
	got := rendered(t, values)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +rendered):\n%s", diff)
	}
	object := only(t, render(t, values), "PrometheusRule")
	if at[string](object, "metadata", "labels", "release") != "prometheus" {
		t.Errorf("its labels are %v", at[any](object, "metadata", "labels"))
	}

	file := filepath.Join(t.TempDir(), "rendered.yaml")
	data, err := yaml.Marshal(map[string]any{"groups": got})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := promtool(t, "check", "rules", "--lint=all", "--lint-fatal", file); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestRulesChartRefusesWhatIsNoAlert(t *testing.T) {
	for _, c := range []struct{ rules, want string }{
		{"for: {UnstuckNodeStock: 1m}", "there is no alert UnstuckNodeStock"},
		{"severity: {NodeStuck: info}", "there is no alert NodeStuck"},
		{"disabled: [unstuck:is_authoritative]", "there is no alert unstuck:is_authoritative"},
		{"objective: 0.9", "at '/rules/objective': minimum: got 0.9, want 0.95"},
		{"objective: 1", "at '/rules/objective': exclusiveMaximum: got 1, want 1"},
		{"runbooks: docs", "at '/rules/runbooks': 'docs' does not match pattern"},
		{"selector: '{job=\"a\"}'", "at '/rules/selector': '{job=\"a\"}' does not match pattern"},
		{"for: {UnstuckNodeStuck: 5}", "at '/rules/for/UnstuckNodeStuck': got number, want string"},
		{"alerts: []", "at '/rules': additional properties 'alerts' not allowed"},
	} {
		out, err := helm(t, least+"rules: {enabled: true, "+c.rules+"}\n", "template")
		if err == nil || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: error %v, want one with %q\n%s", c.rules, err, c.want, out)
		}
	}
}
