package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

// The types of OTLP in JSON that a trace is made of. Source:
// https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding, where ids are hexadecimal, and
// https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto
type (
	otlpTraces struct {
		ResourceSpans []otlpResourceSpans `json:"resourceSpans"`
	}
	otlpResourceSpans struct {
		Resource   otlpResource     `json:"resource"`
		ScopeSpans []otlpScopeSpans `json:"scopeSpans"`
	}
	otlpResource struct {
		Attributes []otlpAttribute `json:"attributes"`
	}
	otlpScopeSpans struct {
		Scope otlpScope  `json:"scope"`
		Spans []otlpSpan `json:"spans"`
	}
	otlpScope struct {
		Name string `json:"name"`
	}
	otlpSpan struct {
		TraceID    string          `json:"traceId"`
		SpanID     string          `json:"spanId"`
		Parent     string          `json:"parentSpanId,omitempty"`
		Name       string          `json:"name"`
		Kind       int             `json:"kind"`
		Start      string          `json:"startTimeUnixNano"`
		End        string          `json:"endTimeUnixNano"`
		Attributes []otlpAttribute `json:"attributes"`
		Events     []otlpEvent     `json:"events,omitempty"`
		Status     otlpStatus      `json:"status"`
	}
	otlpEvent struct {
		At   string `json:"timeUnixNano"`
		Name string `json:"name"`
	}
	otlpStatus struct {
		Code    int    `json:"code"`
		Message string `json:"message,omitempty"`
	}
	otlpAttribute struct {
		Key   string    `json:"key"`
		Value otlpValue `json:"value"`
	}
	otlpValue struct {
		String string `json:"stringValue"`
	}
)

// Of a span's kind and status, what we use.
const (
	otlpInternal = 1
	otlpOK       = 1
	otlpError    = 2
)

// otlpBody gives the trace of an incident: the probes that made the run, the decision, the deletion and the recovery.
// Its ids follow from the incident's, so that what is sent twice is the same trace.
func otlpBody(e Event, s setting) any {
	c := e.Incident
	t := trace{incident: c.ID}
	began := c.Opened
	for _, r := range c.Results {
		if r.UID == c.UID && r.Status() == probe.Stuck && r.Started.Before(began) && !r.Started.Before(since(c.Decision, r)) {
			began = r.Started
		}
	}
	root := t.span("", "incident", "incident "+c.Target+"/"+c.Node, began, c.Closed, outcomeStatus(c.Deletion),
		"outcome", c.Outcome, "target", c.Target, "node", c.Node, "uid", c.UID, "incident", c.ID, "page", s.link(e))
	for _, line := range c.Events {
		t.spans[root].Events = append(t.spans[root].Events, otlpEvent{nano(line.At), line.Text})
	}
	parent := t.spans[root].SpanID
	for i, r := range c.Results {
		if r.UID != c.UID || r.Status() != probe.Stuck || r.Started.Before(began) {
			continue
		}
		t.span(parent, "probe/"+strconv.Itoa(i), "probe "+string(r.Kind), r.Started, r.Ended(),
			otlpStatus{otlpError, string(r.Reason)}, "reason", string(r.Reason), "stage", r.Stage.String(), "detail", r.Detail)
	}
	t.decided(parent, e)
	return otlpTraces{[]otlpResourceSpans{{
		Resource:   otlpResource{[]otlpAttribute{{"service.name", otlpValue{"unstuck"}}}},
		ScopeSpans: []otlpScopeSpans{{Scope: otlpScope{"github.com/cjworkbench/unstuck/notify"}, Spans: t.spans}},
	}}}
}

// since is from when on results belong to the run that a decision was made of; the result's own time if that is not
// known.
func since(d decide.Decision, r probe.Result) time.Time {
	if d.Evidence.Since.IsZero() {
		return r.Started
	}
	return d.Evidence.Since
}

// decided adds what was decided, and what came of it.
func (t *trace) decided(parent string, e Event) {
	c, d := e.Incident, e.Incident.Deletion
	until := c.Closed
	if d != nil {
		until = d.At
	}
	var closed []string
	for _, g := range c.Decision.HeldBy() {
		closed = append(closed, string(g))
	}
	t.span(parent, "decision", "decision", c.Opened, until, otlpStatus{Code: otlpOK}, "reason", c.Decision.Reason,
		"action", c.Decision.Action.String(), "phase", string(c.Decision.Phase), "guards_closed", strings.Join(closed, ","))
	if d == nil {
		return
	}
	asked := firstKnown(d.Accepted, d.Settled)
	status := otlpStatus{Code: otlpOK}
	if !happened(*d) {
		status = otlpStatus{otlpError, d.Why}
	}
	by := ""
	if d.Manual != nil {
		by = d.Manual.By
	}
	t.span(parent, "deletion", "deletion", d.At, asked, status, "deletion", d.ID, "requested_by", by,
		"request_error", d.RequestError, "outcome", string(d.Outcome))
	if happened(*d) && !d.Settled.IsZero() {
		t.span(parent, "recovery", "recovery", asked, d.Settled, outcomeStatus(d), "why", d.Why, "new_node", d.NewNode,
			"new_uid", d.NewUID)
	}
}

// firstKnown gives the first time that is known.
func firstKnown(a, b time.Time) time.Time {
	if a.IsZero() {
		return b
	}
	return a
}

// outcomeStatus says whether a deletion helped, if there was one.
func outcomeStatus(d *decide.Deletion) otlpStatus {
	if d != nil && (d.Outcome == decide.Escalated || d.Outcome == decide.Failed) {
		return otlpStatus{otlpError, d.Why}
	}
	return otlpStatus{Code: otlpOK}
}

// trace gathers spans.
type trace struct {
	incident string
	spans    []otlpSpan
}

// span adds a span, and gives its place. Attributes come in pairs; those that are empty are left out.
func (t *trace) span(
	parent, id, name string, start, end time.Time, status otlpStatus, attributes ...string,
) int {
	if end.Before(start) {
		end = start
	}
	s := otlpSpan{
		TraceID: hash(t.incident, 16), SpanID: hash(t.incident+"/"+id, 8), Parent: parent, Name: name, Kind: otlpInternal,
		Start: nano(start), End: nano(end), Status: status, Attributes: []otlpAttribute{},
	}
	for i := 0; i+1 < len(attributes); i += 2 {
		if value := attributes[i+1]; value != "" {
			s.Attributes = append(s.Attributes, otlpAttribute{"unstuck." + attributes[i], otlpValue{cut(value, 1000)}})
		}
	}
	t.spans = append(t.spans, s)
	return len(t.spans) - 1
}

// hash gives an id of so many bytes.
func hash(text string, size int) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:size])
}

// nano gives a time in nanoseconds since 1970, as a text, for 64 bits are too many for JSON's numbers.
func nano(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }
