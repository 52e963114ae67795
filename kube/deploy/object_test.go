package deploy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

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

var (
	dbRef    = workload.Ref{StatefulSet: "db"}
	agentRef = workload.Ref{DaemonSet: "agent"}
)

// otherEnvironment has a StatefulSet and a DaemonSet for services.
func otherEnvironment() plan.Environment {
	return plan.Environment{
		Name: "production", Namespace: ns, Image: "gcr.io/acme/{image}:{commit}",
		Services: []plan.Service{{Name: "db", Ref: dbRef, Image: "db"}, {Name: "agent", Ref: agentRef, Image: "agent", Kind: plan.Rolling}},
	}
}

func otherClusters(c *kubetest.Cluster) *Clusters {
	cs := New()
	cs.Add(c.Conn(), otherEnvironment())
	return cs
}

func templateOf(name string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}, Annotations: map[string]string{restartedNote: "then"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "gcr.io/acme/" + name + ":1"}}},
	}
}

// db is a StatefulSet of two pods that rolls out: db-1 is of the current template.
func db(change ...func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
	s := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "db", UID: "db-uid", Generation: 3},
		Spec: appsv1.StatefulSetSpec{
			Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}, Template: templateOf("db"),
			PodManagementPolicy: appsv1.OrderedReadyPodManagement,
			UpdateStrategy:      appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType, RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32(1))}},
		},
		Status: appsv1.StatefulSetStatus{
			ObservedGeneration: 3, Replicas: 2, UpdatedReplicas: 1, ReadyReplicas: 2, AvailableReplicas: 2,
			CurrentRevision: "db-1111", UpdateRevision: "db-2222",
		},
	}
	for _, f := range change {
		f(s)
	}
	return s
}

// agent is a DaemonSet on two hosts.
func agent(change ...func(*appsv1.DaemonSet)) *appsv1.DaemonSet {
	d := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "agent", UID: "agent-uid", Generation: 3},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "agent"}}, Template: templateOf("agent"),
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType},
		},
		Status: appsv1.DaemonSetStatus{ObservedGeneration: 3, DesiredNumberScheduled: 2, CurrentNumberScheduled: 2, UpdatedNumberScheduled: 1, NumberReady: 2, NumberAvailable: 2},
	}
	for _, f := range change {
		f(d)
	}
	return d
}

// revisionOf is a revision of a workload's template.
func revisionOf(owner types.UID, app, hash string, number int64) *appsv1.ControllerRevision {
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ns, Name: app + "-" + hash, Labels: map[string]string{"app": app, appsv1.ControllerRevisionHashLabelKey: hash},
			OwnerReferences: []metav1.OwnerReference{{Kind: "DaemonSet", Name: app, UID: owner, Controller: new(true)}},
		},
		Revision: number,
	}
}

func podUnder(kind, owner string, uid types.UID, name, app, hash string) *corev1.Pod {
	p := kubetest.NewPod(name, "app", "app", app, metav1.OwnerReference{Kind: kind, Name: owner, UID: uid})
	p.Labels[appsv1.ControllerRevisionHashLabelKey] = hash
	if kind == "" {
		p.OwnerReferences = nil
	}
	return p
}

