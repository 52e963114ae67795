package kube

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/target"
)

// says is what the client says of itself.
func says(c *Client) target.Answer {
	a, _ := c.IsLeader()
	return a
}

// leads checks what each of the clients says of itself.
func leads(t *testing.T, want map[*Client]target.Answer) {
	t.Helper()
	for c, a := range want {
		if got := says(c); got != a {
			t.Errorf("%s says %s of itself, want %s", c.campaign.identity, got, a)
		}
	}
}

func TestClientLeadIsTakenOverAtOnceWhenTheLeaderStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t)
		a, b := clientOf(c), clientOf(c)
		leads(t, map[*Client]target.Answer{a: target.CannotTell, b: target.CannotTell})
		stopA := start(t, a, "a")
		synctest.Wait()
		start(t, b, "b")
		pass(time.Minute)
		leads(t, map[*Client]target.Answer{a: target.Yes, b: target.No})
		_, since := a.IsLeader()
		if age := time.Since(since); age < 59*time.Second {
			t.Errorf("a has led for a minute, but says for %s", age)
		}
		stopA()
		pass(5 * time.Second)
		if got := says(b); got != target.Yes {
			t.Errorf("5 s after a gave up the lease b says %s", got)
		}
		if got := says(a); got == target.Yes {
			t.Error("a gave up the lease and says that it leads")
		}
	})
}

func TestClientLeadIsTakenOverWhenTheLeaseOfAKilledReplicaEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t)
		a, b := clientOf(c), clientOf(c)
		stopA := start(t, a, "a")
		synctest.Wait()
		start(t, b, "b")
		pass(20 * time.Second)
		leads(t, map[*Client]target.Answer{a: target.Yes, b: target.No})
		// What is killed gives nothing up: the last word stays that of a.
		lease, err := c.CoordinationV1().Leases("unstuck").Get(t.Context(), "unstuck", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		stopA()
		lease.ResourceVersion = ""
		c.Put(lease)
		killed := time.Now()
		for says(b) != target.Yes {
			pass(time.Second)
			if time.Since(killed) > time.Minute {
				t.Fatal("nobody took over")
			}
		}
		if took := time.Since(killed); took < leaseDuration-5*time.Second {
			t.Errorf("b took over after %s, while the lease still held", took)
		}
	})
}

func TestLeadLeavesTimeToEndWhatWasBegunThoughAClockRunsFaster(t *testing.T) {
	if by := 1.03 * float64(renewDeadline+apiserver.Timeout); by >= float64(leaseDuration) {
		t.Errorf("by a clock that is 3 %% faster it may go on for %s, and others take the Lease after %s", time.Duration(by), leaseDuration)
	}
}

func TestClientIsLeaderNoLongerThanItsLeaseHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t)
		a := clientOf(c)
		start(t, a, "a")
		pass(time.Minute)
		c.SetGone(true)
		last := time.Now()
		for says(a) == target.Yes {
			pass(100 * time.Millisecond)
			if time.Since(last) > renewDeadline {
				t.Fatalf("%s after the API server has gone it still says that it leads", time.Since(last))
			}
		}
		leads(t, map[*Client]target.Answer{a: target.CannotTell})
		pass(time.Minute)
		leads(t, map[*Client]target.Answer{a: target.CannotTell})
		_, before := a.IsLeader()
		c.SetGone(false)
		pass(5 * time.Second)
		leads(t, map[*Client]target.Answer{a: target.Yes})
		if _, since := a.IsLeader(); !since.After(before) {
			t.Errorf("it leads since %s, as before: somebody else may have led in between", since)
		}
	})
}

// What client-go's elector does when it comes back from a cut and another one holds the lease by now: it empties it, and
// a third takes it while the other still leads.
func TestClientLeadReleasesNoLeaseOfASuccessorAfterACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t)
		a := clientOf(c)
		start(t, a, "a")
		pass(10 * time.Second)
		leads(t, map[*Client]target.Answer{a: target.Yes})
		lease, err := c.CoordinationV1().Leases("unstuck").Get(t.Context(), "unstuck", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		// The elector tries to renew for 10 s, each time by an update and then a get. Then it releases what it takes for its
		// own still, which begins with a get: just then the API server is back, with b as the holder.
		c.SetGone(true)
		pass(9 * time.Second)
		lease.Spec.HolderIdentity = new("b")
		lease.Spec.RenewTime = &metav1.MicroTime{Time: time.Now()}
		c.Put(lease)
		last, back := "", make(chan time.Time, 1)
		c.Intercept(func(request string) {
			if request == "get leases unstuck" && last == request && len(back) == 0 {
				c.SetSilent(false)
				back <- time.Now()
			}
			last = request
		})
		for range 14 {
			pass(time.Second)
			now, err := c.Tracker().Get(leases, "unstuck", "unstuck")
			if err != nil {
				t.Fatal(err)
			}
			if holder := trimLock(now).Holder; holder != "b" {
				t.Fatalf("the lease of b has the holder %q", holder)
			}
		}
		if len(back) == 0 {
			t.Error("the elector did not try to release the lease")
		}
	})
}

