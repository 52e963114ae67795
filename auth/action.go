// Package auth says who calls and what they may do: by tokens of a file, or by Kubernetes' own word on whose token it
// is and what its owner could do with kubectl.
package auth

import "slices"

// Verb is what somebody wants to do.
type Verb string

// The verbs, as the file of tokens names them. The first seven are done to an environment, the next three to a target,
// and reading to either.
const (
	Deploy  Verb = "deploy"
	Promote Verb = "promote"
	Revert  Verb = "revert"
	Restart Verb = "restart"
	RunTask Verb = "task"
	Logs    Verb = "logs"  // to read the logs of a service
	Env     Verb = "env"   // to see the variables of a service's pods
	Pause   Verb = "pause" // and ending a pause
	Delete  Verb = "delete"
	Probe   Verb = "probe"
	Read    Verb = "read"
)

// EnvironmentVerbs lists those that are done to an environment, and to nothing else.
func EnvironmentVerbs() []Verb {
	return []Verb{Deploy, Promote, Revert, Restart, RunTask, Logs, Env}
}

// TargetVerbs lists those that are done to a broker or an application, and to nothing else.
func TargetVerbs() []Verb { return []Verb{Pause, Delete, Probe} }

// Verbs lists every Verb.
func Verbs() []Verb { return slices.Concat(EnvironmentVerbs(), TargetVerbs(), []Verb{Read}) }

// Action is what somebody wants to do to what. Cancelling an operation is an action of the operation's own kind. An
// Action with neither an environment nor a broker is on every broker.
type Action struct {
	Verb        Verb
	Environment string
	Service     string // of the environment
	Pod         string // of the service; empty: any of its pods
	Secret      string
	Task        string
	Target      string
	Node        string // of the broker
}

func (a Action) String() string {
	s := string(a.Verb)
	switch a.Verb {
	case Logs:
		s = "read the logs of"
	case Env:
		s = "see the variables of"
	case Read, Deploy, Promote, Revert, Restart, RunTask, Pause, Delete, Probe: // words of their own
	}
	if a.Pod != "" {
		s += " pod " + a.Pod + " of"
	}
	switch {
	case a.Service != "":
		s += " service " + a.Service + " of"
	case a.Secret != "":
		s += " what reads secret " + a.Secret + " of"
	case a.Task != "":
		s += " " + a.Task + " of"
	case a.Node != "":
		s += " node " + a.Node + " of"
	}
	switch {
	case a.Environment != "":
		return s + " environment " + a.Environment
	case a.Target != "":
		return s + " broker " + a.Target
	}
	return s + " every broker"
}
