package kube

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/target"
)

// scene makes of objects what is known when they are all that there is.
func scene(objects ...runtime.Object) around {
	a := around{sets: map[string]workload{}, replicaSets: map[string]workload{}, deployments: map[string]workload{}, budgets: map[string]budget{}}
	for _, o := range objects {
		switch o := o.(type) {
		case *appsv1.StatefulSet:
			a.sets[o.Name] = trimStatefulSet(o)
		case *appsv1.ReplicaSet:
			a.replicaSets[o.Name] = trimReplicaSet(o)
		case *appsv1.Deployment:
			a.deployments[o.Name] = trimDeployment(o)
		case *policyv1.PodDisruptionBudget:
			a.budgets[o.Name] = trimBudget(o)
		}
	}
	return a
}

func check(t *testing.T, got verdict, want target.Answer, why string) {
	t.Helper()
	if got.Answer != want || !strings.Contains(got.why, why) {
		t.Errorf("%s: %q, want %s: ...%q...", got.Answer, got.why, want, why)
	}
}

func TestOwnedIsAPodThatSomethingWouldRecreate(t *testing.T) {
	for _, tc := range []struct {
		name string
		pod  *corev1.Pod
		set  *appsv1.StatefulSet
		want target.Answer
		why  string
	}{
		{"a pod of a settled set", rabbit(2), rabbitSet(), target.Yes, "StatefulSet rabbit would recreate it"},
		{"its set is not known", rabbit(2), nil, target.CannotTell, "not known"},
		{"nobody controls it", rabbit(2, func(p *corev1.Pod) { p.OwnerReferences = nil }), rabbitSet(), target.No, "no controller"},
		{"its owner does not control it", rabbit(2, func(p *corev1.Pod) { p.OwnerReferences[0].Controller = nil }), rabbitSet(), target.No, "no controller"},
		{"an orphan whose set was made anew", rabbit(2), rabbitSet(func(s *appsv1.StatefulSet) { s.UID = "another" }), target.No, "another than its own"},
		{"its set is being deleted", rabbit(2), rabbitSet(func(s *appsv1.StatefulSet) { s.DeletionTimestamp = new(metav1.Now()) }), target.No, "being deleted"},
		{"its set is scaled down below it", rabbit(2), rabbitSet(func(s *appsv1.StatefulSet) { s.Spec.Replicas = new(int32(2)) }), target.No, "wants 2 from number 0"},
		{"its set is scaled to nothing", rabbit(0), rabbitSet(func(s *appsv1.StatefulSet) { s.Spec.Replicas = new(int32(0)) }), target.No, "wants no pods"},
		{"replicas left out are one", rabbit(0), rabbitSet(func(s *appsv1.StatefulSet) { s.Spec.Replicas = nil }), target.Yes, "would recreate it"},
		{"the set's numbers begin above it", rabbit(0), rabbitSet(func(s *appsv1.StatefulSet) { s.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 1} }), target.No, "from number 1"},
		{"the set's numbers end with it", rabbit(3), rabbitSet(func(s *appsv1.StatefulSet) { s.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 1} }), target.Yes, "would recreate it"},
		{"its name has no number", rabbit(2, func(p *corev1.Pod) { p.Name = "rabbit-two" }), rabbitSet(), target.No, "wants 3"},
		{"a DaemonSet", rabbit(2, func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "DaemonSet" }), rabbitSet(), target.CannotTell, "a DaemonSet"},
		{"a Job", rabbit(2, func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "Job" }), rabbitSet(), target.CannotTell, "a Job"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			here := scene()
			if tc.set != nil {
				here = scene(tc.set)
			}
			p := trimPod("rabbitmq")(tc.pod)
			check(t, owned(p, here.above(p)), tc.want, tc.why)
		})
	}
}

func TestOwnedIsAnAppsPodThatItsDeploymentWouldRecreate(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(around) around
		want   target.Answer
		why    string
	}{
		{"settled", func(a around) around { return a }, target.Yes, "Deployment web would recreate it"},
		{"the ReplicaSet is not known", func(a around) around { a.replicaSets = nil; return a }, target.CannotTell, "ReplicaSet web-new is not known"},
		{"the Deployment is not known", func(a around) around { a.deployments = nil; return a }, target.CannotTell, "Deployment web is not known"},
		{"the ReplicaSet stands alone", func(a around) around {
			w := a.replicaSets["web-new"]
			w.owner = owner{}
			a.replicaSets["web-new"] = w
			return a
		}, target.CannotTell, "belongs to no Deployment"},
		{"the ReplicaSet is an old one", func(a around) around {
			w := a.replicaSets["web-new"]
			w.replicas = 0
			a.replicaSets["web-new"] = w
			return a
		}, target.No, "wants no pods"},
		{"the Deployment was made anew", func(a around) around {
			w := a.deployments["web"]
			w.uid = "another"
			a.deployments["web"] = w
			return a
		}, target.No, "another than its own"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			objects := webApp()
			p := trimPod("app")(objects[3])
			here := tc.change(scene(objects...))
			check(t, owned(p, here.above(p)), tc.want, tc.why)
		})
	}
}

