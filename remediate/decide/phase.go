package decide

import (
	"slices"
	"strings"

	"github.com/cjworkbench/unstuck/probe"
)

// Phase says where a node stands on the way from healthy to cured. The zero value: nothing has been decided about it
// yet.
type Phase string

// The phases.
const (
	PhaseUnknown             Phase = "unknown"              // no probe can tell
	PhaseHealthy             Phase = "healthy"              // it accepts logins
	PhaseFaulty              Phase = "faulty"               // something is wrong that a restart does not cure
	PhaseSuspect             Phase = "suspect"              // stuck by a probe, not confirmed
	PhaseConfirmed           Phase = "confirmed"            // stuck, often enough, for long enough, and corroborated
	PhaseDeletionUnconfirmed Phase = "deletion_unconfirmed" // to be deleted, and it is not known whether that has happened
	PhaseRecovering          Phase = "recovering"           // deleted, and not yet back
	PhaseEscalated           Phase = "escalated"            // deleted, and not back in time
)

// Tone says how good or bad a phase is for the people who look: the page has a colour and a sign for each.
type Tone string

// The tones.
const (
	ToneGood   Tone = "good"
	ToneBusy   Tone = "busy" // Unstuck is at work
	ToneWarn   Tone = "warn"
	ToneBad    Tone = "bad" // a person should look now
	ToneUnsure Tone = "unsure"
)

// phases says all that there is to say of each phase, the most urgent first.
var phases = []struct {
	phase Phase
	tone  Tone
	event string // the reason of the Event that tells of it; "": none, for Deleted tells of that
	pace  probe.Pace
	is    string // how a node in it is, after "it "
}{
	{
		PhaseEscalated, ToneBad, "NotRecovered", probe.PaceSuspect,
		"was deleted, that did not help, and a person must look at it",
	},
	{
		PhaseDeletionUnconfirmed, ToneBad, "DeletionUnconfirmed", probe.PaceSuspect,
		"was to be deleted, and it is not known whether that has happened",
	},
	{PhaseConfirmed, ToneBad, "Stuck", probe.PaceConfirmed, "is stuck"},
	{PhaseRecovering, ToneBusy, "", probe.PaceSuspect, "was stuck and has been deleted; its successor is awaited"},
	{PhaseSuspect, ToneWarn, "SuspectedStuck", probe.PaceSuspect, "may be stuck, and that is being confirmed"},
	{PhaseFaulty, ToneWarn, "Faulty", probe.PaceNormal, "is faulty in a way that a restart does not cure"},
	{PhaseUnknown, ToneUnsure, "", probe.PaceNormal, "is in an unknown state: no probe can tell"},
	{"", ToneUnsure, "", probe.PaceNormal, "has not been probed yet"},
	{PhaseHealthy, ToneGood, "Healthy", probe.PaceNormal, "is healthy"},
}

// Phases lists every Phase, the most urgent first.
func Phases() (all []Phase) {
	for _, row := range phases {
		if row.phase != "" {
			all = append(all, row.phase)
		}
	}
	return all
}

// Urgency is the place of the phase among all, 0 for the one that a person must see first. One that is not known counts
// as not decided.
func (p Phase) Urgency() int {
	for i, row := range phases {
		if row.phase == p {
			return i
		}
	}
	return Phase("").Urgency()
}

// Tone says how good or bad it is.
func (p Phase) Tone() Tone { return phases[p.Urgency()].tone }

// Event is the reason of the Kubernetes Event that tells of it, or empty if none does.
func (p Phase) Event() string { return phases[p.Urgency()].event }

// Is says in a few words how a node in it is, to follow its name or "it".
func (p Phase) Is() string { return phases[p.Urgency()].is }

// Label is the phase in words.
func (p Phase) Label() string {
	if !slices.Contains(Phases(), p) {
		return "not probed yet"
	}
	return strings.ReplaceAll(string(p), "_", " ")
}

// Pace is how often such a node is probed.
func (p Phase) Pace() probe.Pace { return phases[p.Urgency()].pace }
