package remediate

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// While a deletion is under way, from before its intent until it is settled, nobody deploys: the World's lock is held,
// if it has one. The lock's id is the deletion's, so that a successor that goes on with the deletion goes on holding
// it. If nobody does, it ends by itself.

const (
	// lockTTL is how long the lock outlives its last renewal. A reconcile is late by up to a minute or so where much
	// hangs.
	lockTTL = 2 * time.Minute
	// lockRenew is after how long it is renewed.
	lockRenew = lockTTL / 4
)

// heldLock is the lock that a Loop holds.
type heldLock struct {
	id      string    // of the deletion; empty: none
	renewed time.Time // when we last began to ask for it, and got it
}

// lock takes the lock for a, or renews it. One that is still to be given back is given back first.
func (l *Loop) lock(ctx context.Context, a decide.Deletion) error {
	locker, ok := l.World.(Locker)
	if !ok {
		return nil
	}
	if l.held.id != a.ID {
		if err := l.unlock(ctx, locker); err != nil {
			return err
		}
	}
	began := time.Now()
	l.held = heldLock{id: a.ID} // also if it is not known whether we got it: then it is given back
	err := try(ctx, &l.gate, "take the lock", storeTimeout, func(ctx context.Context) error {
		return locker.Lock(ctx, a.ID, "deletion of node "+a.Node+" of "+a.Target+", incident "+a.Incident, lockTTL)
	})
	if err == nil {
		l.held.renewed = began
	}
	return err
}

// unlock gives back the lock, if there is one to be given back.
func (l *Loop) unlock(ctx context.Context, locker Locker) error {
	id := l.held.id
	if id == "" {
		return nil
	}
	err := try(ctx, &l.gate, "give back the lock", storeTimeout, func(ctx context.Context) error {
		return locker.Unlock(ctx, id)
	})
	if err != nil {
		return fmt.Errorf("give back the lock: %w", err)
	}
	l.held = heldLock{}
	return nil
}

// keepLock renews the lock while a deletion is under way, and gives it back once none is. Who does not lead any
// more leaves it to who does.
func (l *Loop) keepLock(ctx context.Context) {
	locker, ok := l.World.(Locker)
	switch {
	case !ok:
		return
	case l.view.IsLeader == target.No:
		l.held = heldLock{}
		return
	case !l.mayWrite(): // who leads, or whether a deletion is under way, is not known
		return
	}
	i := slices.IndexFunc(l.state.Deletions, func(a decide.Deletion) bool { return a.Outcome == decide.Pending })
	if i < 0 {
		if err := l.unlock(ctx, locker); err != nil {
			l.trouble(cannotUnlock, "", err.Error())
		}
		return
	}
	a := l.state.Deletions[i]
	if l.held.id == a.ID && time.Since(l.held.renewed) < lockRenew {
		return
	}
	if err := l.lock(ctx, a); err != nil {
		l.trouble(cannotLock, "", "hold the lock while "+a.Node+" is awaited: "+err.Error())
	}
}
