package kube

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/share"
)

// brokersShared are names of which each shard of eight has some.
func brokersShared() (names []string) {
	for i := range 64 {
		names = append(names, fmt.Sprintf("broker-%d", i))
	}
	return names
}

func sharingClient(c *cluster) *Client {
	client := c.client()
	client.share(Sharing{Shards: 8, Members: 4})
	return client
}

// led says how many of the brokers each client leads, and checks that each has one leader and at least so many watchers.
func led(t *testing.T, watchers int, clients ...*Client) []int {
	t.Helper()
	counts := make([]int, len(clients))
	for _, name := range brokersShared() {
		leaders, watching := 0, 0
		for i, c := range clients {
			var v probe.View
			c.Place(name, &v)
			if v.Leading == probe.Yes {
				leaders++
				counts[i]++
				if v.Elsewhere != "" || v.LeadingSince.IsZero() {
					t.Errorf("%s: it leads, and says %+v", name, v)
				}
			}
			if v.Elsewhere == "" {
				watching++
			}
		}
		if leaders != 1 || watching < watchers {
			t.Errorf("%s has %d leaders and %d watchers", name, leaders, watching)
		}
	}
	return counts
}

func TestReplicasShareTheBrokersAndAStoppedOnesGoToTheOthersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		var clients []*Client
		var stops []func()
		for i := range 3 {
			clients = append(clients, sharingClient(c))
			stops = append(stops, start(t, clients[i], fmt.Sprint("replica-", i)))
		}
		pass(4 * time.Minute)
		if counts := led(t, 2, clients...); slices.Min(counts) == 0 {
			t.Errorf("they lead %v", counts)
		}
		since := func() (all []time.Time) {
			for _, name := range brokersShared() {
				for _, c := range clients {
					_, at := c.leading(name, time.Now())
					all = append(all, at)
				}
			}
			return all
		}
		before := since()
		pass(time.Minute)
		if !slices.EqualFunc(before, since(), time.Time.Equal) {
			t.Error("nothing has happened, and they do not lead since when they did a minute ago")
		}
		stopped := time.Now()
		stops[0]()
		if took := time.Since(stopped); took > time.Second {
			t.Errorf("nothing acted any more, and it took %s to stop", took)
		}
		pass(15 * time.Second)
		led(t, 2, clients[1:]...)
		if a, _ := clients[0].leading("broker-0", time.Now()); a == probe.Yes {
			t.Error("it has stopped and leads")
		}
	})
}

func TestAShardOfAReplicaThatIsKilledIsTakenOverWhenItsLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := sharingClient(c), sharingClient(c)
		start(t, a, "a")
		stopB := start(t, b, "b")
		pass(4 * time.Minute)
		led(t, 2, a, b)
		// What is killed gives nothing up: the last words stay those of b.
		leases, err := c.CoordinationV1().Leases("unstuck").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		stopB()
		for _, l := range leases.Items {
			if holderOf(&l) == "b" {
				c.put(&l)
			}
		}
		pass(7 * time.Second)
		missing := 0
		for _, name := range brokersShared() {
			if leading, _ := a.leading(name, time.Now()); leading != probe.Yes {
				missing++
			}
		}
		if missing == 0 {
			t.Error("a has taken what b may still hold")
		}
		pass(23 * time.Second)
		led(t, 1, a)
	})
}

func TestWhoeverSharesOtherwiseOrDoesNotActsOnlyOnceTheOthersAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := sharingClient(c), sharingClient(c)
		stopA, stopB := start(t, a, "a"), start(t, b, "b")
		pass(time.Minute)
		alone, more := c.client(), c.client()
		more.share(Sharing{Shards: 16, Members: 4})
		start(t, alone, "alone")
		start(t, more, "more")
		pass(time.Minute)
		led(t, 2, a, b)
		for _, name := range brokersShared() {
			for _, other := range []*Client{alone, more} {
				if got, _ := other.leading(name, time.Now()); got != probe.No {
					t.Fatalf("%s: %s beside those who share", name, got)
				}
			}
		}
		stopA()
		pass(time.Minute)
		led(t, 1, b)
		stopB()
		pass(8 * time.Second) // the common Lease ends by itself
		if got, _ := alone.leading("broker-0", time.Now()); got == probe.Yes {
			t.Error("it leads while b might")
		}
		pass(30 * time.Second)
		leaders := 0
		for _, other := range []*Client{alone, more} {
			if got, _ := other.leading("broker-0", time.Now()); got == probe.Yes {
				leaders++
			}
		}
		if leaders != 1 {
			t.Errorf("%d of two who share differently lead", leaders)
		}
	})
}

