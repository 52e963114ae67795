package kube

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// installed is an Unstuck as its chart installs it: its pods, their ReplicaSet and their Deployment.
type installed struct {
	pods       []corev1.Pod
	set        appsv1.ReplicaSet
	deployment appsv1.Deployment
}

func controlledBy(kind, name string, uid types.UID) []metav1.OwnerReference {
	yes := true
	return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, UID: uid, Controller: &yes}}
}

func newInstalled(pods ...string) *installed {
	ours := map[string]string{"app.kubernetes.io/name": "unstuck", ourInstance: "unstuck"}
	o := &installed{
		set: appsv1.ReplicaSet{
			TypeMeta:   metav1.TypeMeta{Kind: "ReplicaSet", APIVersion: "apps/v1"},
			ObjectMeta: metav1.ObjectMeta{Name: "unstuck-7f", UID: "set", OwnerReferences: controlledBy("Deployment", "unstuck", "deployment")},
		},
		deployment: appsv1.Deployment{
			TypeMeta:   metav1.TypeMeta{Kind: "Deployment", APIVersion: "apps/v1"},
			ObjectMeta: metav1.ObjectMeta{Name: "unstuck", UID: "deployment", Labels: ours},
			Spec: appsv1.DeploymentSpec{
				Selector: &metav1.LabelSelector{MatchLabels: ours},
				Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{ServiceAccountName: "unstuck"}},
			},
		},
	}
	for _, name := range pods {
		p := forwardPod(name, "unstuck", "True")
		p.UID, p.Labels["app.kubernetes.io/name"], p.Spec.ServiceAccountName = types.UID("uid-of-"+name), "unstuck", "unstuck"
		p.OwnerReferences = controlledBy("ReplicaSet", "unstuck-7f", "set")
		o.pods = append(o.pods, p)
	}
	return o
}

func (o *installed) server() *forwardServer {
	return &forwardServer{pods: o.pods, apps: map[string]any{"replicasets/unstuck-7f": o.set, "deployments/unstuck": o.deployment}}
}

func TestDaemonIsKnownByWhatControlsItsPods(t *testing.T) {
	f, err := forwarding(t, newInstalled("unstuck-a", "unstuck-b").server(), "{token: t}")
	if err != nil {
		t.Fatal(err)
	}
	d, err := f.Daemon(t.Context())
	if want := (Daemon{f.config.Host, "ops", "unstuck", "deployment", "unstuck"}); err != nil || d != want {
		t.Errorf("%+v, %v, want %+v", d, err, want)
	}
	for want, change := range map[string]func(*installed){
		"no ReplicaSet controls it":                               func(o *installed) { o.pods[0].OwnerReferences = nil },
		"no ReplicaSet controls it, as one":                       func(o *installed) { *o.pods[0].OwnerReferences[0].Controller = false },
		"no ReplicaSet controls it, as one of a Deployment's":     func(o *installed) { o.pods[0].OwnerReferences = controlledBy("StatefulSet", "unstuck-7f", "set") },
		"no ReplicaSet controls it, as one of a Deployment's doe": func(o *installed) { o.pods[0].OwnerReferences[0].APIVersion = "evil.example/v1" },
		"there is no ReplicaSet other":                            func(o *installed) { o.pods[0].OwnerReferences[0].Name = "other" },
		"no Deployment controls its ReplicaSet unstuck-7f":        func(o *installed) { o.pods[0].OwnerReferences[0].UID = "guessed" },
		"no Deployment controls its ReplicaSet":                   func(o *installed) { o.set.OwnerReferences = nil },
		"there is no Deployment other":                            func(o *installed) { o.set.OwnerReferences[0].Name = "other" },
		"Deployment unstuck has been made anew":                   func(o *installed) { o.set.OwnerReferences[0].UID = "guessed" },
		"is not labelled app.kubernetes.io/name=unstuck":          func(o *installed) { o.deployment.Labels = nil },
		"is of another installation":                              func(o *installed) { o.pods[0].Labels[ourInstance] = "theirs" },
		"does not select it": func(o *installed) {
			o.deployment.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}
		},
		"the selector of its Deployment unstuck does not":                                         func(o *installed) { o.deployment.Spec.Selector = nil },
		`it runs as service account "other", and its Deployment unstuck gives its pods "unstuck"`: func(o *installed) { o.pods[0].Spec.ServiceAccountName = "other" },
		`it runs as service account "default", and its`:                                           func(o *installed) { o.pods[0].Spec.ServiceAccountName = "" },
		"it runs as service account default, which every pod may": func(o *installed) {
			o.pods[0].Spec.ServiceAccountName, o.deployment.Spec.Template.Spec.ServiceAccountName = "default", "default"
		},
	} {
		o := newInstalled("unstuck-a")
		change(o)
		f, err := forwarding(t, o.server(), "{token: t}")
		if err != nil {
			t.Fatal(err)
		}
		if d, err := f.Daemon(t.Context()); !errors.Is(err, ErrNotDaemon) || !strings.Contains(err.Error(), want) || d != (Daemon{}) {
			t.Errorf("%+v, %v, want %s", d, err, want)
		}
	}
}

func TestDaemonThatCannotBeToldIsNoneThatIsNot(t *testing.T) {
	s := newInstalled("unstuck-a").server()
	s.apps = map[string]any{"forbidden": nil}
	f, err := forwarding(t, s, "{token: t}")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Daemon(t.Context()); err == nil || errors.Is(err, ErrNotDaemon) || !strings.Contains(err.Error(), "see what controls pod unstuck-a: ") || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("%v", err)
	}
}

func TestForwardOnlyConnectsToPodsOfTheDaemon(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	defer backend.Close()
	forged := forwardPod("unstuck-0-forged", "unstuck", "True") // comes first, and says that it leads
	for name, c := range map[string]struct {
		change func(*installed, *forwardServer)
		want   string // the pod, or the error
	}{
		"beside a forged one": {func(o *installed, s *forwardServer) { s.pods = append([]corev1.Pod{forged}, o.pods...) }, "unstuck-a:8080"},
		"only forged ones":    {func(_ *installed, s *forwardServer) { s.pods = []corev1.Pod{forged} }, "no ReplicaSet controls it"},
		"of another": {func(o *installed, s *forwardServer) {
			o.deployment.UID, o.set.OwnerReferences[0].UID = "new", "new"
			s.apps = o.server().apps
		}, "and not of Deployment unstuck"},
		"replaced meanwhile":   {func(o *installed, s *forwardServer) { o.pods[0].UID = "new"; s.swap = o.pods }, "pod unstuck-a has been replaced since it was looked at"},
		"gone and not in view": {func(_ *installed, s *forwardServer) { s.swap = []corev1.Pod{forged} }, "pod unstuck-a has been replaced"},
	} {
		o := newInstalled("unstuck-a")
		s := o.server()
		s.backend, s.leader = backend.Listener.Addr().String(), "unstuck-0-forged-abcdefgh"
		f, err := forwarding(t, s, "{token: t}")
		if err != nil {
			t.Fatal(err)
		}
		d, err := f.Daemon(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		f.Only(d)
		s.mu.Lock()
		o = newInstalled("unstuck-a")
		c.change(o, s)
		s.mu.Unlock()
		transport := &http.Transport{DialContext: f.DialContext}
		answer, err := (&http.Client{Transport: transport}).Get("http://" + f.Host())
		if err == nil {
			answer.Body.Close()
		}
		transport.CloseIdleConnections()
		s.streams.Wait()
		got := strings.Join(s.forwarded, " ")
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
