package deploy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

// podOfA is a running pod with the labels of the Deployment cron that something else, or nothing, controls.
func podOfA(kind, name string) *corev1.Pod {
	p := cronPod("cron-x", "2")
	p.OwnerReferences = nil
	if kind != "" {
		p.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: name, UID: types.UID(name + "-uid"), Controller: new(true)}}
	}
	return p
}

// setOfA is a ReplicaSet of the Deployment's labels that something else, or nothing, controls.
func setOfA(name, kind, owner string, uid types.UID) *appsv1.ReplicaSet {
	s := cronSet("2")
	s.Name, s.UID, s.OwnerReferences = name, types.UID(name+"-uid"), nil
	if kind != "" {
		s.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: owner, UID: uid, Controller: new(true)}}
	}
	return s
}

func unlabelled(s *appsv1.ReplicaSet) *appsv1.ReplicaSet {
	s.Labels = nil
	return s
}

// A Job of a CronJob that has the singleton's labels kept the singleton at 0 pods, and tasks could be run in its pod.
func TestClustersTakeNoPodOfAnotherForTheDeployments(t *testing.T) {
	const foreign, orphan, own = "another's", "an orphan", "its own"
	stopped := cron(func(d *appsv1.Deployment) {
		d.Spec.Replicas = new(int32(0))
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: 4}
	})
	mentioned := podOfA("", "")
	mentioned.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", Name: "nightly", UID: "nightly-uid"}}
	for _, tc := range []struct {
		name string
		pod  *corev1.Pod
		sets []runtime.Object
		want string
	}{
		{"a ReplicaSet of its own", cronPod("cron-x", "2"), nil, own},
		{"an old ReplicaSet of its own", cronPod("cron-x", "1"), []runtime.Object{cronSet("1")}, own},
		{"a ReplicaSet of its own that has lost its labels", podOfA("ReplicaSet", "bare"), []runtime.Object{unlabelled(setOfA("bare", "Deployment", "cron-deployment", "cron-uid"))}, own},
		{"a Job", podOfA("Job", "cron-nightly-29000"), nil, foreign},
		{"a StatefulSet", podOfA("StatefulSet", "cron"), nil, foreign},
		{"a DaemonSet", podOfA("DaemonSet", "cron"), nil, foreign},
		{"another Deployment's ReplicaSet", podOfA("ReplicaSet", "web-1"), []runtime.Object{setOfA("web-1", "Deployment", "web", "web-uid")}, foreign},
		{"another Deployment's ReplicaSet that has lost its labels", podOfA("ReplicaSet", "web-1"), []runtime.Object{unlabelled(setOfA("web-1", "Deployment", "web", "web-uid"))}, foreign},
		{"a Rollout's ReplicaSet", podOfA("ReplicaSet", "cron-3"), []runtime.Object{setOfA("cron-3", "Rollout", "cron-deployment", "rollout-uid")}, foreign},
		{"a ReplicaSet by itself, with labels of its own", podOfA("ReplicaSet", "alone"), []runtime.Object{unlabelled(setOfA("alone", "", "", ""))}, foreign},
		{"a ReplicaSet that the Deployment would adopt", podOfA("ReplicaSet", "left"), []runtime.Object{setOfA("left", "", "", "")}, orphan},
		{"a ReplicaSet of the Deployment that was here before", podOfA("ReplicaSet", "old"), []runtime.Object{setOfA("old", "Deployment", "cron-deployment", "old-uid")}, orphan},
		{"a ReplicaSet that is gone", podOfA("ReplicaSet", "cron-gone"), nil, orphan},
		{"nothing", podOfA("", ""), nil, orphan},
		{"nothing, though it names an owner", mentioned, nil, orphan},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cs := clusters(kubetest.NewCluster(t, append(tc.sets, stopped, cronSet("2"), tc.pod)...))
			d, err := cs.Workload(t.Context(), testEnvironment(), workload.Ref{Deployment: "cron-deployment"})
			if err != nil {
				t.Fatal(err)
			}
			got := foreign
			if len(d.Pods) == 1 {
				got = map[bool]string{false: own, true: orphan}[d.Pods[0].Orphan]
			}
			if got != tc.want {
				t.Errorf("it is %s, want %s", got, tc.want)
			}
			if d.Gone() != (tc.want == foreign) {
				t.Errorf("gone: %t", d.Gone())
			}
			if _, ready := d.ReadyPod(); ready != (tc.want == own) {
				t.Errorf("a command is run in it: %t", ready)
			}
			_, err = cs.PodEnv(t.Context(), testEnvironment(), "cron", "cron-x")
			if refusal, _ := errors.AsType[*plan.Refusal](err); (refusal != nil) != (tc.want == foreign) {
				t.Errorf("its variables: %v", err)
			}
			log, err := cs.ServiceLog(t.Context(), testEnvironment(), release.LogQuery{Service: "cron", Lines: 1})
			if err != nil || (len(log.Pods) == 0) != (tc.want == foreign) {
				t.Errorf("its log: %+v, %v", log.Pods, err)
			}
		})
	}
}

