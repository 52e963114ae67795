package target

import (
	"maps"
	"slices"
)

// Cause is why a node was not deleted, for certain. What it leads to depends on the Cause alone; what is known besides
// is for people. The zero value, and what is not in the list, is a cause that nobody knows: it opens nothing.
type Cause string

// What a supplier finds when it looks a last time, or is told when it asks for the deletion.
const (
	CauseGone             Cause = "gone"
	CauseChanged          Cause = "changed"
	CauseRestarted        Cause = "restarted"
	CauseTerminating      Cause = "terminating"
	CauseEnded            Cause = "ended"
	CauseNotSelected      Cause = "not_selected"
	CauseSource           Cause = "source"
	CauseNoController     Cause = "no_controller"
	CauseRollout          Cause = "rollout"
	CauseDisruptionBudget Cause = "disruption_budget"
	CauseOperation        Cause = "operation"
	CauseNotLeader        Cause = "not_leader"
	CausePeers            Cause = "peers"
	CauseCannotTell       Cause = "cannot_tell"
	CauseLastLook         Cause = "last_look" // it does not say what it found
	CauseGrace            Cause = "grace"
	CauseNotLabeled       Cause = "not_labeled"
	CauseNotAllowed       Cause = "not_allowed"
	CauseRejected         Cause = "rejected"
	CauseStillThere       Cause = "still_there"
)

// What comes before: the supplier has not been asked.
const (
	CauseIncident      Cause = "incident"
	CauseOtherIncident Cause = "other_incident"
	CauseLock          Cause = "lock"
	CauseIntent        Cause = "intent"
	CauseLate          Cause = "late"
	CauseOvertaken     Cause = "overtaken"
)

var causes = map[Cause]string{
	CauseGone:             ErrGone.Error(),
	CauseChanged:          ErrChanged.Error(),
	CauseRestarted:        "its container has been started anew",
	CauseTerminating:      "it is being deleted already",
	CauseEnded:            "it has ended",
	CauseNotSelected:      "its labels do not fit the selector any more",
	CauseSource:           "the resource that it was found by is gone, or is not as it was",
	CauseNoController:     "nothing is sure to recreate it",
	CauseRollout:          "its set is rolling out, or may be",
	CauseDisruptionBudget: "a disruption budget forbids it, or may",
	CauseOperation:        "an operation is under way in the namespace, or may be",
	CauseNotLeader:        "this replica does not lead, or cannot tell",
	CausePeers:            "its peers are not as they were when they were looked at",
	CauseCannotTell:       "what must be known right before a deletion cannot be read",
	CauseLastLook:         ErrRefused.Error(),
	CauseGrace:            "its grace is too short",
	CauseNotLabeled:       "the label that it needs cannot be set",
	CauseNotAllowed:       "we have no right to delete it",
	CauseRejected:         "the request was rejected",
	CauseStillThere:       "it is still there, long after its deletion was asked for",
	CauseIncident:         "the incident could not be stored",
	CauseOtherIncident:    "the incident is another's by now",
	CauseLock:             "the lock cannot be taken",
	CauseIntent:           "the intent could not be written down",
	CauseLate:             "too much time has passed since the last look at the world",
	CauseOvertaken:        "another replica has written the deletions in the meantime",
}

// Causes lists every Cause.
func Causes() []Cause { return slices.Sorted(maps.Keys(causes)) }

// Known says whether c is one of Causes.
func (c Cause) Known() bool { return causes[c] != "" }

// Sentence says what c is, with what is known besides, if that is not empty.
func (c Cause) Sentence(detail string) string {
	s, ok := causes[c]
	if !ok {
		s = "for a reason that is not known"
	}
	if detail != "" {
		s += ": " + detail
	}
	return s
}

// RefusedError is why a supplier has deleted nothing, for certain. It is an ErrRefused.
type RefusedError struct {
	Cause Cause
	About string // what forbids it, where there are several of a kind: another pod, whose lock it is; may be empty
	Err   error  // what is known besides; may be nil
}

func (e *RefusedError) Error() string {
	detail := ""
	if e.Err != nil {
		detail = e.Err.Error()
	}
	return ErrRefused.Error() + ": " + e.Cause.Sentence(detail)
}

// Unwrap gives ErrRefused, and what is known besides.
func (e *RefusedError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrRefused}
	}
	return []error{ErrRefused, e.Err}
}
