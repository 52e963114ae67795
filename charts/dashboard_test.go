package charts_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	dashboardFile = chart + "/dashboards/unstuck.json"
	dashboardDoc  = "../docs/dashboard.md"
)

// dashboard is as much of Grafana's JSON as is looked at here.
type dashboard struct {
	Templating struct {
		List []struct {
			Name, Type, Definition string
			Query                  json.RawMessage // of a variable that is asked for, an object
		}
	}
	Panels []dashboardPanel
}

type dashboardPanel struct {
	ID          int
	Type        string
	Title       string
	Description string
	Datasource  struct{ UID string }
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct {
		Defaults struct{ Unit string }
	}
	Targets []struct{ RefID, Expr, LegendFormat string }
}

// readDashboard gives the dashboard that the chart ships, and its panels without the heads of rows.
func readDashboard(t *testing.T) (d dashboard, asking []dashboardPanel) {
	t.Helper()
	if err := json.Unmarshal([]byte(readDoc(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	asking = slices.DeleteFunc(slices.Clone(d.Panels), func(p dashboardPanel) bool { return p.Type == "row" })
	if len(asking) < 25 {
		t.Fatalf("it has %d panels", len(asking))
	}
	return d, asking
}

func TestDashboardIsThatOfItsPanels(t *testing.T) {
	want := dashboardJSON(t, panels())
	if *update {
		if err := os.WriteFile(dashboardFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, readDoc(t, dashboardFile)); diff != "" {
		t.Errorf("go test ./charts -run Dashboard -update writes it (-want +is):\n%s", diff)
	}
}

func TestDashboardPageHasEveryPanel(t *testing.T) {
	var b strings.Builder
	for _, p := range panels() {
		if p.kind == "row" {
			fmt.Fprintf(&b, "**%s**\n\n| panel | unit | shows |\n|---|---|---|\n", p.title)
		} else {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", p.title, p.unit, p.about)
		}
	}
	table := strings.ReplaceAll(b.String(), "|\n**", "|\n\n**")
	page := readDoc(t, dashboardDoc)
	before, rest, found := strings.Cut(page, "-update` -->\n")
	_, after, ends := strings.Cut(rest, "<!-- end -->")
	if !found || !ends {
		t.Fatalf("%s has no place for the table", dashboardDoc)
	}
	want := before + "-update` -->\n\n" + table + "\n<!-- end -->" + after
	if *update {
		if err := os.WriteFile(dashboardDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if page != want {
		t.Errorf("%s is not what the panels say: go test ./charts -run Dashboard -update writes it", dashboardDoc)
	}
}

func TestDashboardPagesValuesAreTaken(t *testing.T) {
	blocks := yamlBlock.FindAllStringSubmatch(readDoc(t, dashboardDoc), -1)
	if len(blocks) != 1 {
		t.Fatalf("there are %d examples", len(blocks))
	}
	if of := ofKind(render(t, least+blocks[0][1]), "ConfigMap"); len(of) != 2 {
		t.Errorf("they make %d ConfigMaps", len(of))
	}
}

func TestDashboardPanelsHaveWhatTheyMustAndAPlaceOfTheirOwn(t *testing.T) {
	d, asking := readDashboard(t)
	ids, titles, taken := make(map[int]bool), make(map[string]bool), make(map[[2]int]string)
	for _, p := range d.Panels {
		if p.ID <= 0 || ids[p.ID] {
			t.Errorf("%s: its id %d is none, or another's", p.Title, p.ID)
		}
		if name := p.Type + p.Title; p.Title == "" || titles[name] {
			t.Errorf("two panels are called %q, or one is called nothing", p.Title)
		}
		ids[p.ID], titles[p.Type+p.Title] = true, true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if at := [2]int{x, y}; taken[at] != "" || x >= gridWidth {
					t.Errorf("%s lies on %q, or outside", p.Title, taken[at])
				} else {
					taken[at] = p.Title
				}
			}
		}
	}
	for _, p := range asking {
		if p.FieldConfig.Defaults.Unit == "" || p.Description == "" || len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
			t.Errorf("%s: its unit is %q, its description %q, its data source %q, and it has %d queries",
				p.Title, p.FieldConfig.Defaults.Unit, p.Description, p.Datasource.UID, len(p.Targets))
		}
		refs := make(map[string]bool)
		for _, q := range p.Targets {
			if q.Expr == "" || q.RefID == "" || refs[q.RefID] {
				t.Errorf("%s: query %q asks %q", p.Title, q.RefID, q.Expr)
			}
			refs[q.RefID] = true
		}
	}
}

var (
	runtimeSeries = regexp.MustCompile(`\b((?:go|process)_[a-z0-9_]+)(\{[^}]*\})?`)
	legendLabel   = regexp.MustCompile(`\{\{(\w+)\}\}`)
	grafanasOwn   = regexp.MustCompile(`\$(__rate_interval|[a-z]+)`)
)

//promise:43
func TestDashboardPanelsAskForWhatIsMeasuredOfTheirReleaseOnly(t *testing.T) {
	d, asking := readDashboard(t)
	labels, values := measured(t)
	variables := []string{"__rate_interval"}
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
	}
	asked := 0
	for _, p := range asking {
		for _, q := range p.Targets {
			grouped := grouping.FindStringSubmatch(q.Expr)
			for _, m := range legendLabel.FindAllStringSubmatch(q.LegendFormat, -1) {
				if len(grouped) == 0 || !slices.Contains(strings.Split(grouped[1], ", "), m[1]) {
					t.Errorf("%s is called by %s, by which it does not group: %s", p.Title, m[1], q.Expr)
				}
			}
			for _, m := range grafanasOwn.FindAllStringSubmatch(q.Expr, -1) {
				if !slices.Contains(variables, m[1]) {
					t.Errorf("%s: there is no variable %s", p.Title, m[1])
				}
			}
			found := series.FindAllStringSubmatch(q.Expr, -1)
			for _, s := range found {
				if has, ok := labels[strings.TrimSuffix(s[1], "_bucket")]; !ok || s[1] == "up" {
					t.Errorf("%s asks for %s, which is not in docs/metrics.md", p.Title, s[1])
				} else {
					checkMatchers(t, p.Title, s, append(slices.Clone(has), scrapers...), values)
				}
			}
			for _, s := range append(found, runtimeSeries.FindAllStringSubmatch(q.Expr, -1)...) {
				asked++
				if !strings.HasPrefix(s[2], "{"+strings.Trim(ours(""), "{}")) {
					t.Errorf("%s asks for the %s of everybody: %s", p.Title, s[1], s[2])
				}
			}
		}
	}
	if asked < 60 {
		t.Errorf("only %d series were looked at", asked)
	}
}

// What is chosen at the top is offered by a label that its series has.
func TestDashboardVariablesOfferLabelsThatAreMeasured(t *testing.T) {
	d, _ := readDashboard(t)
	labels, _ := measured(t)
	offered := 0
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		var q struct{ Query string }
		if err := json.Unmarshal(v.Query, &q); err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		m := regexp.MustCompile(`^label_values\((unstuck_[a-z_]+?)(?:_count)?(?:\{.*\})?, (\w+)\)$`).FindStringSubmatch(q.Query)
		if len(m) == 0 || v.Definition != q.Query {
			t.Errorf("%s asks for %q and shows %q", v.Name, q.Query, v.Definition)
			continue
		}
		offered++
		if !slices.Contains(append(slices.Clone(labels[m[1]]), scrapers...), m[2]) {
			t.Errorf("%s: %s has no label %s", v.Name, m[1], m[2])
		}
	}
	if offered < 4 {
		t.Errorf("only %d variables were looked at", offered)
	}
}

// checkMatchers wants the labels of a series to be ones that it has, and values of closed lists to stand there.
func checkMatchers(t *testing.T, what string, s, has []string, values map[string][]string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`([a-z_]+)(?:=~|!=|=)"([^"]*)"`).FindAllStringSubmatch(s[2], -1) {
		if !slices.Contains(has, m[1]) {
			t.Errorf("%s: %s has no label %s", what, s[1], m[1])
		}
		for v := range strings.SplitSeq(m[2], "|") {
			if closed := values[m[1]]; closed != nil && !strings.HasPrefix(v, "$") && !slices.Contains(closed, v) {
				t.Errorf("%s: %s is never %q", what, m[1], v)
			}
		}
	}
}

