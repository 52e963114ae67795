package kube

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/target"
)

// look gives the view, which must be there.
func look(t *testing.T, p *Pods) target.View {
	t.Helper()
	v, err := p.View(t.Context(), p.Name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// refused checks that the view is an error that says why.
func refused(t *testing.T, p *Pods, why string) {
	t.Helper()
	v, err := p.View(t.Context(), p.Name)
	if err == nil {
		t.Fatalf("there is a view, of %s, %s ago: want an error: %s", v.At, time.Since(v.At), why)
	}
	if !strings.Contains(err.Error(), why) {
		t.Fatalf("%v\nwant: ...%s...", err, why)
	}
}

// pass lets d pass, and then all goroutines come to rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestPodsViewShowsABrokersPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		c.Put(kubetest.NewPod("else", "x", "app", "other", metav1.OwnerReference{Kind: "Job", Name: "x", UID: "x"}))
		client := clientOf(c)
		p := watchOne(t, client, brokerTarget())
		start(t, client, "me")
		synctest.Wait()
		v := look(t, p)
		want := target.View{At: time.Now(), Expected: 3, IsLeader: target.Yes, LeaderSince: time.Now().UTC(), Operating: target.No}
		for i := range 3 {
			name := fmt.Sprintf("rabbit-%d", i)
			want.Nodes = append(want.Nodes, target.Node{
				Target: "main", Name: name, UID: name + "-uid", Address: fmt.Sprintf("10.0.0.%d:5672", i), Host: "host-of-" + name,
				Started: longAgo, Terminating: target.No, RollingOut: target.No, Owned: target.Yes, Disruptable: target.Yes,
			})
		}
		if diff := cmp.Diff(want, v); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if _, err := p.View(t.Context(), "other"); err == nil {
			t.Error("there is a view of another broker")
		}
	})
}

// A Job that has the broker's labels, for a backup say, would be a node that accepts no logins, and so hold every cure.
func TestPodsViewShowsNoPodOfAJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		c.Put(backup())
		client := clientOf(c)
		p := watchOne(t, client, brokerTarget())
		start(t, client, "me")
		synctest.Wait()
		if v := look(t, p); len(v.Nodes) != 3 || v.Expected != 3 || v.Problems != nil {
			t.Errorf("%d of %d nodes, problems %v", len(v.Nodes), v.Expected, v.Problems)
		}
	})
}

// backup is a pod of a Job with the broker's labels.
func backup() *corev1.Pod {
	return kubetest.NewPod("backup-x", "backup", "app", "rabbit", metav1.OwnerReference{Kind: "Job", Name: "backup", UID: "backup-uid"})
}

func TestPodsViewFollowsWhatHappensToPods(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(p *corev1.Pod)
		want   func(n *target.Node) // nil: there is no such node
	}{
		{"an IPv6 address", func(p *corev1.Pod) { p.Status.PodIP = "fd00::1" }, func(n *target.Node) { n.Address = "[fd00::1]:5672" }},
		{"no address yet", func(p *corev1.Pod) {
			p.Status.PodIP, p.Spec.NodeName, p.Status.ContainerStatuses, p.Status.Phase = "", "", nil, corev1.PodPending
		}, func(n *target.Node) { n.Address, n.Host, n.Started = "", "", time.Time{} }},
		{"its container was started anew", func(p *corev1.Pod) {
			p.Status.ContainerStatuses[1].State.Running.StartedAt = metav1.NewTime(longAgo.Add(time.Hour))
		}, func(n *target.Node) { n.Started = longAgo.Add(time.Hour) }},
		{
			"its container does not run, only the sidecar", func(p *corev1.Pod) { p.Status.ContainerStatuses[1].State.Running = nil },
			func(n *target.Node) { n.Started = time.Time{} },
		},
		{
			"terminating", func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.Now()); p.Finalizers = []string{"x"} },
			func(n *target.Node) { n.Terminating = target.Yes },
		},
		{"ended for good", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, nil},
		{"replaced by another of its name", func(p *corev1.Pod) { p.UID = "another" }, func(n *target.Node) { n.UID = "another" }},
		{"its labels do not fit any more", func(p *corev1.Pod) { p.Labels["app"] = "debugged" }, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := kubetest.NewCluster(t, broker()...)
				client := clientOf(c)
				p := watchOne(t, client, brokerTarget())
				start(t, client, "me")
				synctest.Wait()
				want := look(t, p).Nodes
				c.Put(rabbit(1, tc.change))
				synctest.Wait()
				if tc.want == nil {
					want = append(want[:1:1], want[2])
				} else {
					tc.want(&want[1])
				}
				if diff := cmp.Diff(want, look(t, p).Nodes); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestPodsOfAnAppAreThoseOfItsDeployment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, webApp()...)
		evicted := kubetest.NewPod("web-new-c", "app", "app", "web", metav1.OwnerReference{Kind: "ReplicaSet", Name: "web-new", UID: "web-new-uid"})
		evicted.Status.Phase = corev1.PodFailed
		c.Put(evicted)
		client := clientOf(c)
		p := watchOne(t, client, appTarget())
		start(t, client, "me")
		synctest.Wait()
		v := look(t, p)
		if v.Expected != 2 || len(v.Nodes) != 2 {
			t.Fatalf("%d of %d: want 2 of 2", len(v.Nodes), v.Expected)
		}
		for _, n := range v.Nodes {
			if n.Owned != target.Yes || n.RollingOut != target.No || n.Address != "" || !n.Started.Equal(longAgo) {
				t.Errorf("%+v", n)
			}
		}
	})
}

