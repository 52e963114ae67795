package kube

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/target"
)

var (
	leases = schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}
	pods   = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
)

// ready gives the target's pods, with the watches open and the lease held.
func ready(t *testing.T, c *kubetest.Cluster, kubeTarget Target) (*Client, *Pods) {
	t.Helper()
	client := clientOf(c)
	p := watchOne(t, client, kubeTarget)
	start(t, client, "me")
	synctest.Wait()
	return client, p
}

func TestPodsDeleteIsOfTheVeryPodWithItsGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		_, p := ready(t, c, brokerTarget())
		if err := p.Delete(t.Context(), look(t, p).Nodes[1], 59500*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if len(c.Deletions()) != 1 {
			t.Fatalf("%d deletions", len(c.Deletions()))
		}
		d := c.Deletions()[0]
		if d.Name != "rabbit-1" || *d.DeleteOptions.Preconditions.UID != "rabbit-1-uid" || *d.DeleteOptions.GracePeriodSeconds != 60 {
			t.Errorf("deleted %s with %v", d.Name, d.DeleteOptions)
		}
		if c.Asked("patch") != 0 {
			t.Error("the pod was changed")
		}
	})
}

// What a target was found by is asked for again right before the deletion.
func TestPodsDeleteAsksAgainForWhatTheTargetWasFoundBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		var says error
		asked, found := 0, brokerTarget()
		found.Notes = []string{"its annotation is misspelt"}
		found.Confirm = func(context.Context) error { asked++; return says }
		_, p := ready(t, c, found)
		view := look(t, p)
		if len(view.Problems) != 1 || view.Problems[0].Text != found.Notes[0] {
			t.Errorf("%+v", view.Problems)
		}
		says = &target.RefusedError{Cause: target.CauseSource}
		if err := p.Delete(t.Context(), view.Nodes[1], time.Minute); refusedFor(err) != target.CauseSource || len(c.Deletions()) != 0 {
			t.Errorf("%v, %d deletions", err, len(c.Deletions()))
		}
		says = nil
		if err := p.Delete(t.Context(), view.Nodes[1], time.Minute); err != nil || len(c.Deletions()) != 1 || asked != 2 {
			t.Errorf("%v, %d deletions, asked %d times", err, len(c.Deletions()), asked)
		}
	})
}

// refusedFor gives the cause that an error says; empty: none.
func refusedFor(err error) target.Cause {
	if refused, ok := errors.AsType[*target.RefusedError](err); ok {
		return refused.Cause
	}
	return ""
}

