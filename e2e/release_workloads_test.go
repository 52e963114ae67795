package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cjworkbench/unstuck/e2e/artifact"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

// ofOwnServices are the environments that are not of the stand-in's services, by their names.
var ofOwnServices = map[string]string{
	"workloads": environmentOf("workloads", "40s",
		"{name: db, statefulset: db, image: frontend, kind: rolling}",
		"{name: agent, daemonset: agent, image: cron, kind: rolling}",
		"{name: queue, statefulset: queue, image: cron}"),
	"waiting": environmentOf("waiting", "5m", waitingServices()...),
}

func environmentOf(name, rollout string, services ...string) string {
	return fmt.Sprintf("\n  - name: %[1]s\n    namespace: %[1]s\n    image: %[2]s\n    registry_secret: {name: workbenchdata-ci}\n"+
		"    deadlines: {rollout: %[3]s, stop: 1m}\n    services:\n    - %[4]s\n", name,
		artifact.StandinImage("{image}", "{commit}"), rollout, strings.Join(services, "\n    - "))
}

// workloadManifest is a workload with one container, called app.
func workloadManifest(namespace, kind, name, spec, image, args, pod, container string) string {
	return fmt.Sprintf(`---
apiVersion: apps/v1
kind: %[2]s
metadata: {name: %[3]s, namespace: %[1]s}
spec:
  selector: {matchLabels: {app: %[3]s-app}}
  %[4]s
  template:
    metadata: {labels: {app: %[3]s-app}}
    spec:
      terminationGracePeriodSeconds: 3
      automountServiceAccountToken: false
      enableServiceLinks: false
      %[7]s
      containers:
      - name: app
        image: "%[5]s"
        imagePullPolicy: Never
        args: %[6]s
        %[8]s
`, namespace, kind, name, spec, artifact.StandinImage(image, commitOne), args, pod, container)
}

const whenListening = "readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}"

