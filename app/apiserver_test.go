package app

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"
)

// apiServer is as much of an API server as the daemon's wiring needs, over HTTP, so that everything from the kubeconfig
// on is the real thing. Its watches never tell anything, and it is nobody's controller: a Deployment that is changed
// counts as rolled out at once, or never.
type apiServer struct {
	t       testing.TB
	url     string
	tracker clienttesting.ObjectTracker

	mu      sync.Mutex
	version int
	rolls   bool                // whether Deployments roll out
	users   map[string]string   // by token
	granted map[string][]string // by user: "verb resource/sub namespace name"
	asked   []string            // the users about whose rights it was asked
}

func startAPIServer(t testing.TB, objects ...runtime.Object) *apiServer {
	t.Helper()
	s := &apiServer{
		t: t, tracker: clienttesting.NewObjectTracker(scheme.Scheme, scheme.Codecs.UniversalDecoder()), rolls: true,
		users: make(map[string]string), granted: make(map[string][]string),
	}
	for _, o := range objects {
		if err := s.tracker.Add(o); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(s)
	s.url = server.URL
	t.Cleanup(server.Close)
	return s
}

// kubeconfig writes a file with the context "test" of this cluster, and gives its path.
func (s *apiServer) kubeconfig(dir, file string) string {
	s.t.Helper()
	path := filepath.Join(dir, file)
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: %q}}]
users: [{name: test, user: {token: ours}}]
contexts: [{name: test, context: {cluster: test, user: test, namespace: tools}}]
current-context: test
`, s.url)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// request is what a path asks for.
type request struct {
	gvr             schema.GroupVersionResource
	namespace, name string
}

// parse reads /api/v1/namespaces/NAMESPACE/RESOURCE/NAME, and the like.
func parse(path string) request {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	r := request{gvr: schema.GroupVersionResource{Version: "v1"}}
	if parts[0] == "apis" {
		r.gvr.Group, parts = parts[1], parts[1:]
	}
	parts = parts[2:]
	if parts[0] == "namespaces" && len(parts) > 2 {
		r.namespace, parts = parts[1], parts[2:]
	}
	r.gvr.Resource = parts[0]
	if len(parts) > 1 {
		r.name = parts[1]
	}
	return r
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("watch") != "" {
		w.Header().Set("Content-Type", "application/json")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		var answer runtime.Object
		if answer, err = s.answer(parse(r.URL.Path), r, body); err == nil {
			s.write(w, http.StatusOK, answer)
			return
		}
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		status = apierrors.NewInternalError(err)
	}
	failed := status.Status()
	s.write(w, int(failed.Code), &failed)
}

func (s *apiServer) write(w http.ResponseWriter, code int, o runtime.Object) {
	kinds, _, err := scheme.Scheme.ObjectKinds(o)
	if err == nil {
		var data []byte
		if data, err = runtime.Encode(scheme.Codecs.LegacyCodec(kinds[0].GroupVersion()), o); err == nil {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_, _ = w.Write(data) // who asked may have gone
			return
		}
	}
	s.t.Errorf("encode a %T: %v", o, err)
	w.WriteHeader(http.StatusInternalServerError)
}

func (s *apiServer) answer(q request, r *http.Request, body []byte) (runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sent runtime.Object
	if len(body) > 0 && r.Method != http.MethodPatch {
		var err error
		if sent, _, err = scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil); err != nil {
			return nil, err
		}
	}
	switch r.Method {
	case http.MethodGet:
		if q.name == "" {
			return s.list(q, r.URL.Query().Get("labelSelector"))
		}
		return s.tracker.Get(q.gvr, q.namespace, q.name)
	case http.MethodPost:
		if sent == nil { // a command in a pod
			return nil, apierrors.NewMethodNotSupported(q.gvr.GroupResource(), r.Method)
		}
		if answer := s.review(sent); answer != nil {
			return answer, nil
		}
		s.stamp(sent)
		return sent, s.tracker.Create(q.gvr, sent, q.namespace)
	case http.MethodPut:
		return sent, s.update(q, sent)
	case http.MethodPatch:
		return s.patch(q, types.PatchType(r.Header.Get("Content-Type")), body)
	case http.MethodDelete:
		return &metav1.Status{Status: metav1.StatusSuccess}, s.tracker.Delete(q.gvr, q.namespace, q.name)
	}
	return nil, apierrors.NewMethodNotSupported(q.gvr.GroupResource(), r.Method)
}

func (s *apiServer) stamp(o runtime.Object) {
	s.version++
	if m, err := meta.Accessor(o); err == nil {
		m.SetResourceVersion(strconv.Itoa(s.version))
	}
}

// listOf are the kinds of the lists that are asked for.
var listOf = map[string]string{
	"pods": "Pod", "configmaps": "ConfigMap", "replicasets": "ReplicaSet", "events": "Event", "statefulsets": "StatefulSet",
	"poddisruptionbudgets": "PodDisruptionBudget", "leases": "Lease",
}

func (s *apiServer) list(q request, selector string) (runtime.Object, error) {
	all, err := s.tracker.List(q.gvr, schema.GroupVersionKind{Group: q.gvr.Group, Version: "v1", Kind: listOf[q.gvr.Resource]}, q.namespace)
	if err != nil {
		return nil, err
	}
	wanted, err := labels.Parse(selector)
	if err != nil {
		return nil, err
	}
	items, err := meta.ExtractList(all)
	if err != nil {
		return nil, err
	}
	items = slices.DeleteFunc(items, func(o runtime.Object) bool {
		m, err := meta.Accessor(o)
		return err != nil || !wanted.Matches(labels.Set(m.GetLabels()))
	})
	return all, meta.SetList(all, items)
}

// update refuses what somebody else has overtaken.
func (s *apiServer) update(q request, sent runtime.Object) error {
	was, err := s.tracker.Get(q.gvr, q.namespace, q.name)
	if err != nil {
		return err
	}
	before, _ := meta.Accessor(was)
	now, _ := meta.Accessor(sent)
	if v := now.GetResourceVersion(); v != "" && v != before.GetResourceVersion() {
		return apierrors.NewConflict(q.gvr.GroupResource(), q.name, fmt.Errorf("it is at %s", before.GetResourceVersion()))
	}
	s.stamp(sent)
	return s.tracker.Update(q.gvr, sent, q.namespace)
}

func (s *apiServer) patch(q request, kind types.PatchType, body []byte) (runtime.Object, error) {
	react := clienttesting.ObjectReaction(s.tracker)
	_, patched, err := react(clienttesting.NewPatchAction(q.gvr, q.namespace, q.name, kind, body))
	if err != nil {
		return nil, err
	}
	if d, ok := patched.(*appsv1.Deployment); ok {
		d.Generation++
		if s.rolls {
			d.Status.ObservedGeneration = d.Generation
			d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.AvailableReplicas = *d.Spec.Replicas, *d.Spec.Replicas, *d.Spec.Replicas
		}
	}
	s.stamp(patched)
	return patched, s.tracker.Update(q.gvr, patched, q.namespace)
}

// review answers what is asked about somebody; nil: it was something else.
func (s *apiServer) review(sent runtime.Object) runtime.Object {
	switch v := sent.(type) {
	case *authenticationv1.TokenReview:
		user, known := s.users[v.Spec.Token]
		v.Status = authenticationv1.TokenReviewStatus{Authenticated: known, User: authenticationv1.UserInfo{Username: user}}
		return v
	case *authorizationv1.SubjectAccessReview:
		s.asked = append(s.asked, v.Spec.User)
		a := v.Spec.ResourceAttributes
		what := strings.TrimRight(strings.Join([]string{a.Verb, strings.TrimSuffix(a.Resource+"/"+a.Subresource, "/"), a.Namespace, a.Name}, " "), " ")
		v.Status.Allowed = slices.Contains(s.granted[v.Spec.User], what)
		return v
	case *authorizationv1.SelfSubjectAccessReview:
		v.Status.Allowed = true
		return v
	}
	return nil
}

// image gives the image that the Deployment of the tests has now.
func (s *apiServer) image() string {
	s.t.Helper()
	d := stored[*appsv1.Deployment](s, appsv1.SchemeGroupVersion.WithResource("deployments"), "prod", "web-deployment")
	return d.Spec.Template.Spec.Containers[0].Image
}

// lockHolder gives who holds the environment's lock; the test fails if it was never taken.
func (s *apiServer) lockHolder() string {
	s.t.Helper()
	l := stored[*coordinationv1.Lease](s, coordinationv1.SchemeGroupVersion.WithResource("leases"), "prod", "unstuck-operation")
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// keeps sees that an operation is kept here.
func (s *apiServer) keeps(operation string) {
	s.t.Helper()
	stored[*corev1.ConfigMap](s, corev1.SchemeGroupVersion.WithResource("configmaps"), "tools", "unstuck-operation-"+operation)
}

func stored[T runtime.Object](s *apiServer, gvr schema.GroupVersionResource, namespace, name string) (object T) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.tracker.Get(gvr, namespace, name)
	if err != nil {
		s.t.Fatal(err)
	}
	return o.(T)
}

// webDeployment is a Deployment of one pod that has rolled out.
func webDeployment(image string) *appsv1.Deployment {
	one, selector := int32(1), map[string]string{"app": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web-deployment", UID: "web-uid", Generation: 1, ResourceVersion: "1"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: selector},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: selector},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: image}}},
			},
		},
		Status: appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1},
	}
}

// dockerSecret is what pods pull their images with.
func dockerSecret(host, user, password string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "registry"}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{%q:{"username":%q,"password":%q}}}`, host, user, password)},
	}
}

