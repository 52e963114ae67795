// Package probe says what checks of one node at a time find: a Result with a Reason from a closed list. A Runner runs
// the probes on schedule. The login over AMQP is in probe/login, what maybe_stuck tells of the node's processes in
// probe/stuck; the age of the log is here.
package probe

import (
	"fmt"
	"slices"
)

// Status is what a probe says about a node's health. The zero value is Unknown. Only Stuck counts toward a
// deletion.
type Status uint8

// The four values of health.
const (
	// Unknown: the probe could not tell. It counts neither for nor against the node.
	Unknown Status = iota
	// Healthy: the node did what the probe asked.
	Healthy
	// Faulty: something is wrong that a restart does not cure, for example a wrong password or a memory alarm.
	Faulty
	// Stuck: something is wrong that only a restart cures.
	Stuck
)

var statusNames = [...]string{Unknown: "unknown", Healthy: "healthy", Faulty: "faulty", Stuck: "stuck"}

// Statuses lists every Status, in order.
func Statuses() []Status { return []Status{Unknown, Healthy, Faulty, Stuck} }

func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return statusNames[Unknown]
}

// MarshalText gives the lower-case name.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *Status) UnmarshalText(text []byte) error {
	i := slices.Index(statusNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("status %q: want one of %v", text, statusNames)
	}
	*s = Status(i)
	return nil
}

// byWeight lists the statuses from the best to the worst: a finding weighs more than the lack of one.
var byWeight = []Status{Healthy, Unknown, Faulty, Stuck}

// Worse gives the worse of two statuses, as an exit code counts them.
func Worse(a, b Status) Status {
	return byWeight[max(slices.Index(byWeight, a), slices.Index(byWeight, b))]
}
