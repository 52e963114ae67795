package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/kube/discover"
)

// origin says from where it is known what is to be watched. Of two targets of one name, that of the lower is watched.
type origin uint8

// The origins.
const (
	fromFile    origin = iota // the configuration file names it
	fromCluster               // it was found in the cluster
)

// wanted is what is to be watched.
type wanted struct {
	brokers []config.Broker
	apps    []config.App
}

// suppliers give what supplies the nodes of brokers and the pods of applications. What it takes for
// that is given back by the Supplier.
type suppliers interface {
	broker(b config.Broker) (Supplier, error)
	app(a config.App) (Supplier, error)
}

// wants is what each origin wants, and who supplies it.
type wants struct {
	suppliers suppliers

	mu sync.Mutex // held throughout each change
	of map[origin]wanted
}

// apply makes w all that is wanted from there, and the App watch what is wanted from anywhere: what is new begins, what
// is wanted no longer ends, and what is configured in another way than before begins anew. What has not changed is not
// touched. If a part of it cannot be watched, nothing changes. It returns once what ends has ended, within seconds.
//
// It may be called at any time, also before the App runs.
func (a *App) apply(from origin, w wanted) error {
	a.wants.mu.Lock()
	defer a.wants.mu.Unlock()
	of := maps.Clone(a.wants.of)
	of[from] = w
	next, made, err := a.assemble(of)
	if err != nil {
		for _, w := range made {
			w.release()
		}
		return err
	}
	a.wants.of = of
	names := make(map[string]bool, len(next))
	for _, w := range next {
		names[w.loop.Target] = true
		a.metrics.Watch(w.loop.Target)
	}
	before := a.fleet.all()
	a.fleet.become(next, func(w *watched) { // w has ended, and its successor has not begun
		for _, s := range made {
			switch {
			case s.loop.Target == w.loop.Target:
				s.loop.Succeed(w.loop)
			case s.namespace != "" && s.namespace == w.namespace: // the same pods, perhaps, under another name
				s.loop.Inherit(w.loop)
			}
		}
		if !names[w.loop.Target] {
			w.loop.Leave(context.Background()) //nolint:forbidigo // it is not cut off, and each call in it is bounded
			a.forget(w.loop.Target)
		}
		w.release()
	})
	if len(before) > 0 {
		a.tellChange(before, next)
	}
	return nil
}

// assemble gives what is to be watched: what is watched already in that way, and of the rest what it makes.
func (a *App) assemble(of map[origin]wanted) (next, made []*watched, err error) {
	taken := make(map[string]bool)
	add := func(name string, spec any, assemble func() (*watched, error)) {
		if taken[name] {
			return
		}
		taken[name] = true
		if w := a.fleet.find(name); w != nil && reflect.DeepEqual(w.spec, spec) {
			next = append(next, w)
			return
		}
		w, problem := assemble()
		if problem != nil {
			err = errors.Join(err, problem)
			return
		}
		w.spec = spec
		next, made = append(next, w), append(made, w)
	}
	written := config.Config{Brokers: of[fromFile].brokers, Apps: of[fromFile].apps}
	for _, from := range slices.Sorted(maps.Keys(of)) {
		for _, b := range of[from].brokers {
			if f, ok := b.Found.(discover.Found); ok && written.Claimant(f.Source.Namespace, f.Labels) != "" {
				continue // what is written wins, at once
			}
			add(b.Name, b, func() (*watched, error) { return a.supplied(b) })
		}
		for _, app := range of[from].apps {
			add(app.Name, app, func() (*watched, error) {
				s, err := a.wants.suppliers.app(app)
				if err != nil {
					return nil, fmt.Errorf("application %s: %w", app.Name, err)
				}
				return a.watchedApp(app, s), nil
			})
		}
	}
	return next, made, err
}

// supplied makes what watches a broker, with what supplies its nodes.
func (a *App) supplied(b config.Broker) (*watched, error) {
	s, err := a.wants.suppliers.broker(b)
	if err != nil {
		return nil, fmt.Errorf("broker %s: %w", b.Name, err)
	}
	return a.watchedBroker(b, s), nil
}

// forget forgets what is watched no longer. What is written down of it stays: its incidents, its deletions, its pauses.
func (a *App) forget(name string) {
	a.left.Store(name, struct{}{})
	a.metrics.Unwatch(name)
	a.pulse.Forget(name)
	a.hosts.Forget(name)
	if a.events != nil {
		a.events.Forget(name)
	}
}

// tellChange logs what is watched since a change that was not before, and the reverse.
func (a *App) tellChange(before, next []*watched) {
	was, is := make(map[string]*watched), make(map[string]*watched)
	for _, w := range before {
		was[w.loop.Target] = w
	}
	for _, w := range next {
		is[w.loop.Target] = w
	}
	for _, w := range before {
		if is[w.loop.Target] == nil {
			a.log.Info("no longer watched", "target", w.loop.Target)
		}
	}
	for _, w := range next {
		switch old := was[w.loop.Target]; {
		case old == nil:
			a.log.Info("watched from now on", "target", w.loop.Target)
		case old != w:
			a.log.Info("watched in another way: its loop begins anew", "target", w.loop.Target)
		}
	}
}
