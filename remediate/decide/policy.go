package decide

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/probe"
)

// Mode says whether a broker's nodes may be deleted. The zero value is Observe.
type Mode uint8

// The modes.
const (
	Observe   Mode = iota // watch, decide and explain, never act
	Remediate             // delete a node that is proved stuck
)

var modeNames = [...]string{Observe: "observe", Remediate: "remediate"}

func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return modeNames[Observe]
}

// MarshalText gives "observe" or "remediate".
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (m *Mode) UnmarshalText(text []byte) error {
	i := slices.Index(modeNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("mode %q: want observe or remediate", text)
	}
	*m = Mode(i)
	return nil
}

// Policy says when a broker's nodes may be deleted. DefaultPolicy has sane values; the zero value never acts.
type Policy struct {
	Mode Mode

	FailureThreshold int           // so many of the last Of results must be Stuck
	Window           int           // see Needed
	MinDuration      time.Duration // between the first and the last of them at least this long

	// RecheckAfter is how far apart two looks at a node's processes must be at least that show the same ones stuck.
	RecheckAfter time.Duration
	// AboveBaseline is how many connections must hang in their login in the same place where it is not known for whom they
	// wait.
	AboveBaseline int
	// LogSilence, if not zero, asks for a node's log to have been silent for so long before it counts as stuck.
	LogSilence time.Duration

	// Fresh is how long a result, or what the supplier said, counts as knowledge.
	ResultTTL time.Duration
	// Evidence is how long a Stuck result counts toward Needed.
	EvidenceTTL time.Duration

	StartupGracePeriod time.Duration // a node younger than this is never deleted
	Cooldown           time.Duration // after a deletion on the broker has settled
	RecoveryTimeout    time.Duration // for the new node to accept logins; then a person is asked for
	GracePeriod        time.Duration // for the node to stop by itself

	// App: the nodes are the pods of an application, which is judged by its log. Nobody can log in to it, or run a command
	// in it; and the pod that takes another's place may have another name.
	App bool

	SingleNode    bool          // may the only node of a broker be deleted?
	MaxStuck      int           // more stuck nodes than this are a storm
	StormCooldown time.Duration // after a storm

	PerNodePerDay   int // deletions of one node in 24 h
	PerTargetPerDay int // deletions on one broker in 24 h

	MaintenanceWindows []MaintenanceWindow // when acting is allowed; none: always
}

// DefaultPolicy observes, with the thresholds that the documentation gives.
func DefaultPolicy() Policy {
	return Policy{
		Mode: Observe, FailureThreshold: 3, Window: 4, MinDuration: 45 * time.Second,
		RecheckAfter: 40 * time.Second, AboveBaseline: 20,
		ResultTTL: 2 * time.Minute, EvidenceTTL: 10 * time.Minute,
		StartupGracePeriod: 5 * time.Minute, Cooldown: 10 * time.Minute, RecoveryTimeout: 10 * time.Minute,
		GracePeriod: 30 * time.Second,
		MaxStuck:    1, StormCooldown: 10 * time.Minute,
		PerNodePerDay: 1, PerTargetPerDay: 3,
	}
}

// LivenessKind is the kind of probe that tells whether a node is healthy.
func (p Policy) LivenessKind() probe.Kind {
	if p.App {
		return appLiveness
	}
	return brokerLiveness
}

// These are read once from the table of kinds of probes: Decide asks for them for each node.
var (
	brokerLiveness = kindsThat(func(k probe.KindRow) bool { return k.Role == probe.Liveness })[0]
	appLiveness    = kindsThat(func(k probe.KindRow) bool { return k.OfApp == probe.Liveness })[0]
	workKinds      = kindsThat(func(k probe.KindRow) bool { return k.Role == probe.Work })

	accusingBroker = slices.Concat([]probe.Kind{brokerLiveness}, workKinds)
	accusingApp    = slices.Concat([]probe.Kind{appLiveness}, workKinds)
)

// kindsThat gives the kinds of probes whose rows are so.
func kindsThat(is func(probe.KindRow) bool) (kinds []probe.Kind) {
	for _, row := range probe.KindRows() {
		if is(row) {
			kinds = append(kinds, row.Kind)
		}
	}
	return kinds
}

// accusing are the kinds of probes whose failures make a node suspect, the one of liveness first.
func (p Policy) accusing() []probe.Kind {
	if p.App {
		return accusingApp
	}
	return accusingBroker
}

// role is what the results of a kind of probe count as under the policy.
func (p Policy) role(kind probe.Kind) probe.Role {
	if row := kind.Row(); p.App && row.OfApp != probe.Information {
		return row.OfApp
	}
	return kind.Role()
}

// HealthyPhrase says what a node does that is healthy.
func (p Policy) HealthyPhrase() string {
	if p.App {
		return "writes its log"
	}
	return "accepts logins"
}

// MaintenanceWindow is a span of time on some days of the week, as clocks on the wall show it. To may lie before From:
// the window then ends on the next day. The zero value is never open.
//
// When clocks are put forward, what they skip of a window is missing that day; when they are put back, what they show
// twice of it is open twice.
type MaintenanceWindow struct {
	Days     [7]bool        // by time.Weekday: the days on which the window begins
	From, To time.Duration  // on the clock
	TimeZone *time.Location // of the clock; nil: UTC
}

// Contains says whether t lies in the window.
func (w MaintenanceWindow) Contains(t time.Time) bool {
	if t = t.UTC(); w.TimeZone != nil {
		t = t.In(w.TimeZone)
	}
	at := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second
	today, yesterday := w.Days[t.Weekday()], w.Days[(t.Weekday()+6)%7]
	if w.From < w.To {
		return today && at >= w.From && at < w.To
	}
	return (today && at >= w.From) || (yesterday && at < w.To && w.From != w.To)
}

// Pause keeps a broker, or all of them, from being acted upon until it ends.
type Pause struct {
	ID     string    `json:"id,omitempty"`     // empty in what a person wrote: it gets one when it is read
	Target string    `json:"target,omitempty"` // empty: every broker
	Reason string    `json:"reason"`
	By     string    `json:"by"`
	Until  time.Time `json:"until"`
}

// Stray says whether the pause is for none of the brokers that there are.
func (p Pause) Stray(targets []string) bool {
	return p.Target != "" && len(targets) > 0 && !slices.Contains(targets, p.Target)
}

// StrayText says of a stray pause whose it is, and which names there are.
func (p Pause) StrayText(targets []string) string {
	name := p.Target
	if len(name) > 100 {
		name = strings.ToValidUTF8(name[:100], "") + "…"
	}
	return fmt.Sprintf("a pause by %s names the broker %q, which is not watched (these are: %s)", p.By, name, Few(targets))
}

// Over says whether the pause has ended. One without an end was written by a person, and holds until it is removed.
func (p Pause) Over(now time.Time) bool { return !p.Until.IsZero() && !p.Until.After(now) }
