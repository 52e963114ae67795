package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/share"
)

// Sharing says how brokers and applications are shared out over replicas.
type Sharing struct {
	Shards  int // into how many parts; 0: not at all, one replica leads all
	Members int // how many replicas can take part
}

// sharing is our part in it. All replicas together hold the one Lease of the campaign, by a name that they have in common,
// so that none that shares otherwise, or does not, acts beside them: it waits until that Lease ends. Within, who acts upon
// a shard is who holds its Lease.
type sharing struct {
	Sharing
	api              api
	namespace, lease string
	log              *slog.Logger
	campaign         *campaign

	mu     sync.Mutex
	member *share.Member // nil: not there yet
	fault  string        // why the latest request failed
}

// common is the identity of all who share like this. A replica with another number of shards has another.
func (s *sharing) common() string { return fmt.Sprintf("shared-by-%d", s.Shards) }

// The names of the Leases hold the number of shards: who shares otherwise takes no seat among us.
func (s *sharing) seat(i int) string  { return fmt.Sprintf("%s-%d-seat-%d", s.lease, s.Shards, i) }
func (s *sharing) shard(i int) string { return fmt.Sprintf("%s-%d-shard-%d", s.lease, s.Shards, i) }

// allowance is how many requests about Leases there may be, a second and at once. Each Lease is asked for every Retry at most,
// and all at once when we begin, or when the API server is back: nothing of that may wait for the rest, or Leases that are
// held would not be renewed in time. Besides there are the common Lease, and the locks of namespaces.
func (s Sharing) allowance() (qps float32, burst int) {
	qps, burst = 5, 10
	if s.Shards > 0 {
		leases := s.Shards + s.Members
		qps, burst = qps+float32(float64(leases)/share.DefaultTimes.Retry.Seconds()), burst+leases
	}
	return qps, burst
}

// share has brokers shared out. It must be called before anything is watched.
func (c *Client) share(s Sharing) {
	if s.Shards > 0 {
		c.sharing = &sharing{Sharing: s, api: c.api, namespace: c.namespace, lease: c.campaign.lease, log: c.log, campaign: c.campaign}
	}
}

// Place says of the broker of that name whether this replica leads it, and whether it should watch it, in v.
func (c *Client) Place(name string, v *probe.View) {
	now := time.Now()
	v.Leading, v.LeadingSince = c.leading(name, now)
	if c.sharing != nil {
		v.Elsewhere = c.sharing.elsewhere(name)
	}
	if v.Elsewhere != "" {
		v.Leading, v.LeadingSince = probe.No, time.Time{}
	}
}

// leading says whether this replica may act upon the broker of that name now, and since when if so.
func (c *Client) leading(name string, now time.Time) (probe.Answer, time.Time) {
	all, since := c.campaign.leading(now)
	if c.sharing == nil || all != probe.Yes {
		return all, since
	}
	return c.sharing.leading(name, now, since)
}

func (s *sharing) leading(name string, now, since time.Time) (probe.Answer, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.member == nil {
		return probe.CannotTell, time.Time{}
	}
	shard := share.ShardOf(name, s.Shards)
	if took, leads := s.member.Leads(shard, now); leads {
		if took.Before(since) {
			took = since
		}
		return probe.Yes, took.UTC().Truncate(time.Microsecond)
	}
	if s.member.Another(shard) != "" {
		return probe.No, time.Time{}
	}
	return probe.CannotTell, time.Time{}
}

// elsewhere says who watches the broker of that name, if we do not.
func (s *sharing) elsewhere(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	shard := share.ShardOf(name, s.Shards)
	if s.member == nil || s.member.Watches(shard) {
		return ""
	}
	return fmt.Sprintf("the replica that holds the lease %s", s.shard(shard))
}

