package remediate

import (
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
