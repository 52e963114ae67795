package decide

import (
	"fmt"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// Observation is everything that a decision about one broker rests on, as of one moment.
type Observation struct {
	View    target.View    // what the supplier says; its zero value: nothing is known
	Results []probe.Result // those that came since the last decision, oldest first

	Pauses        []Pause
	PausesKnown   bool     // false: the pauses could not be read
	Targets       []string // every name that a pause may be for; none: that is not known
	NoCommands    bool     // commands cannot be run next to the nodes, so there can be no corroboration
	HistoryKnown  bool     // false: the earlier deletions could not be read
	Degraded      string   // why our own view is not to be trusted, if so
	Quorum        map[string]Quorum
	Refusals      map[string]Refusal
	ClaimedBy     map[string][]string // by UID: the brokers that a node belongs to, where there is more than one
	SilentOnHosts map[string][]Silent // by host: what, of any broker, does not answer there
	Request       *DeleteRequest      // nil: nobody asks for a manual deletion
	Obstacle      *Obstacle           // nil: nothing has kept the Loop from a deletion that was decided
}

// Silent is something that does not answer.
type Silent struct {
	Name  string    // broker/node
	Since time.Time // when it was first seen to be silent
}

// Obstacle is what a Loop ran into when it was about to delete a node, or the supplier when it was asked to: the lock
// is another's, something could not be written down, a last look showed what was not known. All is decided again.
type Obstacle struct {
	Node, UID string
	Deletion  string // the ID of the intent that was written down, and of which nothing came; empty: there was none
	Cause     target.Cause
	About     string // what it is about, where there are several of a kind: another pod, for instance
	Detail    string // what is known besides, for people
}

// Quorum is the answer to whether a node may go without a queue losing its quorum or its copy: its own answer while its
// tools answer, and a peer's once they do not.
type Quorum struct {
	UID      string        `json:"uid"`              // of the node that it is about
	Started  time.Time     `json:"started,omitzero"` // its container
	Critical target.Answer `json:"critical"`
	// the broker's, as Identities gives them: once it has others the answer is void
	Nodes         string    `json:"-"`
	NotApplicable bool      `json:"not_applicable,omitempty"` // this broker does not know the question
	Peer          string    `json:"peer,omitempty"`           // who was asked
	Detail        string    `json:"detail,omitempty"`
	At            time.Time `json:"at"`
}

// Refusal is a node's own answer, right before a deletion, to whether it refuses connections on purpose: it has as many
// as it may have, is in maintenance, or has an alarm that keeps messages from it.
type Refusal struct {
	UID       string        `json:"uid"` // of the node that it is about
	Started   time.Time     `json:"started,omitzero"`
	OnPurpose target.Answer `json:"on_purpose"`
	Nodes     string        `json:"-"` // as in Quorum
	Version   string        `json:"-"` // of RabbitMQ; "": not known
	Detail    string        `json:"detail,omitempty"`
	At        time.Time     `json:"at"`
}

// State is what a decision remembers of one broker. The zero value is a fresh start: everything has to be confirmed
// again. Only Deletions must survive a restart.
type State struct {
	Nodes     map[string]NodeState // by name
	Deletions []Deletion           // oldest first
	Storms    map[probe.Kind]Storm // by the kind of probe that failed
}

// Storm is that more nodes were stuck in the same way than may be.
type Storm struct {
	Until time.Time // nothing is deleted before
	Nodes []string  // that were stuck, sorted
}

// NodeState is what a decision remembers of one node. It starts anew with each UID, and with each start of its
// container: that is another Erlang node, which uses the same process ids again.
type NodeState struct {
	UID     string
	Started time.Time // of its container; zero: never known
	// Seen is since when it has been watched. Appeared says that it was not there before then, though the broker was
	// watched: it is no older.
	Seen      time.Time
	Appeared  bool
	Latest    map[probe.Kind]probe.Result
	Runs      map[probe.Kind]Run // of login and of roundtrip
	Looks     []probe.Result     // the latest looks of maybe_stuck that show processes, oldest first
	Tools     Tools
	Confirmed time.Time // since when; zero: it is not
	// LastGood is when a probe of a kind last showed that the node does what it is asked for; LastElse when one last ended
	// otherwise than Stuck, whatever it said.
	LastGood, LastElse map[probe.Kind]time.Time
	// Hung is when a probe of a kind was last Stuck, since the node last answered one. What cannot tell after that, for
	// reasons of ours, makes nothing of what hangs older than the trouble.
	Hung     map[probe.Kind]time.Time
	NoAnswer NoAnswer
}

// Tools is what is known of the node's own tools that could not reach it, since they last did.
type Tools struct {
	Looks []probe.Result // since the last good login, oldest first
	// WhileGood is how many of their tries were followed by a login that succeeded. What fails while everything is healthy
	// proves nothing later.
	WhileGood int
}

// NoAnswer is that connecting times out, as it does at a node that has been frozen for long. Zero: it does not.
type NoAnswer struct {
	Since  time.Time // when the first such login began
	Before time.Time // when the last other one ended
}

// Run is what the results of one kind said since the last that was Healthy or Faulty. It is empty where none of
// those that it still holds was Stuck.
type Run struct {
	Since time.Time // when the first Stuck one began
	// Before is when the last one before it ended that was not Stuck. What a look shows that began before then is not of
	// this trouble.
	Before  time.Time
	Samples []Sample // the last Policy.Of, oldest first
}

// Sample is one result of a run.
type Sample struct {
	Stuck  bool         `json:"stuck"` // false: it could not tell
	Began  time.Time    `json:"began"`
	At     time.Time    `json:"at"` // when the probe ended
	Reason probe.Reason `json:"reason"`
}

// Deletion is one deletion: written down as an intent before it is carried out, and settled afterwards.
type Deletion struct {
	ID       string    `json:"id"`
	Target   string    `json:"target"`
	Node     string    `json:"node"`
	UID      string    `json:"uid"` // of the node that was diagnosed
	Incident string    `json:"incident"`
	At       time.Time `json:"at"`
	Outcome  Outcome   `json:"outcome"`
	// Probe is the kind of probe that failed: the one that must succeed for the node to be cured. Empty: login, or what an
	// application has instead.
	Probe   probe.Kind `json:"probe,omitempty"`
	Settled time.Time  `json:"settled,omitzero"` // when the outcome was known
	NewUID  string     `json:"new_uid,omitempty"`
	NewNode string     `json:"new_node,omitempty"` // if it has another name
	Why     string     `json:"why,omitempty"`
	// RequestError is why asking for the delete failed. It may have happened all the same, while the deletion is Pending.
	RequestError string `json:"request_error,omitempty"`
	// Cause is why nothing was deleted, of a deletion that is Aborted or Failed: the world's last look forbade it, the API
	// server refused it, or the node is still there long after. Empty: nothing forbade it, or that is not known.
	Cause target.Cause `json:"cause,omitempty"`
	// About is what the cause is about, where there are several of a kind: another pod, for instance.
	About  string  `json:"about,omitempty"`
	Manual *Manual `json:"manual,omitempty"` // nil: it was Unstuck's own decision

	// Accepted is when the delete was accepted. Zero: it is not known that it was; it may have been refused, or who
	// wrote down the intent may have ended before or after it.
	Accepted time.Time `json:"accepted,omitzero"`
}

// Outcome is what became of a deletion.
type Outcome string

// The outcomes. The zero value is a deletion under way.
const (
	Pending   Outcome = ""
	Recovered Outcome = "recovered" // the node that took its place accepts logins
	Escalated Outcome = "escalated" // it did not in time: a person must look
	Aborted   Outcome = "aborted"   // nothing was deleted: the node had gone or changed before
	Failed    Outcome = "failed"    // the delete was refused or cut off, and the node is still there: a person must look
	Removed   Outcome = "removed"   // nothing took its place, and nothing is missing: the broker has become smaller
)

// Outcomes lists what a deletion can settle as.
func Outcomes() []Outcome { return []Outcome{Recovered, Escalated, Aborted, Failed, Removed} }

// Over says whether nothing more can become of the deletion.
func (o Outcome) Over() bool { return o == Recovered || o == Aborted || o == Failed || o == Removed }

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

// Decision is what was decided about one node, and all that led to it. The same value feeds log, metrics, incidents,
// API and command line.
type Decision struct {
	Target string `json:"target"`
	Node   string `json:"node"`
	UID    string `json:"uid"`
	// Started is when its container started: another start of the same pod is another node. Zero: not known.
	Started time.Time    `json:"node_started,omitzero"`
	At      time.Time    `json:"at"`
	Status  probe.Status `json:"status"`
	Phase   Phase        `json:"phase"`
	Action  Action       `json:"action"`
	Reason  string       `json:"reason"` // one sentence for people
	Basis   Basis        `json:"basis"`  // what it rests on, for programs

	Evidence Evidence     `json:"evidence"`
	Guards   []GuardState `json:"guards"` // every guard, in the order of Guards
	Next     time.Time    `json:"next"`   // when to look again at the latest
}

// Evidence is what speaks for a node being stuck.
type Evidence struct {
	Kind             probe.Kind `json:"probe,omitempty"` // the probe whose run it is
	Stuck            int        `json:"stuck"`           // of the last Of results
	FailureThreshold int        `json:"failure_threshold"`
	Window           int        `json:"window"`
	Since            time.Time  `json:"since,omitzero"` // the first of them
	Enough           bool       `json:"enough"`         // often enough and for long enough
	Corroborated     bool       `json:"corroborated"`   // independent evidence agrees

	Corroboration       Corroboration `json:"corroboration,omitempty"` // which, or why there is none
	CorroborationDetail string        `json:"corroboration_detail"`    // the same as a sentence
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

// HeldBy names the guards that hold a deletion back: those that are closed, without the last questions where these have
// not been asked, for another is closed.
func (d Decision) HeldBy() []Guard {
	var asked []Guard
	for _, g := range d.Guards {
		if !g.Open && !g.Unasked {
			asked = append(asked, g.Guard)
		}
	}
	if len(asked) > 0 {
		return asked
	}
	return d.Closed()
}
