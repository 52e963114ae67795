package kube

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/kube/kubetest"
)

// asks counts the requests that list or watch a kind of objects.
func asks(c *kubetest.Cluster, resource string) int {
	n := 0
	for _, r := range c.Requests() {
		if strings.HasPrefix(r, "list "+resource) || strings.HasPrefix(r, "watch "+resource) {
			n++
		}
	}
	return n
}

func TestClientWatchAddsATargetWhileTheClientRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		client := clientOf(c)
		start(t, client, "me")
		synctest.Wait()
		first := watchOne(t, client, brokerTarget())
		synctest.Wait()
		before := look(t, first)
		if len(before.Nodes) != 3 {
			t.Fatalf("%d nodes", len(before.Nodes))
		}
		sets := asks(c, "statefulsets")
		other := brokerTarget()
		other.Name, other.Selector = "other", "app=other"
		second := watchOne(t, client, other)
		synctest.Wait()
		if v := look(t, second); len(v.Nodes) != 0 || len(v.Problems) != 1 {
			t.Errorf("the second target has %+v", v)
		}
		if n := asks(c, "statefulsets"); n != sets {
			t.Errorf("the namespace is watched a second time: %d requests, then %d", sets, n)
		}
		if err := client.Run(t.Context()); !errors.Is(err, errRunning) {
			t.Errorf("a second Run: %v", err)
		}
	})
}

func TestPodsStopEndsTheWatchesThatNobodyElseNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		client := clientOf(c)
		start(t, client, "me")
		kept, gone, app := brokerTarget(), brokerTarget(), brokerTarget()
		gone.Name, gone.Selector = "gone", "app=gone"
		app.Name, app.Selector, app.App = "app", "app=app", true
		keep, leave, leaveApp := watchOne(t, client, kept), watchOne(t, client, gone), watchOne(t, client, app)
		synctest.Wait()
		open := func() int { return client.feeds.open() }
		if n := open(); n != 3+3+2 {
			t.Fatalf("%d feeds run, want 3 of pods, 3 of the namespace and 2 of its application", n)
		}
		leaveApp.Stop()
		if n := open(); n != 2+3 {
			t.Errorf("without the application %d feeds run, want 5", n)
		}
		leave.Stop()
		leave.Stop()
		pass(time.Minute)
		if n := open(); n != 1+3 {
			t.Errorf("%d feeds run, want 4", n)
		}
		if v := look(t, keep); len(v.Nodes) != 3 {
			t.Errorf("the target that stays has %d nodes", len(v.Nodes))
		}
		refused(t, leave, "watch pods")
		keep.Stop()
		if n := open(); n != 0 || len(client.spaces) != 0 {
			t.Errorf("%d feeds run, %d namespaces are watched", n, len(client.spaces))
		}
		again := watchOne(t, client, gone)
		synctest.Wait()
		if v := look(t, again); v.Expected != 0 {
			t.Errorf("%+v", v)
		}
	})
}

func TestPodsStopEndsTheNeedOfPermissions(t *testing.T) {
	c := kubetest.NewCluster(t)
	client := clientOf(c)
	before := client.Needs()
	app := brokerTarget()
	app.App, app.Act = true, true
	p := watchOne(t, client, app)
	secret := client.Secret(SecretRef{Namespace: "mq", Name: "login", PasswordKey: "password"})
	if with := client.Needs(); len(with) < len(before)+10 {
		t.Errorf("with a target only these are needed: %v", with)
	}
	p.Stop()
	secret.Stop()
	if diff := cmp.Diff(before, client.Needs()); diff != "" {
		t.Errorf("what is needed afterwards (-before +after):\n%s", diff)
	}
}

func TestClientWatchStartsNothingOnceTheClientHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		client := clientOf(c)
		start(t, client, "me")()
		p := watchOne(t, client, brokerTarget())
		synctest.Wait()
		if n := asks(c, "pods"); n != 0 {
			t.Errorf("%d requests", n)
		}
		refused(t, p, "")
	})
}

// open counts the feeds that are to run.
func (f *feeds) open() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, cancel := range f.all {
		if cancel != nil {
			n++
		}
	}
	return n
}