func TestClientIsLeaderCannotTellWithoutThePermissionToSeeTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		client := clientOf(c)
		p := watchOne(t, client, brokerTarget())
		c.Deny("get", "leases", true)
		c.Deny("update", "leases", true)
		start(t, client, "a")
		pass(time.Minute)
		leads(t, map[*Client]target.Answer{client: target.CannotTell})
		refused(t, p, "not allowed: get leases.coordination.k8s.io in namespace unstuck")
		c.Deny("get", "leases", false)
		c.Deny("update", "leases", false)
		pass(5 * time.Second)
		leads(t, map[*Client]target.Answer{client: target.Yes})
	})
}

func TestClientIsLeaderOfNoLeaseThatIsSeenAndNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t)
		a := clientOf(c)
		start(t, a, "a")
		pass(time.Minute)
		c.Deny("update", "leases", true)
		pass(renewDeadline)
		leads(t, map[*Client]target.Answer{a: target.CannotTell})
	})
}

func TestCampaignKnowsWhatIsAsOldAsTheRequestThatToldIt(t *testing.T) {
	k := clientOf(kubetest.NewCluster(t)).campaign
	k.setIdentity("a")
	began := time.Now().Add(-3 * time.Second) // and the answer has come just now
	if err := k.note("update", began, &resourcelock.LeaderElectionRecord{HolderIdentity: "a"}, nil); err != nil {
		t.Fatal(err)
	}
	if at, err := k.heard(time.Now()); err != nil || !at.Equal(began) {
		t.Errorf("%s, %v: want %s", at, err, began)
	}
	for after, want := range map[time.Duration]target.Answer{renewDeadline - 1: target.Yes, renewDeadline: target.CannotTell} {
		if got, _ := k.isLeader(began.Add(after)); got != want {
			t.Errorf("%s after the request began: %s, want %s", after, got, want)
		}
	}
}

func TestClientLeadIsLostAtOnceWhenSomebodyTakesTheLeaseByForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t)
		a := clientOf(c)
		start(t, a, "a")
		pass(time.Minute)
		lease, err := c.CoordinationV1().Leases("unstuck").Get(t.Context(), "unstuck", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		lease.Spec.HolderIdentity = new("b")
		c.Put(lease)
		pass(5 * time.Second)
		leads(t, map[*Client]target.Answer{a: target.No})
	})
}

// aloneAtIt looks again and again for so long who leads, and fails where one replica begins to lead while what another has
// begun as the leader may still go on.
func aloneAtIt(t *testing.T, d time.Duration, clients ...*Client) {
	t.Helper()
	last, until := -1, time.Time{}
	for end := time.Now().Add(d); time.Now().Before(end); pass(100 * time.Millisecond) {
		for i, c := range clients {
			if says(c) != target.Yes {
				continue
			}
			if now := time.Now(); last >= 0 && i != last && now.Before(until) {
				t.Fatalf("replica %d leads, and what replica %d has begun may go on for %s", i, last, until.Sub(now))
			}
			last, until = i, time.Now().Add(apiserver.Timeout)
		}
	}
}

//promise:23
func TestClientLeadTakesNoDeletedLeaseWhileItsHolderMayActByIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t)
		a, b := clientOf(c), clientOf(c)
		start(t, a, "a")
		start(t, b, "b")
		pass(time.Minute)
		for i := range 20 {
			c.Drop("leases", "coordination.k8s.io", "unstuck", "unstuck")
			aloneAtIt(t, 45*time.Second+time.Duration(i)*170*time.Millisecond, a, b)
			if (says(a) == target.Yes) == (says(b) == target.Yes) {
				t.Errorf("after deletion %d a says %s and b %s", i+1, says(a), says(b))
			}
		}
	})
}

func TestClientLeadWantsAnIdentity(t *testing.T) {
	if err := clientOf(kubetest.NewCluster(t)).Lead(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "identity") {
		t.Errorf("%v", err)
	}
}

func TestCampaignLogsWhoLeads(t *testing.T) {
	var log bytes.Buffer
	k := newCampaign(nil, ns, "unstuck", slog.New(slog.NewTextHandler(&log, nil)))
	k.setIdentity("me")
	for _, holder := range []string{"me", "me", "other", "", "me"} {
		_ = k.note("update", time.Now(), &resourcelock.LeaderElectionRecord{HolderIdentity: holder}, nil)
	}
	mine, others := strings.Count(log.String(), `msg="leading: this replica holds the lease" `), strings.Count(log.String(), `msg="another replica holds the lease and leads" `)
	if lines := strings.Count(log.String(), "\n"); mine != 2 || others != 1 || lines != 3 || strings.Count(log.String(), "is_leader=true") != 2 {
		t.Errorf("%d times we, %d times another:\n%s", mine, others, &log)
	}
}
