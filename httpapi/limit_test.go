package httpapi

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimiterFillsABucketAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(Rate{PerSecond: 2, Burst: 3}, Rate{})
		for range 3 {
			if wait := l.take("ada"); wait != 0 {
				t.Fatalf("within the burst: wait %s", wait)
			}
		}
		if wait := l.take("ada"); wait != 500*time.Millisecond {
			t.Errorf("wait %s, want 500ms", wait)
		}
		if wait := l.wait("bob"); wait != 0 {
			t.Errorf("bob waits %s for ada", wait)
		}
		time.Sleep(500 * time.Millisecond)
		if l.wait("ada") != 0 || l.take("ada") != 0 || l.take("ada") == 0 {
			t.Error("after 500ms: want one more, and no more than one")
		}
		time.Sleep(time.Hour)
		for range 3 {
			if wait := l.take("ada"); wait != 0 {
				t.Errorf("after a rest: wait %s", wait)
			}
		}
		if l.take("ada") == 0 {
			t.Error("a rest fills the bucket beyond its brim")
		}
	})
}

func TestLimiterNeverTellsTooManyCallersApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(Rate{PerSecond: 1, Burst: 2}, Rate{})
		for i := range 3 * maxBuckets {
			l.take(fmt.Sprint(i))
			if len(l.buckets) > maxBuckets {
				t.Fatalf("%d buckets", len(l.buckets))
			}
		}
		time.Sleep(time.Minute)
		l.take("new")
		if len(l.buckets) != 1 {
			t.Errorf("%d buckets after a rest, want the one that is not full", len(l.buckets))
		}
	})
}

func TestAddressOfIsTheNetworkAsFarAsOnePersonHasIt(t *testing.T) {
	for remote, want := range map[string]string{
		"10.0.0.1:99": "10.0.0.1", "[::ffff:10.0.0.1]:99": "10.0.0.1", "[2001:db8:1:2:3:4:5:6]:99": "2001:db8:1:2::/64", "pipe": "pipe",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = remote
		if got := addressOf(r); got != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
}
