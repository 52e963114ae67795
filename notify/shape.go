package notify

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Shape is the form in which a receiver wants to be told.
type Shape string

// The shapes. Each has a public format, which its function names.
const (
	JSON         Shape = "json" // our own, docs/notify.md
	Slack        Shape = "slack"
	Teams        Shape = "teams"
	PagerDuty    Shape = "pagerduty"
	Alertmanager Shape = "alertmanager"
	Grafana      Shape = "grafana"
	OTLP         Shape = "otlp" // the trace of an incident, once it is closed
)

// shape is all that there is to say of a Shape.
type shape struct {
	name  Shape
	body  func(e Event, s setting) any
	path  string // appended to the URL, which names a server
	url   string // where it is if no URL is given; "": one must be given
	token tokenUse

	secretURL bool // who knows the URL may send
	stateful  bool // what was opened there has to be closed there
	expires   bool // what is open there ends by itself, if it is not told again
	only      Kind // "": any; else the only event of which such a receiver is told
}

// tokenUse is how a shape uses the token of its receiver.
type tokenUse uint8

const (
	bearer tokenUse = iota // in the header Authorization, if there is one
	inBody                 // in the body; required
	unused
)

var shapes = []shape{
	{name: JSON, body: jsonBody},
	{name: Slack, body: slackBody, secretURL: true, token: unused},
	{name: Teams, body: teamsBody, secretURL: true, token: unused},
	{
		name: PagerDuty, body: pagerDutyBody, url: "https://events.pagerduty.com/v2/enqueue", token: inBody, stateful: true,
	},
	{name: Alertmanager, body: alertmanagerBody, path: "/api/v2/alerts", stateful: true, expires: true},
	{name: Grafana, body: grafanaBody, path: "/api/annotations"},
	{name: OTLP, body: otlpBody, path: "/v1/traces", only: Closed},
}

// Shapes lists every Shape.
func Shapes() []Shape {
	all := make([]Shape, len(shapes))
	for i, s := range shapes {
		all[i] = s.name
	}
	return all
}

func (s Shape) row() shape {
	if i := slices.IndexFunc(shapes, func(r shape) bool { return r.name == s }); i >= 0 {
		return shapes[i]
	}
	return shapes[0]
}

// SecretURL says whether the URL of such a receiver is a secret by itself: who knows it may send there.
func (s Shape) SecretURL() bool { return s.row().secretURL }

// NeedsURL says whether such a receiver has no address unless it is given one.
func (s Shape) NeedsURL() bool { return s.row().url == "" }

// NeedsToken says whether such a receiver takes nothing without a token.
func (s Shape) NeedsToken() bool { return s.row().token == inBody }

// TakesToken says whether such a receiver is shown a token at all.
func (s Shape) TakesToken() bool { return s.row().token != unused }

// Stateful says whether what was opened at such a receiver has to be closed there.
func (s Shape) Stateful() bool { return s.row().stateful }

// Only gives the only event of which such a receiver is told; "": it is told of any.
func (s Shape) Only() Kind { return s.row().only }

// setting is what a body depends on besides the event.
type setting struct {
	page  string // the URL of the status page; "": not known
	token string // of those that have it in the body
	now   time.Time
}

// link gives the page of an event's incident; "" if it is not known.
func (s setting) link(e Event) string {
	if s.page == "" {
		return ""
	}
	return strings.TrimRight(s.page, "/") + "/status/incidents/" + url.PathEscape(e.Incident.ID)
}

// render gives the body of a request that tells of e.
func render(shape Shape, e Event, s setting) ([]byte, error) {
	return json.Marshal(shape.row().body(e, s))
}

// cut shortens a text to so many characters, and shows that it did.
func cut(text string, longest int) string {
	if runes := []rune(text); len(runes) > longest {
		return string(runes[:longest-1]) + "…"
	}
	return text
}
