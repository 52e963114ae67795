package store

import (
	"slices"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// Incident is the record of one incident: everything that a person would ask for afterwards.
type Incident struct {
	ID      string    `json:"id"`
	Target  string    `json:"target"`
	Node    string    `json:"node"`
	UID     string    `json:"uid"`
	Started time.Time `json:"node_started,omitzero"` // the node's container
	Opened  time.Time `json:"opened"`                // when the node was confirmed stuck
	Closed  time.Time `json:"closed,omitzero"`       // zero: it is still open
	Outcome string    `json:"outcome"`

	Decision   decide.Decision  `json:"decision"` // the latest while the incident was open
	Results    []probe.Result   `json:"results"`  // oldest first
	Logs       []target.LogLine `json:"logs"`
	Peer       string           `json:"peer,omitempty"`        // who described the cluster
	Cluster    string           `json:"cluster,omitempty"`     // the cluster as that peer saw it
	LockHolder string           `json:"lock_holder,omitempty"` // who holds a lock that all wait for, if anybody
	Missing    []string         `json:"missing,omitempty"`     // what could not be captured, and why
	Deletion   *decide.Deletion `json:"deletion,omitempty"`
	Events     []Event          `json:"events"` // the timeline, oldest first
}

// Event is a line of an incident's timeline.
type Event struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// Outcomes of an incident that has no deletion.
const (
	BySelf   = "recovered by itself"
	Replaced = "replaced by somebody else"
	Anew     = "its container was started again" // by the kubelet, in the same pod
	Removed  = "removed: there is no such node any more"
	Other    = "told by another incident" // two replicas opened one
	// Unwatched is that of a target that the configuration or the cluster names no longer.
	Unwatched = "the target is watched no longer"
	NotDone   = "not deleted" // what was asked for by a person did not come to it
	// Unreadable is that of an incident whose document cannot be read.
	Unreadable = "unreadable"
)

// keptEvents is how long a timeline is at most.
const keptEvents = 200

// Add appends a line to the timeline. A timeline that is full keeps its beginning and its end.
func (c *Incident) Add(at time.Time, text string) {
	if len(c.Events) >= keptEvents {
		c.Events = slices.Delete(c.Events, keptEvents/2, keptEvents/2+1)
	}
	c.Events = append(c.Events, Event{At: at, Text: text})
}
