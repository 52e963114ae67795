package apiserver

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LockLease is the Lease by which a deploy, a restart or a deletion locks its namespace. It is held while its holder
// has a name, and its renewTime and leaseDurationSeconds together lie ahead.
const LockLease = "unstuck-operation"

// Annotations of the Lease, which say more of its holder.
const (
	ownerNote  = "unstuck.cjworkbench.org/owner"
	reasonNote = "unstuck.cjworkbench.org/reason"
)

// lockTries is how often the Lease is read and written again when somebody else has written it in between.
const lockTries = 5

// Holder is who holds the lock on a namespace, and why.
type Holder struct {
	ID     string // of the process and what it does; two processes never share one
	Owner  string
	Reason string
	TTL    time.Duration // how long the lock outlives its last renewal
}

// LockedError says that somebody else holds the lock.
type LockedError struct {
	Holder  Holder
	Expires time.Time // unless it is renewed; zero: it has no end
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("locked by %s: %s", e.Holder.Owner, e.Holder.Reason)
}

// Lock is what a Lease says of the lock.
type Lock struct {
	Holder  string // its ID; empty: nobody
	Renewed time.Time
	Lasts   time.Duration
}

// LockOf reads a Lease.
func LockOf(l *coordinationv1.Lease) Lock {
	var lock Lock
	if l.Spec.HolderIdentity != nil {
		lock.Holder = *l.Spec.HolderIdentity
	}
	if l.Spec.RenewTime != nil {
		lock.Renewed = l.Spec.RenewTime.Time
	}
	if l.Spec.LeaseDurationSeconds != nil {
		lock.Lasts = time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second
	}
	return lock
}

// TakeLock makes h the holder of the namespace's lock, or renews that, or gives a *LockedError. A holder renews it well
// within half of its TTL, so the clocks of two who want it may differ by the other half.
func (c *Conn) TakeLock(ctx context.Context, namespace string, h Holder) error {
	err := c.changeLock(ctx, namespace, func(l *coordinationv1.Lease) (bool, error) {
		return true, take(l, h, time.Now())
	})
	if err != nil {
		return fmt.Errorf("take the lock on namespace %s: %w", namespace, err)
	}
	return nil
}

// GiveLock gives the namespace's lock back if id holds it.
func (c *Conn) GiveLock(ctx context.Context, namespace, id string) error {
	err := c.changeLock(ctx, namespace, func(l *coordinationv1.Lease) (bool, error) {
		if LockOf(l).Holder != id {
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

// changeLock reads the Lease, or begins a new one, has it changed and writes it if that says so; from the start again
// if somebody else was faster.
func (c *Conn) changeLock(
	ctx context.Context, namespace string, change func(*coordinationv1.Lease) (write bool, err error),
) error {
	leases := c.CoordinationV1().Leases(namespace)
	var err error
	for range lockTries {
		var l *coordinationv1.Lease
		l, err = Get(ctx, leases.Get, LockLease)
		verb := "update"
		if apierrors.IsNotFound(err) {
			verb, err = "create", nil
			l = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
				Name: LockLease, Namespace: namespace, Labels: map[string]string{ManagedBy: "unstuck"},
			}}
		}
		if err != nil {
			return Explain(err, "get", "leases", namespace)
		}
		write, refusal := change(l)
		if !write || refusal != nil {
			return refusal
		}
		err = c.writeLock(ctx, l, verb)
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			return Explain(err, verb, "leases", namespace)
		}
	}
	return err
}

func (c *Conn) writeLock(ctx context.Context, l *coordinationv1.Lease, verb string) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	leases := c.CoordinationV1().Leases(l.Namespace)
	var err error
	if verb == "create" {
		_, err = leases.Create(ctx, l, metav1.CreateOptions{})
	} else {
		_, err = leases.Update(ctx, l, metav1.UpdateOptions{})
	}
	return err
}

// take makes h the holder of a Lease that nobody else holds at that time. One that is held without an end, which closes
// the guard, too, is held for ever.
func take(l *coordinationv1.Lease, h Holder, now time.Time) error {
	was := LockOf(l)
	if was.Holder != "" && was.Holder != h.ID {
		expires := was.Renewed.Add(was.Lasts)
		endless := was.Renewed.IsZero() || was.Lasts <= 0
		if endless || now.Before(expires) {
			by := Holder{ID: was.Holder, Owner: l.Annotations[ownerNote], Reason: l.Annotations[reasonNote], TTL: was.Lasts}
			if by.Owner == "" { // it is not of our making
				by.Owner = was.Holder
			}
			if endless {
				expires = time.Time{}
			}
			return &LockedError{Holder: by, Expires: expires}
		}
	}
	at := metav1.NewMicroTime(now)
	if was.Holder != h.ID {
		transitions := int32(1)
		if l.Spec.LeaseTransitions != nil {
			transitions = *l.Spec.LeaseTransitions + 1
		}
		l.Spec.AcquireTime, l.Spec.LeaseTransitions = &at, &transitions
	}
	seconds := int32(max(1, math.Ceil(h.TTL.Seconds())))
	l.Spec.HolderIdentity, l.Spec.RenewTime, l.Spec.LeaseDurationSeconds = &h.ID, &at, &seconds
	metav1.SetMetaDataAnnotation(&l.ObjectMeta, ownerNote, strings.ToValidUTF8(h.Owner, "?"))
	metav1.SetMetaDataAnnotation(&l.ObjectMeta, reasonNote, strings.ToValidUTF8(h.Reason, "?"))
	return nil
}
