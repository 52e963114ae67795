package notify

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

var update = flag.Bool("update", false, "write the golden files and the schema")

var began = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// incident gives one that goes the whole way, as it is at each stage: opened, deleted, escalated, closed.
func incident(id string) map[Kind]store.Incident {
	c := store.Incident{
		ID: id, Target: "orders", Node: "mq-1", UID: "uid-1", Opened: began,
		Logs: []target.LogLine{{Text: "a line that holds hunter2"}}, Cluster: "hunter2",
		Decision: decide.Decision{
			Phase: decide.PhaseConfirmed, Action: decide.Hold, Reason: "3 of 4 logins hang <after> tune & 2 looks agree",
			Evidence: decide.Evidence{Enough: true},
			Guards:   []decide.GuardState{{Guard: decide.GuardPaused}, {Guard: decide.GuardStorm, Open: true}},
		},
	}
	for i, reason := range []probe.Reason{probe.OK, probe.AwaitTune, probe.AwaitTune} {
		c.Results = append(c.Results, probe.Result{
			Target: "orders", Node: "mq-1", UID: "uid-1", Kind: probe.Login, Reason: reason, Stage: probe.StageTune,
			Started: began.Add(time.Duration(i-3) * 15 * time.Second), Took: 12 * time.Second,
		})
	}
	c.Decision.Evidence.Since = c.Results[1].Started
	c.Add(began, c.Decision.Reason)
	all := map[Kind]store.Incident{Opened: c}
	d := decide.Deletion{
		ID: id + "-a", Target: "orders", Node: "mq-1", UID: "uid-1", Incident: id, At: began.Add(10 * time.Second),
		Accepted: began.Add(11 * time.Second), Why: "3 of 4 logins hang, and every guard is open",
		Manual: &decide.Manual{By: "ada@example.com"},
	}
	deleted := d
	c.Deletion = &deleted
	all[Deleted] = c
	escalated := d
	escalated.Outcome, escalated.Settled, escalated.Why = decide.Escalated, began.Add(5*time.Minute), "nothing took its place"
	c.Deletion, c.Outcome = &escalated, "escalated"
	all[Escalated] = c
	recovered := d
	recovered.Outcome, recovered.Settled, recovered.NewUID = decide.Recovered, began.Add(6*time.Minute), "uid-2"
	recovered.Why = "mq-1 accepts logins after 6m0s"
	c.Deletion, c.Outcome, c.Closed = &recovered, "recovered", recovered.Settled
	c.Events = slices.Clone(c.Events)
	c.Add(c.Closed, recovered.Why)
	c.Add(c.Closed, c.Outcome)
	all[Closed] = c
	return all
}

// eventOf gives the event of that kind.
func eventOf(t *testing.T, id string, kind Kind) Event {
	t.Helper()
	all := Events(incident(id)[kind])
	i := slices.IndexFunc(all, func(e Event) bool { return e.Kind == kind })
	if i < 0 {
		t.Fatalf("no event %s among %v", kind, all)
	}
	return all[i]
}