func TestClustersWorkloadReadsAStatefulSet(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*appsv1.StatefulSet)
		check  func(workload.Workload) bool
	}{
		"as it is": {func(*appsv1.StatefulSet) {}, func(w workload.Workload) bool {
			return w.Ref == dbRef && w.Namespace == ns && w.Replicas == 2 && w.Partition == 1 && w.Ordered && w.Rolls() && !w.DropsVolumes && w.Total == 2 &&
				w.Updated == 1 && w.Available == 2 && w.Generation == 3 && w.ObservedGeneration == 3 && w.RestartedAt == "then" && w.Containers[0].Image == "gcr.io/acme/db:1"
		}},
		"in parallel": {func(s *appsv1.StatefulSet) { s.Spec.PodManagementPolicy = appsv1.ParallelPodManagement }, func(w workload.Workload) bool { return !w.Ordered }},
		"by OnDelete": {func(s *appsv1.StatefulSet) {
			s.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
		}, func(w workload.Workload) bool {
			return !w.Rolls() && w.Strategy == workload.OnDelete && w.Partition == 0
		}},
		"volumes that go, and there are none": {func(s *appsv1.StatefulSet) {
			s.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenScaled: appsv1.DeletePersistentVolumeClaimRetentionPolicyType}
		}, func(w workload.Workload) bool { return !w.DropsVolumes }},
		"volumes that go": {func(s *appsv1.StatefulSet) {
			s.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenScaled: appsv1.DeletePersistentVolumeClaimRetentionPolicyType}
			s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{}}
		}, func(w workload.Workload) bool { return w.DropsVolumes }},
		"volumes that stay": {func(s *appsv1.StatefulSet) {
			s.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenScaled: appsv1.RetainPersistentVolumeClaimRetentionPolicyType}
			s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{}}
		}, func(w workload.Workload) bool { return !w.DropsVolumes }},
		"how many is not said": {func(s *appsv1.StatefulSet) { s.Spec.Replicas = nil }, func(w workload.Workload) bool { return w.Replicas == 1 }},
		"kept by a tool": {func(s *appsv1.StatefulSet) { s.Labels = map[string]string{"kustomize.toolkit.fluxcd.io/name": "prod"} }, func(w workload.Workload) bool {
			return strings.HasPrefix(w.KeptBy, "Flux")
		}},
	} {
		w, err := otherClusters(kubetest.NewCluster(t, db(tc.change))).Workload(t.Context(), otherEnvironment(), dbRef)
		if err != nil || !tc.check(w) {
			t.Errorf("%s: %+v, %v", name, w, err)
		}
	}
}

