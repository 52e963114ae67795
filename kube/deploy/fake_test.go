package deploy

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

const ns = kubetest.Namespace

var longAgo = kubetest.LongAgo

func testEnvironment() plan.Environment {
	return plan.Environment{
		Name: "production", Namespace: ns, Image: "gcr.io/acme/{image}:{commit}",
		Services: []plan.Service{{Name: "cron", Ref: workload.Ref{Deployment: "cron-deployment"}, Image: "cron"}, {Name: "gone", Ref: workload.Ref{Deployment: "gone"}, Image: "gone"}},
		Jobs:     []plan.Job{{Name: "migrate", From: plan.TemplateRef{Kind: plan.FromCronJob, Name: "migrate"}}},
		Tasks: []plan.Task{
			{Name: "clear", From: plan.TemplateRef{Kind: plan.FromPodTemplate, Name: "clear"}},
			{Name: "never", From: plan.TemplateRef{Kind: plan.FromCronJob, Name: "never"}},
			{Name: "import", Exec: plan.Exec{Service: "cron", Command: []string{"import"}}},
		},
	}
}

// clusters gives the clusters of which one has the test's environment.
func clusters(c *kubetest.Cluster) *Clusters {
	cs := New()
	cs.Add(c.Conn(), testEnvironment())
	return cs
}

// cron is a Deployment that has rolled out its second revision.
func cron(change ...func(*appsv1.Deployment)) *appsv1.Deployment {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "cron-deployment", UID: "cron-uid", Generation: 4, Annotations: map[string]string{revisionNote: "2"}},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "cron"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "cron"}, Annotations: map[string]string{restartedNote: "then", "other": "kept"}},
				Spec: corev1.PodSpec{
					InitContainers: []corev1.Container{{Name: "setup", Image: "gcr.io/acme/cron:1"}},
					Containers: []corev1.Container{
						{
							Name: "app", Image: "gcr.io/acme/cron:1",
							Env: []corev1.EnvVar{{Name: "A", Value: "b"}, {Name: "P", ValueFrom: &corev1.EnvVarSource{
								SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "password"}},
							}}},
							EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "all"}}}},
						},
						{Name: "proxy", Image: "gcr.io/sql/proxy:1"},
					},
					Volumes: []corev1.Volume{
						{Name: "tls", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "tls"}}},
						{Name: "both", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
							{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "projected"}}}, {},
						}}}},
						{Name: "tmp"},
					},
				},
			},
		},
		Status: appsv1.DeploymentStatus{
			ObservedGeneration: 4, Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1,
			Conditions: []appsv1.DeploymentCondition{{
				Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable", Message: "fine",
				LastUpdateTime: metav1.NewTime(longAgo.Add(time.Hour)), LastTransitionTime: metav1.NewTime(longAgo),
			}},
		},
	}
	for _, f := range change {
		f(d)
	}
	return d
}

func cronSet(revision string) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
		Namespace: ns, Name: "cron-" + revision, UID: types.UID("set-" + revision), Labels: map[string]string{"app": "cron"},
		Annotations:     map[string]string{revisionNote: revision},
		OwnerReferences: []metav1.OwnerReference{{Kind: "Deployment", Name: "cron-deployment", UID: "cron-uid", Controller: new(true)}},
	}}
}

func cronPod(name, revision string) *corev1.Pod {
	p := kubetest.NewPod(name, "app", "app", "cron", metav1.OwnerReference{Kind: "ReplicaSet", Name: "cron-" + revision, UID: types.UID("set-" + revision)})
	p.Spec.InitContainers = []corev1.Container{{Name: "setup"}}
	p.Spec.Containers = []corev1.Container{{Name: "app"}, {Name: "proxy"}}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(longAgo)}}
	p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "setup", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		Reason: "Completed", FinishedAt: metav1.NewTime(longAgo), StartedAt: metav1.NewTime(longAgo),
	}}}}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "proxy", Ready: true, State: running}, {Name: "app", Ready: true, State: running}}
	return p
}

// other is a pod of something else.
func other() *corev1.Pod {
	by := metav1.OwnerReference{Kind: "StatefulSet", Name: "rabbit", UID: "set-uid"}
	return kubetest.NewPod("rabbit-0", "rabbitmq", "app", "rabbit", by)
}
