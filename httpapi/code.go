package httpapi

import (
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/text"
)

// Code says why something is refused, from a closed list: that of operations, of which brokers have some.
type Code = plan.Code

// The codes of what is refused whatever it is about.
const (
	Invalid     Code = plan.Invalid
	NotReady    Code = plan.NotReady
	Busy        Code = plan.Busy
	Unavailable Code = plan.Unavailable
)

// MaskLine takes secrets out of a line of a log that is about to be shown, as it is done to lines that are kept.
func MaskLine(line string) string { return text.MaskLine(line, nil) }
