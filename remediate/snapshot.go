package remediate

import (
	"context"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// Snapshot is what a Loop knew of its broker at its last reconcile. It shares nothing with the loop, and is for
// reading.
type Snapshot struct {
	Target    string            `json:"target"`
	Source    target.Source     `json:"source"`
	At        time.Time         `json:"at"` // of the reconcile; zero: there was none yet
	Policy    decide.Policy     `json:"-"`
	View      target.View       `json:"-"`
	Nodes     []NodeSnapshot    `json:"nodes"` // by name
	Deletions []decide.Deletion `json:"deletions"`
	Pauses    []decide.Pause    `json:"pauses"` // that concern this broker, or one that is not known, and have not ended
	Error     string            `json:"error,omitempty"`
}

// NodeSnapshot is one node in a Snapshot.
type NodeSnapshot struct {
	target.Node

	Decision decide.Decision `json:"decision"`
	Latest   []probe.Result  `json:"latest"`         // the latest of each kind, in the order of probe.Kinds
	Stuck    time.Time       `json:"stuck,omitzero"` // since when it has been stuck by what its probes say
}

// Store keeps what must survive a restart.
type Store interface {
	// SaveIncident writes c, over an earlier one of the same ID.
	SaveIncident(ctx context.Context, c store.Incident) error
	// Incidents gives the incidents that are kept, newest first.
	Incidents(ctx context.Context) ([]store.Incident, error)
	// SaveDeletions writes the deletions in broker, over the earlier ones.
	SaveDeletions(ctx context.Context, targetName string, deletions []decide.Deletion) error
	// Deletions gives the deletions in broker, oldest first.
	Deletions(ctx context.Context, targetName string) ([]decide.Deletion, error)
	// Pauses gives the pauses that were saved.
	Pauses(ctx context.Context) ([]decide.Pause, error)
}

// Recorder is told what a Loop does. Package metrics has one.
type Recorder interface {
	Reconciled(s Snapshot)     // after each reconcile
	Deleted(a decide.Deletion) // a node was deleted
	Settled(a decide.Deletion) // what became of it is known
}
