package kube

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/target"
)

func TestPodsLockHoldsBackOthersButNotTheDeletionItIsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		client := clientOf(c)
		mine, theirs := watchOne(t, client, brokerTarget()), brokerTarget()
		theirs.Name = "another"
		other := watchOne(t, client, theirs)
		start(t, client, "me")
		synctest.Wait()
		if err := mine.Lock(t.Context(), "deletion-1", "deletion of node rabbit-1", time.Minute); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if v := look(t, mine); v.Operating != target.No || v.Operation != "" {
			t.Errorf("ours closes our own guard: %s %s", v.Operating, v.Operation)
		}
		if v, err := other.View(t.Context(), "another"); err != nil || v.Operating != target.Yes || v.Operation != "deletion-1" {
			t.Errorf("another broker of the namespace: %s %s, %v", v.Operating, v.Operation, err)
		}
		err := c.Conn().TakeLock(t.Context(), ns, apiserver.Holder{ID: "deploy-1", Owner: "ada", TTL: time.Minute})
		if locked, ok := errors.AsType[*apiserver.LockedError](err); !ok || locked.Holder.Reason != "deletion of node rabbit-1" || !strings.Contains(locked.Holder.Owner, mine.Name) {
			t.Errorf("a deploy: %v", err)
		}
		if err := mine.Delete(t.Context(), look(t, mine).Nodes[1], time.Minute); err != nil || len(c.Deletions()) != 1 {
			t.Errorf("the deletion: %v", err)
		}
		for _, id := range []string{"deletion-0", "deletion-1"} { // the first is not held
			if err := mine.Unlock(t.Context(), id); err != nil {
				t.Error(err)
			}
			l, err := c.CoordinationV1().Leases(ns).Get(t.Context(), apiserver.LockLease, metav1.GetOptions{})
			if held := apiserver.LockOf(l).Holder != ""; err != nil || held != (id == "deletion-0") {
				t.Errorf("after giving back %s it is held %v: %v", id, held, err)
			}
		}
	})
}

func TestPodsLockIsNotTakenFromAnotherAndHoldsTheDeletionBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, append(broker(), operation("anna", time.Now()))...)
		_, p := ready(t, c, brokerTarget())
		err := p.Lock(t.Context(), "deletion-1", "deletion", time.Minute)
		if locked, ok := errors.AsType[*apiserver.LockedError](err); !ok || locked.Holder.ID != "anna" {
			t.Errorf("%v, want it to be anna's", err)
		}
		if v := look(t, p); v.Operating != target.Yes || v.Operation != "anna" {
			t.Errorf("operating %s %s", v.Operating, v.Operation)
		}
		if err := p.Delete(t.Context(), look(t, p).Nodes[1], time.Minute); !errors.Is(err, target.ErrRefused) {
			t.Errorf("%v, want it to be refused", err)
		}
		if err := p.Unlock(t.Context(), "deletion-1"); err != nil {
			t.Error(err)
		}
		time.Sleep(31 * time.Second) // it has expired
		if err := p.Lock(t.Context(), "deletion-1", "deletion", time.Minute); err != nil {
			t.Errorf("after it has expired: %v", err)
		}
	})
}

func TestPodsLockIsTakenOnForTheSameDeletionAndNotForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		first, second := watchOne(t, clientOf(c), brokerTarget()), watchOne(t, clientOf(c), brokerTarget())
		if err := first.Lock(t.Context(), "deletion-1", "deletion", time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Second)
		if err := second.Lock(t.Context(), "deletion-2", "deletion", time.Minute); err == nil {
			t.Error("another deletion took it")
		}
		if err := second.Lock(t.Context(), "deletion-1", "deletion", time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Second)
		if err := first.Lock(t.Context(), "deletion-2", "deletion", time.Minute); err == nil {
			t.Error("the successor did not renew it")
		}
		time.Sleep(11 * time.Second)
		if err := first.Lock(t.Context(), "deletion-2", "deletion", time.Minute); err != nil {
			t.Errorf("nobody renews it any more: %v", err)
		}
	})
}
