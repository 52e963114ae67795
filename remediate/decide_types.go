package remediate

import (
	"fmt"
	"time"

	"github.com/cjworkbench/unstuck/probe"
)

// Observation is everything that a decision about one broker rests on, as of one moment.
type Observation struct {
	View    probe.View     // what the supplier says; its zero value: nothing is known
	Results []probe.Result // those that came since the last decision, oldest first

	Pauses        []Pause
	PausesKnown   bool     // false: the pauses could not be read
	Brokers       []string // every name that a pause may be for; none: that is not known
	NoCommands    bool     // commands cannot be run next to the nodes, so there can be no second witness
	HistoryKnown  bool     // false: the earlier deletions could not be read
	Degraded      string   // why our own view is not to be trusted, if so
	Quorum        map[string]Quorum
	SilentOnHosts map[string][]string // by host: what else, of any broker, does not answer there
	Order         *Order              // nil: nobody asks for a deletion by hand
}

// Quorum is a healthy peer's answer to whether a node may go without a queue losing its quorum or its copy.
type Quorum struct {
	UID           string       `json:"uid"` // of the node that it is about
	Critical      probe.Answer `json:"critical"`
	NotApplicable bool         `json:"not_applicable,omitempty"` // this broker does not know the question
	Peer          string       `json:"peer,omitempty"`           // who was asked
	Detail        string       `json:"detail,omitempty"`
	At            time.Time    `json:"at"`
}

// State is what a decision remembers of one broker. The zero value is a fresh start: everything has to be confirmed
// again. Only Acts must survive a restart.
type State struct {
	Nodes      map[string]NodeState // by name
	Acts       []Act                // oldest first
	StormUntil time.Time
}

// NodeState is what a decision remembers of one node. It starts anew with each UID.
type NodeState struct {
	UID        string
	Latest     map[probe.Kind]probe.Result
	Runs       map[probe.Kind]Run // of login and of roundtrip
	FirstTools probe.Result       // the first maybe_stuck since the last login that could not reach the node
	FirstLook  probe.Result       // the first maybe_stuck of the present run that found stuck processes
	Confirmed  time.Time          // since when; zero: it is not
	LastWell   time.Time          // when it last let us in
}

// Run is what the results of one kind said since the last that was Healthy or Faulty. It is empty where none of
// those that it still holds was Stuck.
type Run struct {
	Since   time.Time // when the first Stuck one began
	Samples []Sample  // the last Policy.Of, oldest first
}

// Sample is one result of a run.
type Sample struct {
	Stuck  bool         `json:"stuck"` // false: it could not tell
	At     time.Time    `json:"at"`    // when the probe ended
	Reason probe.Reason `json:"reason"`
}

// Act is one deletion: written down as an intent before it is carried out, and settled afterwards.
type Act struct {
	ID      string    `json:"id"`
	Broker  string    `json:"broker"`
	Node    string    `json:"node"`
	UID     string    `json:"uid"` // of the node that was diagnosed
	Case    string    `json:"case"`
	At      time.Time `json:"at"`
	Outcome Outcome   `json:"outcome"`
	Settled time.Time `json:"settled,omitzero"` // when the outcome was known
	NewUID  string    `json:"new_uid,omitempty"`
	NewNode string    `json:"new_node,omitempty"` // if it has another name
	Why     string    `json:"why,omitempty"`
	ByHand  *ByHand   `json:"by_hand,omitempty"` // nil: it was Unstuck's own decision

	// Accepted is when the delete was accepted. Zero: it is not known that it was; it may have been refused, or whoever
	// wrote down the intent may have ended before or after it.
	Accepted time.Time `json:"accepted,omitzero"`
}

// Outcome is what became of an act.
type Outcome string

// The outcomes. The zero value is an act under way.
const (
	Pending   Outcome = ""
	Recovered Outcome = "recovered" // the node that took its place lets people in
	Escalated Outcome = "escalated" // it did not in time: a person must look
	Void      Outcome = "void"      // nothing was deleted: the node had gone or changed before
	Failed    Outcome = "failed"    // the delete was refused or cut off, and the node is still there: a person must look
	Gone      Outcome = "gone"      // nothing took its place, and nothing is missing: the broker has become smaller
)

// Outcomes lists what an act can settle as.
func Outcomes() []Outcome { return []Outcome{Recovered, Escalated, Void, Failed, Gone} }

// over says whether nothing more can become of the act.
func (o Outcome) over() bool { return o == Recovered || o == Void || o == Failed || o == Gone }

// Action is what a decision asks for. The zero value is Hold.
type Action uint8

// The actions.
const (
	Hold Action = iota
	Delete
)

func (a Action) String() string {
	if a == Delete {
		return "delete"
	}
	return "hold"
}

// MarshalText gives "hold" or "delete".
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (a *Action) UnmarshalText(text []byte) error {
	switch string(text) {
	case "hold":
		*a = Hold
	case "delete":
		*a = Delete
	default:
		return fmt.Errorf("action %q: want hold or delete", text)
	}
	return nil
}

// Phase says where a node stands on the way from well to cured.
type Phase string

// The phases.
const (
	Blind      Phase = "blind"      // we cannot tell how it is
	Well       Phase = "well"       // it lets people in
	Ailing     Phase = "ailing"     // something is wrong that a restart does not cure
	Suspect    Phase = "suspect"    // stuck by a probe, not confirmed
	Confirmed  Phase = "confirmed"  // stuck, often enough, for long enough, and corroborated
	Unclear    Phase = "unclear"    // to be deleted, and it is not known whether that has happened
	Recovering Phase = "recovering" // deleted, and not yet back
	Lost       Phase = "escalated"  // deleted, and not back in time
)

// Phases lists every Phase.
func Phases() []Phase {
	return []Phase{Blind, Well, Ailing, Suspect, Confirmed, Unclear, Recovering, Lost}
}

// Decision is what was decided about one node, and all that led to it. The same value feeds log, metrics, cases,
// API and command line.
type Decision struct {
	Broker string       `json:"broker"`
	Node   string       `json:"node"`
	UID    string       `json:"uid"`
	At     time.Time    `json:"at"`
	Status probe.Status `json:"status"`
	Phase  Phase        `json:"phase"`
	Action Action       `json:"action"`
	Reason string       `json:"reason"` // one sentence for people

	Evidence Evidence     `json:"evidence"`
	Guards   []GuardState `json:"guards"` // every guard, in the order of Guards
	Next     time.Time    `json:"next"`   // when to look again at the latest
}

// Evidence is what speaks for a node being stuck.
type Evidence struct {
	Kind         probe.Kind `json:"probe,omitempty"` // the probe whose run it is
	Stuck        int        `json:"stuck"`           // of the last Of results
	Needed       int        `json:"needed"`
	Of           int        `json:"of"`
	Since        time.Time  `json:"since,omitzero"` // the first of them
	Enough       bool       `json:"enough"`         // often enough and for long enough
	Corroborated bool       `json:"corroborated"`   // a second witness agrees
	Witness      string     `json:"witness"`        // what the second witness says, or why there is none
}

// Closed names the guards that are closed.
func (d Decision) Closed() []Guard {
	var closed []Guard
	for _, g := range d.Guards {
		if !g.Open {
			closed = append(closed, g.Guard)
		}
	}
	return closed
}
