package discover

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/cjworkbench/unstuck/kube/apiserver"
)

const (
	listTimeout = 30 * time.Second
	// absentFor is how long it takes to notice that a resource is served that was not.
	absentFor = 15 * time.Second
)

// item is what was read of a resource: one of the two.
type item struct {
	found   Found
	refusal *Refusal
}

// feed keeps the resources of one kind up to date, in one namespace or in all.
type feed struct {
	*Watcher

	gvr       schema.GroupVersionResource
	kind      string
	namespace string // empty: all
	selector  string

	mu     sync.Mutex
	items  map[string]item // by namespace and name
	listed bool
	absent bool      // the cluster has no such resource, in the version that is known
	wrong  string    // it has the resource, in versions that are not known
	open   bool      // a watch is open
	ended  time.Time // of the last watch
	err    error     // why there is no list or watch
}

func (w *Watcher) newFeed(gvr schema.GroupVersionResource, kind, namespace, selector string) *feed {
	return &feed{
		Watcher: w, gvr: gvr, kind: kind, namespace: namespace, selector: selector, items: make(map[string]item),
	}
}

func (f *feed) run(ctx context.Context) {
	// What goes wrong is in err; client-go's own words would only repeat it.
	ctx = klog.NewContext(ctx, klog.New(nil))
	example := &unstructured.Unstructured{}
	example.SetGroupVersionKind(f.gvr.GroupVersion().WithKind(f.kind))
	cache.NewReflectorWithOptions(source{f}, example, sink{f}, cache.ReflectorOptions{
		Name:    f.gvr.Resource + "/" + f.namespace,
		Backoff: &wait.Backoff{Duration: 500 * time.Millisecond, Cap: 5 * time.Second, Steps: 10, Factor: 2, Jitter: 0.5},
	}).RunWithContext(ctx)
}

// problem says what keeps the feed from being up to date. The lock is held.
func (f *feed) problem() string {
	where := "in all namespaces"
	if f.namespace != "" {
		where = "in namespace " + f.namespace
	}
	switch {
	case f.wrong != "":
		return f.wrong
	case f.err != nil && (!f.listed || !f.open && time.Since(f.ended) > silence):
		return fmt.Sprintf("look for %s %s: %v", f.gvr.Resource, where, f.err)
	}
	return ""
}

// failed notes why there is no list or watch. It is logged once, and again when it is another.
func (f *feed) failed(ctx context.Context, verb string, err error) error {
	if ctx.Err() != nil {
		return err
	}
	fault := apiserver.Explain(err, verb, f.gvr.Resource, f.namespace)
	f.mu.Lock()
	before := f.err
	f.err = fault
	f.mu.Unlock()
	if before == nil || before.Error() != fault.Error() {
		f.conn.Log.Warn("cannot look for brokers: those that are known stay", "resource", f.gvr.Resource, "namespace",
			f.namespace, "error", fault.Error())
		f.tell()
	}
	return err
}

// serve notes in which versions the resource is served where the known one is not: none is no error.
func (f *feed) serve(versions []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.absent && len(versions) == 0 {
		f.conn.Log.Info("the cluster has no resources of that kind: looking again from time to time", "resource",
			f.gvr.GroupResource().String(), "namespace", f.namespace)
	}
	f.absent, f.err = true, nil
	if f.wrong = ""; len(versions) > 0 {
		f.wrong = fmt.Sprintf("%s are served as %s alone: want %s, the version that is known", f.gvr.GroupResource(),
			strings.Join(versions, ", "), f.gvr.Version)
	}
}

func (f *feed) client() dynamic.ResourceInterface {
	return f.conn.Resources.Resource(f.gvr).Namespace(f.namespace)
}

func get(ctx context.Context, from dynamic.ResourceInterface, name string) (*unstructured.Unstructured, error) {
	ctx, cancel := context.WithTimeout(ctx, apiserver.Timeout)
	defer cancel()
	return from.Get(ctx, name, metav1.GetOptions{})
}

// source is what a feed's reflector asks.
type source struct{ *feed }

// IsWatchListSemanticsUnSupported keeps client-go from streaming the list.
func (s source) IsWatchListSemanticsUnSupported() bool { return true }

