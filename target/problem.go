package target

// Problem is something that is wrong with how a target is looked for or logged in to: its author may have meant
// something else. One that lasts is the same as long as its Kind is, whatever its words.
type Problem struct {
	Kind ProblemKind `json:"kind"`
	Text string      `json:"text"` // for people
}

// ProblemKind is what is wrong.
type ProblemKind string

// The kinds of problems.
const (
	ProblemNoPod       ProblemKind = "no_pod"       // no pod fits the selector
	ProblemNoNode      ProblemKind = "no_node"      // each that does has ended, or is of a Job
	ProblemNoContainer ProblemKind = "no_container" // they do not have the container
	ProblemSource      ProblemKind = "source"       // what it was found by leaves something open
	ProblemLogin       ProblemKind = "login"        // credentials or certificates of ours are at fault
)
