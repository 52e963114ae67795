package deploy

import (
	"context"
	"errors"
	"fmt"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

// Acquire implements release.Lock, with the Lease that closes the guard operation-in-progress.
func (cs *Clusters) Acquire(ctx context.Context, env plan.Environment, h release.Holder) error {
	fail := func(err error) error { return fmt.Errorf("take the lock on namespace %s: %w", env.Namespace, err) }
	c, err := cs.at(env)
	if err != nil {
		return fail(err)
	}
	err = c.TakeLock(ctx, env.Namespace, apiserver.Holder(h))
	if locked, ok := errors.AsType[*apiserver.LockedError](err); ok {
		return fail(&release.LockedError{Holder: release.Holder(locked.Holder), Expires: locked.Expires})
	}
	return err
}

// Release implements release.Lock.
func (cs *Clusters) Release(ctx context.Context, env plan.Environment, h release.Holder) error {
	c, err := cs.at(env)
	if err != nil {
		return fmt.Errorf("release the lock on namespace %s: %w", env.Namespace, err)
	}
	return c.GiveLock(ctx, env.Namespace, h.ID)
}