func TestTrimPodTakesTheContainerThatKubectlWouldTake(t *testing.T) {
	p := rabbit(0)
	if got := trimPod("")(p).container; got != "sidecar" {
		t.Errorf("without a note it is %q, want the first", got)
	}
	p.Annotations = map[string]string{"kubectl.kubernetes.io/default-container": "rabbitmq"}
	if got := trimPod("")(p); got.container != "rabbitmq" || !got.started.Equal(longAgo) {
		t.Errorf("with a note it is %q, started %s", got.container, got.started)
	}
}

func TestClientWatchRefusesTargetsThatWouldSelectEverything(t *testing.T) {
	client := clientOf(kubetest.NewCluster(t))
	for _, bad := range []Target{
		{Name: "main", Namespace: ns, Selector: ""},
		{Name: "main", Namespace: ns, Selector: "in in in"},
		{Name: "main", Selector: "app=rabbit"},
	} {
		if _, err := client.Watch(bad); err == nil {
			t.Errorf("%+v is watched", bad)
		}
	}
}

func TestPodsViewIsAsOldAsTheLastAnswerOfTheAPIServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		client := clientOf(c)
		p := watchOne(t, client, brokerTarget())
		refused(t, p, "the API server has not been asked yet")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := client.Lead(ctx, "me"); err != nil {
			t.Fatal(err)
		}
		refused(t, p, "list pods in namespace production: they have not been listed yet")
		start(t, client, "me")
		synctest.Wait()
		if age := time.Since(look(t, p).At); age != 0 {
			t.Errorf("at first it is %s old", age)
		}
		for range 100 { // quiet times: nothing changes, and the view does not age
			pass(time.Second)
			if age := time.Since(look(t, p).At); age > 5*time.Second {
				t.Fatalf("it is %s old in quiet times", age)
			}
		}
		last := look(t, p).At
		c.SetGone(true)
		synctest.Wait()
		pass(4 * time.Second)
		if at := look(t, p).At; at.After(last.Add(2 * time.Second)) {
			t.Errorf("the API server is away for 4 s, and it is %s old", time.Since(at))
		}
		pass(11 * time.Second)
		refused(t, p, "connection refused")
		pass(time.Minute)
		refused(t, p, "connection refused")
		c.Put(rabbit(1, func(p *corev1.Pod) { p.UID = "meanwhile" }))
		c.SetGone(false)
		pass(15 * time.Second)
		v := look(t, p)
		if age := time.Since(v.At); age > 5*time.Second || v.Nodes[1].UID != "meanwhile" {
			t.Errorf("when it is back it is %s old, with %q", age, v.Nodes[1].UID)
		}
	})
}

func TestPodsViewTrustsNoOpenWatchWhileTheAPIServerIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		client := clientOf(c)
		p := watchOne(t, client, brokerTarget())
		start(t, client, "me")
		pass(time.Minute)
		c.SetSilent(true)
		pass(11 * time.Second)
		refused(t, p, "the API server does not answer: dial tcp: connection refused")
		c.SetSilent(false)
		pass(5 * time.Second)
		if age := time.Since(look(t, p).At); age > 5*time.Second {
			t.Errorf("when it answers again it is %s old", age)
		}
	})
}

func TestPodsViewIsNotFreshWhileTheWatchOfThePodsIsBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		client := clientOf(c)
		p := watchOne(t, client, brokerTarget())
		start(t, client, "me")
		pass(time.Minute)
		c.Deny("watch", "pods", true)
		c.Deny("list", "pods", true)
		pass(time.Minute)
		if age := time.Since(look(t, p).At); age > 5*time.Second {
			t.Errorf("an open watch goes on when the permission is gone, but it is %s old", age)
		}
		c.Cut("pods")
		ended := time.Now()
		pass(5 * time.Second)
		if at := look(t, p).At; at.After(ended) {
			t.Errorf("the watch ended at %s, and the view is of %s", ended, at)
		}
		pass(6 * time.Second)
		refused(t, p, "not allowed: list pods")
		c.Drop("pods", "", ns, "rabbit-2")
		c.Deny("watch", "pods", false)
		c.Deny("list", "pods", false)
		pass(15 * time.Second)
		if v := look(t, p); time.Since(v.At) > 5*time.Second || len(v.Nodes) != 2 {
			t.Errorf("when it is allowed again it is %s old, with %d nodes", time.Since(v.At), len(v.Nodes))
		}
	})
}

