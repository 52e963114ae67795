package probe

import (
	"cmp"
	"fmt"
	"time"
)

// Processes is what `maybe_stuck` says about a node's Erlang processes.
type Processes struct {
	Total          int     `json:"total"`                     // processes on the node
	Suspicious     int     `json:"suspicious"`                // of these, the ones that waited in one place throughout
	Waiting        Waits   `json:"waiting,omitempty"`         // the suspicious ones, by what they wait for
	StuckReaders   int     `json:"stuck_readers"`             // logins that hang on their own node, a message waiting
	UnknownReaders int     `json:"unknown_readers,omitempty"` // logins that hang for something unknown
	StuckChannels  int     `json:"stuck_channels"`            // channels, and queues, in a call with a message waiting
	Baseline       int     `json:"baseline"`                  // suspicious when the node is healthy; -1: not learned
	Top            []Stack `json:"top,omitempty"`             // the most frequent stacks, most frequent first
	Truncated      bool    `json:"truncated,omitempty"`
	Several        bool    `json:"several,omitempty"` // the text has several runs, so it is not whole

	// What the text says about itself. At is the time of its first line by the node's clock, without a time zone.
	// ErlangNode is the node that was asked, if the first line is there, which -q drops. Announced is how many
	// suspicious processes the text announces, and Described how many it describes.
	At         time.Time `json:"-"`
	ErlangNode string    `json:"-"`
	Announced  int       `json:"-"`
	Described  int       `json:"-"`

	// Logins are the connections in their login that wait for their own node, or for something unknown, with and
	// without a waiting message. Work are the channels and queues. Others are all other suspicious processes that
	// are not idle. Each list is sorted, and has the MaxProcesses processes with the smallest ids, which are the
	// oldest.
	Logins []Process `json:"-"`
	Work   []Process `json:"-"`
	Others []Process `json:"-"`
}

// Process is one Erlang process at the time of a look.
type Process struct {
	ID      ProcessID
	Stack   uint64 // a hash of its frames
	Mailbox int    // messages waiting in its mailbox
	Awaits  Await
	Reader  bool // a connection, whatever it waits for
}

// ProcessID tells one Erlang process of a node from another. It is the last two numbers of <A.N.S>, as N<<32 | S.
// The first number depends on who asks.
type ProcessID uint64

func (id ProcessID) String() string { return fmt.Sprintf("<0.%d.%d>", uint64(id)>>32, uint32(id)) }

// MaxProcesses bounds how many processes of each kind a Processes keeps.
const MaxProcesses = 1000

// Stack is one stack trace, innermost frame first, with the number of suspicious processes that have it and what
// they wait for.
type Stack struct {
	Count  int      `json:"count"`
	Awaits Await    `json:"awaits"`
	Frames []string `json:"frames"` // module:function/arity
}

// Persisting gives the processes that two looks at one node show in the same place, as the earlier look shows them:
// the same process, with the same stack, and no fewer waiting messages at the later look. A slow login hangs at one
// look and is over at the next. A channel that makes progress waits elsewhere, or with fewer messages. Neither
// persists. Both lists are sorted. Of nodes with more than MaxProcesses, Persisting compares only the oldest
// processes.
func Persisting(earlier, later []Process) []Process {
	var same []Process
	for len(earlier) > 0 && len(later) > 0 {
		a, b := earlier[0], later[0]
		switch cmp.Compare(a.ID, b.ID) {
		case -1:
			earlier = earlier[1:]
		case 1:
			later = later[1:]
		default:
			if a.Stack == b.Stack && b.Mailbox >= a.Mailbox {
				same = append(same, a)
			}
			earlier, later = earlier[1:], later[1:]
		}
	}
	return same
}
