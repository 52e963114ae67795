package charts_test

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
)

// grafanaSchema is the version of Grafana's JSON: that of Grafana 10.4, which later ones read.
const grafanaSchema = 39

// source is the data source of everything: the one that is chosen.
var source = map[string]any{"type": "prometheus", "uid": "${datasource}"}

// dashboardJSON is the dashboard of these panels as Grafana reads it.
func dashboardJSON(t *testing.T, all []panel) string {
	t.Helper()
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(map[string]any{
		"title": "Unstuck", "uid": "unstuck-overview", "tags": []string{"unstuck", "rabbitmq"}, "schemaVersion": grafanaSchema,
		"description":  "RabbitMQ nodes that accept no logins: what Unstuck sees, does and costs. docs/dashboard.md explains it.",
		"time":         map[string]any{"from": "now-6h", "to": "now"},
		"refresh":      "30s",
		"graphTooltip": 1, // the same moment in all panels
		"templating":   map[string]any{"list": variables()},
		"annotations":  map[string]any{"list": []any{deletionMarks()}},
		"links":        []any{link("Runbooks", "runbooks/README.md"), link("What the panels say", "dashboard.md")},
		"panels":       laidOut(all),
	}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func link(title, page string) map[string]any {
	return map[string]any{
		"title": title, "type": "link", "icon": "doc", "tooltip": title, "tags": []string{}, "targetBlank": true,
		"url": "https://github.com/cjworkbench/unstuck/blob/main/docs/" + page,
	}
}

// variables are what is chosen at the top. All namespaces are there also where the series have none.
func variables() []any {
	query := func(name, label, expr string) map[string]any {
		return map[string]any{
			"type": "query", "name": name, "label": label, "datasource": source, "definition": expr, "refresh": 2, "sort": 1,
			"query": map[string]any{"query": expr, "refId": name},
		}
	}
	many := func(v map[string]any, all string) map[string]any {
		v["includeAll"], v["multi"] = true, true
		if all != "" {
			v["allValue"] = all
		}
		v["current"] = map[string]any{"text": []string{"All"}, "value": []string{"$__all"}}
		return v
	}
	return []any{
		map[string]any{"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"},
		query("job", "Job", "label_values(unstuck_build_info, job)"),
		many(query("namespace", "Namespace", `label_values(unstuck_build_info{job="$job"}, namespace)`), ".*"),
		many(query("target", "Broker", "label_values("+ours("unstuck_is_leader")+", target)"), ".+"),
		many(query("stage", "Stage", "label_values("+of("unstuck_probe_stage_duration_seconds_count")+", stage)"), ""),
	}
}

// deletionMarks is a line across all panels where a node was deleted.
func deletionMarks() map[string]any {
	return map[string]any{
		"name": "Deletions", "enable": true, "iconColor": "red", "datasource": source, "step": "60s", "useValueForTime": true,
		"expr":        deletedAt,
		"titleFormat": "A node of {{target}} was deleted", "textFormat": "",
	}
}

// Of the grid.
const (
	gridWidth   = 24
	panelHeight = 8
	statHeight  = 4
)

// laidOut gives the panels from left to right, and those that do not fit any more below.
func laidOut(all []panel) (laid []map[string]any) {
	x, y, lowest := 0, 0, 0
	for i, p := range all {
		width, height := p.width, panelHeight
		switch p.kind {
		case "row":
			width, height = gridWidth, 1
		case stat:
			height = statHeight
		}
		if x+width > gridWidth {
			x, y = 0, lowest
		}
		laid = append(laid, p.json(i+1, map[string]any{"x": x, "y": y, "w": width, "h": height}))
		x, lowest = x+width, max(lowest, y+height)
	}
	return laid
}

// json gives one panel as Grafana has it.
func (p panel) json(id int, place map[string]any) map[string]any {
	if p.kind == "row" {
		return map[string]any{"id": id, "type": p.kind, "title": p.title, "gridPos": place, "collapsed": false, "panels": []any{}}
	}
	var targets []any
	for i, a := range p.asks {
		target := map[string]any{"refId": refID(i), "datasource": source, "expr": a.expr, "legendFormat": a.legend, "editorMode": "code", "range": true}
		switch p.kind {
		case stat, "table":
			target["range"], target["instant"] = false, true
		}
		switch p.kind {
		case "table":
			target["format"] = "table"
		case heatmap:
			target["format"] = "heatmap"
		}
		targets = append(targets, target)
	}
	defaults := map[string]any{"unit": p.unit, "min": 0}
	out := map[string]any{
		"id": id, "type": p.kind, "title": p.title, "description": p.about, "gridPos": place, "datasource": source, "targets": targets,
		"fieldConfig": map[string]any{"defaults": defaults, "overrides": []any{}}, "options": options(p.kind, p.unit),
	}
	if p.kind == graph {
		defaults["custom"] = map[string]any{"fillOpacity": 10, "showPoints": "never", "spanNulls": false}
	}
	for path, v := range p.with {
		set(out, path, v)
	}
	return out
}

// options are what a kind of panel has of its own.
func options(kind, unit string) map[string]any {
	last := map[string]any{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}
	switch kind {
	case stat:
		return map[string]any{"reduceOptions": last, "colorMode": "value", "graphMode": "none", "textMode": "auto", "justifyMode": "center"}
	case heatmap:
		return map[string]any{
			"calculate": false, "cellGap": 1, "rowsFrame": map[string]any{"layout": "auto"}, "legend": map[string]any{"show": false},
			"color":   map[string]any{"mode": "scheme", "scheme": "Oranges", "fill": "dark-orange", "scale": "exponential", "exponent": 0.5, "steps": 64},
			"yAxis":   map[string]any{"unit": unit, "axisPlacement": "left"},
			"tooltip": map[string]any{"mode": "single", "yHistogram": false}, "filterValues": map[string]any{"le": 1e-9},
		}
	case graph, timeline:
		return map[string]any{
			"legend":  map[string]any{"displayMode": "list", "placement": "bottom", "showLegend": true},
			"tooltip": map[string]any{"mode": "multi", "sort": "desc"},
		}
	}
	return map[string]any{}
}

// set puts a value into nested maps, at a path such as fieldConfig.defaults.max.
func set(m map[string]any, path string, v any) {
	for {
		key, rest, nested := strings.Cut(path, ".")
		if !nested {
			m[key] = v
			return
		}
		if m[key] == nil {
			m[key] = map[string]any{}
		}
		m, path = m[key].(map[string]any), rest
	}
}

// thresholds gives the first colour, and from each number on the next.
func thresholds(colour string, next ...any) map[string]any {
	steps := []any{map[string]any{"color": colour, "value": nil}}
	for i := 0; i < len(next); i += 2 {
		steps = append(steps, map[string]any{"value": next[i], "color": next[i+1]})
	}
	return map[string]any{"fieldConfig.defaults.thresholds": map[string]any{"mode": "absolute", "steps": steps}}
}

// column is one of a table: a query that gives one number for each broker.
type column struct {
	name, unit, expr string
	mappings         []any // nil: the numbers are shown
}

// tableOf is a panel with a row for each broker.
func tableOf(title, about string, columns []column) panel {
	p := panel{kind: "table", title: title, about: about, unit: "none", width: gridWidth}
	renamed := make(map[string]any)
	var overrides []any
	for i, c := range columns {
		p.asks = append(p.asks, ask{expr: c.expr})
		renamed["Value #"+refID(i)] = c.name
		properties := []any{"unit", c.unit}
		if c.mappings != nil {
			properties = append(properties, "mappings", c.mappings)
		}
		overrides = append(overrides, override(c.name, properties...))
	}
	p.with = map[string]any{
		"transformations": []any{
			map[string]any{"id": "merge", "options": map[string]any{}},
			map[string]any{"id": "organize", "options": map[string]any{"excludeByName": map[string]any{"Time": true}, "renameByName": renamed}},
		},
		"fieldConfig.overrides": overrides,
	}
	return p
}

// refID is what Grafana calls the query with this index.
func refID(i int) string { return string(rune('A' + i)) }

// meanings gives the numbers from 0 on a word and a colour each.
func meanings(wordsAndColours ...string) []any {
	all := make(map[string]any)
	for i := 0; i < len(wordsAndColours); i += 2 {
		all[strconv.Itoa(i/2)] = map[string]any{"text": wordsAndColours[i], "color": wordsAndColours[i+1], "index": i / 2}
	}
	return []any{map[string]any{"type": "value", "options": all}}
}

// coloured gives what has a name its colour.
func coloured(namesAndColours ...string) map[string]any {
	var overrides []any
	for i := 0; i < len(namesAndColours); i += 2 {
		overrides = append(overrides, override(namesAndColours[i], "color", map[string]any{"mode": "fixed", "fixedColor": namesAndColours[i+1]}))
	}
	return map[string]any{"fieldConfig.overrides": overrides}
}

// override gives one column, or one series, properties of its own.
func override(name string, properties ...any) map[string]any {
	var all []any
	for i := 0; i < len(properties); i += 2 {
		all = append(all, map[string]any{"id": properties[i], "value": properties[i+1]})
	}
	return map[string]any{"matcher": map[string]any{"id": "byName", "options": name}, "properties": all}
}
