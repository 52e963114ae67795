package probe

import (
	"encoding/json"
	"fmt"
	"time"
)

// Stage says how far an AMQP login came: in a Result, the last stage that the login entered.
type Stage uint8

// The stages, in their order. The zero value is no stage.
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

var stageNames = [numStages]string{
	"", "tcp", "tls", "start", "tune", "open", "channel", "declare", "publish",
	"consume", "close",
}

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

// StageTimes holds how long each completed stage took, indexed by Stage, and zero for a stage that was not
// completed.
type StageTimes [numStages]time.Duration

// MarshalJSON gives an object of stage names and seconds, in the order of the stages.
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
	Target string
	Node   string
	UID    string // of the probed pod; a result counts for no other
	Kind   Kind
	Reason Reason
	Stage  Stage  // how far a login came; StageNone for other kinds
	Detail string // free text for people; holds no secrets, never becomes a label

	// NoAnswer says of an Unreachable that connecting timed out, as it does to a node that has been frozen for so
	// long that its accept queue is full. If false, there was no such name or no route, or the network went away
	// later. These say nothing about the node, whatever the node's own tools say.
	NoAnswer bool

	// NodeStarted is Node.Started when the probe began. A container that starts again in the same pod is another
	// node, so a result counts for one start only. Zero if the supplier cannot tell.
	NodeStarted time.Time

	Started time.Time
	Took    time.Duration
	Stages  StageTimes // login and roundtrip

	// Certificate says how long the certificate holds that the node presented, whether it is trusted or not; nil: it
	// presented none.
	Certificate *Validity

	Processes *Processes // maybe_stuck, if its output could be read
	// ErlangNode is the name of the node that its own tools could not reach. Other nodes are asked about it by this
	// name.
	ErlangNode string
	LogAge     time.Duration // log: how long it has been silent, as far as we have watched
}

// Validity says from when until when a certificate holds.
type Validity struct {
	From  time.Time `json:"not_before"`
	Until time.Time `json:"not_after"`
}

// Status is the health that the result's Reason stands for.
func (r Result) Status() Status { return r.Reason.Status() }

// Ended is when the probe ended.
func (r Result) Ended() time.Time { return r.Started.Add(r.Took) }

// resultJSON is how a Result is written: seconds as numbers, stages by name, the status spelled out.
type resultJSON struct {
	Target     string      `json:"target,omitempty"`
	Node       string      `json:"node,omitempty"`
	UID        string      `json:"uid,omitempty"`
	NodeStart  time.Time   `json:"node_started,omitzero"`
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
	ErlangNode string      `json:"erlang_node,omitempty"`
	LogSeconds float64     `json:"log_age_seconds,omitempty"`
	Validity   *Validity   `json:"certificate,omitempty"`
}

// MarshalJSON writes the result as the HTTP API and the incidents show it.
func (r Result) MarshalJSON() ([]byte, error) {
	j := resultJSON{
		Target: r.Target, Node: r.Node, UID: r.UID, NodeStart: r.NodeStarted, Kind: r.Kind, Status: r.Status(),
		Reason: r.Reason,
		Stage:  r.Stage.String(), Started: r.Started, Took: r.Took.Seconds(), Detail: r.Detail, NoAnswer: r.NoAnswer,
		Processes: r.Processes, ErlangNode: r.ErlangNode, LogSeconds: r.LogAge.Seconds(),
		Validity: r.Certificate,
	}
	if r.Stages != (StageTimes{}) {
		j.Stages = &r.Stages
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote. It does not read the status, which follows from the reason.
func (r *Result) UnmarshalJSON(data []byte) error {
	var j resultJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return fmt.Errorf("result: %w", err)
	}
	*r = Result{
		Target: j.Target, Node: j.Node, UID: j.UID, NodeStarted: j.NodeStart, Kind: j.Kind, Reason: j.Reason,
		Detail: j.Detail, NoAnswer: j.NoAnswer,
		Started: j.Started, Took: seconds(j.Took), Processes: j.Processes, ErlangNode: j.ErlangNode,
		LogAge: seconds(j.LogSeconds), Certificate: j.Validity,
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
