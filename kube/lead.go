package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"

	"github.com/cjworkbench/unstuck/clock"
	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/target"
)

// The times of the election, client-go's own defaults but for renewDeadline. Nobody takes a Lease from its holder
// before it has not been renewed for leaseDuration, as seen by the one who takes it. The holder counts itself as
// leading for renewDeadline only, from before it asked for the renewal: what it begins then has apiserver.Timeout to
// end before another could lead, with a second left for clocks that do not run equally fast. A holder renews, and a
// follower looks, after retryPeriod and up to 2.2 times that.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 9 * time.Second
	retryPeriod   = 2 * time.Second
)

// Lead campaigns for the Lease until ctx ends, and gives it up then; a lost Lease is campaigned for again. The identity
// must be this process's alone: a replica that starts anew under an old name would take its predecessor's Lease for its
// own.
//
// Its requests are also how we know that the API server is there: without it nothing counts as known. End ctx only when
// everything that acts has ended, for then another replica leads at once.
func (c *Client) Lead(ctx context.Context, identity string) error {
	if identity == "" {
		return errors.New("campaign for the lease: want an identity")
	}
	k := c.campaign
	k.setIdentity(identity)
	// Who leads is logged here; of client-go's own words some would come with each attempt.
	ctx = klog.NewContext(ctx, klog.New(nil))
	for ctx.Err() == nil {
		lock := &observedLock{campaign: k, Interface: &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: k.namespace, Name: k.lease}, Client: k.api.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
		}}
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
			ReleaseOnCancel: true, Name: k.lease,
			Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) {}, OnStoppedLeading: func() {}},
		})
		if err != nil {
			return fmt.Errorf("campaign for the lease: %w", err)
		}
		elector.Run(ctx)
		k.stopped()
	}
	return nil
}

// IsLeader says whether this replica leads now, and since when if so.
func (c *Client) IsLeader() (target.Answer, time.Time) { return c.campaign.isLeader(time.Now()) }

// campaign is what is known of the Lease.
type campaign struct {
	api              apiserver.API
	namespace, lease string
	log              *slog.Logger

	mu       sync.Mutex
	identity string
	answered time.Time // when the latest request began that the API server answered
	err      error     // why the latest was not
	renewed  time.Time // when the latest request began that made or kept us the holder; zero: we are not
	since    time.Time // when we took the Lease that we hold
	holder   string    // whom the latest answer showed to hold it; empty: nobody
	others   time.Time // when an answer last came that showed another to hold it
}

func newCampaign(a apiserver.API, namespace, lease string, log *slog.Logger) *campaign {
	return &campaign{api: a, namespace: namespace, lease: lease, log: log}
}

func (k *campaign) setIdentity(identity string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.identity = identity
}

// isLeader says whether we lead now, and since when if so.
func (k *campaign) isLeader(now time.Time) (target.Answer, time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case !k.renewed.IsZero() && clock.Elapsed(k.renewed, now) < renewDeadline:
		return target.Yes, k.since
	case k.renewed.IsZero() && k.holder != "" && k.holder != k.identity && clock.Elapsed(k.answered, now) < leaseDuration:
		return target.No, time.Time{}
	}
	return target.CannotTell, time.Time{}
}

// heard gives when the API server was last heard of, or an error if that is too long ago.
func (k *campaign) heard(now time.Time) (time.Time, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case !k.answered.IsZero() && clock.Elapsed(k.answered, now) <= silence:
		return k.answered, nil
	case k.err != nil:
		return time.Time{}, fmt.Errorf("the API server does not answer: %w", k.err)
	case k.answered.IsZero():
		return time.Time{}, errors.New("the API server has not been asked yet")
	}
	return time.Time{}, fmt.Errorf("the API server has not answered since %s", k.answered.UTC().Format(time.RFC3339))
}

// note takes in how a request went that began at began. If the API server told who holds the Lease, held says so.
func (k *campaign) note(verb string, began time.Time, held *resourcelock.LeaderElectionRecord, err error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err = apiserver.Explain(err, verb, "leases", k.namespace); err == nil || apierrors.IsNotFound(err) ||
		apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		k.answered, k.err = began, nil
	} else {
		if k.err == nil || k.err.Error() != err.Error() {
			k.log.Warn("cannot renew or see the lease", "lease", k.lease, "namespace", k.namespace, "error", err.Error())
		}
		k.err = err
	}
	if held == nil {
		return err
	}
	before := k.holder
	k.holder = held.HolderIdentity
	switch {
	case k.holder != k.identity:
		k.renewed, k.since = time.Time{}, time.Time{}
		if k.holder != "" {
			k.others = time.Now()
		}
	case verb != "get":
		k.renewed = began
		// Truncated to what the API server keeps, so that it is the same when it comes back from there.
		k.since = held.AcquireTime.UTC().Truncate(time.Microsecond)
	}
	switch k.holder {
	case before, "":
	case k.identity:
		k.log.Info("leading: this replica holds the lease", "lease", k.lease, "namespace", k.namespace, "holder", k.holder,
			"is_leader", true)
	default:
		k.log.Info("another replica holds the lease and leads", "lease", k.lease, "namespace", k.namespace, "holder",
			k.holder, "is_leader", false)
	}
	return err
}

// stopped notes that the elector has ended: it has given the Lease up, or has lost it.
func (k *campaign) stopped() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.renewed.IsZero() {
		k.log.Warn("not leading any more", "lease", k.lease, "namespace", k.namespace)
	}
	k.renewed, k.since = time.Time{}, time.Time{}
}

// observedLock is a Lease whose requests are bounded and noted. Only the elector's goroutine uses it.
type observedLock struct {
	resourcelock.Interface

	campaign *campaign
	holder   string // as the latest answer had it
}

var (
	errOthers  = errors.New("another replica holds the lease by now")
	errDeleted = errors.New("somebody has deleted the lease, and the replica that held it may not know yet")
)

// mayBeHeld says whether another replica may count itself as the holder of a Lease that does not exist any more. We
// heard of it after it last renewed, by the clock that nobody sets.
func (k *campaign) mayBeHeld() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.others.IsZero() && time.Since(k.others) < leaseDuration
}

// Get reads the Lease. The elector takes one that does not exist at once.
func (l *observedLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, apiserver.Timeout)
	defer cancel()
	began := time.Now()
	record, raw, err := l.Interface.Get(ctx)
	if err == nil {
		l.holder = record.HolderIdentity
	}
	_ = l.campaign.note("get", began, record, err)
	if apierrors.IsNotFound(err) && l.campaign.mayBeHeld() {
		err = errDeleted
	}
	return record, raw, err
}

func (l *observedLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, "create", record, l.Interface.Create)
}

// Update renews, takes or releases the Lease. The elector releases what it last knew to be its own, even if another
// replica has taken it since (tryRelease in tools/leaderelection): that one would go on leading while a third takes it.
func (l *observedLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if record.HolderIdentity == "" && l.holder != l.Identity() {
		return errOthers
	}
	return l.write(ctx, "update", record, l.Interface.Update)
}

func (l *observedLock) write(
	ctx context.Context, verb string, record resourcelock.LeaderElectionRecord,
	write func(context.Context, resourcelock.LeaderElectionRecord) error,
) error {
	ctx, cancel := context.WithTimeout(ctx, apiserver.Timeout)
	defer cancel()
	began := time.Now()
	err := write(ctx, record)
	var held *resourcelock.LeaderElectionRecord
	if err == nil {
		held, l.holder = &record, record.HolderIdentity
	}
	_ = l.campaign.note(verb, began, held, err)
	return err
}
