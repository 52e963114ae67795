package kube

import (
	"context"
	"time"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/target"
)

// Lock takes the lock on the pods' namespace, by which deploys and deletions wait for each other, or renews it for
// who has that id. It ends by itself after ttl. If somebody else holds it, the error is a *apiserver.LockedError.
//
// From then on the lock of that id holds back no deletion of these pods: it is there for one.
func (p *Pods) Lock(ctx context.Context, id, reason string, ttl time.Duration) error {
	p.mu.Lock()
	p.holding = id
	p.mu.Unlock()
	return p.client.TakeLock(ctx, p.Namespace, apiserver.Holder{
		ID: id, Owner: "unstuck, for " + p.Name, Reason: reason, TTL: ttl,
	})
}

// Unlock gives the lock back if id holds it.
func (p *Pods) Unlock(ctx context.Context, id string) error {
	return p.client.GiveLock(ctx, p.Namespace, id)
}

// operating says whether somebody else than we ourselves holds the lock on the namespace, and who.
func (p *Pods) operating(locks map[string]apiserver.Lock, now time.Time) (verdict, string) {
	l, found := locks[apiserver.LockLease]
	held, who := operating(l, found, now)
	p.mu.Lock()
	defer p.mu.Unlock()
	if held.Answer == target.Yes && l.Holder == p.holding {
		return no("we hold the lock ourselves"), ""
	}
	return held, who
}