func TestPodsDeleteIsRefusedIfTheWorldIsNotAsItWasSeen(t *testing.T) {
	causes := map[string]target.Cause{
		"the pod is being deleted":                                target.CauseTerminating,
		"the pod has ended":                                       target.CauseEnded,
		"the pod was taken out by its labels":                     target.CauseNotSelected,
		"the kubelet started the container anew":                  target.CauseRestarted,
		"the set is gone":                                         target.CauseNoController,
		"the set is scaled down":                                  target.CauseNoController,
		"an update begins":                                        target.CauseRollout,
		"another pod has gone down":                               target.CauseDisruptionBudget,
		"another pod is on its way out":                           target.CausePeers,
		"another pod was replaced, which the watch does not tell": target.CausePeers,
		"the container of another pod was started anew, which the watch does not tell": target.CausePeers,
		"another pod is gone, which the watch does not tell":                           target.CausePeers,
		"there is one more pod, which the watch does not tell":                         target.CausePeers,
		"we may not list the pods":                                                     target.CauseCannotTell,
		"a deploy begins":                                                              target.CauseOperation,
		"two things at once":                                                           target.CauseDisruptionBudget,
		"we may not look at the pod":                                                   target.CauseCannotTell,
		"we may not look at the set":                                                   target.CauseCannotTell,
		"we may not look at the budgets":                                               target.CauseCannotTell,
		"we may not look at the lock":                                                  target.CauseCannotTell,
		"we may not delete":                                                            target.CauseNotAllowed,
		"the API server is away":                                                       target.CauseCannotTell,
	}
	abouts := map[string]string{
		"another pod is on its way out":                                                "rabbit-2",
		"another pod was replaced, which the watch does not tell":                      "rabbit-2",
		"the container of another pod was started anew, which the watch does not tell": "rabbit-2",
		"another pod is gone, which the watch does not tell":                           "rabbit-2",
		"there is one more pod, which the watch does not tell":                         "rabbit-3",
		"a deploy begins":  "anna",
		"an update begins": rabbitSet().Status.UpdateRevision,
	}
	for _, tc := range []struct {
		name   string
		change func(c *kubetest.Cluster)
		want   error
		why    string
		asked  int
	}{
		{"the pod is gone", func(c *kubetest.Cluster) { c.Drop("pods", "", ns, "rabbit-1") }, target.ErrGone, "", 0},
		{"the pod was replaced", func(c *kubetest.Cluster) { c.Put(rabbit(1, func(p *corev1.Pod) { p.UID = "another" })) }, target.ErrChanged, "", 0},
		{"the pod is being deleted", func(c *kubetest.Cluster) {
			c.Put(rabbit(1, func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.Now()) }))
		}, target.ErrRefused, "being deleted already", 0},
		{"the pod has ended", func(c *kubetest.Cluster) { c.Put(rabbit(1, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })) }, target.ErrRefused, "has ended", 0},
		{"the pod was taken out by its labels", func(c *kubetest.Cluster) {
			c.Put(rabbit(1, func(p *corev1.Pod) { p.Labels["app"] = "debugged" }))
		}, target.ErrRefused, "labels", 0},
		{"the kubelet started the container anew", func(c *kubetest.Cluster) {
			c.Put(rabbit(1, func(p *corev1.Pod) { p.Status.ContainerStatuses[1].State.Running.StartedAt = metav1.Now() }))
		}, target.ErrRefused, "started anew", 0},
		{"the set is gone", func(c *kubetest.Cluster) { c.Drop("statefulsets", "apps", ns, "rabbit") }, target.ErrRefused, "StatefulSet rabbit is not known", 0},
		{"the set is scaled down", func(c *kubetest.Cluster) {
			c.Put(rabbitSet(func(s *appsv1.StatefulSet) {
				s.Spec.Replicas, s.Status.Replicas, s.Status.UpdatedReplicas = new(int32(1)), 1, 1
			}))
		}, target.ErrRefused, "wants 1", 0},
		{"an update begins", func(c *kubetest.Cluster) { c.Put(rabbitSet(func(s *appsv1.StatefulSet) { s.Generation = 3 })) }, target.ErrRefused, "just been changed", 0},
		{"another pod has gone down", func(c *kubetest.Cluster) {
			c.Put(rabbitBudget(func(b *policyv1.PodDisruptionBudget) { b.Status.DisruptionsAllowed = 0 }))
		}, target.ErrRefused, "budget rabbit", 0},
		{"another pod is on its way out", func(c *kubetest.Cluster) {
			c.Put(rabbit(2, func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.Now()) }))
		}, target.ErrRefused, "pod rabbit-2 is being deleted too", 0},
		{"another pod was replaced, which the watch does not tell", func(c *kubetest.Cluster) {
			c.Unwatched(func() { c.Put(rabbit(2, func(p *corev1.Pod) { p.UID = "another" })) })
		}, target.ErrRefused, "pod rabbit-2 is another than was looked at", 0},
		{"the container of another pod was started anew, which the watch does not tell", func(c *kubetest.Cluster) {
			c.Unwatched(func() { c.Put(booting(2, time.Now().Add(-time.Minute))) })
		}, target.ErrRefused, "pod rabbit-2 does not run, or has been started anew", 0},
		{"another pod is gone, which the watch does not tell", func(c *kubetest.Cluster) {
			c.Unwatched(func() { c.Drop("pods", "", ns, "rabbit-2") })
		}, target.ErrRefused, "pod rabbit-2 is gone", 0},
		{"there is one more pod, which the watch does not tell", func(c *kubetest.Cluster) {
			c.Unwatched(func() { c.Put(rabbit(3)) })
		}, target.ErrRefused, "pod rabbit-3 is another than was looked at", 0},
		{"we may not list the pods", func(c *kubetest.Cluster) { c.Deny("list", "pods", true) }, target.ErrRefused, "not allowed: list pods", 0},
		{"a deploy begins", func(c *kubetest.Cluster) { c.Put(operation("anna", time.Now())) }, target.ErrRefused, "the lock is held: anna", 0},
		{"two things at once", func(c *kubetest.Cluster) {
			c.Put(operation("anna", time.Now()))
			c.Put(rabbitBudget(func(b *policyv1.PodDisruptionBudget) { b.Status.DisruptionsAllowed = 0 }))
		}, target.ErrRefused, "; the lock is held: anna", 0},
		{"we may not look at the pod", func(c *kubetest.Cluster) { c.Deny("get", "pods", true) }, target.ErrRefused, "not allowed: get pods in namespace production", 0},
		{"we may not look at the set", func(c *kubetest.Cluster) { c.Deny("get", "statefulsets", true) }, target.ErrRefused, "not allowed: get statefulsets.apps", 0},
		{"we may not look at the budgets", func(c *kubetest.Cluster) { c.Deny("list", "poddisruptionbudgets", true) }, target.ErrRefused, "not allowed: list poddisruptionbudgets.policy", 0},
		{"we may not look at the lock", func(c *kubetest.Cluster) { c.Deny("get", "leases", true) }, target.ErrRefused, "not allowed: get leases.coordination.k8s.io in namespace production", 0},
		{"we may not delete", func(c *kubetest.Cluster) { c.Deny("delete", "pods", true) }, apiserver.NotAllowedError{ResourceAttributes: auth.ResourceAttributes{Verb: "delete", Resource: "pods", Namespace: ns}}, "", 1},
		{"the API server is away", func(c *kubetest.Cluster) { c.SetGone(true) }, target.ErrRefused, "connection refused", 0},
		{"it is replaced between the last look and the delete", func(c *kubetest.Cluster) {
			c.Intercept(func(request string) {
				if request == "delete pods rabbit-1" {
					c.Put(rabbit(1, func(p *corev1.Pod) { p.UID = "another" }))
				}
			})
		}, target.ErrChanged, "", 1},
		{"it goes between the last look and the delete", func(c *kubetest.Cluster) {
			c.Intercept(func(request string) {
				if request == "delete pods rabbit-1" {
					c.Drop("pods", "", ns, "rabbit-1")
				}
			})
		}, target.ErrGone, "", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := kubetest.NewCluster(t, broker()...)
				_, p := ready(t, c, brokerTarget())
				node := look(t, p).Nodes[1]
				tc.change(c)
				err := p.Delete(t.Context(), node, time.Minute)
				if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.why) {
					t.Errorf("%v\nwant %v: ...%s...", err, tc.want, tc.why)
				}
				if got := refusedFor(err); got != causes[tc.name] {
					t.Errorf("the cause is %q, want %q", got, causes[tc.name])
				}
				refused, _ := errors.AsType[*target.RefusedError](err)
				if about, named := abouts[tc.name]; refused != nil && (refused.About != "") != named || named && refused.About != about {
					t.Errorf("it is about %q, want %q", refused.About, about)
				}
				if len(c.Deletions()) != 0 {
					t.Errorf("deleted all the same: %v", c.Deletions())
				}
				if asked := c.Asked("delete"); asked != tc.asked {
					t.Errorf("asked for %d deletions, want %d", asked, tc.asked)
				}
			})
		})
	}
}