func TestDashboardIsShippedByTheChartIfAsked(t *testing.T) {
	if of := ofKind(render(t, least), "ConfigMap"); len(of) != 1 {
		t.Errorf("unasked there are %d ConfigMaps, want that of the configuration alone", len(of))
	}
	all := ofKind(render(t, least+"dashboard: {enabled: true, labels: {team: jobs}, annotations: {grafana_folder: Brokers}}\n"), "ConfigMap")
	i := slices.IndexFunc(all, func(o object) bool { return at[string](o, "metadata", "name") == "watcher-dashboard" })
	if i < 0 || len(all) != 2 {
		t.Fatalf("there are %d ConfigMaps, the dashboard's is number %d", len(all), i)
	}
	for path, want := range map[string]string{"namespace": "tools", "labels grafana_dashboard": "1", "labels team": "jobs", "annotations grafana_folder": "Brokers"} {
		if got := at[string](all[i], append([]string{"metadata"}, strings.Fields(path)...)...); got != want {
			t.Errorf("its %s is %q, want %q", path, got, want)
		}
	}
	if diff := cmp.Diff(readDoc(t, dashboardFile), at[string](all[i], "data", "unstuck.json")); diff != "" {
		t.Errorf("(-file +rendered):\n%s", diff)
	}
	for values, want := range map[string]string{
		"dashboard: {enabled: 1}\n":                            "at '/dashboard/enabled': got number, want boolean",
		"dashboard: {labels: {grafana_dashboard: 1}}\n":        "at '/dashboard/labels/grafana_dashboard': got number, want string",
		"dashboard: {annotations: {grafana_folder: [jobs]}}\n": "at '/dashboard/annotations/grafana_folder': got array, want string",
		"dashboard: {folder: Brokers}\n":                       "at '/dashboard': additional properties 'folder' not allowed",
	} {
		if _, err := helm(t, least+values, "template"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