// documentedObjects are on a cluster as the examples of docs/api.md name them.
func documentedObjects(host string) []runtime.Object {
	var objects []runtime.Object
	for _, namespace := range []string{"staging", "production"} {
		for _, name := range []string{"frontend", "cron"} {
			d := webDeployment(host + "/" + name + ":" + running)
			d.Namespace, d.Name = namespace, name+"-deployment"
			d.Spec.Template.Labels, d.Spec.Selector.MatchLabels = map[string]string{"app": name}, map[string]string{"app": name}
			d.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "database"}}}}
			objects = append(objects, d)
		}
		objects = append(objects, podOf(namespace, host)...)
	}
	return objects
}

// podOf gives the pod of the frontend that the examples name, and its Secret.
func podOf(namespace, host string) []runtime.Object {
	owner := func(kind, name string) []metav1.OwnerReference {
		yes := true
		return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, UID: "web-uid", Controller: &yes}}
	}
	of := map[string]string{"app": "frontend"}
	return []runtime.Object{
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "database"}},
		&appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "frontend-7f", UID: "web-uid", Labels: of, OwnerReferences: owner("Deployment", "frontend-deployment")}},
		&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "frontend-7f-abcde", UID: "pod-uid", Labels: of, OwnerReferences: owner("ReplicaSet", "frontend-7f")},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: host + "/frontend:" + running}}},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}, ContainerStatuses: []corev1.ContainerStatus{{Name: "app", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}},
		},
	}
}

// secretOf is a Secret with these values.
func secretOf(namespace, name string, values map[string][]byte) runtime.Object {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: values}
}
