package brokers

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// Node is the answer to /api/v1/targets/{target}/nodes/{node}: the node, and why it was or was not deleted.
type Node struct {
	target.Node

	Mode       decide.Mode     `json:"mode"`
	At         time.Time       `json:"at"`    // when this was decided
	Stale      bool            `json:"stale"` // that is too long ago
	Status     probe.Status    `json:"status"`
	Phase      decide.Phase    `json:"phase"`
	Action     decide.Action   `json:"action"`
	Reason     string          `json:"reason"` // one sentence
	StuckSince time.Time       `json:"stuck_since,omitzero"`
	Seen       []Seen          `json:"seen"` // the latest of each kind of probe
	Evidence   decide.Evidence `json:"evidence"`

	Guards []decide.GuardState `json:"guards"` // every guard, open or closed, and why
	Next   Next                `json:"next"`
}

// Seen is one result with the words of docs/verdicts.md for it.
type Seen struct {
	Result probe.Result `json:"result"`
	Saw    string       `json:"saw"`
	Means  string       `json:"means"`
	Advice string       `json:"advice"`
}

// Next is what would happen next if nothing changed, and when.
type Next struct {
	What string    `json:"what"`
	Look time.Time `json:"look,omitzero"` // when it is looked at again, at the latest
	// when all closed guards will have opened by themselves, if that is known
	Opens time.Time `json:"opens,omitzero"`
	// when a deletion under way is given up, and a person asked for
	RecoveryDeadline time.Time `json:"recovery_deadline,omitzero"`
}

func (api *API) explain(s remediate.Snapshot, n remediate.NodeSnapshot, now time.Time) Node {
	d := n.Decision
	explained := Node{
		Node: n.Node, Mode: s.Policy.Mode, At: s.At, Stale: api.stale(s, now), Status: d.Status, Phase: d.Phase,
		Action: d.Action, Reason: d.Reason, StuckSince: n.Stuck, Seen: []Seen{}, Evidence: d.Evidence,
		Guards: httpapi.OrEmpty(d.Guards), Next: next(s, d),
	}
	for _, r := range n.Latest {
		v := r.Reason.Verdict()
		explained.Seen = append(explained.Seen, Seen{r, v.Saw, meansOf(r, v), v.Advice})
	}
	return explained
}

// meansOf says what a result means, of which v is the verdict. That all came means that the node accepts logins only
// where that was tried: the log may go on, and maybe_stuck show nothing, while every login hangs.
func meansOf(r probe.Result, v probe.Verdict) string {
	if ok := r.Kind.Row().OK; r.Reason == probe.OK && ok != "" {
		return ok
	}
	return v.Means
}

// next puts into words what Decide would do with d's node if its probes went on saying the same.
func next(s remediate.Snapshot, d decide.Decision) Next {
	n := Next{Look: d.Next, Opens: opens(d)}
	closed := d.HeldBy()
	observed := s.Policy.Mode == decide.Observe
	switch d.Phase {
	case decide.PhaseHealthy:
		n.What = "nothing: it " + s.Policy.HealthyPhrase()
	case decide.PhaseFaulty:
		n.What = "nothing by itself: what it has is not cured by a restart, see the advice of its probes"
	case decide.PhaseSuspect:
		n.What = suspectNext(s.Policy, d)
	case decide.PhaseConfirmed:
		switch {
		case observed:
			n.What = "nothing: the mode is observe, so it is never deleted, and a person must restart it"
		case d.Action == decide.Delete:
			n.What = "it is deleted now, and within " + s.Policy.RecoveryTimeout.String() +
				" what failed must succeed on its successor"
		case len(closed) > 0:
			n.What = "it is deleted as soon as all these guards are open: " + decide.GuardNames(closed)
		default:
			n.What = "it is deleted as soon as a probe finds it stuck once more: " + d.Reason
		}
	case decide.PhaseDeletionUnconfirmed:
		n.What = "it is watched whether the deletion has happened; if the node is still there after some minutes it has " +
			"not, and if asking for it failed, a person is asked for"
		n.RecoveryDeadline = settles(s, d.Node)
	case decide.PhaseRecovering:
		n.What = "its successor is awaited; if what failed does not succeed there in time, a person is asked for"
		n.RecoveryDeadline = settles(s, d.Node)
	case decide.PhaseEscalated:
		n.What = "nothing by itself: a deletion did not help, and a person must look"
	case decide.PhaseUnknown:
		n.What = "nothing until a probe can tell how it is"
	default:
		n.What = "nothing until it has been looked at"
	}
	return n
}

// suspectNext says what is missing until a suspect is confirmed, and what would hold back its deletion even then.
func suspectNext(p decide.Policy, d decide.Decision) string {
	ev := d.Evidence
	if ev.Corroboration == decide.NoCommands {
		what := "it stays a suspect, since there can be no corroboration: " + ev.CorroborationDetail
		if p.Mode == decide.Observe {
			what += ". Nothing will be deleted: the mode is observe"
		}
		return what
	}
	var missing []string
	if more := ev.FailureThreshold - ev.Stuck; more > 0 {
		missing = append(missing, fmt.Sprintf("%d more of its last %d probes must find it stuck", more, ev.Window))
	}
	if earliest := ev.Since.Add(p.MinDuration); !ev.Enough && earliest.After(d.At) {
		missing = append(missing, fmt.Sprintf("the first and the last of these must lie %s apart, so not before %s",
			p.MinDuration, earliest.UTC().Format(time.RFC3339)))
	}
	if !ev.Corroborated {
		missing = append(missing, "corroboration must agree")
	}
	what := "it is confirmed as stuck when all of this has come: " + strings.Join(missing, "; ")
	if p.Mode == decide.Observe {
		return what + ". Nothing is deleted even then: the mode is observe"
	}
	if closed := d.HeldBy(); len(closed) > 0 && !allUnasked(d.Guards) {
		return what + ". Even then it is not deleted before these guards are open: " + decide.GuardNames(closed)
	}
	return what + ". Then it is deleted"
}

// opens gives the time by which every closed guard will have opened by itself; zero if none is closed, or one may
// stay closed for ever.
func opens(d decide.Decision) time.Time {
	var last time.Time
	held := d.HeldBy()
	for _, g := range d.Guards {
		switch {
		case !slices.Contains(held, g.Guard):
		case g.Until.IsZero():
			return time.Time{}
		case g.Until.After(last):
			last = g.Until
		}
	}
	return last
}

// allUnasked says whether no guard is closed but for those that are not asked before nothing else is.
func allUnasked(guards []decide.GuardState) bool {
	return !slices.ContainsFunc(guards, func(g decide.GuardState) bool { return !g.Open && !g.Unasked })
}

// settles says when the deletion of node that is under way is given up.
func settles(s remediate.Snapshot, node string) time.Time {
	for _, a := range s.Deletions {
		if a.Node == node && a.Outcome == decide.Pending {
			return a.At.Add(s.Policy.RecoveryTimeout)
		}
	}
	return time.Time{}
}
