package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/cjworkbench/unstuck/kube/apiserver"
)

// listTimeout bounds a list of all objects that are watched, which may be many.
const listTimeout = 30 * time.Second

// feed keeps one kind of objects of one namespace up to date by a watch, and knows whether it can be relied on. Of each
// object it holds only what trim makes of it.
type feed[T any] struct {
	resource  string // plural, for instance pods
	namespace string
	example   runtime.Object
	list      func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch     func(context.Context, metav1.ListOptions) (watch.Interface, error)
	trim      func(runtime.Object) T
	log       *slog.Logger

	// narrow adds selectors to what is asked for; nil: everything in the namespace.
	narrow func(*metav1.ListOptions)

	mu     sync.Mutex
	items  map[string]T // by name
	listed bool         // there was a list, and what came after it is in items
	open   int          // watches that are open, 0 or 1
	ended  time.Time    // of the last watch
	err    error        // why there is no watch
}

// run keeps the feed up to date until ctx ends.
//
// It asks for a list, then for a watch: of a list that comes as a stream one cannot see whether it is complete.
func (f *feed[T]) run(ctx context.Context) {
	// What goes wrong is in fault, and shown where it matters; client-go's own words would only repeat it.
	ctx = klog.NewContext(ctx, klog.New(nil))
	reflector := cache.NewReflectorWithOptions(source[T]{f}, f.example, sink[T]{f}, cache.ReflectorOptions{
		Name: f.resource + "/" + f.namespace,
		// By default it waits for up to a minute when the API server has been away.
		Backoff: &wait.Backoff{Duration: 500 * time.Millisecond, Cap: 5 * time.Second, Steps: 10, Factor: 2, Jitter: 0.5},
	})
	reflector.RunWithContext(ctx)
}

// errUnlisted says that nothing is known yet.
var errUnlisted = errors.New("they have not been listed yet")

// known gives the objects by name, and how old this knowledge may be at most: until when the watch was good. That is
// now while it is open.
func (f *feed[T]) known(now time.Time) (items map[string]T, at time.Time, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at = now
	if f.open == 0 {
		at = f.ended
	}
	switch {
	case !f.listed && f.err != nil:
		err = fmt.Errorf("list %s in namespace %s: %w", f.resource, f.namespace, f.err)
	case !f.listed:
		err = fmt.Errorf("list %s in namespace %s: %w", f.resource, f.namespace, errUnlisted)
	case now.Sub(at) > silence && f.err != nil:
		err = fmt.Errorf("watch %s in namespace %s: %w", f.resource, f.namespace, f.err)
	case now.Sub(at) > silence:
		err = fmt.Errorf("watch %s in namespace %s: interrupted since %s", f.resource, f.namespace,
			at.UTC().Format(time.RFC3339))
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	return maps.Clone(f.items), at, nil
}

// one gives the object of that name, if the feed can be relied on.
func (f *feed[T]) one(name string, now time.Time) (item T, found bool, at time.Time, err error) {
	items, at, err := f.known(now)
	item, found = items[name]
	return item, found, at, err
}

// failed notes why there is no list or watch. It is logged once, and again when it is another.
func (f *feed[T]) failed(ctx context.Context, verb string, err error) error {
	if ctx.Err() != nil {
		return err
	}
	f.mu.Lock()
	fault := apiserver.Explain(err, verb, f.resource, f.namespace)
	before := f.err
	f.err = fault
	f.mu.Unlock()
	if before == nil || before.Error() != fault.Error() {
		f.log.Warn("cannot watch", "resource", f.resource, "namespace", f.namespace, "error", fault.Error())
	}
	return err
}

func (f *feed[T]) opened() {
	f.mu.Lock()
	before := f.err
	f.open, f.err = 1, nil
	f.mu.Unlock()
	if before != nil {
		f.log.Info("watching again", "resource", f.resource, "namespace", f.namespace)
	}
}

func (f *feed[T]) closed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open > 0 {
		f.open, f.ended = 0, time.Now()
	}
}

// source is what a feed's reflector asks.
type source[T any] struct{ *feed[T] }

// IsWatchListSemanticsUnSupported keeps client-go from streaming the list.
func (s source[T]) IsWatchListSemanticsUnSupported() bool { return true }

func (s source[T]) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	if s.narrow != nil {
		s.narrow(&o)
	}
	bounded, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	objects, err := s.list(bounded, o)
	if err != nil {
		return nil, s.failed(ctx, "list", err)
	}
	return objects, nil
}

func (s source[T]) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	if s.narrow != nil {
		s.narrow(&o)
	}
	w, err := s.watch(ctx, o)
	if err != nil {
		return nil, s.failed(ctx, "watch", err)
	}
	s.opened()
	return &ending{Interface: w, ended: sync.OnceFunc(s.closed)}, nil
}

// List and Watch are the forms without a context, which client-go asks for and does not use.
func (s source[T]) List(metav1.ListOptions) (runtime.Object, error)   { return nil, errNoContext }
func (s source[T]) Watch(metav1.ListOptions) (watch.Interface, error) { return nil, errNoContext }

var errNoContext = errors.New("asked without a context")

// ending is a watch whose end is noted. The reflector stops each watch that it leaves, for whatever reason.
type ending struct {
	watch.Interface

	ended func()
}

func (e *ending) Stop() {
	e.ended()
	e.Interface.Stop()
}

// sink is where a feed's reflector puts what it gets.
type sink[T any] struct{ *feed[T] }

func (s sink[T]) Add(obj any) error    { return s.put(obj) }
func (s sink[T]) Update(obj any) error { return s.put(obj) }
func (s sink[T]) Resync() error        { return nil }

func (s sink[T]) put(obj any) error {
	name, item, err := s.read(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items[name] = item
	return nil
}

func (s sink[T]) Delete(obj any) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.items, m.GetName())
	return nil
}

func (s sink[T]) Replace(objects []any, _ string) error {
	items := make(map[string]T, len(objects))
	for _, obj := range objects {
		name, item, err := s.read(obj)
		if err != nil {
			return err
		}
		items[name] = item
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items, s.listed = items, true
	return nil
}

func (s sink[T]) read(obj any) (name string, item T, err error) {
	o, ok := obj.(runtime.Object)
	if !ok {
		return "", item, fmt.Errorf("watch %s: got a %T", s.resource, obj)
	}
	m, err := meta.Accessor(o)
	if err != nil {
		return "", item, fmt.Errorf("watch %s: %w", s.resource, err)
	}
	return m.GetName(), s.trim(o), nil
}
