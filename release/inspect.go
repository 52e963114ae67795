package release

import "time"

// LogQuery says which lines of a service's log are wanted.
type LogQuery struct {
	Service   string
	Container string    // empty: the default one of each pod
	Lines     int       // the last so many, of all pods together
	After     time.Time // only what was written after it; zero: whenever
	Previous  bool      // of the run before, of containers that were started again
}

// ServiceLog is a part of the log of a service: the lines of all its pods, merged.
type ServiceLog struct {
	Pods  []PodLog  `json:"pods"`         // by name; while it is followed only those of which there is news
	Lines []LogLine `json:"lines"`        // in the order of their times
	Cut   bool      `json:"cut,omitzero"` // older ones that were asked for are left out: they have too many bytes
}

// PodLog says how it stands with the log of one pod.
type PodLog struct {
	Pod       string      `json:"pod"`
	Container string      `json:"container"`
	State     PodLogState `json:"state"`
	Why       string      `json:"why,omitzero"` // it is not read, or no longer
}

// PodLogState is how it stands with the log of a pod, from a closed list.
type PodLogState string

// The states.
const (
	LogRead   PodLogState = "read"   // and followed, if that was asked for
	LogUnread PodLogState = "unread" // for now
	LogEnded  PodLogState = "ended"  // no more lines will come
)

// PodLogStates lists every PodLogState.
func PodLogStates() []PodLogState { return []PodLogState{LogRead, LogUnread, LogEnded} }

// LogLine is a line of a pod's log. Of a long one it has the beginning.
type LogLine struct {
	At   time.Time `json:"at"` // when the container runtime took it, by the clock of the pod's host
	Pod  string    `json:"pod"`
	Text string    `json:"text"`
}

// PodEnv is the environment of the containers of a pod, as its specification defines it. It never holds what is in a
// Secret, nor a value that looks as if it should be in one.
type PodEnv struct {
	Pod        string         `json:"pod"`
	Containers []ContainerEnv `json:"containers"` // the init containers first
}

// ContainerEnv is the environment of a container. Of variables of the same name the last one counts, and any of them
// before what is in From.
type ContainerEnv struct {
	Container string      `json:"container"`
	Init      bool        `json:"init,omitzero"`
	Image     string      `json:"image"`
	From      []EnvSource `json:"from"` // each key of which is a variable
	Variables []EnvVar    `json:"variables"`
}

// EnvVar is a variable. It has exactly one of Value, Masked and From.
type EnvVar struct {
	Name   string     `json:"name"`
	Value  *string    `json:"value,omitzero"`  // as it is in the specification: $(NAME) is another variable's
	Masked string     `json:"masked,omitzero"` // why the value is not shown, though it stands in the specification
	From   *EnvSource `json:"from,omitzero"`
}

// EnvSource is where a value comes from.
type EnvSource struct {
	Kind     EnvKind `json:"kind"`
	Name     string  `json:"name,omitzero"`     // of the Secret, the ConfigMap, or the container or volume
	Key      string  `json:"key,omitzero"`      // in it, or the path of the field; absent: all of them
	Prefix   string  `json:"prefix,omitzero"`   // of the variables' names
	Optional bool    `json:"optional,omitzero"` // it need not exist
}

// EnvKind is a kind of source of a value, from a closed list.
type EnvKind string

// The kinds of sources.
const (
	FromSecret    EnvKind = "secret"
	FromConfigMap EnvKind = "config_map"
	FromField     EnvKind = "field"    // of the pod
	FromResource  EnvKind = "resource" // a limit or request of a container
	FromFile      EnvKind = "file"     // in a volume
	FromUnknown   EnvKind = "unknown"  // that this version does not know
)

// EnvKinds lists every EnvKind.
func EnvKinds() []EnvKind {
	return []EnvKind{FromSecret, FromConfigMap, FromField, FromResource, FromFile, FromUnknown}
}
