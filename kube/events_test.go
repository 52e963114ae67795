package kube

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/target"
)

// written gives the Events that there are, by the kind of what they are about.
func written(t *testing.T, c *kubetest.Cluster) map[string][]corev1.Event {
	t.Helper()
	list, err := c.CoreV1().Events(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	byKind := make(map[string][]corev1.Event)
	for _, e := range list.Items {
		byKind[e.InvolvedObject.Kind] = append(byKind[e.InvolvedObject.Kind], e)
	}
	return byKind
}

func TestPodsEventIsWrittenOnThePodAndItsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		_, p := ready(t, c, brokerTarget())
		p.Event(look(t, p).Nodes[1], true, "Deleted", "its login hangs")
		synctest.Wait()
		events := written(t, c)
		if len(events["Pod"]) != 1 || len(events["StatefulSet"]) != 1 {
			t.Fatalf("%v", events)
		}
		onPod, onSet := events["Pod"][0], events["StatefulSet"][0]
		if o := onPod.InvolvedObject; o.Name != "rabbit-1" || o.UID != "rabbit-1-uid" || o.Namespace != ns || o.APIVersion != "v1" {
			t.Errorf("about %+v", o)
		}
		if o := onSet.InvolvedObject; o.Name != "rabbit" || o.UID != "set-uid" || o.APIVersion != "apps/v1" {
			t.Errorf("about %+v", o)
		}
		if onPod.Message != "its login hangs" {
			t.Errorf("on the pod: %q", onPod.Message)
		}
		if onSet.Type != "Warning" || onSet.Reason != "Deleted" || onSet.Message != "rabbit-1: its login hangs" || onSet.Source.Component != "unstuck" {
			t.Errorf("%+v", onSet)
		}
	})
}

func TestPodsEventOfAnAppIsWrittenOnItsDeployment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, webApp()...)
		_, p := ready(t, c, appTarget())
		p.Event(look(t, p).Nodes[0], false, "Silent", "x")
		synctest.Wait()
		if events := written(t, c); len(events["Pod"]) != 1 || len(events["Deployment"]) != 1 || events["Pod"][0].Type != "Normal" {
			t.Errorf("%v", events)
		}
	})
}

func TestPodsEventCountsTheSameOneAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		_, p := ready(t, c, brokerTarget())
		n := look(t, p).Nodes[1]
		for range 5 {
			p.Event(n, true, "Held", "a guard is closed")
			pass(time.Minute)
		}
		events := written(t, c)
		if len(events["Pod"]) != 1 || events["Pod"][0].Count != 5 {
			t.Errorf("%v", events["Pod"])
		}
		c.Drop("events", "", ns, events["Pod"][0].Name) // as after an hour
		p.Event(n, true, "Held", "a guard is closed")
		synctest.Wait()
		if events := written(t, c); len(events["Pod"]) != 1 {
			t.Errorf("after it has been forgotten: %v", events["Pod"])
		}
	})
}

func TestEventsBlockNobodyInAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		client := clientOf(c)
		p := watchOne(t, client, brokerTarget()) // nobody writes
		for i := range 10 * waitingEvents {
			p.Event(target.Node{Name: "rabbit-1", UID: "rabbit-1-uid"}, true, "Held", fmt.Sprint(i))
		}
		if n := len(client.events.waiting); n != waitingEvents {
			t.Errorf("%d wait", n)
		}
	})
}

func TestEventsThatWaitAreWrittenAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		client := clientOf(c)
		p := watchOne(t, client, brokerTarget())
		for i := range 5 {
			p.Event(target.Node{Name: fmt.Sprintf("rabbit-%d", i), UID: "x"}, true, "Deleted", "x")
		}
		stop := start(t, client, "me")
		stop()
		if events := written(t, c); len(events["Pod"]) != 5 {
			t.Errorf("%d events", len(events["Pod"]))
		}
	})
}

func TestEventsThatCannotBeWrittenAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		_, p := ready(t, c, brokerTarget())
		n := look(t, p).Nodes[1]
		c.Deny("create", "events", true)
		p.Event(n, true, "Deleted", "lost")
		synctest.Wait()
		c.Deny("create", "events", false)
		p.Event(n, true, "Recovered", strings.Repeat("ä", 2000))
		synctest.Wait()
		events := written(t, c)["Pod"]
		if len(events) != 1 || events[0].Reason != "Recovered" || len(events[0].Message) > 1024 {
			t.Errorf("%v", events)
		}
	})
}

func TestEventsOfASuspectDoNotUseUpThatOfItsDeletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		client := clientOf(c)
		p := watchOne(t, client, brokerTarget())
		stop := start(t, client, "me")
		synctest.Wait()
		node := look(t, p).Nodes[1]
		for i := range 30 {
			p.Event(node, true, "SuspectedStuck", fmt.Sprintf("login await_tune: stuck %d of the 3 times", i))
			pass(15 * time.Second)
			p.Event(node, false, "Healthy", "accepts logins")
			pass(15 * time.Second)
		}
		p.Event(node, true, "Stuck", "confirmed stuck; held back by nothing")
		pass(time.Second)
		p.Event(node, true, "Deleted", "deleted by Unstuck, incident 1: why")
		pass(time.Second)
		stop()
		for about, events := range written(t, c) {
			found := map[string]int{}
			for _, e := range events {
				found[e.Reason]++
			}
			if found["Deleted"] == 0 {
				t.Errorf("%s: no event tells of the deletion", about)
			}
		}
	})
}
