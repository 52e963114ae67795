package kube

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
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"
)

// TestMain takes away client-go's handlers of errors: one of them sleeps until a millisecond after the last error, whose
// time is that of the process. A test that runs at a time of its own would sleep for decades.
func TestMain(m *testing.M) {
	utilruntime.ErrorHandlers = nil
	m.Run()
}

// cluster is client-go's fake API server, with what that one leaves out and we rely on: it honours the preconditions
// and the dry run of a delete, the UID and the resource version in a patch, resource versions in updates, updates that
// make a Lease, and label selectors in watches. It can be away, and refuse what is not allowed.
type cluster struct {
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

func newCluster(t testing.TB, objects ...runtime.Object) *cluster {
	t.Helper()
	c := &cluster{
		Clientset: fake.NewSimpleClientset(), t: t, versions: make(map[schema.GroupVersionResource]int),
		watches: make(map[string][]watch.Interface), denied: make(map[string]bool),
	}
	c.PrependReactor("*", "*", c.react)
	c.PrependWatchReactor("*", c.watch)
	for _, o := range objects {
		c.put(o)
	}
	return c
}

// put creates an object, or replaces it.
func (c *cluster) put(o runtime.Object) {
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

// drop removes an object, as if somebody else had deleted it.
func (c *cluster) drop(resource, group, namespace, name string) {
	c.t.Helper()
	if err := c.Tracker().Delete(schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}, namespace, name); err != nil {
		c.t.Fatal(err)
	}
}

// version gives an object the resource version that the tracker, which counts likewise, has in mind for it.
func (c *cluster) version(resource schema.GroupVersionResource, o runtime.Object) {
	m, _ := meta.Accessor(o)
	if c.versions[resource] == 0 {
		c.versions[resource] = 1
	}
	c.versions[resource]++
	m.SetResourceVersion(strconv.Itoa(c.versions[resource]))
}

// setGone takes the API server away, or brings it back. What is watched then ends.
func (c *cluster) setGone(gone bool) {
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

// setSilent has the API server answer nothing, while what is watched stays open: a connection that is half dead.
func (c *cluster) setSilent(silent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = silent
}

// deny takes a permission away, or gives it back. Watches that are open go on, as with a real API server.
func (c *cluster) deny(verb, resource string, denied bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.denied[verb+" "+resource] = denied
}

// intercept has f called ahead of each request from now on.
func (c *cluster) intercept(f func(request string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.before = f
}

// unwatched has something happen right before the next list of pods is answered, of which no watch has told by then.
func (c *cluster) unwatched(happen func()) {
	var once sync.Once
	c.intercept(func(request string) {
		if request == "list pods" {
			once.Do(happen)
		}
	})
}

// cut ends the watches of a resource.
func (c *cluster) cut(resource string) {
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
func (c *cluster) admit(a clienttesting.Action, name string) error {
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
		return forbidden(a.GetVerb(), a.GetResource(), a.GetNamespace())
	}
	return nil
}

// forbidden is what the API server says, word for word (k8s.io/apiserver/pkg/endpoints/handlers/responsewriters).
func forbidden(verb string, r schema.GroupVersionResource, namespace string) error {
	return apierrors.NewForbidden(r.GroupResource(), "", fmt.Errorf(
		`User "system:serviceaccount:unstuck:unstuck" cannot %s resource %q in API group %q in the namespace %q`, verb, r.Resource, r.Group, namespace))
}

func (c *cluster) react(a clienttesting.Action) (handled bool, o runtime.Object, err error) {
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
		is, _ := meta.Accessor(o)
		old, err := c.Tracker().Get(a.Resource, a.Namespace, nameOf(o))
		switch {
		case err != nil && a.Resource.Resource != "leases":
			return true, nil, err
		case err != nil && is.GetUID() != "":
			return true, nil, apierrors.NewConflict(a.Resource.GroupResource(), nameOf(o), errors.New("precondition failed: uid"))
		case err != nil: // a Lease can be made by an update, whatever version it names
			return true, o, c.create(a.Resource, a.Namespace, o)
		}
		was, _ := meta.Accessor(old)
		if is.GetResourceVersion() != "" && is.GetResourceVersion() != was.GetResourceVersion() {
			return true, nil, apierrors.NewConflict(a.Resource.GroupResource(), nameOf(o), errors.New("the object has been modified"))
		}
		c.version(a.Resource, o)
		return true, o, c.Tracker().Update(a.Resource, o, a.Namespace)
	case clienttesting.PatchActionImpl:
		if old, err := c.Tracker().Get(a.Resource, a.Namespace, a.Name); err == nil {
			m, _ := meta.Accessor(old)
			for key, is := range map[string]string{"uid": string(m.GetUID()), "resourceVersion": m.GetResourceVersion()} {
				if strings.Contains(string(a.Patch), `"`+key+`":`) && !strings.Contains(string(a.Patch), `"`+key+`":"`+is+`"`) {
					return true, nil, apierrors.NewConflict(a.Resource.GroupResource(), a.Name, errors.New("precondition failed: "+key))
				}
			}
			c.versions[a.Resource]++ // as the tracker is about to
		}
	}
	return false, nil, nil // the tracker does the rest
}

func (c *cluster) create(resource schema.GroupVersionResource, namespace string, o runtime.Object) error {
	c.version(resource, o)
	if m, _ := meta.Accessor(o); resource.Resource == "leases" {
		m.SetUID(types.UID("uid-of-version-" + m.GetResourceVersion()))
	}
	return c.Tracker().Create(resource, o, namespace)
}

func nameOf(o runtime.Object) string {
	m, err := meta.Accessor(o)
	if err != nil {
		return ""
	}
	return m.GetName()
}

func (c *cluster) remove(a clienttesting.DeleteActionImpl) (bool, runtime.Object, error) {
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
func (c *cluster) page(a clienttesting.ListActionImpl) (bool, runtime.Object, error) {
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

func (c *cluster) review(r *authorizationv1.SelfSubjectAccessReview) runtime.Object {
	r = r.DeepCopy()
	a := r.Spec.ResourceAttributes
	resource := a.Resource
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	r.Status.Allowed = !c.denied[a.Verb+" "+resource]
	return r
}

// watch watches what the label selector allows. The fields are left to whoever watches.
func (c *cluster) watch(a clienttesting.Action) (handled bool, w watch.Interface, err error) {
	if err := c.admit(a, ""); err != nil {
		return true, nil, err
	}
	impl, ok := a.(clienttesting.WatchActionImpl)
	if !ok {
		return false, nil, nil
	}
	w, err = c.Tracker().Watch(a.GetResource(), a.GetNamespace(), impl.ListOptions)
	if err != nil {
		return true, nil, err
	}
	w = selected(w, impl.WatchRestrictions.Labels)
	c.mu.Lock()
	defer c.mu.Unlock()
	resource := a.GetResource().Resource
	c.watches[resource] = append(c.watches[resource], w)
	return true, w, nil
}

// selection is a watch of the objects whose labels a selector matches.
type selection struct {
	watch.Interface

	out  chan watch.Event
	done chan struct{}
	stop func()
}

func selected(w watch.Interface, selector labels.Selector) watch.Interface {
	s := &selection{Interface: w, out: make(chan watch.Event), done: make(chan struct{})}
	s.stop = sync.OnceFunc(func() { close(s.done); w.Stop() })
	go func() {
		defer close(s.out)
		for e := range w.ResultChan() {
			if m, err := meta.Accessor(e.Object); err == nil && selector != nil && !selector.Matches(labels.Set(m.GetLabels())) {
				e.Type = watch.Deleted // it may have fitted before
			}
			select {
			case s.out <- e:
			case <-s.done:
				return
			}
		}
	}()
	return s
}

func (s *selection) ResultChan() <-chan watch.Event { return s.out }
func (s *selection) Stop()                          { s.stop() }

// asked counts the requests that begin with prefix.
func (c *cluster) asked(prefix string) int {
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

// client gives a client of the cluster.
func (c *cluster) client() *Client {
	return newClient(c, "unstuck", "unstuck", noStreams{}, quiet())
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// noStreams refuses commands.
type noStreams struct{}

func (noStreams) stream(context.Context, string, string, *corev1.PodExecOptions, io.Writer, io.Writer) error {
	return errors.New("there are no commands here")
}