func TestRollingOutIsASetUntilADeletedPodWouldComeBackAsItWas(t *testing.T) {
	partitioned := func(updated, partition int32) func(*appsv1.StatefulSet) {
		return func(s *appsv1.StatefulSet) {
			s.Status.UpdateRevision, s.Status.UpdatedReplicas = "rabbit-2", updated
			s.Spec.UpdateStrategy.RollingUpdate.Partition = &partition
		}
	}
	updated := func(p *corev1.Pod) { p.Labels[appsv1.ControllerRevisionHashLabelKey] = "rabbit-2" }
	onDelete := func(updated int32) func(*appsv1.StatefulSet) {
		return func(s *appsv1.StatefulSet) {
			s.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
			s.Status.UpdateRevision, s.Status.UpdatedReplicas = "rabbit-2", updated
		}
	}
	for _, tc := range []struct {
		name string
		pod  *corev1.Pod
		set  *appsv1.StatefulSet
		want target.Answer
		why  string
	}{
		{"settled", rabbit(1), rabbitSet(), target.No, "not rolling out"},
		{"its set is not known", rabbit(1), nil, target.CannotTell, "not known"},
		{"the status is of an earlier specification", rabbit(1), rabbitSet(func(s *appsv1.StatefulSet) { s.Generation = 3 }), target.Yes, "just been changed"},
		{"nobody has looked at the specification yet", rabbit(1), rabbitSet(func(s *appsv1.StatefulSet) { s.Generation, s.Status.ObservedGeneration = 0, 0 }), target.Yes, "just been changed"},
		{"an update has begun", rabbit(1), rabbitSet(func(s *appsv1.StatefulSet) { s.Status.UpdateRevision, s.Status.UpdatedReplicas = "rabbit-2", 1 }), target.Yes, "being updated"},
		{"all are updated and not all are ready", rabbit(1, updated), rabbitSet(func(s *appsv1.StatefulSet) { s.Status.UpdateRevision = "rabbit-2" }), target.Yes, "being updated"},
		{"it is being scaled up", rabbit(1), rabbitSet(func(s *appsv1.StatefulSet) { s.Spec.Replicas = new(int32(5)) }), target.Yes, "has 3 pods and wants 5"},
		{"it is being scaled down", rabbit(1), rabbitSet(func(s *appsv1.StatefulSet) { s.Spec.Replicas = new(int32(2)) }), target.Yes, "has 3 pods and wants 2"},
		{"a pod is missing", rabbit(1), rabbitSet(func(s *appsv1.StatefulSet) { s.Status.Replicas, s.Status.UpdatedReplicas = 2, 2 }), target.Yes, "has 2 pods"},
		{"a pod has just been made", rabbit(1), rabbitSet(func(s *appsv1.StatefulSet) { s.Status.UpdatedReplicas = 2 }), target.Yes, "updated 2 of 3"},
		{"the pod is of a revision that the status forgot", rabbit(1, updated), rabbitSet(), target.Yes, "another revision"},
		{"above the partition, which is being rolled out to", rabbit(2), rabbitSet(partitioned(0, 2)), target.Yes, "updated 0 of 1"},
		{"above the partition, which is reached", rabbit(2, updated), rabbitSet(partitioned(1, 2)), target.No, "not rolling out"},
		{"above the partition, and not updated", rabbit(2), rabbitSet(partitioned(1, 2)), target.Yes, "another revision"},
		{"below the partition, which is reached", rabbit(1), rabbitSet(partitioned(1, 2)), target.No, "not rolling out"},
		{"below the partition, and updated all the same", rabbit(1, updated), rabbitSet(partitioned(1, 2)), target.Yes, "another revision"},
		{"a partition that holds all back", rabbit(1), rabbitSet(partitioned(0, 5)), target.No, "not rolling out"},
		{"a partition without an update", rabbit(1), rabbitSet(func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.RollingUpdate.Partition = new(int32(2)) }), target.No, "not rolling out"},
		{"updates on delete, none done", rabbit(1), rabbitSet(onDelete(0)), target.Yes, "updated 0 of 3"},
		{"updates on delete, this one done", rabbit(1, updated), rabbitSet(onDelete(1)), target.Yes, "updated 1 of 3"},
		{"updates on delete, all done", rabbit(1, updated), rabbitSet(onDelete(3)), target.No, "not rolling out"},
		{"a status without revisions", rabbit(1), rabbitSet(func(s *appsv1.StatefulSet) { s.Status.CurrentRevision, s.Status.UpdateRevision = "", "" }), target.CannotTell, "names no revision"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			here := scene()
			if tc.set != nil {
				here = scene(tc.set)
			}
			p := trimPod("rabbitmq")(tc.pod)
			check(t, rollingOut(p, here.above(p)), tc.want, tc.why)
		})
	}
}