func TestReleaseWorkloadsRollStatefulSetsAndDaemonSetsByTheirOwnRules(t *testing.T) {
	t.Parallel()
	s := sharedStage(t, "workloads")
	const notes = "volumes: [{name: notes, hostPath: {path: /var/lib/standin/workloads}}]"
	if err := shared.Apply(within(t, time.Minute),
		workloadManifest("workloads", "StatefulSet", "db", "replicas: 2\n  serviceName: db", "frontend", "[serve]", "", whenListening)+
			workloadManifest("workloads", "StatefulSet", "queue", "replicas: 1\n  serviceName: queue", "cron", "[single, /notes/queue]", notes, "volumeMounts: [{name: notes, mountPath: /notes}]")+
			workloadManifest("workloads", "DaemonSet", "agent", "minReadySeconds: 1", "cron", "[single, /notes/agent]", notes, "volumeMounts: [{name: notes, mountPath: /notes}]")); err != nil {
		t.Fatal(err)
	}
	s.rolledOut()
	before := s.uids()

	t.Run("a deploy reaches every pod, and no singleton lives twice", func(t *testing.T) {
		s := s.on(t)
		op := s.over(s.deploy(commitTwo).ID, plan.Succeeded)
		for id, want := range map[string]string{"roll db": "2 of 2 pods available", "roll agent": "pods available", "replace queue": "1 of 1 pods available"} {
			if got := step(t, op, id); !strings.Contains(got.Detail, want) || got.Diagnosis != nil {
				t.Errorf("%s: %q, %v", id, got.Detail, got.Diagnosis)
			}
		}
		s.podsAt(commitTwo)
		lives, err := s.Lives("queue")
		if err != nil || len(lives) != 2 || lives[0].Ended.IsZero() || lives[1].Began.Before(lives[0].Ended) {
			t.Errorf("the singleton lived %+v, %v", lives, err)
		}
	})
	t.Run("a restart makes every pod anew", func(t *testing.T) {
		s := s.on(t)
		for _, service := range []string{"db", "agent", "queue"} {
			s.over(s.submit(s.path+"/services/"+service+"/restarts", body{"reason": "a test"}).ID, plan.Succeeded)
		}
		after := s.uids()
		for _, uid := range before {
			if slices.Contains(slices.Collect(maps.Values(after)), uid) {
				t.Errorf("a pod is still there: %v, before %v", after, before)
			}
		}
		s.podsAt(commitTwo)
	})
	t.Run("a revert brings the older commit back", func(t *testing.T) {
		s := s.on(t)
		s.over(s.submit(s.path+"/reverts", body{"commit": commitOne, "reason": "a test"}).ID, plan.Succeeded)
		s.podsAt(commitOne)
	})
	t.Run("a StatefulSet that never becomes ready is held up until a person deletes its pod", func(t *testing.T) { s.on(t).heldUp() })
	t.Run("a StatefulSet that replaces no pod is refused", func(t *testing.T) {
		s := s.on(t)
		if _, err := shared.Kubernetes.AppsV1().StatefulSets(s.Namespace).Patch(within(t, 10*time.Second), "db", types.MergePatchType,
			[]byte(`{"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":null}}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		s.refused(s.path+"/deploys", body{"commit": commitThree, "reason": "a test"}, http.StatusConflict, plan.NotReady,
			"StatefulSet db has the update strategy OnDelete", "kubectl patch statefulset/db")
	})
}

func (s *scene) heldUp() {
	failed := s.over(s.deploy(commitCrash).ID, plan.Failed)
	d := step(s.t, failed, "roll db").Diagnosis
	if d == nil || d.Pod != "db-1" || d.Why != workload.Crash || !strings.Contains(failed.Outcome, "not rolled out after 40s") {
		s.t.Errorf("the diagnosis is %v: %s", d, failed.Outcome)
	}
	const what = "kubectl -n workloads delete pod db-1"
	back := body{"commit": commitOne, "reason": "a test"}
	var shown plan.Plan
	if p := s.ask(http.MethodPost, s.path+"/reverts", body{"commit": commitOne, "reason": "a look", "dry_run": true}, &shown); p != nil {
		s.t.Fatal(p)
	}
	// The pod is of the template that is current still: only the revert makes it an old one.
	if strings.Contains(shown.Warning, what) {
		s.t.Errorf("too early: %s", shown.Warning)
	}
	op := s.submit(s.path+"/reverts", back)
	op = s.follow(op.ID, time.Minute, func(op plan.Operation) bool {
		return strings.Contains(step(s.t, op, "roll db").Detail, what)
	})
	waits := step(s.t, op, "roll db")
	if waits.Phase != plan.Running || waits.Diagnosis == nil || waits.Diagnosis.Pod != "db-1" {
		s.t.Errorf("it waits so: %+v", waits)
	}
	if err := shared.Kubernetes.CoreV1().Pods(s.Namespace).Delete(within(s.t, 10*time.Second), "db-1", metav1.DeleteOptions{}); err != nil {
		s.t.Fatal(err)
	}
	op = s.over(op.ID, plan.Succeeded)
	if step(s.t, op, "roll db").Diagnosis != nil {
		s.t.Error("a step that has succeeded says why it waited")
	}
	s.podsAt(commitOne)
}

// workloadPods gives the pods of db, queue and agent that are not on their way out.
func (s *scene) workloadPods() (all []corev1.Pod) {
	s.t.Helper()
	for _, service := range []string{"db", "queue", "agent"} {
		pods, err := s.Pods(within(s.t, 10*time.Second), service)
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, pods...)
	}
	return all
}

func (s *scene) uids() map[string]types.UID {
	all := map[string]types.UID{}
	for _, p := range s.workloadPods() {
		all[p.Name] = p.UID
	}
	return all
}

// rolledOut waits until there are pods of each, and all are ready.
func (s *scene) rolledOut() {
	s.t.Helper()
	ctx := within(s.t, 2*time.Minute)
	if err := until(ctx, func() (bool, error) {
		pods := s.workloadPods()
		ready := 0
		for _, p := range pods {
			if slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
			}) {
				ready++
			}
		}
		if len(pods) >= 4 && ready == len(pods) {
			return true, nil
		}
		pause(ctx, 500*time.Millisecond)
		return false, fmt.Errorf("%d of %d pods are ready", ready, len(pods))
	}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) podsAt(commit string) {
	s.t.Helper()
	for _, p := range s.workloadPods() {
		if !strings.HasSuffix(p.Spec.Containers[0].Image, commit) {
			s.t.Errorf("pod %s runs %s, want %s", p.Name, p.Spec.Containers[0].Image, commit)
		}
	}
}

// neverReady keeps a container from being ready for a moment, too.
const neverReady = "readinessProbe: {tcpSocket: {port: 9}, periodSeconds: 1}"

// waits are services that wait for ever, each for another reason.
var waits = []struct {
	name, kind, args, pod, container string

	why    workload.Trouble
	detail string
}{
	{"account", "Deployment", "[serve]", "serviceAccountName: nobody", "", workload.NoPod, `serviceaccount "nobody" not found`},
	{"account-set", "StatefulSet", "[serve]", "serviceAccountName: nobody", "", workload.NoPod, `serviceaccount "nobody" not found`},
	{"account-daemon", "DaemonSet", "[serve]", "serviceAccountName: nobody", "", workload.NoPod, `serviceaccount "nobody" not found`},
	{"quota", "Deployment", "[serve]", "", "resources: {requests: {cpu: 1m}}", workload.NoPod, "exceeded quota"},
	{"volume", "Deployment", "[serve]", "volumes: [{name: v, configMap: {name: nowhere}}]", "volumeMounts: [{name: v, mountPath: /v}]", workload.BadConfig, `configmap "nowhere" not found`},
	{"variable", "Deployment", "[serve]", "", "envFrom: [{secretRef: {name: nowhere}}]", workload.BadConfig, `secret "nowhere" not found`},
	{"command", "Deployment", "[serve]", "", "command: [/nothing]", workload.BadConfig, "/nothing"},
	{"image", "Deployment", "[serve]", `initContainers: [{name: first, image: "elsewhere.example/nothing:1", imagePullPolicy: Never}]`, "", workload.ImagePull, "elsewhere.example/nothing:1"},
	{"crash", "Deployment", "[nonsense]", "", neverReady, workload.Crash, "exit code"},
	{"host", "Deployment", "[serve]", "nodeSelector: {nobody: has-this}", "", workload.Unschedulable, "node"},
	{"probe", "Deployment", "[serve]", "", neverReady, workload.ProbeFails, "probe failed"},
}

func waitingServices() (services []string) {
	for _, w := range waits {
		services = append(services, fmt.Sprintf("{name: %s, %s: %s, image: frontend, kind: rolling}", w.name, strings.ToLower(w.kind), w.name))
	}
	return services
}

func TestReleaseWorkloadsSayWhyTheyWait(t *testing.T) {
	t.Parallel()
	s := sharedStage(t, "waiting")
	all := `---
apiVersion: v1
kind: ResourceQuota
metadata: {name: nothing, namespace: waiting}
spec: {hard: {pods: "0"}, scopes: [NotBestEffort]}
`
	for _, w := range waits {
		spec := "revisionHistoryLimit: 2"
		if w.kind == "StatefulSet" {
			spec = "serviceName: none"
		}
		all += workloadManifest("waiting", w.kind, w.name, spec, "frontend", w.args, w.pod, w.container)
	}
	if err := shared.Apply(within(t, time.Minute), all); err != nil {
		t.Fatal(err)
	}
	op := s.deploy(commitTwo)
	missing := make(map[string]string)
	op = s.follow(op.ID, 3*time.Minute, func(op plan.Operation) bool {
		for _, w := range waits {
			one := step(t, op, "roll "+w.name)
			if one.Phase == plan.Running && one.Diagnosis != nil && one.Diagnosis.Why == w.why && strings.Contains(one.Detail, w.detail) {
				delete(missing, w.name)
			} else {
				missing[w.name] = fmt.Sprintf("%s: %v", one.Detail, one.Diagnosis)
			}
		}
		return len(missing) == 0
	})
	for name, seen := range missing {
		t.Errorf("%s: it waits so: %s", name, seen)
	}
	if p := s.ask(http.MethodPost, "/api/v1/operations/"+op.ID+"/cancel", body{"reason": "seen"}, &op); p != nil {
		t.Fatal(p)
	}
	s.over(op.ID, plan.Cancelled)
}
