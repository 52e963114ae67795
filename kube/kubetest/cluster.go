// Package kubetest is a Kubernetes API server for the tests of both halves of kube, and what is in it. Only tests may
// import it.
package kubetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"

	"github.com/cjworkbench/unstuck/kube/apiserver"
)

// Main runs the tests of a package without client-go's handlers of errors: one of them sleeps until a millisecond after
// the last error, whose time is that of the process. A test that runs at a time of its own would sleep for decades.
func Main(m *testing.M) {
	utilruntime.ErrorHandlers = nil
	m.Run()
}

// Cluster is client-go's fake API server, with what that one leaves out and we rely on: it honours the preconditions
// and the dry run of a delete, the UID and the resource version in a patch, resource versions in updates, updates that
// make a Lease, and label selectors in watches. It can be away, and refuse what is not allowed.
type Cluster struct {
	*fake.Clientset

	t         testing.TB
	mu        sync.Mutex
	versions  map[schema.GroupVersionResource]int
	watches   map[string][]watch.Interface // by resource
	gone      bool
	denied    map[string]bool // "verb resource", with the subresource
	requests  []string        // "verb resource name"
	deletions []clienttesting.DeleteActionImpl
	before    func(request string) // called ahead of each request, without the lock
}

// NewCluster makes one with these objects.
func NewCluster(t testing.TB, objects ...runtime.Object) *Cluster {
	t.Helper()
	c := &Cluster{
		Clientset: fake.NewSimpleClientset(), t: t, versions: make(map[schema.GroupVersionResource]int),
		watches: make(map[string][]watch.Interface), denied: make(map[string]bool),
	}
	c.PrependReactor("*", "*", c.react)
	c.PrependWatchReactor("*", c.watch)
	for _, o := range objects {
		c.Put(o)
	}
	return c
}