func (s source) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	o.LabelSelector = s.selector
	bounded, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	list, err := s.client().List(bounded, o)
	if err == nil {
		s.mu.Lock()
		if s.absent {
			s.conn.Log.Info("the cluster has resources of that kind now", "resource", s.gvr.GroupResource().String(),
				"namespace", s.namespace)
		}
		s.absent, s.wrong = false, ""
		s.mu.Unlock()
		return list, nil
	}
	if !apierrors.IsNotFound(err) {
		return nil, s.failed(ctx, "list", err)
	}
	// Only where the API server says so in another way, too, there is none: what is not known is not gone.
	versions, why := s.versions(bounded, s.gvr.Group, s.gvr.Resource)
	if why != nil {
		return nil, s.failed(ctx, "list", why)
	}
	if slices.Contains(versions, s.gvr.Version) {
		return nil, s.failed(ctx, "list", err) // it has come in between, or is about to go
	}
	s.serve(versions)
	return &unstructured.UnstructuredList{Object: map[string]any{"metadata": map[string]any{"resourceVersion": "0"}}}, nil
}

func (s source) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	s.mu.Lock()
	absent := s.absent
	s.mu.Unlock()
	if absent {
		return s.opened(newPause(absentFor)), nil
	}
	o.LabelSelector = s.selector
	w, err := s.client().Watch(ctx, o)
	if apierrors.IsNotFound(err) {
		return nil, errListAgain
	}
	if err != nil {
		return nil, s.failed(ctx, "watch", err)
	}
	return s.opened(w), nil
}

func (s source) opened(w watch.Interface) watch.Interface {
	s.mu.Lock()
	before := s.err
	s.open, s.err = true, nil
	s.mu.Unlock()
	if before != nil {
		s.conn.Log.Info("looking for brokers again", "resource", s.gvr.Resource, "namespace", s.namespace)
		s.tell()
	}
	return &ending{Interface: w, ended: sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open, s.ended = false, time.Now()
	})}
}

// List and Watch are the forms without a context, which client-go asks for and does not use.
func (s source) List(metav1.ListOptions) (runtime.Object, error)   { return nil, errNoContext }
func (s source) Watch(metav1.ListOptions) (watch.Interface, error) { return nil, errNoContext }

var (
	errNoContext = errors.New("asked without a context")
	errListAgain = apierrors.NewResourceExpired("it is served no longer")
)

// ending is a watch whose end is noted.
type ending struct {
	watch.Interface

	ended func()
}

func (e *ending) Stop() {
	e.ended()
	e.Interface.Stop()
}

// pause is a watch of what there is none of: it tells nothing, and then that a list is needed.
type pause struct {
	events chan watch.Event
	timer  *time.Timer
}

func newPause(d time.Duration) watch.Interface {
	p := &pause{events: make(chan watch.Event, 1)}
	p.timer = time.AfterFunc(d, func() {
		p.events <- watch.Event{Type: watch.Error, Object: &metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusGone, Reason: metav1.StatusReasonExpired,
		}}
	})
	return p
}

func (p *pause) ResultChan() <-chan watch.Event { return p.events }
func (p *pause) Stop()                          { p.timer.Stop() }

// sink is where a feed's reflector puts what it gets.
type sink struct{ *feed }

func (s sink) Add(obj any) error    { return s.put(obj) }
func (s sink) Update(obj any) error { return s.put(obj) }
func (s sink) Resync() error        { return nil }

// read reads a resource; ok is false if it is none.
func (s sink) read(obj any) (key string, one item, err error) {
	o, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return "", item{}, fmt.Errorf("watch %s: got a %T", s.gvr.Resource, obj)
	}
	if o.GetKind() == "" { // of a list the elements may leave it out
		o = o.DeepCopy()
		o.SetGroupVersionKind(s.gvr.GroupVersion().WithKind(s.kind))
	}
	one.found, one.refusal = Read(o)
	return o.GetNamespace() + "/" + o.GetName(), one, nil
}

func (s sink) put(obj any) error {
	key, one, err := s.read(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.items[key] = one
	s.mu.Unlock()
	s.tell()
	return nil
}

func (s sink) Delete(obj any) error {
	key, _, err := s.read(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.items, key)
	s.mu.Unlock()
	s.tell()
	return nil
}

func (s sink) Replace(objects []any, _ string) error {
	items := make(map[string]item, len(objects))
	for _, obj := range objects {
		key, one, err := s.read(obj)
		if err != nil {
			return err
		}
		items[key] = one
	}
	s.mu.Lock()
	s.items, s.listed = items, true
	s.mu.Unlock()
	s.tell()
	return nil
}