// The ReplicaSet may have been made after the ReplicaSets were listed.
func TestClustersWorkloadAsksAgainForAReplicaSetThatItDoesNotKnow(t *testing.T) {
	c := kubetest.NewCluster(t, cron(), cronSet("2"))
	c.Unwatched(func() {
		c.Put(setOfA("web-1", "Deployment", "web", "web-uid"))
		c.Put(podOfA("ReplicaSet", "web-1"))
	})
	d, err := clusters(c).Workload(t.Context(), testEnvironment(), workload.Ref{Deployment: "cron-deployment"})
	if err != nil || len(d.Pods) > 0 {
		t.Errorf("%+v, %v", d.Pods, err)
	}
	want := []string{"get deployments cron-deployment", "list replicasets", "list pods", "list replicasets"}
	if got := c.Requests(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestClustersGuessNoOwnersWhereReplicaSetsCannotBeListed(t *testing.T) {
	env := testEnvironment()
	c := kubetest.NewCluster(t, cron(), cronSet("2"), podOfA("ReplicaSet", "unknown"))
	cs := clusters(c)
	query := release.LogQuery{Service: "cron", Lines: 1}
	for name, ask := range map[string]func() error{
		"state": func() error { _, err := cs.State(t.Context(), env); return err },
		"Deployment": func() error {
			_, err := cs.Workload(t.Context(), env, workload.Ref{Deployment: "cron-deployment"})
			return err
		},
		"variables": func() error { _, err := cs.PodEnv(t.Context(), env, "cron", ""); return err },
		"log":       func() error { _, err := cs.ServiceLog(t.Context(), env, query); return err },
		"followed log": func() error {
			return cs.FollowServiceLog(t.Context(), env, query, func(release.ServiceLog) error { return errors.New("something is sent") })
		},
	} {
		for _, when := range []string{"get deployments cron-deployment", "list pods"} { // before the first list, and before the second
			c.Deny("list", "replicasets", false)
			c.Intercept(func(request string) {
				if request == when {
					c.Deny("list", "replicasets", true)
				}
			})
			err := ask()
			if missing, ok := errors.AsType[apiserver.NotAllowedError](err); !ok || missing.Verb != "list" || missing.Path() != "replicasets" {
				t.Errorf("%s, denied at %q: %v", name, when, err)
			}
		}
	}
}

// evicted makes a pod one that its host evicted: such pods stay until somebody deletes them.
func evicted(p *corev1.Pod) *corev1.Pod {
	p.Status.Phase, p.Status.Reason, p.Status.ContainerStatuses = corev1.PodFailed, "Evicted", nil
	kubetest.NotReady(p)
	return p
}

func TestClustersServiceLogIsOfThePodsThatRunHoweverManyHaveEnded(t *testing.T) {
	for name, change := range map[string]func(*corev1.Pod){
		"evicted":        func(p *corev1.Pod) { evicted(p) },
		"completed":      func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded },
		"not started":    func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending },
		"a Job's":        func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "Job" },
		"an orphan":      func(p *corev1.Pod) { p.OwnerReferences = nil },
		"of other names": func(p *corev1.Pod) { p.Spec.Containers[0].Name = "job" },
	} {
		h := newLogHost(t)
		h.add("cron-running", stamped(1, "I serve"))
		for i := range mostLogPods + 5 {
			change(h.add(fmt.Sprintf("cron-other-%02d", i), ""))
		}
		all, err := h.clusters().ServiceLog(t.Context(), testEnvironment(), release.LogQuery{Service: "cron", Container: "app", Lines: 50})
		if diff := cmp.Diff([]string{"cron-running I serve"}, texts(all.Lines)); err != nil || diff != "" {
			t.Errorf("%s: %v, of %d pods\n%s", name, err, len(all.Pods), diff)
		}
		if len(all.Pods) > mostLogPods {
			t.Errorf("%s: %d pods", name, len(all.Pods))
		}
	}
}

