package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

// Audit records who tried what. It is told of every request that was meant to change something, or to see the variables
// of a pod, refused ones and dry runs included. Of requests by nobody that is known, and of those of somebody who asks
// too often, it is told of some, and how many there were besides.
type Audit interface {
	Record(ctx context.Context, a AuditEvent)
}

// AuditEvent is one such request, and what came of it. It holds no token: what looks like one is masked, wherever the
// client has put it.
type AuditEvent struct {
	At        time.Time `json:"at"`
	RequestID string    `json:"request_id"`
	By        string    `json:"by,omitzero"`        // absent: nobody was recognised
	Authority string    `json:"authority,omitzero"` // which recognised them
	From      string    `json:"from"`               // the address
	Client    string    `json:"client,omitzero"`    // as it calls itself
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	Action    string    `json:"action,omitzero"` // in words
	Reason    string    `json:"reason,omitzero"`
	Override  []string  `json:"override,omitzero"` // guards
	DryRun    bool      `json:"dry_run,omitzero"`
	Result    string    `json:"result,omitzero"` // the operation, the incident
	Status    int       `json:"status"`          // of HTTP
	Refused   string    `json:"refused,omitzero"`
	LeftOut   int64     `json:"left_out,omitzero"` // requests before it that nothing could come of, and that were too many

	Environment string `json:"environment,omitzero"` // that it was about, by name, whether there is one or not
	Target      string `json:"target,omitzero"`
}

// LogAudit writes audit events to a log.
type LogAudit struct{ Log *slog.Logger }

// Record implements Audit.
func (l LogAudit) Record(ctx context.Context, a AuditEvent) {
	l.Log.LogAttrs(ctx, slog.LevelInfo, "audit", slog.Any("audit", a))
}

// LogValue implements slog.LogValuer. Each field is a value of its own, named as in JSON, and the log quotes each: of a
// struct it would print one text, in which a reason could read like other fields.
func (a AuditEvent) LogValue() slog.Value {
	attrs := []slog.Attr{slog.Time("at", a.At)}
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	text("request_id", a.RequestID)
	text("by", a.By)
	text("authority", a.Authority)
	text("from", a.From)
	text("client", a.Client)
	text("method", a.Method)
	text("path", a.Path)
	text("action", a.Action)
	text("reason", a.Reason)
	if len(a.Override) > 0 {
		attrs = append(attrs, slog.Any("override", quotedTexts(a.Override)))
	}
	if a.DryRun {
		attrs = append(attrs, slog.Bool("dry_run", true))
	}
	text("result", a.Result)
	attrs = append(attrs, slog.Int("status", a.Status))
	text("refused", a.Refused)
	if a.LeftOut > 0 {
		attrs = append(attrs, slog.Int64("left_out", a.LeftOut))
	}
	text("environment", a.Environment)
	text("target", a.Target)
	return slog.GroupValue(attrs...)
}

// quotedTexts are a list in a log of JSON, and in one of text each stands in quotes: a guard that somebody made up
// cannot read like two.
type quotedTexts []string

// MarshalText implements encoding.TextMarshaler.
func (t quotedTexts) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%q", []string(t)), nil }

// MarshalJSON implements json.Marshaler.
func (t quotedTexts) MarshalJSON() ([]byte, error) { return json.Marshal([]string(t)) }

// masked gives the event without what looks like a token. All that comes in is masked as it does, so this finds what
// was forgotten, or put together from parts.
func (a AuditEvent) masked() AuditEvent {
	for _, text := range []*string{
		&a.Client, &a.Path, &a.Environment, &a.Target, &a.Action, &a.Reason, &a.Result,
		&a.Refused,
	} {
		*text = Masked(*text)
	}
	a.Override = slices.Clone(a.Override)
	for i, guard := range a.Override {
		a.Override[i] = Masked(guard)
	}
	return a
}

// The rates at which requests are recorded of which nothing could come: of somebody who was not recognised, or who asks
// too often. Of all others each is. Who wants to fill our log, or to hide in it, needs no token to send requests.
var (
	auditEach = Rate{PerSecond: 0.2, Burst: 20} // of one address, or one caller
	auditAll  = Rate{PerSecond: 2, Burst: 200}
)

// auditLimiter bounds what is recorded of such requests.
type auditLimiter struct {
	each, all *limiter
	left      atomic.Int64 // out since the last one that was recorded
}

func newAuditLimiter() *auditLimiter {
	return &auditLimiter{each: newLimiter(auditEach, auditEach), all: newLimiter(auditAll, auditAll)}
}

// Record tells the audit of a request, or counts it.
func (g *Gate) Record(ctx context.Context, r *http.Request, a AuditEvent) {
	if a.By == "" || a.Status == http.StatusTooManyRequests {
		who := a.Authority + "/" + a.By
		if a.By == "" {
			who = addressOf(r)
		}
		if g.auditLimit.each.take(who) > 0 || g.auditLimit.all.take("") > 0 {
			g.auditLimit.left.Add(1)
			return
		}
	}
	a.LeftOut = g.auditLimit.left.Swap(0)
	a = a.masked()
	g.audit.Record(ctx, a)
}
