package probe

import (
	"encoding/json"
	"fmt"
	"time"
)

// Kind names a kind of probe; it is also the metric label.
type Kind string

// The kinds of probes.
const (
	Login      Kind = "login"       // AMQP login to open-ok, then a polite close
	Roundtrip  Kind = "roundtrip"   // login, then a message through a queue of our own
	MaybeStuck Kind = "maybe_stuck" // `rabbitmq-diagnostics maybe_stuck` in the node's container
	LogAge     Kind = "log"         // the age of the last log line
)

// Kinds lists every Kind.
func Kinds() []Kind { return []Kind{Login, Roundtrip, MaybeStuck, LogAge} }

// Stage says how far an AMQP login came: in a Result, the last stage that was entered.
type Stage uint8

// The stages, in the order in which they pass. The zero value is no stage at all.
const (
	StageNone Stage = iota
	StageTCP
	StageTLS
	StageStart
	StageTune
	StageOpen
	StageChannel
	StageDeclare
	StagePublish
	StageConsume
	StageClose
	numStages
)

var stageNames = [numStages]string{"", "tcp", "tls", "start", "tune", "open", "channel", "declare", "publish", "consume", "close"}

// Stages lists every Stage but StageNone, in order.
func Stages() []Stage {
	var all []Stage
	for s := StageTCP; s < numStages; s++ {
		all = append(all, s)
	}
	return all
}

func (s Stage) String() string {
	if s < numStages {
		return stageNames[s]
	}
	return ""
}

// StageTimes holds how long each completed stage took, indexed by Stage; zero where a stage was not completed.
type StageTimes [numStages]time.Duration

// MarshalJSON gives an object of stage name to seconds, in the order of the stages.
func (t StageTimes) MarshalJSON() ([]byte, error) {
	buf := []byte{'{'}
	for s := StageTCP; s < numStages; s++ {
		if t[s] == 0 {
			continue
		}
		if len(buf) > 1 {
			buf = append(buf, ',')
		}
		buf = fmt.Appendf(buf, "%q:%.6f", s, t[s].Seconds())
	}
	return append(buf, '}'), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (t *StageTimes) UnmarshalJSON(data []byte) error {
	var m map[string]float64
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("stages: %w", err)
	}
	*t = StageTimes{}
	for s := StageTCP; s < numStages; s++ {
		t[s] = seconds(m[s.String()])
	}
	return nil
}

// Result is what one probe of one node found.
type Result struct {
	Broker string
	Node   string
	UID    string // of the pod that was probed; a result never counts for another
	Kind   Kind
	Reason Reason
	Stage  Stage  // where a login stands; StageNone for other kinds
	Detail string // free text for people; holds no secrets, never becomes a label

	// NoAnswer says of Unreachable that connecting timed out, as it does to a node frozen for so long that its accept
	// queue is full. False: there was no such name, no route, or the network went away later, all of which say
	// nothing about the node, whatever its own tools say.
	NoAnswer bool

	Started time.Time
	Took    time.Duration
	Stages  StageTimes // login and roundtrip

	Processes *Processes    // maybe_stuck, where its output could be read
	LogAge    time.Duration // log: age of the last line when it was looked at
}

// Status is the health that the result's Reason stands for.
func (r Result) Status() Status { return r.Reason.Status() }

// Ended is when the probe ended.
func (r Result) Ended() time.Time { return r.Started.Add(r.Took) }

// resultJSON is how a Result is written: seconds as numbers, stages by name, the status spelled out.
type resultJSON struct {
	Broker     string      `json:"broker,omitempty"`
	Node       string      `json:"node,omitempty"`
	UID        string      `json:"uid,omitempty"`
	Kind       Kind        `json:"probe"`
	Status     Status      `json:"status"`
	Reason     Reason      `json:"reason"`
	Stage      string      `json:"stage,omitempty"`
	Started    time.Time   `json:"started"`
	Took       float64     `json:"took_seconds"`
	Stages     *StageTimes `json:"stages,omitempty"`
	Detail     string      `json:"detail,omitempty"`
	NoAnswer   bool        `json:"no_answer,omitempty"`
	Processes  *Processes  `json:"processes,omitempty"`
	LogSeconds float64     `json:"log_age_seconds,omitempty"`
}

// MarshalJSON writes the result as the HTTP API and the cases show it.
func (r Result) MarshalJSON() ([]byte, error) {
	j := resultJSON{
		Broker: r.Broker, Node: r.Node, UID: r.UID, Kind: r.Kind, Status: r.Status(), Reason: r.Reason,
		Stage: r.Stage.String(), Started: r.Started, Took: r.Took.Seconds(), Detail: r.Detail, NoAnswer: r.NoAnswer,
		Processes: r.Processes, LogSeconds: r.LogAge.Seconds(),
	}
	if r.Stages != (StageTimes{}) {
		j.Stages = &r.Stages
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote. The status is not read: it follows from the reason.
func (r *Result) UnmarshalJSON(data []byte) error {
	var j resultJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return fmt.Errorf("result: %w", err)
	}
	*r = Result{
		Broker: j.Broker, Node: j.Node, UID: j.UID, Kind: j.Kind, Reason: j.Reason, Detail: j.Detail, NoAnswer: j.NoAnswer,
		Started: j.Started, Took: seconds(j.Took), Processes: j.Processes, LogAge: seconds(j.LogSeconds),
	}
	if j.Stages != nil {
		r.Stages = *j.Stages
	}
	for s := StageTCP; s < numStages; s++ {
		if s.String() == j.Stage {
			r.Stage = s
		}
	}
	return nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Processes is what `maybe_stuck` said of a node's Erlang processes.
type Processes struct {
	Total         int     `json:"total"`          // processes on the node
	Suspicious    int     `json:"suspicious"`     // of these, that waited in one place throughout
	StuckReaders  int     `json:"stuck_readers"`  // connections stuck in login with a message waiting
	StuckChannels int     `json:"stuck_channels"` // channels, and queues, stuck in a call with a message waiting
	Baseline      int     `json:"baseline"`       // suspicious processes when the node is well; -1 if not learned
	Top           []Stack `json:"top,omitempty"`  // the most frequent stacks, most frequent first
	Truncated     bool    `json:"truncated,omitempty"`

	// AwaitingMetadata counts the suspicious processes that wait for the cluster's metadata: any node may be to
	// blame for those.
	AwaitingMetadata int `json:"awaiting_metadata,omitempty"`
	// AwaitingBackend counts those that wait for an authentication backend outside the broker, an LDAP or HTTP
	// server: a restart of the node would not cure that.
	AwaitingBackend int `json:"awaiting_backend,omitempty"`

	// StuckIDs are the readers and channels counted above, SuspiciousIDs all that are suspicious: sorted, of each
	// the MaxProcessIDs smallest. A process that is only slow is gone at the next look; a stuck one is there again.
	StuckIDs      []ProcessID `json:"-"`
	SuspiciousIDs []ProcessID `json:"-"`
}

// ProcessID tells one Erlang process of a node from another: the last two numbers of <A.N.S>, as N<<32 | S. The
// first number depends on who asks.
type ProcessID uint64

// MaxProcessIDs bounds how many processes a Processes remembers.
const MaxProcessIDs = 1000

// Stack is one stack trace, innermost frame first, and how many suspicious processes have it.
type Stack struct {
	Count  int      `json:"count"`
	Frames []string `json:"frames"` // module:function/arity
}
