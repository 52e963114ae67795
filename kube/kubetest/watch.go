package kubetest

import (
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"
)

// watch watches what the label selector allows. The fields are left to who watches.
func (c *Cluster) watch(a clienttesting.Action) (handled bool, w watch.Interface, err error) {
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
