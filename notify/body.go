package notify

import (
	"time"

	"github.com/cjworkbench/unstuck/remediate/decide"
)

// Body is what a receiver of the shape JSON is sent. docs/notify.schema.json describes it; keys may be added, and none
// changes its meaning while the version stays.
type Body struct {
	Version  string        `json:"version"`
	ID       string        `json:"id"` // of the event: the same if it is sent again
	Event    Kind          `json:"event"`
	At       time.Time     `json:"at"`
	Severity string        `json:"severity"`
	Test     bool          `json:"test"`
	Title    string        `json:"title"`
	Text     string        `json:"text"`
	Target   string        `json:"target"`
	Node     string        `json:"node"`
	UID      string        `json:"uid"`
	Phase    decide.Phase  `json:"phase"`
	HeldBy   []string      `json:"held_by"`
	Incident BodyIncident  `json:"incident"`
	Deletion *BodyDeletion `json:"deletion,omitempty"`
}

// BodyIncident is the incident of a Body.
type BodyIncident struct {
	ID      string    `json:"id"`
	Opened  time.Time `json:"opened"`
	Closed  time.Time `json:"closed,omitzero"`
	Outcome string    `json:"outcome,omitempty"`
	URL     string    `json:"url,omitempty"`
}

// BodyDeletion is the deletion of a Body.
type BodyDeletion struct {
	ID          string         `json:"id"`
	At          time.Time      `json:"at"`
	Accepted    time.Time      `json:"accepted,omitzero"`
	Settled     time.Time      `json:"settled,omitzero"`
	Outcome     decide.Outcome `json:"outcome,omitempty"`
	Why         string         `json:"why,omitempty"`
	NewUID      string         `json:"new_uid,omitempty"`
	NewNode     string         `json:"new_node,omitempty"`
	RequestedBy string         `json:"requested_by,omitempty"`
}

// bodyVersion is that of Body.
const bodyVersion = "1"

// jsonBody gives a Body.
func jsonBody(e Event, s setting) any {
	c := e.Incident
	b := Body{
		Version: bodyVersion, ID: e.ID, Event: e.Kind, At: e.At.UTC(), Severity: e.Severity(), Test: e.Test,
		Title: e.Title(), Text: e.Text(), Target: c.Target, Node: c.Node, UID: c.UID, Phase: c.Decision.Phase,
		HeldBy: e.HeldBy(),
		Incident: BodyIncident{
			ID: c.ID, Opened: c.Opened.UTC(), Closed: c.Closed.UTC(), Outcome: c.Outcome, URL: s.link(e),
		},
	}
	if d := c.Deletion; d != nil {
		b.Deletion = &BodyDeletion{
			ID: d.ID, At: d.At.UTC(), Accepted: d.Accepted.UTC(), Settled: d.Settled.UTC(), Outcome: d.Outcome, Why: d.Why,
			NewUID: d.NewUID, NewNode: d.NewNode,
		}
		if d.Manual != nil {
			b.Deletion.RequestedBy = d.Manual.By
		}
	}
	return b
}

// grafanaBody gives an annotation: of what is closed, the whole span of the incident. Source: POST /api/annotations of
// Grafana's HTTP API; times are in milliseconds.
func grafanaBody(e Event, s setting) any {
	type annotation struct {
		Time    int64    `json:"time"`
		TimeEnd int64    `json:"timeEnd,omitempty"`
		Tags    []string `json:"tags"`
		Text    string   `json:"text"`
	}
	c := e.Incident
	a := annotation{
		Time: e.At.UnixMilli(),
		Tags: []string{"unstuck", "event:" + string(e.Kind), "target:" + c.Target, "node:" + c.Node},
		Text: e.Title() + "\n" + e.Text(),
	}
	if e.Kind == Closed {
		a.Time, a.TimeEnd = c.Opened.UnixMilli(), c.Closed.UnixMilli()
	}
	if link := s.link(e); link != "" {
		a.Text += "\n" + link
	}
	return a
}
