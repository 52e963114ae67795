package apitest

import (
	"context"
	"slices"
	"sync"

	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
)

// Keeper is what does things to nodes and pauses; it does nothing, and remembers.
type Keeper struct {
	mu      sync.Mutex
	Deleted []decide.DeleteRequest
	Probed  []string
	Kept    []decide.Pause
	Closed  []decide.GuardState // that hold each deletion back
	Err     error
}

// Probe remembers what is asked for.
func (k *Keeper) Probe(_ context.Context, targetName, node string) error {
	k.Probed = append(k.Probed, targetName+"/"+node)
	return k.Err
}

// Delete deletes unless a guard is closed that is not overridden.
func (k *Keeper) Delete(_ context.Context, _ string, r decide.DeleteRequest) (remediate.DeleteResult, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Deleted = append(k.Deleted, r)
	if k.Err != nil {
		return remediate.DeleteResult{}, k.Err
	}
	var held decide.HeldError
	for _, g := range k.Closed {
		if !slices.Contains(r.Override, g.Guard) {
			held.Closed = append(held.Closed, g)
		}
	}
	if len(held.Closed) > 0 {
		return remediate.DeleteResult{}, &held
	}
	return remediate.DeleteResult{Overridden: r.Override, Incident: "20261123t115958z-mq-1-cljy"}, nil
}

// Pauses gives those that are kept.
func (k *Keeper) Pauses(context.Context) ([]decide.Pause, error) { return k.Kept, k.Err }

// Pause keeps one, in place of any that its maker has for the same broker.
func (k *Keeper) Pause(_ context.Context, p decide.Pause) (decide.Pause, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Kept = slices.DeleteFunc(slices.Clone(k.Kept), func(q decide.Pause) bool {
		return q.Target == p.Target && q.By == p.By
	})
	p.ID = store.PauseID(p)
	k.Kept = append(k.Kept, p)
	return p, k.Err
}

// End ends the one of that ID.
func (k *Keeper) End(_ context.Context, id string) (ended int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := len(k.Kept)
	k.Kept = slices.DeleteFunc(slices.Clone(k.Kept), func(p decide.Pause) bool { return p.ID == id })
	return before - len(k.Kept), k.Err
}

// Resume ends those of a broker.
func (k *Keeper) Resume(_ context.Context, targetName string) (ended int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var left []decide.Pause
	for _, p := range k.Kept {
		if p.Target == targetName {
			ended++
			continue
		}
		left = append(left, p)
	}
	k.Kept = left
	return ended, k.Err
}

// NewKeeper makes one with a pause and two closed guards.
func NewKeeper() *Keeper {
	return &Keeper{
		Kept: []decide.Pause{MovingDisks()},
		Closed: []decide.GuardState{
			{Guard: decide.GuardObserveOnly, Why: "mode is observe: this broker is only watched"},
			{Guard: decide.GuardPaused, Why: "paused by ada: moving disks"},
		},
	}
}
