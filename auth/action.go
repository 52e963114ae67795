// Package auth says who calls and what they may do: by tokens of a file, or by Kubernetes' own word on whose token it
// is and what its owner could do with kubectl.
package auth

import "cmp"

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
	s := cmp.Or(rowOf(a.Verb).words, string(a.Verb))
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