func TestPodsViewCannotTellWhatOnlyABrokenWatchTells(t *testing.T) {
	for _, tc := range []struct {
		resource string
		want     func(v *target.View)
	}{
		{"statefulsets", func(v *target.View) {
			v.Expected = 0
			for i := range v.Nodes {
				v.Nodes[i].Owned, v.Nodes[i].RollingOut = target.CannotTell, target.CannotTell
			}
		}},
		{"poddisruptionbudgets", func(v *target.View) {
			for i := range v.Nodes {
				v.Nodes[i].Disruptable = target.CannotTell
			}
		}},
		{"leases", func(v *target.View) { v.Operating = target.CannotTell }},
	} {
		t.Run(tc.resource, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := kubetest.NewCluster(t, broker()...)
				client := clientOf(c)
				p := watchOne(t, client, brokerTarget())
				start(t, client, "me")
				pass(time.Minute)
				want := look(t, p)
				c.Deny("watch", tc.resource, true)
				c.Deny("list", tc.resource, true)
				c.Cut(tc.resource)
				pass(time.Minute)
				tc.want(&want)
				got := look(t, p)
				want.At = got.At
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if time.Since(got.At) > 5*time.Second {
					t.Errorf("the pods are known, and yet the view is %s old", time.Since(got.At))
				}
			})
		})
	}
}

func TestPodsViewShowsAnOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		client := clientOf(c)
		p := watchOne(t, client, brokerTarget())
		start(t, client, "me")
		c.Put(operation("deploy 1234 by anna", time.Now()))
		synctest.Wait()
		if v := look(t, p); v.Operating != target.Yes || v.Operation != "deploy 1234 by anna" {
			t.Errorf("%s, %q", v.Operating, v.Operation)
		}
		pass(31 * time.Second)
		if v := look(t, p); v.Operating != target.No || v.Operation != "" {
			t.Errorf("after it has expired: %s, %q", v.Operating, v.Operation)
		}
	})
}

func TestPodsViewSaysWhatTheTargetGetsWrong(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Target)
		pods   func(*kubetest.Cluster)
		want   []target.Problem
	}{
		"nothing": {func(*Target) {}, func(*kubetest.Cluster) {}, nil},
		"the selector fits no pod": {
			func(t *Target) { t.Selector = "app=rabbitmq" }, func(*kubetest.Cluster) {}, []target.Problem{{Kind: target.ProblemNoPod, Text: "no pod in namespace production fits the selector app=rabbitmq"}},
		},
		"there is nothing in the namespace": {
			func(t *Target) { t.Namespace = "else" }, func(*kubetest.Cluster) {}, []target.Problem{{Kind: target.ProblemNoPod, Text: "no pod in namespace else fits the selector app=rabbit"}},
		},
		"its pods have ended": {func(*Target) {}, func(c *kubetest.Cluster) {
			for i := range 3 {
				c.Put(rabbit(i, func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }))
			}
		}, []target.Problem{{Kind: target.ProblemNoNode, Text: "every pod in namespace production that fits the selector app=rabbit has ended or is of a Job"}}},
		"its pods are of a Job": {func(t *Target) { t.Selector = "app=backup" }, func(c *kubetest.Cluster) {
			c.Put(kubetest.NewPod("backup-x", "backup", "app", "backup", metav1.OwnerReference{Kind: "Job", Name: "backup", UID: "backup-uid"}))
		}, []target.Problem{{Kind: target.ProblemNoNode, Text: "every pod in namespace production that fits the selector app=backup has ended or is of a Job"}}},
		"there is no such container": {
			func(t *Target) { t.Container = "rabbit" }, func(*kubetest.Cluster) {}, []target.Problem{{Kind: target.ProblemNoContainer, Text: "container rabbit is not in pod rabbit-0: it has sidecar, rabbitmq"}},
		},
		"one of the pods has no such container": {func(*Target) {}, func(c *kubetest.Cluster) {
			c.Put(rabbit(1, func(p *corev1.Pod) { p.Spec.Containers = p.Spec.Containers[:1] }))
		}, []target.Problem{{Kind: target.ProblemNoContainer, Text: "container rabbitmq is not in pod rabbit-1: it has sidecar"}}},
		"the container is a sidecar that is written as an init container": {func(t *Target) { t.Container = "logs" }, func(c *kubetest.Cluster) {
			for i := range 3 {
				c.Put(rabbit(i, func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{{Name: "logs"}} }))
			}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := kubetest.NewCluster(t, broker()...)
				tc.pods(c)
				client, kubeTarget := clientOf(c), brokerTarget()
				tc.change(&kubeTarget)
				p := watchOne(t, client, kubeTarget)
				start(t, client, "me")
				synctest.Wait()
				if diff := cmp.Diff(tc.want, look(t, p).Problems); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}
