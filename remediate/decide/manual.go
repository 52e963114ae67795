package decide

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// A person may have a node deleted that Decide would leave alone. It goes the same way: the same guards are asked, and
// one more, whether the node is proved stuck at all. What is closed holds the deletion back unless the person names it,
// and answers for it; what is named is written into the deletion and the incident. Some guards nobody may override:
// they are about what the deletion would do, not about whether it is wise.

// DeleteRequest is the deletion of one node that a person asks for.
type DeleteRequest struct {
	Node     string
	UID      string  // of the node that is meant, whatever has its name by now
	Override []Guard // that are not to hold it back; those that nobody may override do all the same
	Reason   string
	By       string
	From     string // the address that it was asked for from; may be empty
	DryRun   bool   // only say what would be done
}

// Manual is what a Deletion keeps of the DeleteRequest that it carries out.
type Manual struct {
	By       string  `json:"by"`
	From     string  `json:"from,omitempty"`
	Reason   string  `json:"reason"`
	Override []Guard `json:"override,omitempty"` // the guards that were closed, and overridden
}

// HeldError says which guards hold a DeleteRequest back.
type HeldError struct {
	Closed []GuardState // that are not overridden, or may not be
	Fixed  []Guard      // those of them that nobody may override
}

func (e *HeldError) Error() string {
	all := make([]string, len(e.Closed))
	for i, g := range e.Closed {
		all[i] = fmt.Sprintf("%s (%s)", g.Guard, g.Why)
	}
	return "held back by " + strings.Join(all, ", ")
}

// guardUnconfirmed is asked of a delete request only. Of everything else it is what Decide begins with: a node that is
// not proved stuck is not deleted, whatever the guards say.
var guardUnconfirmed = guard{
	Guard:      GuardUnconfirmed,
	closedWhen: "asked of a manual deletion alone: the node is not proved stuck, by its latest probes and corroboration",
}

// about says whether the request is to delete n. No request is about no node.
func (o *DeleteRequest) about(n target.Node) bool {
	return o != nil && o.UID != "" && o.Node == n.Name && o.UID == n.UID
}

// unconfirmed is the answer of guardUnconfirmed: why is what the node's latest probe says, and untold why the latest of
// a confirmed node tells nothing.
func (d Decision) unconfirmed(stuckNow bool, why, untold string) GuardState {
	g := closed("it is %s, not confirmed stuck: %s", d.Phase, why)
	switch {
	case d.Phase == PhaseConfirmed && stuckNow:
		g = open("it is confirmed stuck: %s", d.Evidence.CorroborationDetail)
	case d.Phase == PhaseConfirmed:
		g = closed("it was confirmed stuck, but %s", untold)
	case d.Status == probe.Healthy:
		g = closed("it is healthy, there is nothing to cure: %s", why)
	case d.Status == probe.Faulty:
		g = closed("it has what a restart does not cure: %s", why)
	}
	g.Guard = GuardUnconfirmed
	return g
}

// apply decides what o asks for: the node is deleted if each guard that is closed is overridden, and may be, unless
// something else hinders that.
func (d *Decision) apply(o DeleteRequest, hinders Ground, hindered string) {
	switch held := d.Held(o); {
	case held != nil:
		d.Basis.Ground = GroundGuards
		d.Reason = fmt.Sprintf("%s asks for its deletion; %s", o.By, held)
	case hinders != "":
		d.Basis.Ground = hinders
		d.Reason = fmt.Sprintf("%s asks for its deletion; %s", o.By, hindered)
	default:
		d.Action, d.Basis.Ground, d.Reason = Delete, GroundManual, o.says(d.Overridden(o))
	}
}

// Held gives what holds o back, as a *HeldError; nil if nothing does.
func (d Decision) Held(o DeleteRequest) error {
	var e HeldError
	for _, g := range d.Guards {
		fixed := g.Guard.Fixed() != ""
		if g.Open || (!fixed && slices.Contains(o.Override, g.Guard)) {
			continue
		}
		e.Closed = append(e.Closed, g)
		if fixed {
			e.Fixed = append(e.Fixed, g.Guard)
		}
	}
	if len(e.Closed) == 0 {
		return nil
	}
	return &e
}

// Overridden names the guards that are closed and that o overrides: one that is open did not have to be.
func (d Decision) Overridden(o DeleteRequest) []Guard {
	return slices.DeleteFunc(d.Closed(), func(g Guard) bool { return g.Fixed() != "" || !slices.Contains(o.Override, g) })
}

// says is one sentence for the incident: who, from where, why, and what was overridden.
func (o DeleteRequest) says(overridden []Guard) string {
	var s strings.Builder
	s.WriteString("manual deletion, asked for by " + o.By)
	if o.From != "" {
		s.WriteString(" from " + o.From)
	}
	s.WriteString(": " + o.Reason)
	if len(overridden) > 0 {
		s.WriteString("; overridden: " + GuardNames(overridden))
	}
	return s.String()
}

// Fixed says why nobody may override g; "" if a person may.
func (g Guard) Fixed() string {
	for _, row := range guards {
		if row.Guard == g {
			return row.fixed
		}
	}
	if g == GuardUnconfirmed {
		return ""
	}
	return "it is not known what it guards"
}

// Requested gives the decision about the node that o is about. Without one the error is target.ErrChanged, if there is
// another node of its name, or else target.ErrGone.
func Requested(decisions []Decision, o DeleteRequest) (Decision, error) {
	err := target.ErrGone
	for _, d := range decisions {
		switch {
		case d.Node != o.Node:
		case d.UID == o.UID:
			return d, nil
		default:
			err = target.ErrChanged
		}
	}
	return Decision{}, err
}