func TestPodsDeleteIsDoneOnlyByTheReplicaThatLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		start(t, clientOf(c), "other")
		synctest.Wait()
		_, p := ready(t, c, brokerTarget())
		if err := p.Delete(t.Context(), look(t, p).Nodes[1], time.Minute); !errors.Is(err, target.ErrRefused) || refusedFor(err) != target.CauseNotLeader {
			t.Errorf("%v", err)
		}
		if len(c.Deletions()) != 0 {
			t.Error("deleted all the same")
		}
	})
}

func TestPodsDeleteIsNeverForced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		_, p := ready(t, c, brokerTarget())
		for _, grace := range []time.Duration{-time.Second, 0, 999 * time.Millisecond} {
			if err := p.Delete(t.Context(), look(t, p).Nodes[1], grace); !errors.Is(err, target.ErrRefused) || refusedFor(err) != target.CauseGrace {
				t.Errorf("with a grace of %s: %v", grace, err)
			}
		}
		if len(c.Deletions()) != 0 {
			t.Error("deleted all the same")
		}
	})
}

func TestPodsDeleteTakesAnAppsPodUnlessItsDeploymentRollsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, webApp()...)
		_, p := ready(t, c, appTarget())
		node := look(t, p).Nodes[0]
		c.Put(webApp(func(d *appsv1.Deployment) { d.Generation++ })[0])
		if err := p.Delete(t.Context(), node, time.Minute); !errors.Is(err, target.ErrRefused) {
			t.Errorf("while it rolls out: %v", err)
		}
		c.Put(webApp()[0])
		if err := p.Delete(t.Context(), node, time.Minute); err != nil {
			t.Errorf("when it does not: %v", err)
		}
		if len(c.Deletions()) != 1 {
			t.Errorf("%d deletions", len(c.Deletions()))
		}
	})
}

