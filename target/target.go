// Package target has what a supplier gives of what is watched: a broker or an application, its nodes, and how to run a
// command next to one and read its log. Kubernetes is one supplier, the lab another.
package target

import (
	"context"
	"errors"
	"io"
	"time"
)

// Node is one RabbitMQ node: a pod, or in the lab a process. Another UID is another Node, whatever its name.
// Where a fact is the zero value the supplier cannot tell, and the guard that needs it closes.
type Node struct {
	Target  string    `json:"target"`
	Name    string    `json:"name"`
	UID     string    `json:"uid"`
	Address string    `json:"address"` // host:port of its AMQP listener
	Host    string    `json:"host"`    // the Kubernetes node on which it runs
	Started time.Time `json:"started"`

	Terminating Answer `json:"terminating"` // is it on its way out?
	RollingOut  Answer `json:"rolling_out"` // is its StatefulSet changing?
	Owned       Answer `json:"owned"`       // would something recreate it?
	Disruptable Answer `json:"disruptable"` // do the disruption budgets allow that it goes?
}

// View is what a supplier knows of one broker at one moment.
type View struct {
	At       time.Time `json:"at"`       // when it was true; zero: never, nothing is known
	Expected int       `json:"expected"` // how many nodes there should be; 0: cannot tell
	Nodes    []Node    `json:"nodes"`
	IsLeader Answer    `json:"is_leader"` // does this replica of ours hold the lease?
	// LeaderSince is when it last took the lease, if it holds one: another time means that somebody else may have
	// led in between.
	LeaderSince time.Time `json:"leader_since,omitzero"`
	Operating   Answer    `json:"operating"`           // is a deploy or a restart under way in the namespace?
	Operation   string    `json:"operation,omitempty"` // which, if so

	// Problems are what is wrong with how the broker is looked for.
	Problems []Problem `json:"problems,omitempty"`
}

// What an act that did not happen comes to: the node is no longer the one that was meant, or a last look showed that
// it must not be done. All are normal outcomes.
var (
	ErrGone    = errors.New("the node is gone")
	ErrChanged = errors.New("the node has been replaced by another of the same name")
	ErrRefused = errors.New("a last look forbade it")
)

// ErrConflict is why a document was not written: somebody else has written it since it was last seen.
var ErrConflict = errors.New("somebody else has written it in the meantime")

// Execer runs a command next to a node, in its container.
type Execer interface {
	// Exec runs argv and writes what it prints to stdout and stderr. It returns the command's exit code, or an
	// error if the command could not be run to its end; the error says nothing about the node.
	Exec(ctx context.Context, n Node, argv []string, stdout, stderr io.Writer) (exit int, err error)
}

// LogReader reads a node's log.
type LogReader interface {
	// LastLines returns up to count of the log's last lines, oldest first.
	LastLines(ctx context.Context, n Node, count int) ([]LogLine, error)
}

// LogLine is a line of a log and when it was written.
type LogLine struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// Credentials are a user name and a password.
type Credentials struct{ Username, Password string }

// String keeps the password out of whatever prints the value.
func (c Credentials) String() string { return c.Username + ":[redacted]" }

// GoString does the same for %#v.
func (c Credentials) GoString() string { return c.String() }