func TestAPodIsDeletedByTheReplicaThatHoldsItsBrokersShardAndByNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, broker()...)
		clients := []*Client{sharingClient(c), sharingClient(c)}
		var pods []*Pods
		for i, client := range clients {
			pods = append(pods, watchOne(t, client, brokerTarget()))
			start(t, client, fmt.Sprint("replica-", i))
		}
		pass(time.Minute)
		refusals := 0
		for i, p := range pods {
			v, err := p.View(t.Context(), p.Name)
			if err != nil {
				t.Fatal(err)
			}
			if v.Leading == probe.Yes {
				continue
			}
			refusals++
			if err := p.Delete(t.Context(), v.Nodes[0], time.Minute); !errors.Is(err, probe.ErrRefused) || !strings.Contains(err.Error(), "does not lead") {
				t.Errorf("replica %d: %v", i, err)
			}
		}
		if refusals != 1 || len(c.deletions) != 0 {
			t.Errorf("%d refusals, %d deletions", refusals, len(c.deletions))
		}
	})
}

func TestWithoutThePermissionForTheLeasesNobodyLeadsAndTheLogSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		client := sharingClient(c)
		c.deny("create", "leases", true)
		start(t, client, "a")
		pass(time.Minute)
		for _, name := range brokersShared() {
			if got, _ := client.leading(name, time.Now()); got != probe.CannotTell {
				t.Errorf("%s: %s", name, got)
			}
		}
		if fault := client.sharing.fault; !strings.Contains(fault, "not allowed: leases create") {
			t.Errorf("it says %q", fault)
		}
		c.deny("create", "leases", false)
		pass(time.Minute)
		led(t, 1, client)
	})
}

// aloneAtIt looks again and again for so long who leads which broker, and fails where one replica begins to lead it while
// what another has begun as its leader may still go on.
func aloneAtIt(t *testing.T, d time.Duration, clients ...*Client) {
	t.Helper()
	type leader struct {
		client int
		until  time.Time
	}
	last := make(map[string]leader)
	for end := time.Now().Add(d); time.Now().Before(end); pass(100 * time.Millisecond) {
		for _, name := range brokersShared() {
			for i, c := range clients {
				now := time.Now()
				if leading, _ := c.leading(name, now); leading != probe.Yes {
					continue
				}
				if was, led := last[name]; led && was.client != i && now.Before(was.until) {
					t.Fatalf("replica %d leads %s, and what replica %d has begun there may go on for %s", i, name, was.client, was.until.Sub(now))
				}
				last[name] = leader{i, now.Add(callTimeout)}
			}
		}
	}
}

func TestALeaseThatSomebodyDeletesIsNotTakenWhileItsHolderMayActByIt(t *testing.T) {
	for what, connect := range map[string]func(*cluster) *Client{"shared": sharingClient, "not shared": (*cluster).client} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				a, b := connect(c), connect(c)
				start(t, a, "a")
				start(t, b, "b")
				pass(4 * time.Minute)
				led(t, 2, a, b)
				for i := range 20 {
					leases, err := c.CoordinationV1().Leases("unstuck").List(t.Context(), metav1.ListOptions{})
					if err != nil {
						t.Fatal(err)
					}
					for _, l := range leases.Items {
						if !strings.Contains(l.Name, "seat") {
							c.drop("leases", "coordination.k8s.io", "unstuck", l.Name)
						}
					}
					aloneAtIt(t, 45*time.Second+time.Duration(i)*170*time.Millisecond, a, b)
					led(t, 2, a, b)
				}
			})
		})
	}
}

// As that of whoever has given it up it would be there to be taken at once.
func TestAWriteOverALeaseThatSomebodyHasDeletedDoesNotMakeItAnew(t *testing.T) {
	c := newCluster(t)
	s := sharingClient(c).sharing
	made, o := s.ask(t.Context(), "a-lease", share.Request{Verb: share.Write, Holder: "me", Taken: time.Now(), At: time.Now()})
	if o != share.Done || made.Holder != "me" {
		t.Fatalf("%+v, %d", made, o)
	}
	c.drop("leases", "coordination.k8s.io", "unstuck", "a-lease")
	if l, o := s.ask(t.Context(), "a-lease", share.Request{Verb: share.Write, Over: made.Version}); o != share.Overtaken {
		t.Errorf("%+v, %d", l, o)
	}
	if l, o := s.ask(t.Context(), "a-lease", share.Request{Verb: share.Get}); o != share.Done || l != (share.Lease{}) {
		t.Errorf("it is there again: %+v, %d", l, o)
	}
}

func TestNoRequestAboutALeaseWaitsForTheOthers(t *testing.T) {
	for _, s := range []Sharing{{}, {Shards: 8, Members: 4}, {Shards: 64, Members: 12}, {Shards: 256, Members: 64}} {
		synctest.Test(t, func(t *testing.T) {
			client, err := Connect(Options{Kubeconfig: kubeconfig(t, "https://kubernetes.invalid"), Sharing: s}, quiet())
			if err != nil {
				t.Fatal(err)
			}
			limit := client.api.CoordinationV1().RESTClient().GetRateLimiter()
			for turn := range 100 {
				for i := range s.Shards + s.Members + 2 { // the common Lease, and a namespace's lock
					if !limit.TryAccept() {
						t.Fatalf("%+v: at turn %d request %d has to wait", s, turn, i)
					}
				}
				time.Sleep(share.DefaultTimes.Retry)
			}
		})
	}
}
