package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cjworkbench/unstuck/e2e/cluster"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/share"
	"github.com/cjworkbench/unstuck/web"
)

// Into how many shards brokers are dealt, and how many replicas can take part in that.
const crowdShards, crowdSeats = 16, 6

// Within which time docs/scaling.md says that others lead the shards of a replica that dies, and what is added to that for
// a machine on which other tests run.
const takeoverWithin, takeoverSlack = 26 * time.Second, 10 * time.Second

// crowd is three replicas that share brokers out.
type crowd struct {
	t       *testing.T
	daemon  *cluster.Unstuck
	brokers []string // by name
}

// place is which replicas say in their metrics that they watch a broker, and which that they lead it, as of their latest
// turn.
type place struct {
	watchers []string
	leaders  map[string]time.Time
}

// Brokers are dealt out over replicas that lead and watch as package share says; the others take over what a dead one
// had, and nothing else; and a node that gets stuck meanwhile is deleted once, by whom the Lease names.
func TestReplicasShareTheBrokersAndTheOthersTakeOverThoseOfADeadOne(t *testing.T) {
	t.Parallel()
	acted, watchedOnly := startLone(t, "shared-a"), startLone(t, "shared-b")
	c := startCrowd(t, acted, watchedOnly)
	c.wait(4*time.Minute, "each shard is led by whom it should be", c.settled)
	c.wait(time.Minute, "each broker is watched by two", c.watchedBy(func(n int) bool { return n == share.Watchers }))
	c.elsewhere()

	const broker = "acted"
	node := acted.Pods()[0]
	before, err := acted.Pod(within(t, 10*time.Second), node)
	if err != nil {
		t.Fatal(err)
	}
	dead, pods := holderOf(c.leases()[leaseOf(broker)]), c.pods()
	if err := acted.WedgeLogin(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	c.wait(time.Minute, "suspected by its owner", func() error {
		v, err := c.view(broker)
		return errors.Join(err, phase(node, remediate.Suspect, remediate.Confirmed)(v))
	})
	killed := time.Now()
	if err := c.daemon.Kill(pods[podOf(dead)]); err != nil {
		t.Fatal(err)
	}
	c.takenOver(c.leases(), dead, killed)
	c.wait(takeoverWithin+takeoverSlack-time.Since(killed), "each broker is watched by two again",
		c.watchedBy(func(n int) bool { return n >= share.Watchers }))

	a := c.deletedOnce(broker, acted, string(before.UID))
	if a.At.Before(killed) {
		t.Errorf("deleted at %v, before %s was killed at %v", a.At, dead, killed)
	}
	c.unhindered()
}

// startCrowd has three replicas share six brokers: the first alone may be acted upon, and the others, to have some, are the
// second one by several names.
func startCrowd(t *testing.T, acted, watchedOnly *cluster.Broker) *crowd {
	t.Helper()
	base, err := prepared()
	if err != nil {
		t.Fatal(err)
	}
	c := &crowd{t: t, daemon: base.In("unstuck-shared"), brokers: []string{"acted"}}
	values := fmt.Sprintf(`
replicas: 3
config:
  kubernetes: {shards: %d, members: %d}
  brokers:
`, crowdShards, crowdSeats) + watched("acted", acted, "remediate", quick+"      single_node: true\n")
	for i := range 5 {
		c.brokers = append(c.brokers, fmt.Sprint("watched-", i))
		values += watched(c.brokers[i+1], watchedOnly, "observe", "    handshake_timeout: 3s\n    probes: {login: {timeout: 4s}}\n")
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		if t.Failed() {
			(&installation{Unstuck: c.daemon}).explain(t)
		}
		if err := c.daemon.Remove(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := c.daemon.Install(within(t, 3*time.Minute), values); err != nil {
		t.Fatal(err)
	}
	return c
}

// leaseOf names the Lease of a broker's shard.
func leaseOf(broker string) string { return shardLease(share.ShardOf(broker, crowdShards)) }

func shardLease(shard int) string { return fmt.Sprintf("unstuck-%d-shard-%d", crowdShards, shard) }

// holderOf gives the process that holds a Lease; empty: none does.
func holderOf(l coordinationv1.LeaseSpec) string {
	if l.HolderIdentity == nil {
		return ""
	}
	return *l.HolderIdentity
}

// podOf gives the pod of a process that holds a Lease.
func podOf(identity string) string { return identity[:max(0, strings.LastIndex(identity, "-"))] }

func (c *crowd) leases() map[string]coordinationv1.LeaseSpec {
	c.t.Helper()
	all, err := c.daemon.Leases(within(c.t, 10*time.Second))
	if err != nil {
		c.t.Fatal(err)
	}
	return all
}

// pods gives the replicas by name.
func (c *crowd) pods() map[string]*corev1.Pod {
	c.t.Helper()
	list, err := c.daemon.Pods(within(c.t, 10*time.Second))
	if err != nil {
		c.t.Fatal(err)
	}
	all := make(map[string]*corev1.Pod)
	for i := range list {
		all[list[i].Name] = &list[i]
	}
	return all
}

// places gives who leads and who watches each broker, and sees to it that nobody led one that was another's by then.
func (c *crowd) places() map[string]place {
	c.t.Helper()
	all := make(map[string]place)
	for name, pod := range c.pods() {
		ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
		text, err := c.daemon.Metrics(ctx, pod)
		cancel()
		if err != nil { // it has been killed
			continue
		}
		for _, broker := range c.brokers {
			p := all[broker]
			if sample(text, "unstuck_broker_nodes_expected", broker) != "" {
				p.watchers = append(p.watchers, name)
			}
			if sample(text, "unstuck_leading", broker) == "1" {
				at, err := strconv.ParseFloat(sample(text, "unstuck_loop_last_turn_timestamp_seconds", broker), 64)
				if err != nil {
					c.t.Fatalf("the latest turn of %s for %s: %v", name, broker, err)
				}
				if p.leaders == nil {
					p.leaders = make(map[string]time.Time)
				}
				p.leaders[name] = time.UnixMicro(int64(at * 1e6))
			}
			all[broker] = p
		}
	}
	leases := c.leases()
	for broker, p := range all {
		l := leases[leaseOf(broker)]
		for name, at := range p.leaders {
			if holder := holderOf(l); holder != "" && name != podOf(holder) && at.After(l.AcquireTime.Time) {
				c.t.Fatalf("%s led %s at %v, and %s took its Lease at %v", name, broker, at, holder, l.AcquireTime)
			}
		}
	}
	return all
}

// wait waits until ok gives no error, and looks at who leads all the while.
func (c *crowd) wait(d time.Duration, what string, ok func() error) {
	c.t.Helper()
	ctx := within(c.t, d)
	began := time.Now()
	for {
		c.places()
		err := ok()
		if err == nil {
			c.t.Logf("%s: after %v", what, time.Since(began).Round(100*time.Millisecond))
			return
		}
		if ctx.Err() != nil {
			c.t.Fatalf("%s: not within %v: %v", what, d, err)
		}
		pause(ctx, 300*time.Millisecond)
	}
}

// settled wants three members who have been there for long enough to be given shards, and each shard to be led by the first
// of them, as the Leases say and, of those that have a broker, the metrics.
func (c *crowd) settled() error {
	leases := c.leases()
	members := make(map[int]string) // by seat
	for i := range crowdSeats {
		l := leases[fmt.Sprintf("unstuck-%d-seat-%d", crowdShards, i)]
		if holderOf(l) == "" {
			continue
		}
		if held := l.RenewTime.Sub(l.AcquireTime.Time); held < share.DefaultTimes.Warm {
			return fmt.Errorf("%s has been there for %v", holderOf(l), held)
		}
		members[i] = holderOf(l)
	}
	if len(members) != 3 {
		return fmt.Errorf("the members are %v", members)
	}
	seats := slices.Sorted(maps.Keys(members))
	for i := range crowdShards {
		if got, want := holderOf(leases[shardLease(i)]), members[share.Rank(i, seats)[0]]; got != want {
			return fmt.Errorf("%s is held by %q, not by %s", shardLease(i), got, want)
		}
	}
	return c.told(leases)
}

// told wants the metrics to name as the leader of each broker whom the Leases name.
func (c *crowd) told(leases map[string]coordinationv1.LeaseSpec) error {
	places := c.places()
	for _, broker := range c.brokers {
		leaders, holder := places[broker].leaders, holderOf(leases[leaseOf(broker)])
		if _, leads := leaders[podOf(holder)]; !leads || len(leaders) != 1 {
			return fmt.Errorf("%s is led by %v, and its Lease held by %s", broker, leaders, holder)
		}
	}
	return nil
}

// watchedBy wants each broker to be watched by so many.
func (c *crowd) watchedBy(enough func(int) bool) func() error {
	return func() error {
		places := c.places()
		for _, broker := range c.brokers {
			if n := len(places[broker].watchers); !enough(n) {
				return fmt.Errorf("%s is watched by %d", broker, n)
			}
		}
		return nil
	}
}

// elsewhere wants whoever does not watch a broker to name the Lease whose holder does.
func (c *crowd) elsewhere() {
	c.t.Helper()
	places := c.places()
	for name, pod := range c.pods() {
		for _, broker := range c.brokers {
			var v web.Broker
			if err := c.daemon.API(within(c.t, 10*time.Second), pod, "/api/v1/brokers/"+broker, &v); err != nil {
				c.t.Fatal(err)
			}
			if watches := slices.Contains(places[broker].watchers, name); watches != (v.Elsewhere == "") {
				c.t.Errorf("%s watches %s: %v, and says of it %q", name, broker, watches, v.Elsewhere)
			}
			if v.Elsewhere != "" && !strings.HasSuffix(v.Elsewhere, " "+leaseOf(broker)) {
				c.t.Errorf("%s says of %s: %q, want %s", name, broker, v.Elsewhere, leaseOf(broker))
			}
		}
	}
}

// takenOver waits until others lead all that the dead process led, by the Leases as it left them, and checks that this is in
// time, neither too late nor too early, and that all else is as it was. What has just begun in the dead one's pod is not one
// of those others: it has no evidence yet.
func (c *crowd) takenOver(left map[string]coordinationv1.LeaseSpec, dead string, killed time.Time) {
	c.t.Helper()
	var now map[string]coordinationv1.LeaseSpec
	c.wait(takeoverWithin+takeoverSlack, "others lead what the dead one led", func() error {
		now = c.leases()
		for i := range crowdShards {
			if holder := holderOf(now[shardLease(i)]); holder == dead || holder == "" {
				return fmt.Errorf("%s is held by %q", shardLease(i), holder)
			}
		}
		return c.told(now)
	})
	first, last := time.Hour, time.Duration(0)
	for i := range crowdShards {
		was, is := left[shardLease(i)], now[shardLease(i)]
		before, after := holderOf(was), holderOf(is)
		switch {
		case before != dead && (after != before || is.AcquireTime.Sub(was.AcquireTime.Time).Abs() > time.Second): // it is reckoned anew
			c.t.Errorf("%s was not the dead one's, and went from %s at %s to %s at %s", shardLease(i), before, was.AcquireTime, after, is.AcquireTime)
		case before != dead:
		case podOf(after) == podOf(dead):
			c.t.Errorf("%s is led by %s, which has just begun", shardLease(i), after)
		default:
			if since := is.AcquireTime.Sub(was.RenewTime.Time); since < share.DefaultTimes.Lease {
				c.t.Errorf("%s was taken %v after its holder had renewed it", shardLease(i), since)
			}
			took := is.AcquireTime.Sub(killed)
			first, last = min(first, took), max(last, took)
		}
	}
	c.t.Logf("its shards were taken over after %v to %v", first.Round(100*time.Millisecond), last.Round(100*time.Millisecond))
	if last > takeoverWithin+takeoverSlack {
		c.t.Errorf("want %v at most", takeoverWithin)
	}
}

// view gives what the leader says of a broker.
func (c *crowd) view(broker string) (v web.Broker, err error) {
	leader := podOf(holderOf(c.leases()[leaseOf(broker)]))
	pod := c.pods()[leader]
	if pod == nil {
		return v, fmt.Errorf("%s is led by %q", broker, leader)
	}
	return v, c.daemon.API(within(c.t, 10*time.Second), pod, "/api/v1/brokers/"+broker, &v)
}

// deletedOnce waits until the only node of a broker, which had that UID, is cured, and checks that one replica has deleted it,
// once, and that the Lease of its shard was that one's.
func (c *crowd) deletedOnce(broker string, b *cluster.Broker, uid string) remediate.Act {
	c.t.Helper()
	holders := make(map[string]time.Time) // of the Lease, and since when
	var v web.Broker
	c.wait(4*time.Minute, "cured", func() (err error) {
		if l := c.leases()[leaseOf(broker)]; holderOf(l) != "" {
			holders[holderOf(l)] = l.AcquireTime.Time
		}
		if v, err = c.view(broker); err != nil {
			return err
		}
		if len(v.Nodes) != 1 || v.Nodes[0].Phase != remediate.Well || len(v.Acts) == 0 || v.Acts[len(v.Acts)-1].Outcome == remediate.Pending {
			return fmt.Errorf("%+v, %+v", v.Nodes, v.Acts)
		}
		return nil
	})
	now, err := b.Pod(within(c.t, 10*time.Second), b.Pods()[0])
	if err != nil {
		c.t.Fatal(err)
	}
	if len(v.Acts) != 1 || v.Acts[0].Outcome != remediate.Recovered || v.Acts[0].UID != uid || v.Acts[0].NewUID != string(now.UID) {
		c.t.Fatalf("the pod had the UID %s and has %s; the acts are %+v", uid, now.UID, v.Acts)
	}
	owner, since := "", time.Time{} // when the node was deleted
	for identity, from := range holders {
		if from.Before(v.Acts[0].At) && from.After(since) {
			owner, since = identity, from
		}
	}
	if owner == "" {
		c.t.Fatalf("deleted at %v, and the Lease was held by %v", v.Acts[0].At, holders)
	}
	for name, pod := range c.pods() {
		text, err := c.daemon.Metrics(within(c.t, 10*time.Second), pod)
		if err != nil {
			c.t.Fatal(err)
		}
		counted := sample(text, "unstuck_acts_total", broker)
		if owned := name == podOf(owner); (counted == "1") != owned || !owned && counted != "" && counted != "0" {
			c.t.Errorf("%s counts %q deletions; the Lease was %s's", name, counted, owner)
		}
	}
	c.t.Logf("deleted by %s, which had led since %v before", owner, v.Acts[0].At.Sub(since).Round(100*time.Millisecond))
	return v.Acts[0]
}

// unhindered wants no request about a Lease to have waited for others for long, of which the logs would tell.
func (c *crowd) unhindered() {
	c.t.Helper()
	for name := range c.pods() {
		log, err := c.daemon.Logs(within(c.t, 20*time.Second), name, 100_000)
		if err != nil {
			c.t.Fatal(err)
		}
		for line := range strings.Lines(log) {
			if strings.Contains(line, "client-side throttling") && strings.Contains(line, "/leases") {
				c.t.Fatalf("%s: %s", name, line)
			}
		}
	}
}
