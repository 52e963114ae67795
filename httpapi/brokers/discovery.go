package brokers

import (
	"cmp"

	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/target"
)

// Unwatched is a resource of the cluster that discovery has found and that is not watched.
type Unwatched struct {
	Target  string        `json:"target"` // the name that the broker would have
	Source  target.Source `json:"source"`
	Ignored bool          `json:"ignored"` // as it should be: its author wants it, or there is nothing to watch
	Reason  string        `json:"reason"`  // one line
}

// Discovery is what discovery says beside the brokers that it has found.
type Discovery struct {
	Complete  bool // everything has been listed, and nothing is missed: if there is no broker, there is none to watch
	Unwatched []Unwatched
	Problems  []string
}

// sourceOf gives where a target comes from, in words also where nobody has said so.
func sourceOf(s remediate.Snapshot) target.Source {
	from := s.Source
	from.Kind = cmp.Or(from.Kind, target.FromConfiguration)
	return from
}
