// Package probe looks at one node at a time: it logs in over AMQP and reads from the frames how far it came, asks
// maybe_stuck about the node's processes, and looks at the age of the log. Each look is a Result with a Reason from a
// closed list. A Runner takes the looks on schedule.
package probe

import (
	"fmt"
	"slices"
)

// Status is what a probe's finding says about a node's health. The zero value is Unknown, and only Stuck ever
// counts toward a deletion.
type Status uint8

// The four values of health.
const (
	// Unknown: the probe could not tell. It neither counts against a node nor for it.
	Unknown Status = iota
	// Healthy: the node did what was asked of it.
	Healthy
	// Faulty: something is wrong that a restart does not cure, a bad password or a memory alarm, say.
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
