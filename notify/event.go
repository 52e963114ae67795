package notify

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
)

// Kind is what happened in an incident.
type Kind string

// The kinds, in the order in which they happen.
const (
	Opened    Kind = "opened"    // a node is stuck, or a person asked for its deletion
	Deleted   Kind = "deleted"   // the node was deleted
	Escalated Kind = "escalated" // that did not help, or could not be done: a person must look
	Closed    Kind = "closed"    // the incident is over, whatever became of the node
)

// Kinds lists every Kind.
func Kinds() []Kind { return []Kind{Opened, Deleted, Escalated, Closed} }

// Event is one thing that happened in an incident. The same event always has the same ID, from every replica.
type Event struct {
	ID       string // the incident's and the kind
	Kind     Kind
	At       time.Time      // when it happened
	Incident store.Incident // as it was then; without log lines, and without what the cluster looked like
	Test     bool           // nothing happened: somebody tries a receiver
}

// Events gives all that has happened in an incident so far, oldest first. An incident that cannot be read has none.
//
// It looks at nothing but the incident, and so it tells the same of one that is read again after a restart.
func Events(c store.Incident) []Event {
	if c.Outcome == store.Unreadable || c.ID == "" {
		return nil
	}
	c.Logs, c.Cluster, c.LockHolder = nil, "", ""
	var all []Event
	add := func(kind Kind, at time.Time) {
		all = append(all, Event{ID: c.ID + "/" + string(kind), Kind: kind, At: at, Incident: c})
	}
	add(Opened, c.Opened)
	if d := c.Deletion; d != nil {
		deletion := *d
		c.Deletion = &deletion
		if happened(deletion) {
			at := deletion.Accepted
			if at.IsZero() {
				at = deletion.At
			}
			add(Deleted, at)
		}
		if deletion.Outcome == decide.Escalated || deletion.Outcome == decide.Failed {
			add(Escalated, deletion.Settled)
		}
	}
	if !c.Closed.IsZero() {
		add(Closed, c.Closed)
	}
	return all
}

// happened says whether a node was deleted, as far as that is known.
func happened(d decide.Deletion) bool {
	return !d.Accepted.IsZero() || d.Outcome == decide.Recovered || d.Outcome == decide.Escalated ||
		d.Outcome == decide.Removed
}

// Severity says how urgent an event is, in PagerDuty's words, which are those of most.
func (e Event) Severity() string {
	switch e.Kind {
	case Escalated:
		return "critical"
	case Opened:
		return "warning"
	case Deleted, Closed:
	}
	return "info"
}

// Title says in a few words what happened.
func (e Event) Title() string {
	c := e.Incident
	node := c.Node + " of " + c.Target
	switch {
	case e.Test && e.Kind == Closed:
		return "Test of Unstuck's notifications ended"
	case e.Test:
		return "Test of Unstuck's notifications: nothing has happened"
	case e.Kind == Opened && !c.Decision.Evidence.Enough:
		return "A manual deletion of " + node + " was requested"
	case e.Kind == Opened:
		return node + " " + c.Decision.Phase.Is()
	case e.Kind == Deleted:
		return "Unstuck deleted " + node
	case e.Kind == Escalated && c.Deletion != nil && c.Deletion.Outcome == decide.Failed:
		return node + " could not be deleted, and a person must look at it"
	case e.Kind == Escalated:
		return node + " " + decide.PhaseEscalated.Is()
	}
	return fmt.Sprintf("The incident of %s is closed: %s", node, c.Outcome)
}

// Text says why, in the words of the decision or of the deletion.
func (e Event) Text() string {
	c := e.Incident
	if e.Kind == Closed && len(c.Events) > 1 {
		if last := c.Events[len(c.Events)-1].Text; last != c.Outcome {
			return last
		}
		return c.Events[len(c.Events)-2].Text
	}
	if e.Kind != Opened && c.Deletion != nil && c.Deletion.Why != "" {
		return c.Deletion.Why
	}
	return c.Decision.Reason
}

// HeldBy names the guards that kept the node from being deleted when the incident was opened.
func (e Event) HeldBy() []string {
	held := []string{}
	if d := e.Incident.Decision; e.Kind == Opened && d.Phase == decide.PhaseConfirmed && d.Action == decide.Hold {
		for _, g := range d.HeldBy() {
			held = append(held, string(g))
		}
	}
	return held
}

// facts are what one would ask next, each with its name.
func (e Event) facts() [][2]string {
	c := e.Incident
	all := [][2]string{
		{"Target", c.Target},
		{"Node", c.Node},
		{"Incident", c.ID},
		{"Opened", c.Opened.UTC().Format(time.RFC3339)},
	}
	if held := e.HeldBy(); len(held) > 0 {
		all = append(all, [2]string{"Held back by", strings.Join(held, ", ")})
	}
	if d := c.Deletion; d != nil && d.Manual != nil {
		all = append(all, [2]string{"Deletion requested by", d.Manual.By})
	}
	if e.Kind == Closed {
		all = append(all, [2]string{"Outcome", c.Outcome}, [2]string{"Closed", c.Closed.UTC().Format(time.RFC3339)})
	}
	return slices.DeleteFunc(all, func(f [2]string) bool { return f[1] == "" })
}

// TrialEvents are what a receiver is tried with: an incident that opens and is closed at once.
func TrialEvents(now time.Time) []Event {
	c := store.Incident{
		ID: "test-" + now.UTC().Format("20060102t150405z"), Target: "test", Node: "test-0", UID: "test", Opened: now,
	}
	c.Decision.Reason = "Somebody tries whether Unstuck reaches this receiver."
	c.Decision.Phase, c.Decision.Evidence.Enough = decide.PhaseConfirmed, true
	opened := Event{ID: c.ID + "/" + string(Opened), Kind: Opened, At: now, Incident: c, Test: true}
	c.Closed, c.Outcome = now, "test"
	return []Event{opened, {ID: c.ID + "/" + string(Closed), Kind: Closed, At: now, Incident: c, Test: true}}
}