func TestEvents(t *testing.T) {
	kinds := func(c store.Incident) (all []Kind) {
		for _, e := range Events(c) {
			all = append(all, e.Kind)
		}
		return all
	}
	stages := incident("i")
	for name, row := range map[string]struct {
		of   store.Incident
		want []Kind
	}{
		"opened":       {stages[Opened], []Kind{Opened}},
		"deleted":      {stages[Deleted], []Kind{Opened, Deleted}},
		"escalated":    {stages[Escalated], []Kind{Opened, Deleted, Escalated}},
		"closed":       {stages[Closed], []Kind{Opened, Deleted, Closed}},
		"cannot_read":  {store.Incident{ID: "i", Outcome: store.Unreadable}, nil},
		"no_id":        {store.Incident{Opened: began}, nil},
		"only_intent":  {with(stages[Deleted], func(d *decide.Deletion) { d.Accepted = time.Time{} }), []Kind{Opened}},
		"failed":       {with(stages[Escalated], func(d *decide.Deletion) { d.Accepted, d.Outcome = time.Time{}, decide.Failed }), []Kind{Opened, Escalated}},
		"was_deleted":  {with(stages[Closed], func(d *decide.Deletion) { d.Accepted = time.Time{} }), []Kind{Opened, Deleted, Closed}},
		"not_deleted":  {with(stages[Closed], func(d *decide.Deletion) { d.Accepted, d.Outcome = time.Time{}, decide.Aborted }), []Kind{Opened, Closed}},
		"without_any":  {with(stages[Closed], nil), []Kind{Opened, Closed}},
		"other_closed": {store.Incident{ID: "i", Opened: began, Closed: began, Outcome: store.Other}, []Kind{Opened, Closed}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(row.want, kinds(row.of)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func with(c store.Incident, change func(*decide.Deletion)) store.Incident {
	if change == nil {
		c.Deletion = nil
		return c
	}
	d := *c.Deletion
	change(&d)
	c.Deletion = &d
	return c
}

func TestEventsHoldNoLogLines(t *testing.T) {
	for _, shape := range Shapes() {
		for _, kind := range Kinds() {
			body, err := render(shape, eventOf(t, "i", kind), setting{})
			if err != nil || bytes.Contains(body, []byte("hunter2")) {
				t.Errorf("%s, %s: error %v, body %s", shape, kind, err, body)
			}
		}
	}
}

// TestShapeGolden compares each body with its file, and each file with what its public format asks for. -update writes
// the files.
func TestShapeGolden(t *testing.T) {
	checks := map[Shape]func(t *testing.T, body []byte){
		JSON: isBody, Slack: isSlack, Teams: isTeams, PagerDuty: isPagerDuty, Alertmanager: isAlerts, Grafana: isAnnotation,
		OTLP: isTrace,
	}
	for _, shape := range Shapes() {
		for _, kind := range Kinds() {
			if only := shape.Only(); only != "" && kind != only {
				continue
			}
			t.Run(string(shape)+"/"+string(kind), func(t *testing.T) {
				s := setting{page: "https://unstuck.example.com/", token: "ROUTING-KEY", now: began.Add(time.Hour)}
				body, err := render(shape, eventOf(t, "20260304t050607z-mq-1-abcd", kind), s)
				if err != nil {
					t.Fatal(err)
				}
				var pretty bytes.Buffer
				if err := json.Indent(&pretty, body, "", "  "); err != nil {
					t.Fatal(err)
				}
				pretty.WriteByte('\n')
				file := filepath.Join("testdata", string(shape)+"-"+string(kind)+".json")
				if *update {
					if err := os.WriteFile(file, pretty.Bytes(), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), pretty.String()); diff != "" {
					t.Errorf("%s (-want +got):\n%s", file, diff)
				}
				checks[shape](t, want)
			})
		}
	}
}

// TestShapeBoundsLongTexts has every text be longer than any format takes.
func TestShapeBoundsLongTexts(t *testing.T) {
	e := eventOf(t, "i", Opened)
	e.Incident.Node, e.Incident.Decision.Reason = strings.Repeat("ü<", 3000), strings.Repeat("&ä", 40_000)
	for shape, check := range map[Shape]func(*testing.T, []byte){Slack: isSlack, Teams: isTeams, PagerDuty: isPagerDuty} {
		body, err := render(shape, e, setting{token: "k"})
		if err != nil {
			t.Fatal(err)
		}
		check(t, body)
	}
}

// strictly reads a body into what its format has, and nothing else.
func strictly(t *testing.T, body []byte, to any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		t.Fatalf("%v, of %s", err, body)
	}
}

func isBody(t *testing.T, body []byte) {
	t.Helper()
	var b Body
	strictly(t, body, &b)
	if b.Version == "" || b.ID == "" || b.Event == "" || b.Title == "" || b.Target == "" || b.Node == "" || b.Incident.ID == "" {
		t.Errorf("something is missing in %+v", b)
	}
}

// isSlack holds a message to Block Kit's limits: https://docs.slack.dev/reference/block-kit/blocks
func isSlack(t *testing.T, body []byte) {
	t.Helper()
	var m struct {
		Text   string
		Blocks []struct {
			Type     string
			Text     *struct{ Type, Text string }
			Fields   []struct{ Type, Text string }
			Elements []struct{ Type, Text string }
		}
	}
	strictly(t, body, &m)
	if m.Text == "" || len(m.Blocks) == 0 || len(m.Blocks) > 50 {
		t.Errorf("text %q, %d blocks", m.Text, len(m.Blocks))
	}
	text := func(of struct{ Type, Text string }, want string, most int) {
		if n := utf8.RuneCountInString(of.Text); of.Type != want || n == 0 || n > most {
			t.Errorf("a text of type %s with %d characters: want %s, up to %d", of.Type, n, want, most)
		}
	}
	for _, b := range m.Blocks {
		switch {
		case b.Type == "header" && b.Text != nil:
			text(*b.Text, "plain_text", 150)
		case b.Type == "section" && b.Text != nil:
			text(*b.Text, "mrkdwn", 3000)
			if strings.Contains(strings.NewReplacer("&amp;", "", "&lt;", "", "&gt;", "").Replace(b.Text.Text), "<") {
				t.Errorf("a < is not escaped: %s", b.Text.Text)
			}
		case b.Type == "section" && len(b.Fields) > 0 && len(b.Fields) <= 10:
			for _, f := range b.Fields {
				text(f, "mrkdwn", 2000)
			}
		case b.Type == "context" && len(b.Elements) > 0 && len(b.Elements) <= 10:
		default:
			t.Errorf("no block of Slack's: %+v", b)
		}
	}
}

// isTeams holds a message to what the workflow takes: 28 KiB, one Adaptive Card.
func isTeams(t *testing.T, body []byte) {
	t.Helper()
	var m struct {
		Type        string
		Attachments []struct {
			ContentType string
			ContentURL  *string
			Content     struct {
				Schema        string `json:"$schema"`
				Type, Version string
				Body          []struct {
					Type, Text, Size, Weight, Color string
					Wrap                            bool
					Facts                           []struct{ Title, Value string }
				}
				Actions []struct{ Type, Title, URL string }
			}
		}
	}
	strictly(t, body, &m)
	if len(body) > 28<<10 || m.Type != "message" || len(m.Attachments) != 1 {
		t.Fatalf("%d bytes, type %q, %d attachments", len(body), m.Type, len(m.Attachments))
	}
	a := m.Attachments[0]
	if a.ContentType != "application/vnd.microsoft.card.adaptive" || a.ContentURL != nil || a.Content.Type != "AdaptiveCard" || a.Content.Version != "1.4" {
		t.Errorf("no Adaptive Card of version 1.4: %+v", a)
	}
	for _, e := range a.Content.Body {
		colors := []string{"", "Attention", "Warning", "Good"}
		if !(e.Type == "TextBlock" && e.Text != "" && e.Wrap && slices.Contains(colors, e.Color)) && !(e.Type == "FactSet" && len(e.Facts) > 0) {
			t.Errorf("no element of a card: %+v", e)
		}
	}
	for _, action := range a.Content.Actions {
		if action.Type != "Action.OpenUrl" || action.URL == "" || action.Title == "" {
			t.Errorf("no action of a card: %+v", action)
		}
	}
}

// isPagerDuty holds an event to the Events API v2: https://developer.pagerduty.com/docs/send-alert-event
func isPagerDuty(t *testing.T, body []byte) {
	t.Helper()
	var e struct {
		RoutingKey  string `json:"routing_key"`
		EventAction string `json:"event_action"`
		DedupKey    string `json:"dedup_key"`
		Client      string
		ClientURL   string `json:"client_url"`
		Links       []struct{ Href, Text string }
		Payload     *struct {
			Summary, Source, Severity, Timestamp, Component, Group, Class string
			CustomDetails                                                 map[string]any `json:"custom_details"`
		}
	}
	strictly(t, body, &e)
	if e.RoutingKey == "" || e.DedupKey == "" || len(e.DedupKey) > 255 {
		t.Errorf("routing key %q, dedup key %q", e.RoutingKey, e.DedupKey)
	}
	switch e.EventAction {
	case "resolve":
	case "trigger":
		p := e.Payload
		if p == nil || p.Summary == "" || utf8.RuneCountInString(p.Summary) > 1024 || p.Source == "" ||
			!slices.Contains([]string{"critical", "error", "warning", "info"}, p.Severity) {
			t.Fatalf("payload %+v", p)
		}
		if _, err := time.Parse(time.RFC3339, p.Timestamp); err != nil {
			t.Error(err)
		}
	default:
		t.Errorf("action %q", e.EventAction)
	}
}

// isAlerts holds alerts to postableAlert. A real Alertmanager takes them in package app's tests.
func isAlerts(t *testing.T, body []byte) {
	t.Helper()
	var alerts []alert
	strictly(t, body, &alerts)
	if len(alerts) == 0 {
		t.Error("no alerts")
	}
	for _, a := range alerts {
		starts, err := time.Parse(time.RFC3339Nano, a.StartsAt)
		ends, err2 := time.Parse(time.RFC3339Nano, a.EndsAt)
		if a.Labels["alertname"] == "" || err != nil || err2 != nil || ends.Before(starts) {
			t.Errorf("%+v: errors %v and %v", a, err, err2)
		}
	}
}

// isAnnotation holds an annotation to POST /api/annotations.
func isAnnotation(t *testing.T, body []byte) {
	t.Helper()
	var a struct {
		Time, TimeEnd int64
		Tags          []string
		Text          string
	}
	strictly(t, body, &a)
	if a.Time == 0 || a.Text == "" || len(a.Tags) == 0 || (a.TimeEnd != 0 && a.TimeEnd < a.Time) {
		t.Errorf("%+v", a)
	}
}

// isTrace holds a trace to OTLP in JSON, and to what a trace of an incident must have.
func isTrace(t *testing.T, body []byte) {
	t.Helper()
	var traces otlpTraces
	strictly(t, body, &traces)
	if len(traces.ResourceSpans) != 1 || len(traces.ResourceSpans[0].ScopeSpans) != 1 {
		t.Fatalf("not one resource with one scope: %+v", traces)
	}
	spans := traces.ResourceSpans[0].ScopeSpans[0].Spans
	id := regexp.MustCompile("^[0-9a-f]+$")
	ids := make(map[string]bool)
	var names []string
	for i, s := range spans {
		start, err := strconv.ParseInt(s.Start, 10, 64)
		end, err2 := strconv.ParseInt(s.End, 10, 64)
		if err != nil || err2 != nil || end < start {
			t.Errorf("%s: from %q to %q", s.Name, s.Start, s.End)
		}
		if len(s.TraceID) != 32 || s.TraceID != spans[0].TraceID || len(s.SpanID) != 16 || !id.MatchString(s.TraceID+s.SpanID) || ids[s.SpanID] {
			t.Errorf("%s: ids %s and %s", s.Name, s.TraceID, s.SpanID)
		}
		if root := i == 0; root != (s.Parent == "") || (!root && s.Parent != spans[0].SpanID) {
			t.Errorf("%s: parent %q", s.Name, s.Parent)
		}
		ids[s.SpanID] = true
		names = append(names, s.Name)
	}
	want := []string{"incident orders/mq-1", "probe login", "probe login", "decision", "deletion", "recovery"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
}

func TestOTLPTellsOfAnIncidentWithoutADeletion(t *testing.T) {
	c := with(incident("i")[Closed], nil)
	body := otlpBody(Event{ID: "i/closed", Kind: Closed, At: c.Closed, Incident: c}, setting{}).(otlpTraces)
	spans := body.ResourceSpans[0].ScopeSpans[0].Spans
	var names []string
	for _, s := range spans {
		names = append(names, s.Name)
	}
	if diff := cmp.Diff([]string{"incident orders/mq-1", "probe login", "probe login", "decision"}, names); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	if last := spans[3]; last.End != nano(c.Closed) || spans[0].Start != nano(c.Results[1].Started) || spans[1].Status.Code != otlpError {
		t.Errorf("spans %+v", spans)
	}
}

func TestOTLPMarksWhatDidNotHelp(t *testing.T) {
	c := with(incident("i")[Closed], func(d *decide.Deletion) { d.Outcome = decide.Escalated })
	spans := otlpBody(Event{ID: "i/closed", Kind: Closed, At: c.Closed, Incident: c}, setting{}).(otlpTraces).ResourceSpans[0].ScopeSpans[0].Spans
	for _, i := range []int{0, 5} {
		if spans[i].Status.Code != otlpError || spans[i].Status.Message == "" {
			t.Errorf("%s: %+v", spans[i].Name, spans[i].Status)
		}
	}
	if spans[4].Status.Code != otlpOK { // the deletion itself was done
		t.Errorf("%s: %+v", spans[4].Name, spans[4].Status)
	}
}
