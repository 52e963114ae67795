package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/cjworkbench/unstuck/apptest"
)

// drawn is a panel as testdata/dashboard.html draws it.
type drawn struct {
	Title       string          `json:"title"`
	Type        string          `json:"type"`
	GridPos     json.RawMessage `json:"gridPos"`
	FieldConfig json.RawMessage `json:"fieldConfig"`
	Series      []drawnSeries   `json:"series"`

	Targets []struct{ Expr, LegendFormat string } `json:"targets,omitempty"`
}

type drawnSeries struct {
	Name   string   `json:"name"`
	Values [][2]any `json:"values"` // seconds, and the number as text
}

// drawDashboard makes the picture of docs/dashboard.md, if pictures are wanted: the first panels of the dashboard, each
// with what Prometheus has for its queries since a time, once every node has been healthy for some seconds. There is no Grafana where tests run.
func drawDashboard(ctx context.Context, t *testing.T, m *monitoring, since time.Time) {
	t.Helper()
	if *screenshots == "" {
		return
	}
	for healthy := false; !healthy && sleep(ctx, time.Second); {
		both := fmt.Sprintf("count(max_over_time(unstuck_node_status{job=%q}[8s]) == 1) == %d", jobAll, 2*len(all))
		found, err := m.query(ctx, both, time.Now())
		healthy = err == nil && len(found) == 1
	}
	var d struct{ Panels []drawn }
	if err := json.Unmarshal([]byte(readText(t, projectRoot+"/charts/unstuck/dashboards/unstuck.json")), &d); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if earliest := now.Add(-2 * time.Minute); since.Before(earliest) {
		since = earliest
	}
	var panels []drawn
	for _, p := range d.Panels {
		switch {
		case p.Type == "row" && p.Title == "Deletions": // the last ones would show samples
			page, err := json.Marshal(map[string]any{"panels": panels, "from": since.Unix(), "to": now.Unix()})
			if err != nil {
				t.Fatal(err)
			}
			takePicture(ctx, t, page)
			return
		case p.Type == "table", strings.Contains(p.Title, "$"):
			continue
		}
		for _, aim := range p.Targets {
			p.Series = append(p.Series, m.series(ctx, aim.Expr, aim.LegendFormat, since, now)...)
		}
		p.Targets = nil
		panels = append(panels, p)
	}
	t.Error("the dashboard has no row Deletions any more")
}

// series gives what a query of the dashboard has found, second by second, by the names that Grafana shows.
func (m *monitoring) series(ctx context.Context, expr, legend string, from, to time.Time) (found []drawnSeries) {
	m.t.Helper()
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	expr = strings.NewReplacer("$job", jobAll, "$namespace", ".*", "$target", ".+", "$__rate_interval", "10s", "$__interval", "1s").Replace(expr)
	at := func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }
	params := url.Values{"query": {expr}, "start": {at(from)}, "end": {at(to)}, "step": {"1"}}
	if err := m.ask(ctx, m.prometheus+"/api/v1/query_range?"+params.Encode(), &answer); err != nil {
		m.t.Fatalf("%v, asked for %s", err, expr)
	}
	for _, one := range answer.Data.Result {
		name := legendLabel.ReplaceAllStringFunc(legend, func(label string) string { return one.Metric[strings.Trim(label, "{}")] })
		found = append(found, drawnSeries{name, one.Values})
	}
	return found
}

func takePicture(ctx context.Context, t *testing.T, panels []byte) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "testdata/dashboard.html") })
	mux.HandleFunc("/panels.json", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(panels) })
	server := httptest.NewServer(mux)
	defer server.Close()
	b := apptest.OpenBrowser(ctx, t, *screenshots)
	b.Do(chromedp.EmulateViewport(1300, 900), chromedp.Navigate(server.URL), chromedp.WaitVisible(chromedp.CSS("#drawn")))
	if text := b.Eval("document.querySelector('polyline') ? '' : document.body.innerText"); text != "" {
		t.Fatalf("nothing is drawn: %s", text)
	}
	height, err := strconv.ParseInt(b.Eval("String(document.documentElement.scrollHeight)"), 10, 64)
	if err != nil {
		t.Fatal(fmt.Errorf("the height of the picture: %w", err))
	}
	b.Picture("dashboard", "light", 1300, height)
}
