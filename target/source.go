package target

import "slices"

// SourceKind is what kind of thing a target is known by.
type SourceKind string

// The kinds: the configuration names it, or one of these in the cluster was found.
const (
	FromConfiguration   SourceKind = "configuration"
	FromRabbitmqCluster SourceKind = "RabbitmqCluster" // of the RabbitMQ cluster operator
	FromStatefulSet     SourceKind = "StatefulSet"     // with a label of ours
)

// SourceKinds lists every kind.
func SourceKinds() []SourceKind {
	return []SourceKind{FromConfiguration, FromRabbitmqCluster, FromStatefulSet}
}

// Source is where a target comes from. The zero value is the configuration.
type Source struct {
	Kind      SourceKind `json:"kind"`
	Namespace string     `json:"namespace,omitempty"` // of the resource
	Name      string     `json:"name,omitempty"`      // of the resource
}

// Known gives the source with its kind; one that nobody knows is the configuration.
func (s Source) Known() Source {
	if !slices.Contains(SourceKinds(), s.Kind) {
		return Source{Kind: FromConfiguration}
	}
	return s
}

// Found says whether it was found in the cluster.
func (s Source) Found() bool { return s.Kind != "" && s.Kind != FromConfiguration }

// String says for instance "RabbitmqCluster production/orders", or "configuration".
func (s Source) String() string {
	if !s.Found() {
		return string(FromConfiguration)
	}
	return string(s.Kind) + " " + s.Namespace + "/" + s.Name
}
