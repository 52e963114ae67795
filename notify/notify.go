// Package notify tells receivers outside of what happens in incidents: that one was opened, that its node was deleted,
// that a person must look, that it is closed. What is to be told follows from the incidents that are stored, and what
// was told is stored, too: so each receiver is told at least once, whatever ends when, and by one replica never twice.
//
// Nothing waits for a receiver: each has a queue of its own and a goroutine of its own.
package notify

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// Receiver is one that wants to be told.
type Receiver struct {
	Name string
	Type Shape

	URL            string // or URLFile; neither: that of its type
	URLFile        string
	TokenFile      string // empty: there is none
	HeadersFile    string // empty: there are none
	SigningKeyFile string // empty: requests are not signed
	CAFile         string // empty: the system's authorities

	Events  []Kind
	Targets []string // brokers and applications; none: all

	Timeout     time.Duration // of one request
	GiveUpAfter time.Duration // how old an event may be to be still told
	Queue       int           // how many events may wait
	Page        string        // the URL of the status page; empty: messages have no link
}

// DefaultReceiver gives what holds for a receiver that says no more than it must.
func DefaultReceiver() Receiver {
	return Receiver{Events: Kinds(), Timeout: 10 * time.Second, GiveUpAfter: 24 * time.Hour, Queue: 200}
}

// LogValue keeps all but the name and the type out of logs.
func (r Receiver) LogValue() slog.Value {
	return slog.GroupValue(slog.String("name", r.Name), slog.String("type", string(r.Type)))
}

// Why an event was dropped.
const (
	QueueFull = "queue_full" // newer ones came
	TooOld    = "too_old"    // older than Receiver.GiveUpAfter
	Refused   = "refused"    // the receiver will never take it
)

// DropReasons lists why an event can be dropped.
func DropReasons() []string { return []string{QueueFull, TooOld, Refused} }

// Meter counts what becomes of events. Package metrics has one.
type Meter interface {
	Notified(receiver string, kind string)
	NotifyFailed(receiver string)
	NotifyDropped(receiver, why string)
	NotifyQueue(receiver string, waiting int)
}

// Options are what a Notifier is made of.
type Options struct {
	Receivers []Receiver
	// Incidents gives all that are stored.
	Incidents func(context.Context) ([]store.Incident, error)
	// Documents keep what was told.
	Documents store.Documents
	// IsLeader says whether this replica leads, and since when. Only the one that leads tells.
	IsLeader  func() (target.Answer, time.Time)
	Meter     Meter
	Log       *slog.Logger
	UserAgent string
}

// Notifier tells all receivers.
type Notifier struct {
	workers []*worker
}

// New makes a Notifier. It reads and sends nothing yet: Run does.
func New(o Options) *Notifier {
	n := &Notifier{}
	for _, r := range o.Receivers {
		n.workers = append(n.workers, newWorker(r, o))
	}
	return n
}

// Saved takes note of an incident that has been stored. It never waits.
func (n *Notifier) Saved(c store.Incident) {
	events := Events(c)
	for _, w := range n.workers {
		w.offer(events)
	}
}

// Doubt says that an incident may have been stored of which nobody was told: they are read again. It never waits.
func (n *Notifier) Doubt() {
	for _, w := range n.workers {
		w.doubt.Store(true)
	}
}

// Run tells the receivers until ctx ends.
func (n *Notifier) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, w := range n.workers {
		group.Go(func() error { w.run(ctx); return nil })
	}
	return group.Wait()
}

// Try tells a receiver of events, once each and at once, and stops at the first that it does not take. Errors hold no
// secret.
func Try(ctx context.Context, r Receiver, userAgent string, events []Event) error {
	p := &poster{Receiver: r, userAgent: userAgent}
	for _, e := range events {
		if only := r.Type.Only(); only != "" && e.Kind != only {
			continue
		}
		if err := p.post(ctx, e, time.Now()); err != nil {
			return err
		}
	}
	return nil
}
