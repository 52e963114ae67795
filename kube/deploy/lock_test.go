package deploy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/kube"
	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/target"
)

// watched gives the pods of a broker in the environment's namespace, as remediation has them.
func watched(t *testing.T, c *kubetest.Cluster) *kube.Pods {
	t.Helper()
	client := kube.New(c.Conn(), kube.Options{})
	pods, err := client.Watch(kube.Target{Name: "main", Namespace: ns, Selector: "app=rabbit"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = client.Run(ctx) })
	running.Go(func() { _ = client.Lead(ctx, "me") })
	t.Cleanup(func() { stop(); running.Wait() })
	return pods
}

func TestClustersAcquireTakesTheLockThatRemediationHeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t)
		r, env := clusters(c), testEnvironment()
		mine := release.Holder{ID: "unstuck-0/deploy-1", Owner: "ada", Reason: "deploy", TTL: 30 * time.Second}
		theirs := release.Holder{ID: "unstuck-1/deploy-2", Owner: "eve", Reason: "task", TTL: 30 * time.Second}
		pods := watched(t, c)
		guard := func(want target.Answer) {
			t.Helper()
			synctest.Wait()
			if v, err := pods.View(t.Context(), "main"); err != nil || v.Operating != want {
				t.Errorf("the guard says %s, want %s: %v", v.Operating, want, err)
			}
		}
		refused := func() {
			t.Helper()
			err := r.Acquire(t.Context(), env, theirs)
			locked, ok := errors.AsType[*release.LockedError](err)
			if !ok || locked.Holder != mine || time.Until(locked.Expires) <= 0 || time.Until(locked.Expires) > mine.TTL {
				t.Errorf("%v: %+v", err, locked)
			}
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Error(err)
			}
		}
		must(r.Release(t.Context(), env, mine))
		must(r.Acquire(t.Context(), env, mine))
		guard(target.Yes)
		refused()
		time.Sleep(29 * time.Second)
		refused()
		must(r.Acquire(t.Context(), env, mine)) // renewed
		time.Sleep(29 * time.Second)
		refused()
		must(r.Release(t.Context(), env, theirs)) // which is not theirs
		guard(target.Yes)
		time.Sleep(time.Second)
		guard(target.No)
		must(r.Acquire(t.Context(), env, theirs)) // the holder is dead
		guard(target.Yes)
		must(r.Release(t.Context(), env, mine))
		guard(target.Yes)
		must(r.Release(t.Context(), env, theirs))
		guard(target.No)
		must(r.Acquire(t.Context(), env, mine))
		l, err := c.CoordinationV1().Leases(ns).Get(t.Context(), apiserver.LockLease, metav1.GetOptions{})
		if err != nil || *l.Spec.LeaseTransitions != 3 || *l.Spec.LeaseDurationSeconds != 30 || !l.Spec.AcquireTime.Time.Equal(time.Now().Truncate(time.Microsecond)) {
			t.Errorf("%v: %+v", err, l.Spec)
		}
	})
}

func TestClustersAcquireGivesTheLockToOneOfTwo(t *testing.T) {
	c := kubetest.NewCluster(t)
	r, env := clusters(c), testEnvironment()
	results := make(chan error)
	for i := range 8 {
		go func() {
			results <- r.Acquire(t.Context(), env, release.Holder{ID: fmt.Sprint(i), Owner: fmt.Sprint(i), TTL: time.Minute})
		}()
	}
	taken := 0
	for range 8 {
		if err := <-results; err == nil {
			taken++
		} else if _, locked := errors.AsType[*release.LockedError](err); !locked {
			t.Error(err)
		}
	}
	if taken != 1 {
		t.Errorf("%d got it", taken)
	}
}

func TestClustersAcquireHeedsALockWithoutAnEndForEver(t *testing.T) {
	c := kubetest.NewCluster(t, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: apiserver.LockLease}, Spec: coordinationv1.LeaseSpec{HolderIdentity: new("a-script")},
	})
	err := clusters(c).Acquire(t.Context(), testEnvironment(), release.Holder{ID: "me", TTL: time.Minute})
	locked, ok := errors.AsType[*release.LockedError](err)
	if !ok || locked.Holder.Owner != "a-script" || !locked.Expires.IsZero() {
		t.Errorf("%v", err)
	}
	c.Deny("get", "leases", true)
	if _, ok := errors.AsType[apiserver.NotAllowedError](clusters(c).Acquire(t.Context(), testEnvironment(), release.Holder{ID: "me"})); !ok {
		t.Error("what is missing is not named")
	}
}
