package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

const (
	erlLockMetadata = `
		Self = self(),
		spawn(fun() -> mnesia:transaction(fun() ->
			[mnesia:write_lock_table(T) || T <- [rabbit_queue, rabbit_durable_queue]],
			Self ! locked,
			receive never -> ok end
		end) end),
		receive locked -> locked after 20000 -> not_locked end.`
	erlLockHolders    = `lists:usort([node(P) || ` + erlHeldLocks + `]).`
	erlUnlockMetadata = `
		Pids = [P || ` + erlHeldLocks + `],
		Refs = [begin Ref = monitor(process, P), exit(P, kill), Ref end || P <- Pids],
		[receive {'DOWN', Ref, _, _, _} -> ok end || Ref <- Refs], ok.`
	erlHeldLocks = `{{rabbit_queue, '______WHOLETABLE_____'}, write, {tid, _, P}} <- mnesia_locker:get_held_locks()`

	// Khepri keeps the metadata in a Raft server on each node, a process that is registered by this name.
	erlSuspendMetadata = `sys:suspend(rabbitmq_metadata), ok.`
	erlResumeMetadata  = `sys:resume(rabbitmq_metadata), ok.`
)

// LockMetadata has the node start a transaction that locks the tables of queues and never ends. Logins succeed
// everywhere, every queue.declare on every node hangs, the official checks pass. UnlockMetadata cures it, as does a new
// process of that very node. Khepri has no locks: ErrUnsupported, see MetadataWithoutMajority.
func (l *Lab) LockMetadata(ctx context.Context, name string) error {
	if l.release.khepri() {
		return fmt.Errorf("lock the metadata: %w: Khepri has no locks", ErrUnsupported)
	}
	return l.set(locked, name, func(n *node) error {
		out, err := n.eval(ctx, erlLockMetadata)
		if err == nil && out != "locked" {
			err = fmt.Errorf("the metadata is %s", out)
		}
		return err
	})
}

// MetadataLockHolder gives the name of the node that holds the lock on the cluster's queues, "" if none does. Any
// node can tell.
func (l *Lab) MetadataLockHolder(ctx context.Context) (string, error) {
	out, err := l.helper().eval(ctx, erlLockHolders)
	if err != nil {
		return "", fmt.Errorf("find who holds the metadata's lock: %w", err)
	}
	for _, n := range l.nodes {
		if strings.Contains(out, n.erlang()) {
			return n.name, nil
		}
	}
	return "", nil
}

// UnlockMetadata kills the transaction, whichever node runs it.
func (l *Lab) UnlockMetadata(ctx context.Context) error {
	if _, err := l.helper().eval(ctx, erlUnlockMetadata); err != nil {
		return fmt.Errorf("unlock the metadata: %w", err)
	}
	for _, n := range l.nodes {
		l.cured(locked, n.name)
	}
	return nil
}

// MetadataWithoutMajority suspends the process that keeps the metadata (Khepri) on all nodes but the first. All nodes
// are up and see each other, logins succeed, but every queue.declare on every node hangs until RabbitMQ gives up after
// 30 s. RegainMajority cures it, as do new processes. With Mnesia there is no majority to lose: ErrUnsupported, see
// LockMetadata.
func (l *Lab) MetadataWithoutMajority(ctx context.Context) error {
	if !l.release.khepri() {
		return fmt.Errorf("take the metadata's majority: %w: Mnesia needs none", ErrUnsupported)
	}
	l.broke(noMajority, "")
	for _, n := range l.nodes[1:] {
		if _, err := n.eval(ctx, erlSuspendMetadata); err != nil {
			return fmt.Errorf("take the metadata's majority: %w", err)
		}
	}
	return nil
}

// RegainMajority lets the processes that keep the metadata go on. Those of nodes that have a new process do already.
func (l *Lab) RegainMajority(ctx context.Context) error {
	var errs []error
	for _, n := range l.nodes[1:] {
		_, err := n.eval(ctx, erlResumeMetadata)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("give the metadata its majority: %w", err)
	}
	l.cured(noMajority, "")
	return nil
}