func TestRollingOutIsADeploymentUntilAllItsPodsAreNew(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*appsv1.Deployment)
		want   target.Answer
		why    string
	}{
		{"settled", func(*appsv1.Deployment) {}, target.No, "not rolling out"},
		{"the status is of an earlier specification", func(d *appsv1.Deployment) { d.Generation = 6 }, target.Yes, "just been changed"},
		{"one new pod beside the old", func(d *appsv1.Deployment) { d.Status.Replicas, d.Status.UpdatedReplicas = 3, 1 }, target.Yes, "has 3 pods and wants 2"},
		{"one of two is new", func(d *appsv1.Deployment) { d.Status.UpdatedReplicas = 1 }, target.Yes, "updated 1 of 2"},
		{"the last old pod is still there", func(d *appsv1.Deployment) { d.Status.Replicas = 3 }, target.Yes, "has 3 pods"},
		{"paused in the middle", func(d *appsv1.Deployment) { d.Spec.Paused, d.Status.UpdatedReplicas = true, 0 }, target.Yes, "updated 0 of 2"},
		{"new and not ready", func(d *appsv1.Deployment) { d.Status.ReadyReplicas = 0 }, target.No, "not rolling out"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			objects := webApp(tc.change)
			p := trimPod("app")(objects[3])
			check(t, rollingOut(p, scene(objects...).above(p)), tc.want, tc.why)
		})
	}
}

func TestDisruptableForbidsWhatTheEvictionAPIForbids(t *testing.T) {
	spent := func(b *policyv1.PodDisruptionBudget) { b.Status.DisruptionsAllowed = 0 }
	down := func(b *policyv1.PodDisruptionBudget) { spent(b); b.Status.CurrentHealthy = 2 }
	tooFew := func(b *policyv1.PodDisruptionBudget) { spent(b); b.Status.CurrentHealthy = 1 }
	always := func(b *policyv1.PodDisruptionBudget) {
		b.Spec.UnhealthyPodEvictionPolicy = new(policyv1.AlwaysAllow)
	}
	other := func(b *policyv1.PodDisruptionBudget) { b.Name = "second" }
	for _, tc := range []struct {
		name    string
		pod     *corev1.Pod
		budgets []runtime.Object
		want    target.Answer
		why     string
	}{
		{"no budget", rabbit(0), nil, target.Yes, "forbids it"},
		{"one disruption is allowed", rabbit(0), []runtime.Object{rabbitBudget()}, target.Yes, ""},
		{"none is allowed", rabbit(0), []runtime.Object{rabbitBudget(spent)}, target.No, "budget rabbit allows no disruption"},
		{"none is allowed, of other pods", rabbit(0), []runtime.Object{rabbitBudget(spent, func(b *policyv1.PodDisruptionBudget) {
			b.Spec.Selector.MatchLabels["app"] = "web"
		})}, target.Yes, ""},
		{"an empty selector selects every pod", rabbit(0), []runtime.Object{rabbitBudget(spent, func(b *policyv1.PodDisruptionBudget) {
			b.Spec.Selector = &metav1.LabelSelector{}
		})}, target.No, "no disruption"},
		{"no selector selects none", rabbit(0), []runtime.Object{rabbitBudget(spent, func(b *policyv1.PodDisruptionBudget) { b.Spec.Selector = nil })}, target.Yes, ""},
		{"a selector that cannot be read", rabbit(0), []runtime.Object{rabbitBudget(func(b *policyv1.PodDisruptionBudget) {
			b.Spec.Selector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Resembles"}}
		})}, target.CannotTell, "cannot be read"},
		{"the status is of an earlier specification", rabbit(0), []runtime.Object{rabbitBudget(func(b *policyv1.PodDisruptionBudget) { b.Generation = 2 })}, target.CannotTell, "just been changed"},
		{"the pod is down itself, the others are healthy", rabbit(0, kubetest.NotReady), []runtime.Object{rabbitBudget(down)}, target.Yes, ""},
		{"the pod is down itself, and another one too", rabbit(0, kubetest.NotReady), []runtime.Object{rabbitBudget(tooFew)}, target.No, "1 pods are healthy, 2 must be"},
		{"the same where unhealthy pods may always go", rabbit(0, kubetest.NotReady), []runtime.Object{rabbitBudget(tooFew, always)}, target.Yes, ""},
		{"a healthy pod may not, there", rabbit(0), []runtime.Object{rabbitBudget(down, always)}, target.No, "no disruption"},
		{"a budget that wants none healthy says nothing", rabbit(0, kubetest.NotReady), []runtime.Object{rabbitBudget(spent, func(b *policyv1.PodDisruptionBudget) {
			b.Status.CurrentHealthy, b.Status.DesiredHealthy = 0, 0
		})}, target.No, "no disruption"},
		{"the second of two forbids it", rabbit(0), []runtime.Object{rabbitBudget(), rabbitBudget(other, spent)}, target.No, "budget second"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			check(t, disruptable(trimPod("rabbitmq")(tc.pod), scene(tc.budgets...).budgets), tc.want, tc.why)
		})
	}
}