// Put creates an object, or replaces it.
func (c *Cluster) Put(o runtime.Object) {
	c.t.Helper()
	kinds, _, err := scheme.Scheme.ObjectKinds(o)
	if err != nil {
		c.t.Fatal(err)
	}
	resource, _ := meta.UnsafeGuessKindToResource(kinds[0])
	m, err := meta.Accessor(o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o = o.DeepCopyObject()
	c.version(resource, o)
	if err = c.Tracker().Create(resource, o, m.GetNamespace()); apierrors.IsAlreadyExists(err) {
		err = c.Tracker().Update(resource, o, m.GetNamespace())
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// Drop removes an object, as if somebody else had deleted it.
func (c *Cluster) Drop(resource, group, namespace, name string) {
	c.t.Helper()
	if err := c.Tracker().Delete(schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}, namespace,
		name); err != nil {
		c.t.Fatal(err)
	}
}

// version gives an object the resource version that the tracker, which counts likewise, has in mind for it.
func (c *Cluster) version(resource schema.GroupVersionResource, o runtime.Object) {
	m, _ := meta.Accessor(o)
	if c.versions[resource] == 0 {
		c.versions[resource] = 1
	}
	c.versions[resource]++
	m.SetResourceVersion(strconv.Itoa(c.versions[resource]))
}

// SetGone takes the API server away, or brings it back. What is watched then ends.
func (c *Cluster) SetGone(gone bool) {
	c.mu.Lock()
	c.gone = gone
	var open map[string][]watch.Interface
	if gone {
		open, c.watches = c.watches, make(map[string][]watch.Interface)
	}
	c.mu.Unlock()
	for _, watches := range open {
		for _, w := range watches {
			w.Stop()
		}
	}
}

// SetSilent has the API server answer nothing, while what is watched stays open: a connection that is half dead.
func (c *Cluster) SetSilent(silent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = silent
}

// Deny takes a permission away, or gives it back. Watches that are open go on, as with a real API server.
func (c *Cluster) Deny(verb, resource string, denied bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.denied[verb+" "+resource] = denied
}

// Intercept has f called ahead of each request from now on.
func (c *Cluster) Intercept(f func(request string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.before = f
}

// Unwatched has something happen right before the next list of pods is answered, of which no watch has told by then.
func (c *Cluster) Unwatched(happen func()) {
	var once sync.Once
	c.Intercept(func(request string) {
		if request == "list pods" {
			once.Do(happen)
		}
	})
}

// Cut ends the watches of a resource.
func (c *Cluster) Cut(resource string) {
	c.mu.Lock()
	all := c.watches[resource]
	delete(c.watches, resource)
	c.mu.Unlock()
	for _, w := range all {
		w.Stop()
	}
}

func resourceOf(a clienttesting.Action) string {
	if a.GetSubresource() != "" {
		return a.GetResource().Resource + "/" + a.GetSubresource()
	}
	return a.GetResource().Resource
}

// admit refuses what is away or denied, and notes the request.
func (c *Cluster) admit(a clienttesting.Action, name string) error {
	resource := resourceOf(a)
	request := strings.TrimSpace(a.GetVerb() + " " + resource + " " + name)
	c.mu.Lock()
	before := c.before
	c.mu.Unlock()
	if before != nil {
		before(request)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = append(c.requests, request)
	if c.gone {
		return &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	if c.denied[a.GetVerb()+" "+resource] {
		return Forbidden(a.GetVerb(), a.GetResource(), a.GetSubresource(), a.GetNamespace())
	}
	return nil
}

// Forbidden is what the API server says, word for word (k8s.io/apiserver/pkg/endpoints/handlers/responsewriters).
func Forbidden(verb string, r schema.GroupVersionResource, subresource, namespace string) error {
	path := r.Resource
	if subresource != "" {
		path += "/" + subresource
	}
	why := fmt.Sprintf(
		`User "system:serviceaccount:unstuck:unstuck" cannot %s resource %q in API group %q in the namespace %q`,
		verb, path, r.Group, namespace)
	return apierrors.NewForbidden(r.GroupResource(), "", errors.New(why))
}

func (c *Cluster) react(a clienttesting.Action) (handled bool, o runtime.Object, err error) {
	name := ""
	if n, ok := a.(interface{ GetName() string }); ok {
		name = n.GetName()
	}
	if err := c.admit(a, name); err != nil {
		return true, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch a := a.(type) {
	case clienttesting.DeleteActionImpl:
		return c.remove(a)
	case clienttesting.ListActionImpl:
		if a.ListOptions.Limit > 0 {
			return c.page(a)
		}
	case clienttesting.CreateActionImpl:
		if review, ok := a.GetObject().(*authorizationv1.SelfSubjectAccessReview); ok {
			return true, c.review(review), nil
		}
		o = a.GetObject().DeepCopyObject()
		if m, _ := meta.Accessor(o); m.GetResourceVersion() != "" {
			return true, nil, apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
		}
		if _, err := c.Tracker().Get(a.Resource, a.Namespace, nameOf(o)); err == nil {
			return true, nil, apierrors.NewAlreadyExists(a.Resource.GroupResource(), nameOf(o))
		}
		return true, o, c.create(a.Resource, a.Namespace, o)
	case clienttesting.UpdateActionImpl:
		o = a.GetObject().DeepCopyObject()
		return true, o, c.update(a, o)
	case clienttesting.PatchActionImpl:
		if old, err := c.Tracker().Get(a.Resource, a.Namespace, a.Name); err == nil {
			m, _ := meta.Accessor(old)
			for key, is := range map[string]string{"uid": string(m.GetUID()), "resourceVersion": m.GetResourceVersion()} {
				if strings.Contains(string(a.Patch), `"`+key+`":`) && !strings.Contains(string(a.Patch), `"`+key+`":"`+is+`"`) {
					return true, nil, apierrors.NewConflict(a.Resource.GroupResource(), a.Name,
						errors.New("precondition failed: "+key))
				}
			}
			c.versions[a.Resource]++ // as the tracker is about to
		}
	}
	return false, nil, nil // the tracker does the rest
}

func (c *Cluster) create(resource schema.GroupVersionResource, namespace string, o runtime.Object) error {
	c.version(resource, o)
	if m, _ := meta.Accessor(o); resource.Resource == "leases" {
		m.SetUID(types.UID("uid-of-version-" + m.GetResourceVersion()))
	}
	return c.Tracker().Create(resource, o, namespace)
}

func (c *Cluster) update(a clienttesting.UpdateActionImpl, o runtime.Object) error {
	is, _ := meta.Accessor(o)
	old, err := c.Tracker().Get(a.Resource, a.Namespace, nameOf(o))
	switch {
	case err != nil && a.Resource.Resource != "leases":
		return err
	case err != nil && is.GetUID() != "":
		return apierrors.NewConflict(a.Resource.GroupResource(), nameOf(o), errors.New("precondition failed: uid"))
	case err != nil: // a Lease can be made by an update, whatever version it names
		return c.create(a.Resource, a.Namespace, o)
	}
	was, _ := meta.Accessor(old)
	if is.GetResourceVersion() != "" && is.GetResourceVersion() != was.GetResourceVersion() {
		return apierrors.NewConflict(a.Resource.GroupResource(), nameOf(o), errors.New("the object has been modified"))
	}
	c.version(a.Resource, o)
	return c.Tracker().Update(a.Resource, o, a.Namespace)
}

func nameOf(o runtime.Object) string {
	m, err := meta.Accessor(o)
	if err != nil {
		return ""
	}
	return m.GetName()
}

func (c *Cluster) remove(a clienttesting.DeleteActionImpl) (bool, runtime.Object, error) {
	o, err := c.Tracker().Get(a.Resource, a.Namespace, a.Name)
	if err != nil {
		return true, nil, err
	}
	m, _ := meta.Accessor(o)
	if p := a.DeleteOptions.Preconditions; p != nil {
		if p.UID != nil && *p.UID != m.GetUID() || p.ResourceVersion != nil && *p.ResourceVersion != m.GetResourceVersion() {
			return true, nil, apierrors.NewConflict(a.Resource.GroupResource(), a.Name, errors.New("precondition failed"))
		}
	}
	if slices.Contains(a.DeleteOptions.DryRun, "All") {
		return true, nil, nil
	}
	c.deletions = append(c.deletions, a)
	return true, nil, c.Tracker().Delete(a.Resource, a.Namespace, a.Name)
}

// page gives a part of a list, from the number that Continue is.
func (c *Cluster) page(a clienttesting.ListActionImpl) (bool, runtime.Object, error) {
	list, err := c.Tracker().List(a.Resource, a.Kind, a.Namespace)
	if err != nil {
		return true, nil, err
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return true, nil, err
	}
	slices.SortFunc(items, func(x, y runtime.Object) int { return strings.Compare(nameOf(x), nameOf(y)) })
	from, _ := strconv.Atoi(a.ListOptions.Continue)
	to := min(from+int(a.ListOptions.Limit), len(items))
	m, err := meta.ListAccessor(list)
	if err != nil {
		return true, nil, err
	}
	if to < len(items) {
		m.SetContinue(strconv.Itoa(to))
	}
	return true, list, meta.SetList(list, items[from:to])
}

func (c *Cluster) review(r *authorizationv1.SelfSubjectAccessReview) runtime.Object {
	r = r.DeepCopy()
	a := r.Spec.ResourceAttributes
	resource := a.Resource
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	r.Status.Allowed = !c.denied[a.Verb+" "+resource]
	return r
}

// Asked counts the requests that begin with prefix.
func (c *Cluster) Asked(prefix string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, r := range c.requests {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}

// Requests gives the requests so far: "verb resource name".
func (c *Cluster) Requests() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.requests)
}

// Deletions gives the deletions so far.
func (c *Cluster) Deletions() []clienttesting.DeleteActionImpl {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.deletions)
}

// Conn gives a connection to the cluster, in which there are no commands.
func (c *Cluster) Conn() *apiserver.Conn {
	return c.Running(func(context.Context, string, *corev1.PodExecOptions, io.Writer, io.Writer) error {
		return errors.New("there are no commands here")
	})
}

// Running gives a connection to the cluster, in which all commands are f.
func (c *Cluster) Running(f Command) *apiserver.Conn { return apiserver.New(c, "unstuck", f, Quiet()) }

// Quiet gives a logger that says nothing.
func Quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Command is an apiserver.Streamer that is a function.
type Command func(ctx context.Context, pod string, o *corev1.PodExecOptions, stdout, stderr io.Writer) error

// Stream implements apiserver.Streamer.
func (f Command) Stream(
	ctx context.Context, _, pod string, o *corev1.PodExecOptions, stdout, stderr io.Writer,
) error {
	return f(ctx, pod, o, stdout, stderr)
}
