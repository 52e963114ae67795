package discover

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/target"
)

// Options say what is looked for, and where.
type Options struct {
	Namespaces       []string // empty: all
	RabbitmqClusters bool
	StatefulSets     bool
}

// Watcher keeps up to date which resources there are.
type Watcher struct {
	conn    *apiserver.Conn
	feeds   []*feed
	changed chan struct{}
	// versions asks in which versions a resource is served.
	versions func(ctx context.Context, group, resource string) ([]string, error)
}

// New makes a Watcher. What it needs the right to is among what conn needs from then on.
func New(conn *apiserver.Conn, o Options) *Watcher {
	w := &Watcher{conn: conn, changed: make(chan struct{}, 1), versions: conn.Versions}
	namespaces := o.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{""}
	}
	for _, namespace := range namespaces {
		if o.RabbitmqClusters {
			w.feeds = append(w.feeds, w.newFeed(Clusters, "RabbitmqCluster", namespace, ""))
		}
		if o.StatefulSets {
			w.feeds = append(w.feeds, w.newFeed(StatefulSets, "StatefulSet", namespace, Label+"=true"))
		}
	}
	conn.Require(func(need apiserver.Need) {
		for _, f := range w.feeds {
			need(f.namespace, f.gvr.Resource, "", "get", "list", "watch")
		}
	})
	return w
}

// Run keeps the Watcher up to date until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	var group sync.WaitGroup
	for _, f := range w.feeds {
		group.Go(func() { f.run(ctx) })
	}
	group.Wait()
	return nil
}

// Changed gets a value after anything has changed of what Known gives.
func (w *Watcher) Changed() <-chan struct{} { return w.changed }

func (w *Watcher) tell() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// Known is what there is. What could not be read lately is as it was when it last could.
type Known struct {
	Listed   bool      // everything has been listed once, or has an entry in Problems
	Found    []Found   // by source
	Refused  []Refusal // by source
	Problems []string  // why some of it may be old or missing, a line each
}

// Known gives what there is now.
func (w *Watcher) Known() Known {
	k := Known{Listed: true}
	for _, f := range w.feeds {
		f.mu.Lock()
		for _, one := range f.items {
			if one.refusal != nil {
				k.Refused = append(k.Refused, *one.refusal)
			} else {
				k.Found = append(k.Found, one.found)
			}
		}
		k.Listed = k.Listed && (f.listed || f.err != nil)
		if problem := f.problem(); problem != "" {
			k.Problems = append(k.Problems, problem)
		}
		f.mu.Unlock()
	}
	slices.SortFunc(k.Found, func(a, b Found) int { return bySource(a.Source, b.Source) })
	slices.SortFunc(k.Refused, func(a, b Refusal) int { return bySource(a.Source, b.Source) })
	slices.Sort(k.Problems)
	k.Problems = slices.Compact(k.Problems)
	return k
}

func bySource(a, b target.Source) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name),
		strings.Compare(string(a.Kind), string(b.Kind)))
}

// Confirm reads the resource of f afresh. It is nil if that says what it said before; else nothing of it may be deleted
// now, and the error is a *target.RefusedError that says why.
func (w *Watcher) Confirm(ctx context.Context, f Found) error {
	gvr := schema.GroupVersionResource{}
	switch f.Source.Kind {
	case target.FromRabbitmqCluster:
		gvr = Clusters
	case target.FromStatefulSet:
		gvr = StatefulSets
	case target.FromConfiguration:
		fallthrough
	default:
		return refuse(target.CauseCannotTell, "it was found by nothing that is known")
	}
	o, err := get(ctx, w.conn.Resources.Resource(gvr).Namespace(f.Source.Namespace), f.Source.Name)
	switch {
	case apierrors.IsNotFound(err):
		return refuse(target.CauseSource, "%s is gone", f.Source)
	case err != nil:
		return refuse(target.CauseCannotTell, "get %s: %w", gvr.Resource,
			apiserver.Explain(err, "get", gvr.Resource, f.Source.Namespace))
	case f.Source.Kind == target.FromStatefulSet && o.GetLabels()[Label] != "true":
		return refuse(target.CauseSource, "%s has lost its label %s", f.Source, Label)
	}
	fresh, refusal := Read(o)
	switch {
	case refusal != nil:
		return refuse(target.CauseSource, "%w", refusal)
	case fresh.UID != f.UID:
		return refuse(target.CauseSource, "%s has been made anew", f.Source)
	case !reflect.DeepEqual(fresh, f):
		return refuse(target.CauseSource, "%s has changed a moment ago", f.Source)
	}
	return nil
}

func refuse(cause target.Cause, format string, args ...any) error {
	return &target.RefusedError{Cause: cause, Err: fmt.Errorf(format, args...)}
}

// silence is for how long a watch may be interrupted before that is said.
const silence = 10 * time.Second