func TestClustersWorkloadReadsADaemonSet(t *testing.T) {
	c := kubetest.NewCluster(t, agent(func(d *appsv1.DaemonSet) {
		d.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "x"}
		d.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType
	}))
	w, err := otherClusters(c).Workload(t.Context(), otherEnvironment(), agentRef)
	if err != nil || w.Ref != agentRef || w.Replicas != 2 || w.Total != 2 || w.Updated != 1 || w.Available != 2 || w.Ordered || w.Rolls() ||
		w.ObservedGeneration != 3 || !strings.HasPrefix(w.KeptBy, "Argo CD") {
		t.Errorf("%+v, %v", w, err)
	}
	if got, want := c.Requests(), []string{"get daemonsets agent", "list controllerrevisions", "list pods"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Whose a pod is, is said by what controls it, and of which template it is, by its label.
func TestClustersWorkloadKnowsThePodsOfStatefulSetsAndDaemonSets(t *testing.T) {
	for name, tc := range map[string]struct {
		ref  workload.Ref
		pod  *corev1.Pod
		more []runtime.Object
		want string // what is said of the pod; empty: it is another's
	}{
		"a StatefulSet's, current":           {dbRef, podUnder("StatefulSet", "db", "db-uid", "db-1", "db", "db-2222"), []runtime.Object{db()}, "updated"},
		"a StatefulSet's, old":               {dbRef, podUnder("StatefulSet", "db", "db-uid", "db-0", "db", "db-1111"), []runtime.Object{db()}, "old"},
		"the change is not observed":         {dbRef, podUnder("StatefulSet", "db", "db-uid", "db-1", "db", "db-2222"), []runtime.Object{db(func(s *appsv1.StatefulSet) { s.Generation++ })}, "old"},
		"no revision is named":               {dbRef, podUnder("StatefulSet", "db", "db-uid", "db-1", "db", ""), []runtime.Object{db(func(s *appsv1.StatefulSet) { s.Status.UpdateRevision = "" })}, "old"},
		"a StatefulSet's of before":          {dbRef, podUnder("StatefulSet", "db", "old-uid", "db-1", "db", "db-2222"), []runtime.Object{db()}, "orphan"},
		"another StatefulSet's":              {dbRef, podUnder("StatefulSet", "other", "other-uid", "db-1", "db", "db-2222"), []runtime.Object{db()}, ""},
		"a Job's":                            {dbRef, podUnder("Job", "db", "job-uid", "db-1", "db", "db-2222"), []runtime.Object{db()}, ""},
		"nobody's":                           {dbRef, podUnder("", "", "", "db-1", "db", "db-2222"), []runtime.Object{db()}, "orphan"},
		"a DaemonSet's, current":             {agentRef, podUnder("DaemonSet", "agent", "agent-uid", "agent-x", "agent", "bbb"), []runtime.Object{agent(), revisionOf("agent-uid", "agent", "aaa", 1), revisionOf("agent-uid", "agent", "bbb", 2)}, "updated"},
		"a DaemonSet's, old":                 {agentRef, podUnder("DaemonSet", "agent", "agent-uid", "agent-x", "agent", "aaa"), []runtime.Object{agent(), revisionOf("agent-uid", "agent", "aaa", 1), revisionOf("agent-uid", "agent", "bbb", 2)}, "old"},
		"a DaemonSet's, gone back to":        {agentRef, podUnder("DaemonSet", "agent", "agent-uid", "agent-x", "agent", "aaa"), []runtime.Object{agent(), revisionOf("agent-uid", "agent", "aaa", 3), revisionOf("agent-uid", "agent", "bbb", 2)}, "updated"},
		"a later revision is another's":      {agentRef, podUnder("DaemonSet", "agent", "agent-uid", "agent-x", "agent", "aaa"), []runtime.Object{agent(), revisionOf("agent-uid", "agent", "aaa", 1), revisionOf("other-uid", "agent", "bbb", 2)}, "updated"},
		"no revision is known":               {agentRef, podUnder("DaemonSet", "agent", "agent-uid", "agent-x", "agent", ""), []runtime.Object{agent()}, "old"},
		"a DaemonSet's, not observed":        {agentRef, podUnder("DaemonSet", "agent", "agent-uid", "agent-x", "agent", "bbb"), []runtime.Object{agent(func(d *appsv1.DaemonSet) { d.Generation++ }), revisionOf("agent-uid", "agent", "bbb", 2)}, "old"},
		"a StatefulSet's with its labels":    {agentRef, podUnder("StatefulSet", "agent", "set-uid", "agent-0", "agent", "bbb"), []runtime.Object{agent()}, ""},
		"a ReplicaSet's with a set's labels": {dbRef, podUnder("ReplicaSet", "db", "set-uid", "db-x", "db", ""), []runtime.Object{db()}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cs := otherClusters(kubetest.NewCluster(t, append(tc.more, tc.pod)...))
			w, err := cs.Workload(t.Context(), otherEnvironment(), tc.ref)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if len(w.Pods) == 1 {
				got = map[bool]string{true: "updated", false: "old"}[w.Pods[0].Updated]
				if w.Pods[0].Orphan {
					got = "orphan"
				}
			}
			if got != tc.want {
				t.Errorf("it is %q, want %q", got, tc.want)
			}
			service := strings.ToLower(tc.ref.WorkloadName())
			log, err := cs.ServiceLog(t.Context(), otherEnvironment(), release.LogQuery{Service: service, Lines: 1})
			if err != nil || (len(log.Pods) == 0) != (tc.want == "") {
				t.Errorf("its log: %+v, %v", log.Pods, err)
			}
			_, err = cs.PodEnv(t.Context(), otherEnvironment(), service, "")
			if refusal, _ := errors.AsType[*plan.Refusal](err); (refusal != nil) != (tc.want == "") {
				t.Errorf("its variables: %v", err)
			}
		})
	}
}

