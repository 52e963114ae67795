package remediate

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// What is watched may change while Unstuck runs: a target is configured in another way, or gets another name. The loop
// that begins then must not know less of what was done than the one that ended.

// Succeed takes over from a loop of the same target whose Run has returned what only time ends: storms. It comes
// before Run.
func (l *Loop) Succeed(other *Loop) {
	l.state.Storms = maps.Clone(other.state.Storms)
	l.inherited = append(l.inherited, other.inherited...)
}

// Inherit takes over the deletions of another target's loop whose Run has returned, as far as they are of pods that are
// this target's now: its budget is spent, and a deletion under way goes on. It comes before Run.
func (l *Loop) Inherit(other *Loop) {
	l.inherited = slices.Concat(l.inherited, other.inherited, other.state.Deletions)
}

// withInherited adds to the deletions those that were inherited and are of this target's pods. It says whether there
// are any.
func (l *Loop) withInherited(deletions []decide.Deletion, nodes []target.Node) ([]decide.Deletion, bool) {
	more := false
	for _, a := range l.inherited {
		known := slices.ContainsFunc(deletions, func(d decide.Deletion) bool { return d.ID == a.ID })
		// By the name of the StatefulSet: the pod itself may not be there just now.
		mine := slices.ContainsFunc(nodes, func(n target.Node) bool { return setOf(n.Name) == setOf(a.Node) })
		if mine && !known {
			deletions, more = append(slices.Clip(deletions), a), true
		}
	}
	slices.SortStableFunc(deletions, func(a, b decide.Deletion) int { return a.At.Compare(b.At) })
	return deletions, more
}

// setOf is the name of a pod without its ordinal.
func setOf(pod string) string { return strings.TrimRight(pod, "0123456789") }

// Leave closes what is open of a target that is watched no longer: nobody else would. Run has returned. What is written
// down of its deletions stays.
func (l *Loop) Leave(ctx context.Context) {
	if !l.mayWrite() || !l.stillLeads(ctx) {
		return // who leads closes them
	}
	for _, c := range maps.Clone(l.incidents) {
		if l.unsettled(c) {
			continue // if the target comes back, its deletion is settled
		}
		l.closeIncident(c, store.Unwatched, time.Now())
		_ = l.saveIncident(ctx, c) // it is logged
	}
}