func TestPodsDeleteSkipsThePreStopChecksWhereAskedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		kubeTarget := brokerTarget()
		kubeTarget.SkipPreStopChecks = true
		_, p := ready(t, c, kubeTarget)
		node := look(t, p).Nodes[1]
		c.Intercept(func(request string) {
			if request != "delete pods rabbit-1" {
				return
			}
			o, err := c.Tracker().Get(pods, ns, "rabbit-1")
			if err != nil {
				t.Error(err)
			} else if o.(*corev1.Pod).Labels["skipPreStopChecks"] != "true" {
				t.Error("deleted without the label")
			}
		})
		if err := p.Delete(t.Context(), node, time.Minute); err != nil {
			t.Fatal(err)
		}
		c.Intercept(nil)
		c.Put(rabbit(1, func(p *corev1.Pod) { p.UID = "its successor" }))
		synctest.Wait()
		c.Deny("patch", "pods", true)
		if err := p.Delete(t.Context(), look(t, p).Nodes[0], time.Minute); !errors.Is(err, target.ErrRefused) || !strings.Contains(err.Error(), "not allowed: patch pods") || refusedFor(err) != target.CauseNotLabeled {
			t.Errorf("without the permission: %v", err)
		}
		if len(c.Deletions()) != 1 {
			t.Errorf("%d deletions", len(c.Deletions()))
		}
	})
}

func TestPodsDeleteLeavesAPodThatItSparesItsPreStopChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()...)
		kubeTarget := brokerTarget()
		kubeTarget.SkipPreStopChecks = true
		_, p := ready(t, c, kubeTarget)
		c.Deny("delete", "pods", true)
		err := p.Delete(t.Context(), look(t, p).Nodes[1], time.Minute)
		t.Log(err)
		o, _ := c.Tracker().Get(pods, ns, "rabbit-1")
		if l := o.(*corev1.Pod).Labels["skipPreStopChecks"]; l != "" {
			t.Errorf("nothing was deleted, and the pod keeps skipPreStopChecks=%s", l)
		}
	})
}

func TestPodsDeleteIsRefusedBesideAPodThatTerminates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const old, next = revision, "rabbit-2"
		set := rabbitSet(func(s *appsv1.StatefulSet) {
			s.Spec.UpdateStrategy.RollingUpdate.Partition = new(int32(2))
			s.Status.CurrentRevision, s.Status.UpdateRevision = old, next
			s.Status.CurrentReplicas, s.Status.UpdatedReplicas = 1, 1 // rabbit-0 is on its way out
		})
		c := kubetest.NewCluster(t, set, rabbit(0, func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.Now()) }), rabbit(1),
			rabbit(2, func(p *corev1.Pod) { p.Labels[appsv1.ControllerRevisionHashLabelKey] = next }))
		_, p := ready(t, c, brokerTarget())
		v := look(t, p)
		if err := p.Delete(t.Context(), v.Nodes[1], time.Minute); !errors.Is(err, target.ErrRefused) {
			t.Errorf("deleted beside a peer that terminates: %v", err)
		}
	})
}