func TestClustersPatchChangesAStatefulSetAndADaemonSet(t *testing.T) {
	c := kubetest.NewCluster(t, db(), agent())
	cs := otherClusters(c)
	for _, ref := range []workload.Ref{dbRef, agentRef} {
		name := ref.WorkloadName()
		change := func(from, to string) error {
			return cs.Patch(t.Context(), otherEnvironment(), release.Patch{
				Workload: ref, RestartedAt: "now", Images: []plan.ImageChange{{Container: "app", From: "gcr.io/acme/" + name + from, To: "gcr.io/acme/" + name + to}},
			})
		}
		if err := change(":1", ":2"); err != nil {
			t.Fatal(err)
		}
		w, err := cs.Workload(t.Context(), otherEnvironment(), ref)
		if err != nil || w.Containers[0].Image != "gcr.io/acme/"+name+":2" || w.RestartedAt != "now" {
			t.Errorf("%+v, %v", w, err)
		}
		if err := change(":7", ":3"); !errors.Is(err, release.ErrChanged) {
			t.Errorf("what somebody else has set is overwritten: %v", err)
		}
	}
	zero := 0
	if err := cs.Patch(t.Context(), otherEnvironment(), release.Patch{Workload: dbRef, Replicas: &zero}); err != nil {
		t.Fatal(err)
	}
	if s, err := c.AppsV1().StatefulSets(ns).Get(t.Context(), "db", metav1.GetOptions{}); err != nil || *s.Spec.Replicas != 0 {
		t.Errorf("%v, %v", s.Spec.Replicas, err)
	}
}

func TestClustersNameWhichRightToAWorkloadIsMissing(t *testing.T) {
	for _, tc := range []struct {
		ref            workload.Ref
		verb, resource string
	}{
		{dbRef, "get", "statefulsets"},
		{dbRef, "patch", "statefulsets"},
		{agentRef, "get", "daemonsets"},
		{agentRef, "patch", "daemonsets"},
		{agentRef, "list", "controllerrevisions"},
	} {
		c := kubetest.NewCluster(t, db(), agent())
		cs := otherClusters(c)
		call := func() error {
			if tc.verb == "patch" {
				return cs.Patch(t.Context(), otherEnvironment(), release.Patch{Workload: tc.ref, RestartedAt: "now"})
			}
			_, err := cs.Workload(t.Context(), otherEnvironment(), tc.ref)
			return err
		}
		if err := call(); err != nil {
			t.Fatal(err)
		}
		c.Deny(tc.verb, tc.resource, true)
		if missing, ok := errors.AsType[apiserver.NotAllowedError](call()); !ok || missing.Verb != tc.verb || missing.Path() != tc.resource || missing.Group != "apps" {
			t.Errorf("%s %s: %+v", tc.verb, tc.resource, missing)
		}
	}
}