func TestClustersPodEnvIsThatOfThePodThatRuns(t *testing.T) {
	var objects []runtime.Object
	add := func(name string, change func(*corev1.Pod)) {
		p := cronPod(name, "2")
		p.CreationTimestamp = metav1.NewTime(longAgo.Add(time.Duration(len(objects)) * time.Minute))
		change(p)
		objects = append(objects, p)
	}
	choose := func() string {
		t.Helper()
		all, err := clusters(kubetest.NewCluster(t, append(objects, cron(), cronSet("2"))...)).PodEnv(t.Context(), testEnvironment(), "cron", "")
		if err != nil {
			t.Fatal(err)
		}
		return all.Pod
	}
	add("cron-evicted", func(p *corev1.Pod) { evicted(p) })
	if got := choose(); got != "cron-evicted" {
		t.Errorf("of nothing else: %s", got)
	}
	add("cron-ending", func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.NewTime(longAgo)) })
	add("cron-evicted-2", func(p *corev1.Pod) { evicted(p) })
	if got := choose(); got != "cron-ending" {
		t.Errorf("of one that ends, and two that have ended: %s", got)
	}
	add("cron-old", func(*corev1.Pod) {})
	add("cron-new", func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending })
	add("cron-evicted-3", func(p *corev1.Pod) { evicted(p) })
	add("cron-debug", func(p *corev1.Pod) { p.OwnerReferences = nil })
	add("cron-nightly", func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "Job" })
	if got := choose(); got != "cron-new" {
		t.Errorf("of two that do not end: %s", got)
	}
}

func TestClustersWorkloadExplainsThePodThatDoesNotStartHoweverManyAreEvicted(t *testing.T) {
	objects := []runtime.Object{cron(), cronSet("2")}
	for i := range explainedPods + 1 {
		objects = append(objects, evicted(cronPod(fmt.Sprintf("cron-a%d", i), "2")))
	}
	waits := cronPod("cron-x", "2")
	kubetest.NotReady(waits)
	objects = append(objects, waits, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "e"}, InvolvedObject: corev1.ObjectReference{UID: waits.UID},
		Type: "Warning", Reason: "FailedMount", Message: "no such Secret",
	})
	d, err := clusters(kubetest.NewCluster(t, objects...)).Workload(t.Context(), testEnvironment(), workload.Ref{Deployment: "cron-deployment"})
	if err != nil || d.Pods[0].Name != "cron-x" || !slices.Equal(d.Pods[0].Events, []string{"FailedMount: no such Secret"}) {
		t.Errorf("%+v, %v", d.Pods, err)
	}
}

func TestClustersFollowServiceLogReadsNothingOldWhenThereIsRoomForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newLogHost(t)
		evicted(h.add("cron-evicted", stamped(1, "long ago")))
		for i := range mostLogPods {
			h.add(fmt.Sprintf("cron-%02d", i), "")
		}
		f := follow(t, h, release.LogQuery{Lines: 10})
		if len(f.news) != mostLogPods || strings.Contains(strings.Join(f.news, " "), "evicted") {
			t.Errorf("%q", f.news)
		}
		f.lines, f.news = nil, nil
		h.remove("cron-00")
		time.Sleep(2*podsPoll + logPoll + reorderFor)
		f.expect(t, nil, []string{"cron-00 ended it is gone"})

		// What has come and gone between two looks is new.
		evicted(h.add("cron-short", stamped(2, "I came and went")))
		h.change("cron-short", func(l *podsLog) { l.runs = false })
		h.remove("cron-01")
		time.Sleep(2*podsPoll + logPoll + reorderFor)
		f.expect(t, []string{"cron-short I came and went"}, []string{"cron-01 ended it is gone", "cron-short read", "cron-short ended Evicted"})
	})
}