// run takes part until ctx ends, and then gives up what it holds at once: nothing acts any more.
func (s *sharing) run(ctx context.Context, identity string) error {
	m := share.NewMember(identity, s.Members, s.Shards, share.DefaultTimes)
	s.mu.Lock()
	s.member = m
	s.mu.Unlock()
	var group errgroup.Group
	for i := range s.Members {
		group.Go(func() error { s.claim(ctx, s.seat(i), i, m.NextSeat, m.NoteSeat); return nil })
	}
	for i := range s.Shards {
		group.Go(func() error { s.claim(ctx, s.shard(i), i, m.NextShard, m.NoteShard); return nil })
	}
	return group.Wait()
}

// claim does what the member wants of one Lease, every few seconds.
func (s *sharing) claim(
	ctx context.Context, name string, i int, next func(int, time.Time) share.Request,
	note func(int, share.Request, time.Time, time.Time, share.Lease, share.Outcome),
) {
	turn := func(ctx context.Context) {
		s.mu.Lock()
		r := next(i, time.Now())
		s.mu.Unlock()
		if r.Verb == share.Nothing {
			return
		}
		began := time.Now()
		l, o := s.ask(ctx, name, r)
		s.mu.Lock()
		defer s.mu.Unlock()
		note(i, r, began, time.Now(), l, o)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			turn(ctx)
			timer.Reset(share.DefaultTimes.Retry)
		case <-ctx.Done():
			s.mu.Lock()
			s.member.Leave(true)
			s.mu.Unlock()
			turn(context.WithoutCancel(ctx))
			return
		}
	}
}

// ask asks the API server, and says how that went.
func (s *sharing) ask(ctx context.Context, name string, r share.Request) (share.Lease, share.Outcome) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	leases := s.api.CoordinationV1().Leases(s.namespace)
	var l *coordinationv1.Lease
	var err error
	verb := "get"
	switch {
	case r.Verb == share.Get:
		l, err = leases.Get(ctx, name, metav1.GetOptions{})
	case r.Over == "":
		verb = "create"
		l, err = leases.Create(ctx, s.written(name, r), metav1.CreateOptions{})
	default:
		verb = "update"
		l, err = leases.Update(ctx, s.written(name, r), metav1.UpdateOptions{})
	}
	missing := apierrors.IsNotFound(err)
	switch {
	case err == nil:
		s.note("")
		return seen(l), share.Done
	case missing && verb == "get":
		return share.Lease{}, share.Done
	case missing, apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return share.Lease{}, share.Overtaken
	case !errors.Is(err, context.Canceled):
		s.note(explain(err, verb, "leases", s.namespace).Error())
	}
	return share.Lease{}, share.Unclear
}

// note logs why a request failed, once for each reason.
func (s *sharing) note(fault string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fault != "" && fault != s.fault {
		s.log.Warn("cannot take part in sharing the brokers", "namespace", s.namespace, "error", fault)
	}
	s.fault = fault
}

// written is the Lease as r wants it.
func (s *sharing) written(name string, r share.Request) *coordinationv1.Lease {
	uid, version, _ := strings.Cut(r.Over, "/")
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: s.namespace, UID: types.UID(uid), ResourceVersion: version, Labels: map[string]string{managedBy: "unstuck"},
	}}
	if r.Holder != "" {
		seconds := int32(share.DefaultTimes.Lease / time.Second)
		l.Spec = coordinationv1.LeaseSpec{
			HolderIdentity: &r.Holder, LeaseDurationSeconds: &seconds,
			AcquireTime: new(metav1.NewMicroTime(r.Acquired())), RenewTime: new(metav1.NewMicroTime(r.At)),
		}
	}
	return l
}

// seen is what a Lease says. The UID is a part of its version: an update without one would make the Lease anew if somebody
// has deleted it, whatever resource version it names (AllowCreateOnUpdate in Kubernetes' pkg/registry/coordination/lease).
func seen(l *coordinationv1.Lease) share.Lease {
	it := share.Lease{Holder: holderOf(l), Version: string(l.UID) + "/" + l.ResourceVersion}
	if l.Spec.AcquireTime != nil && l.Spec.RenewTime != nil {
		it.Held = l.Spec.RenewTime.Sub(l.Spec.AcquireTime.Time)
	}
	return it
}