func TestNeedsOfAskForTheKindsThatThereAre(t *testing.T) {
	needs := func(env plan.Environment) (all []string) {
		needsOf(env, func(_, resource, name string, verbs ...string) {
			all = append(all, strings.TrimSpace(fmt.Sprint(resource, " ", name, " ", verbs)))
		})
		return all
	}
	got := needs(otherEnvironment())
	for _, want := range []string{"statefulsets db [get patch]", "daemonsets agent [get patch]", "controllerrevisions  [list]"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	if slices.Contains(got, "replicasets  [list]") || slices.Contains(needs(testEnvironment()), "controllerrevisions  [list]") {
		t.Errorf("more is asked for than is used: %q, %q", got, needs(testEnvironment()))
	}
}

// In the words of Kubernetes 1.37 (pkg/controller/statefulset/stateful_pod_control.go, pkg/controller/controller_utils.go).
func TestClustersWorkloadSaysWhyPodsAreMissingByTheEventsOfItsOwner(t *testing.T) {
	const said = `create Pod db-1 in StatefulSet db failed error: pods "db-1" is forbidden: exceeded quota: nothing, requested: pods=1, used: pods=0, limited: pods=0`
	lacking := db(func(s *appsv1.StatefulSet) { s.Status.Replicas = 1 })
	daemon := agent(func(d *appsv1.DaemonSet) { d.Status.CurrentNumberScheduled = 1 })
	first := podUnder("StatefulSet", "db", "db-uid", "db-0", "db", "db-1111")
	first.CreationTimestamp = metav1.NewTime(longAgo)
	event := func(uid types.UID, reason string, at time.Time) *corev1.Event {
		return &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "e"}, InvolvedObject: corev1.ObjectReference{UID: uid}, Type: corev1.EventTypeWarning,
			Reason: reason, Message: said, LastTimestamp: metav1.NewTime(at),
		}
	}
	for name, tc := range map[string]struct {
		ref  workload.Ref
		all  []runtime.Object
		want bool
	}{
		"a StatefulSet":             {dbRef, []runtime.Object{lacking, first, event("db-uid", "FailedCreate", longAgo.Add(time.Hour))}, true},
		"a DaemonSet":               {agentRef, []runtime.Object{daemon, event("agent-uid", "FailedCreate", longAgo.Add(time.Hour))}, true},
		"a pod was made since":      {dbRef, []runtime.Object{lacking, first, event("db-uid", "FailedCreate", longAgo.Add(-time.Hour))}, false},
		"all are there":             {dbRef, []runtime.Object{db(), event("db-uid", "FailedCreate", longAgo.Add(time.Hour))}, false},
		"it speaks of another":      {dbRef, []runtime.Object{lacking, event("other-uid", "FailedCreate", longAgo.Add(time.Hour))}, false},
		"it says something else":    {dbRef, []runtime.Object{lacking, event("db-uid", "FailedUpdate", longAgo.Add(time.Hour))}, false},
		"there is no event of that": {dbRef, []runtime.Object{lacking}, false},
	} {
		c := kubetest.NewCluster(t, tc.all...)
		w, err := otherClusters(c).Workload(t.Context(), otherEnvironment(), tc.ref)
		d, found := workload.DiagnoseRollout(w, longAgo)
		if err != nil || found != tc.want || found && (d.Why != workload.NoPod || d.Detail != said) {
			t.Errorf("%s: %v, %t, %v", name, d, found, err)
		}
		c.Deny("list", "events", true)
		if _, err := otherClusters(c).Workload(t.Context(), otherEnvironment(), tc.ref); err != nil {
			t.Errorf("%s: without the right to events nothing is known: %v", name, err)
		}
	}
}

// What a Deployment itself says may be of the ReplicaSet of an earlier template.
func TestClustersWorkloadTakesFromTheCurrentReplicaSetWhyNoPodIsMade(t *testing.T) {
	failing := func(s *appsv1.ReplicaSet, words string) *appsv1.ReplicaSet {
		s.Status.Conditions = []appsv1.ReplicaSetCondition{{
			Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: words, LastTransitionTime: metav1.NewTime(longAgo),
		}}
		return s
	}
	says := cron(func(d *appsv1.Deployment) {
		d.Status.Conditions = append(d.Status.Conditions, appsv1.DeploymentCondition{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: "of the old one"})
	})
	for name, tc := range map[string]struct {
		sets []runtime.Object
		want string
	}{
		"the old one fails":      {[]runtime.Object{failing(cronSet("1"), "of the old one"), cronSet("2")}, ""},
		"the current one fails":  {[]runtime.Object{cronSet("1"), failing(cronSet("2"), "of the current one")}, "of the current one"},
		"both fail":              {[]runtime.Object{failing(cronSet("1"), "of the old one"), failing(cronSet("2"), "of the current one")}, "of the current one"},
		"which is current?":      {[]runtime.Object{cronSet("1")}, "of the old one"},
		"another's is of no use": {[]runtime.Object{cronSet("2"), failing(setOfA("web-1", "Deployment", "web", "web-uid"), "another's")}, ""},
	} {
		w, err := clusters(kubetest.NewCluster(t, append(tc.sets, says)...)).Workload(t.Context(), testEnvironment(), workload.Ref{Deployment: "cron-deployment"})
		d, _ := workload.DiagnoseRollout(w, time.Time{})
		if err != nil || d.Detail != tc.want {
			t.Errorf("%s: %v, %v", name, d, err)
		}
	}
}
