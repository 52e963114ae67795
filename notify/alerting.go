package notify

import (
	"time"

	"github.com/cjworkbench/unstuck/remediate/decide"
)

// pagerDutySummary is how long a summary may be, in characters.
const pagerDutySummary = 1024

// pagerDutyBody gives an event that opens, adds to or closes the alert of the incident. Source: Events API v2,
// https://developer.pagerduty.com/docs/send-alert-event
func pagerDutyBody(e Event, s setting) any {
	type payload struct {
		Summary   string         `json:"summary"`
		Source    string         `json:"source"`
		Severity  string         `json:"severity"`
		Timestamp string         `json:"timestamp"`
		Component string         `json:"component"`
		Group     string         `json:"group"`
		Class     string         `json:"class"`
		Details   map[string]any `json:"custom_details"`
	}
	type link struct {
		Href string `json:"href"`
		Text string `json:"text"`
	}
	type event struct {
		RoutingKey string   `json:"routing_key"`
		Action     string   `json:"event_action"`
		DedupKey   string   `json:"dedup_key"`
		Client     string   `json:"client,omitempty"`
		ClientURL  string   `json:"client_url,omitempty"`
		Links      []link   `json:"links,omitempty"`
		Payload    *payload `json:"payload,omitempty"`
	}
	c := e.Incident
	if e.Kind == Closed {
		return event{RoutingKey: s.token, Action: "resolve", DedupKey: c.ID}
	}
	details := map[string]any{"text": e.Text()}
	for _, f := range e.facts() {
		details[f[0]] = f[1]
	}
	p := event{
		RoutingKey: s.token, Action: "trigger", DedupKey: c.ID, Client: "Unstuck", ClientURL: s.page,
		Payload: &payload{
			Summary: cut(e.Title(), pagerDutySummary), Source: c.Target + "/" + c.Node, Severity: e.Severity(),
			Timestamp: e.At.UTC().Format(time.RFC3339), Component: c.Node, Group: c.Target, Class: string(e.Kind),
			Details: details,
		},
	}
	if href := s.link(e); href != "" {
		p.Links = []link{{href, "The whole incident"}}
	}
	return p
}

// How long an alert lasts at Alertmanager that is not told again, and how often it is.
const (
	alertLasts   = 5 * time.Minute
	repeatsEvery = time.Minute
)

// The names of the alerts.
const (
	alertIncident  = "UnstuckIncident"
	alertEscalated = "UnstuckIncidentEscalated"
)

// alert is one of Alertmanager's. Source: postableAlert of its API v2,
// https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
type alert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     string            `json:"startsAt"`
	EndsAt       string            `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

// alertmanagerBody gives the alerts of an incident: one that lasts as long as it is open, and another, critical one
// from its escalation on. Labels make an alert's identity, so that they are the same for all events.
func alertmanagerBody(e Event, s setting) any {
	c := e.Incident
	ends := s.now.Add(alertLasts)
	if e.Kind == Closed {
		ends = c.Closed
	}
	alertOf := func(name, severity string, starts time.Time) alert {
		return alert{
			Labels: map[string]string{
				"alertname": name, "severity": severity, "target": c.Target, "node": c.Node, "incident": c.ID,
			},
			Annotations: map[string]string{"summary": e.Title(), "description": e.Text()},
			StartsAt:    starts.UTC().Format(time.RFC3339Nano), EndsAt: ends.UTC().Format(time.RFC3339Nano),
			GeneratorURL: s.link(e),
		}
	}
	alerts := []alert{alertOf(alertIncident, "warning", c.Opened)}
	if d := c.Deletion; d != nil && (d.Outcome == decide.Escalated || d.Outcome == decide.Failed || e.Kind == Closed) &&
		!d.Settled.IsZero() {
		// Of one that is closed it is not known any more whether it was escalated: to end what is not there does nothing.
		starts := d.Settled
		if e.Kind == Closed {
			starts = d.At
		}
		alerts = append(alerts, alertOf(alertEscalated, "critical", starts))
	}
	return alerts
}