func TestPodsDeleteFindsOutWhatCameOfAnAnswerWithAnError(t *testing.T) {
	of := pods.GroupResource()
	gone := func(c *kubetest.Cluster) { c.Drop("pods", "", "production", "rabbit-1") }
	replaced := func(c *kubetest.Cluster) { c.Put(rabbit(1, func(p *corev1.Pod) { p.UID = "another" })) }
	for name, row := range map[string]struct {
		err  error
		then func(*kubetest.Cluster) // meanwhile
		want error                   // nil: it may have happened
	}{
		"400, of a webhook":           {apierrors.NewBadRequest(`admission webhook "x" denied the request: no`), nil, target.ErrRefused},
		"403":                         {apierrors.NewForbidden(of, "rabbit-1", errors.New("no")), nil, target.ErrRefused},
		"404, and it is gone":         {apierrors.NewNotFound(of, "rabbit-1"), gone, target.ErrGone},
		"404, and it is there":        {apierrors.NewNotFound(of, "rabbit-1"), nil, target.ErrRefused},
		"409, and it is another":      {apierrors.NewConflict(of, "rabbit-1", errors.New("precondition failed")), replaced, target.ErrChanged},
		"409, and it is the same":     {apierrors.NewConflict(of, "rabbit-1", errors.New("the object has been modified")), nil, target.ErrRefused},
		"422":                         {apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, "rabbit-1", nil), nil, target.ErrRefused},
		"429, which has not begun":    {apierrors.NewTooManyRequests("too many requests", 1), nil, target.ErrRefused},
		"500":                         {apierrors.NewInternalError(errors.New("etcd")), nil, nil},
		"504, which may have begun":   {apierrors.NewTimeoutError("etcd", 1), nil, nil},
		"a connection that is broken": {errors.New("unexpected EOF"), nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := kubetest.NewCluster(t, broker()...)
				_, p := ready(t, c, brokerTarget())
				n := look(t, p).Nodes[1]
				c.PrependReactor("delete", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
					if row.then != nil {
						row.then(c)
					}
					return true, nil, row.err
				})
				err := p.Delete(t.Context(), n, time.Minute)
				for _, certain := range []error{target.ErrRefused, target.ErrGone, target.ErrChanged} {
					if err == nil || errors.Is(err, certain) != errors.Is(row.want, certain) {
						t.Errorf("%v: is it %q? want %v", err, certain, row.want)
					}
				}
				if got := refusedFor(err); (got == target.CauseRejected) != errors.Is(row.want, target.ErrRefused) {
					t.Errorf("the cause is %q", got)
				}
			})
		})
	}
}

func TestPodsDeleteIsRefusedOnlyWhileAnotherPodBoots(t *testing.T) {
	for name, row := range map[string]struct {
		since time.Duration
		want  int
	}{
		"it has just been started, in the same pod":                {10 * time.Second, 0},
		"for long, whose logins tell more than its readiness does": {time.Hour, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := kubetest.NewCluster(t, broker()...)
				_, p := ready(t, c, brokerTarget())
				c.Put(booting(2, time.Now().Add(-row.since)))
				synctest.Wait()
				err := p.Delete(t.Context(), look(t, p).Nodes[1], time.Minute)
				if len(c.Deletions()) != row.want || (err == nil) != (row.want == 1) {
					t.Errorf("%d deletions, want %d: %v", len(c.Deletions()), row.want, err)
				}
			})
		})
	}
}

func TestPodsDeleteGoesOnWhileAJobsPodComesOrGoes(t *testing.T) {
	for name, change := range map[string]func(*kubetest.Cluster){
		"it comes": func(c *kubetest.Cluster) { c.Put(backup()) },
		"it goes":  func(c *kubetest.Cluster) { c.Drop("pods", "", ns, "backup-x") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := kubetest.NewCluster(t, broker()...)
				if name == "it goes" {
					c.Put(backup())
				}
				_, p := ready(t, c, brokerTarget())
				victim := look(t, p).Nodes[1]
				c.Unwatched(func() { change(c) })
				if err := p.Delete(t.Context(), victim, time.Minute); err != nil || len(c.Deletions()) != 1 {
					t.Errorf("%d deletions: %v", len(c.Deletions()), err)
				}
			})
		})
	}
}

// booting is a pod whose container began then, and is not ready.
func booting(i int, since time.Time) *corev1.Pod {
	return rabbit(i, func(p *corev1.Pod) {
		for j := range p.Status.ContainerStatuses {
			p.Status.ContainerStatuses[j].State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(since)}}
		}
		for j := range p.Status.Conditions {
			if p.Status.Conditions[j].Type == corev1.PodReady {
				p.Status.Conditions[j].Status = corev1.ConditionFalse
			}
		}
	})
}
