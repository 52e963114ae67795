package kube

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

// Annotations of the Lease, which say more of its holder.
const (
	ownerNote  = "unstuck.cjworkbench.org/owner"
	reasonNote = "unstuck.cjworkbench.org/reason"
)

// lockTries is how often the Lease is read and written again when somebody else has written it in between.
const lockTries = 5

// Acquire implements release.Lock, with the Lease that closes the guard operation-in-progress. A holder renews it well within half of
// its TTL, so the clocks of two who want it may differ by the other half.
func (r *Releases) Acquire(ctx context.Context, env plan.Environment, h release.Holder) error {
	c, err := r.at(env)
	if err != nil {
		return fmt.Errorf("take the lock on namespace %s: %w", env.Namespace, err)
	}
	return c.takeLock(ctx, env.Namespace, h)
}

// Release implements release.Lock.
func (r *Releases) Release(ctx context.Context, env plan.Environment, h release.Holder) error {
	c, err := r.at(env)
	if err != nil {
		return fmt.Errorf("release the lock on namespace %s: %w", env.Namespace, err)
	}
	return c.giveLock(ctx, env.Namespace, h.ID)
}

// takeLock makes h the holder of the namespace's lock, or renews that, or gives a *release.LockedError.
func (c *Client) takeLock(ctx context.Context, namespace string, h release.Holder) error {
	err := c.changeLock(ctx, namespace, func(l *coordinationv1.Lease) (bool, error) { return true, take(l, h, time.Now()) })
	if err != nil {
		return fmt.Errorf("take the lock on namespace %s: %w", namespace, err)
	}
	return nil
}

// giveLock gives the namespace's lock back if id holds it.
func (c *Client) giveLock(ctx context.Context, namespace, id string) error {
	err := c.changeLock(ctx, namespace, func(l *coordinationv1.Lease) (bool, error) {
		if holderOf(l) != id {
			return false, nil
		}
		l.Spec.HolderIdentity = nil
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("release the lock on namespace %s: %w", namespace, err)
	}
	return nil
}

// changeLock reads the Lease, or begins a new one, has it changed and writes it if that says so; from the start again if
// somebody else was faster.
func (c *Client) changeLock(ctx context.Context, namespace string, change func(*coordinationv1.Lease) (write bool, err error)) error {
	leases := c.api.CoordinationV1().Leases(namespace)
	var err error
	for range lockTries {
		var l *coordinationv1.Lease
		l, err = get(ctx, leases.Get, operationLease)
		verb := "update"
		if apierrors.IsNotFound(err) {
			verb, err = "create", nil
			l = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: operationLease, Namespace: namespace, Labels: map[string]string{managedBy: "unstuck"}}}
		}
		if err != nil {
			return explain(err, "get", "leases", namespace)
		}
		write, refusal := change(l)
		if !write || refusal != nil {
			return refusal
		}
		if err = c.writeLock(ctx, l, verb); !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			return explain(err, verb, "leases", namespace)
		}
	}
	return err
}

func (c *Client) writeLock(ctx context.Context, l *coordinationv1.Lease, verb string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	leases := c.api.CoordinationV1().Leases(l.Namespace)
	var err error
	if verb == "create" {
		_, err = leases.Create(ctx, l, metav1.CreateOptions{})
	} else {
		_, err = leases.Update(ctx, l, metav1.UpdateOptions{})
	}
	return err
}

func holderOf(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// take makes h the holder of a Lease that nobody else holds at that time. One that is held without an end, which closes
// the guard, too, is held for ever.
func take(l *coordinationv1.Lease, h release.Holder, now time.Time) error {
	was := trimLock(l)
	if was.holder != "" && was.holder != h.ID {
		expires := was.renewed.Add(was.lasts)
		endless := was.renewed.IsZero() || was.lasts <= 0
		if endless || now.Before(expires) {
			by := release.Holder{ID: was.holder, Owner: l.Annotations[ownerNote], Reason: l.Annotations[reasonNote], TTL: was.lasts}
			if by.Owner == "" { // it is not of our making
				by.Owner = was.holder
			}
			if endless {
				expires = time.Time{}
			}
			return &release.LockedError{Holder: by, Expires: expires}
		}
	}
	at := metav1.NewMicroTime(now)
	if was.holder != h.ID {
		transitions := int32(1)
		if l.Spec.LeaseTransitions != nil {
			transitions = *l.Spec.LeaseTransitions + 1
		}
		l.Spec.AcquireTime, l.Spec.LeaseTransitions = &at, &transitions
	}
	seconds := int32(max(1, math.Ceil(h.TTL.Seconds())))
	l.Spec.HolderIdentity, l.Spec.RenewTime, l.Spec.LeaseDurationSeconds = &h.ID, &at, &seconds
	l.Annotations = with(l.Annotations, ownerNote, strings.ToValidUTF8(h.Owner, "?"), reasonNote, strings.ToValidUTF8(h.Reason, "?"))
	return nil
}
