package app

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"
)

// dashboardQuery is what a panel of the dashboard asks, or what marks the moments of deletions.
type dashboardQuery struct{ panel, kind, unit, expr, legend string }

func dashboardQueries(t *testing.T) (all []dashboardQuery) {
	t.Helper()
	var d struct {
		Panels []struct {
			Title, Type string
			FieldConfig struct{ Defaults struct{ Unit string } }
			Targets     []struct{ Expr, LegendFormat string }
		}
		Annotations struct {
			List []struct{ Name, Expr, TitleFormat string }
		}
	}
	if err := json.Unmarshal([]byte(readText(t, projectRoot+"/charts/unstuck/dashboards/unstuck.json")), &d); err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			all = append(all, dashboardQuery{p.Title, p.Type, p.FieldConfig.Defaults.Unit, q.Expr, q.LegendFormat})
		}
	}
	for _, a := range d.Annotations.List {
		all = append(all, dashboardQuery{a.Name, "annotation", "", a.Expr, a.TitleFormat})
	}
	if len(all) < 40 {
		t.Fatalf("it has %d queries", len(all))
	}
	return all
}

// wrongOfDashboard asks what the dashboard asks, of both replicas and of the one that leads alone, and says what is wrong
// with the answers. Each query must find something that it can call by a name; and what is not about the replicas
// themselves must be the same either way. The two jobs are not scraped at the same moment, so it may not be at first.
func wrongOfDashboard(ctx context.Context, t *testing.T, m *monitoring) (wrong []string) {
	t.Helper()
	at := time.Now()
	for _, q := range dashboardQueries(t) {
		wrong = append(wrong, q.check(ctx, m, at)...)
	}
	return wrong
}

// check says what is wrong with a query's answers.
func (q dashboardQuery) check(ctx context.Context, m *monitoring, at time.Time) []string {
	both, wrong := q.ask(ctx, m, jobAll, at)
	alone, more := q.ask(ctx, m, jobAlone, at)
	wrong = append(wrong, more...)
	if q.panel == "Replicas" || strings.Contains(q.expr, "by (instance)") {
		return wrong
	}
	for name, value := range both {
		if want, ok := alone[name]; !ok || !q.near(value, want) {
			wrong = append(wrong, fmt.Sprintf("%s: %q is %v of two replicas, and %v (%t) of the one that leads", q.panel, name, value, want, ok))
		}
	}
	for name := range alone {
		if _, ok := both[name]; !ok {
			wrong = append(wrong, fmt.Sprintf("%s: %q is there only of one replica", q.panel, name))
		}
	}
	return wrong
}

var legendLabel = regexp.MustCompile(`\{\{(\w+)\}\}`)

// ask gives what a query finds of a job, by the names that Grafana shows, and what is wrong with that.
func (q dashboardQuery) ask(ctx context.Context, m *monitoring, job string, at time.Time) (found map[string]float64, wrong []string) {
	fail := func(format string, args ...any) { wrong = append(wrong, q.panel+": "+fmt.Sprintf(format, args...)) }
	expr := strings.NewReplacer("$job", job, "$namespace", ".*", "$target", ".+", "$stage", ".+", "$__rate_interval", "30s").Replace(q.expr)
	samples, err := m.query(ctx, expr, at)
	if err != nil || len(samples) == 0 {
		fail("nothing (%v) is found by %s", err, expr)
	}
	found = make(map[string]float64)
	for _, s := range samples {
		legend := q.legend
		if q.kind == "table" {
			legend = "{{target}}" // its rows
		}
		name := legendLabel.ReplaceAllStringFunc(legend, func(label string) string {
			value := s.Metric[strings.Trim(label, "{}")]
			if value == "" {
				fail("%v has no %s, found by %s", s.Metric, label, expr)
			}
			return value
		})
		if _, twice := found[name]; twice {
			fail("two are called %q, found by %s", name, expr)
		}
		if v := float64(s.Value); math.IsNaN(v) || math.IsInf(v, 0) {
			fail("%q is %v, found by %s", name, v, expr)
		}
		found[name] = float64(s.Value)
	}
	return found, wrong
}

// near tells whether two numbers are the same, but for that the two jobs are not scraped at the same moment. The double
// of a count is not near.
func (q dashboardQuery) near(a, b float64) bool {
	apart := 0.4 * max(math.Abs(a), math.Abs(b))
	switch {
	case q.kind == "heatmap": // some few logins more or less
		apart += 2
	case q.unit == "s": // between two scrapes, what was long ago may have happened anew
		apart += 10
	}
	return math.Abs(a-b) <= apart
}