func TestOperatingIsSoWhileTheLockIsHeld(t *testing.T) {
	now := longAgo
	for _, tc := range []struct {
		name  string
		lock  apiserver.Lock
		found bool
		want  target.Answer
		who   string
	}{
		{"no lock", apiserver.Lock{}, false, target.No, ""},
		{"released", apiserver.Lock{Renewed: now, Lasts: time.Minute}, true, target.No, ""},
		{"held", apiserver.Lock{Holder: "deploy 1234 by anna", Renewed: now.Add(-59 * time.Second), Lasts: time.Minute}, true, target.Yes, "deploy 1234 by anna"},
		{"expired", apiserver.Lock{Holder: "deploy 1234 by anna", Renewed: now.Add(-time.Minute), Lasts: time.Minute}, true, target.No, ""},
		{"held by a clock that is ahead", apiserver.Lock{Holder: "x", Renewed: now.Add(time.Hour), Lasts: time.Minute}, true, target.Yes, "x"},
		{"held without a time", apiserver.Lock{Holder: "x", Lasts: time.Minute}, true, target.CannotTell, ""},
		{"held for no time", apiserver.Lock{Holder: "x", Renewed: now}, true, target.CannotTell, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, who := operating(tc.lock, tc.found, now)
			if got.Answer != tc.want || who != tc.who {
				t.Errorf("%s by %q, want %s by %q", got.Answer, who, tc.want, tc.who)
			}
		})
	}
}

func TestExpectedIsAsManyPodsAsTheSetsThatSelectThemWant(t *testing.T) {
	selector := labels.SelectorFromSet(labels.Set{"app": "rabbit"})
	second := rabbitSet(func(s *appsv1.StatefulSet) { s.Name, s.Spec.Replicas = "second", new(int32(2)) })
	others := rabbitSet(func(s *appsv1.StatefulSet) { s.Name = "others"; s.Spec.Template.Labels = map[string]string{"app": "x"} })
	going := rabbitSet(func(s *appsv1.StatefulSet) { s.Name, s.DeletionTimestamp = "going", new(metav1.Now()) })
	for _, tc := range []struct {
		name string
		sets []runtime.Object
		want int
	}{
		{"one set", []runtime.Object{rabbitSet(), others}, 3},
		{"two sets", []runtime.Object{rabbitSet(), second, others}, 5},
		{"none", []runtime.Object{others}, 0},
		{"one that is being deleted", []runtime.Object{rabbitSet(), going}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sets := scene(tc.sets...).sets
			if got := expected(selector, sets, map[string]workload{}); got != tc.want {
				t.Errorf("%d, want %d", got, tc.want)
			}
			if got := expected(selector, sets, nil); got != 0 {
				t.Errorf("%d, and there may be Deployments too", got)
			}
		})
	}
}
