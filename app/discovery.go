package app

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/kube"
	"github.com/cjworkbench/unstuck/kube/discover"
)

const (
	// foundEvery is how often what was found is settled anew, though nothing has told of a change: the configuration may
	// have changed, which wins.
	foundEvery = 5 * time.Second
	// foundDebounce is how long changes are gathered.
	foundDebounce = 300 * time.Millisecond
)

// found is what discovery says beside the brokers that it has found.
type found struct {
	looked bool // something is looked for

	mu   sync.Mutex
	last brokers.Discovery
	said string // what was logged last
}

// told gives what was said last.
func (f *found) told() brokers.Discovery {
	f.mu.Lock()
	defer f.mu.Unlock()
	return brokers.Discovery{
		Complete: f.last.Complete, Unwatched: slices.Clone(f.last.Unwatched), Problems: slices.Clone(f.last.Problems),
	}
}

// discover has brokers looked for in the cluster, and watched.
func (a *App) discover(c *config.Config, k *cluster) {
	d := c.Discovery
	if d == nil {
		return
	}
	k.discovery = discover.New(k.Conn, discover.Options{
		Namespaces: d.Namespaces, RabbitmqClusters: d.RabbitmqClusters, StatefulSets: d.StatefulSets,
	})
	a.found.looked = true
	a.beside = append(a.beside, func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return k.discovery.Run(ctx) })
		group.Go(func() error { a.follow(ctx, d, k.discovery); return nil })
		return group.Wait()
	})
}

// follow watches what is found until ctx ends.
func (a *App) follow(ctx context.Context, d *config.Discovery, w *discover.Watcher) {
	ticker := time.NewTicker(foundEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-w.Changed():
			select {
			case <-ctx.Done():
				return
			case <-time.After(foundDebounce):
			}
		}
		a.watchFound(d, w.Known())
	}
}

// watchFound has what is known watched, and tells what is not. What cannot be applied changes nothing of what is
// watched: right before a deletion the resource is read again, so nothing that has changed is deleted.
func (a *App) watchFound(d *config.Discovery, k discover.Known) {
	if !k.Listed {
		return
	}
	watched, unwatched := settle(d, a.written(), k)
	problems := k.Problems
	err := a.apply(fromCluster, wanted{brokers: watched})
	if err != nil { // one that cannot be watched costs the others nothing
		watched = slices.DeleteFunc(watched, func(b config.Broker) bool {
			why := a.suppliable(b)
			if why != nil {
				unwatched = append(unwatched, brokers.Unwatched{Target: b.Name, Source: b.Source, Reason: oneLine(why)})
			}
			return why != nil
		})
		err = a.apply(fromCluster, wanted{brokers: watched})
	}
	if err != nil {
		problems = append(slices.Clip(problems), "watch what was found: "+oneLine(err))
	}
	ignored := 0
	for _, u := range unwatched {
		if u.Ignored {
			ignored++
		}
	}
	a.metrics.Discovered(len(watched), ignored, len(unwatched)-ignored, len(problems))
	slices.SortFunc(unwatched, func(x, y brokers.Unwatched) int { return strings.Compare(x.Target, y.Target) })
	a.found.mu.Lock()
	defer a.found.mu.Unlock()
	a.found.last = brokers.Discovery{Complete: len(problems) == 0, Unwatched: unwatched, Problems: problems}
	a.logFound()
}

// suppliable says why nobody can watch a broker; nil if somebody can, or does.
func (a *App) suppliable(b config.Broker) error {
	if w := a.fleet.find(b.Name); w != nil && reflect.DeepEqual(w.spec, b) {
		return nil
	}
	w, err := a.supplied(b)
	if err == nil {
		w.release()
	}
	return err
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// logFound logs what is not watched, whenever that is something else. The lock is held.
func (a *App) logFound() {
	var lines []string
	for _, u := range a.found.last.Unwatched {
		if !u.Ignored {
			lines = append(lines, u.Source.String()+": "+u.Reason)
		}
	}
	said := strings.Join(append(lines, a.found.last.Problems...), "\n")
	if said == a.found.said {
		return
	}
	a.found.said = said
	for _, line := range lines {
		a.log.Warn("found and not watched", "reason", line)
	}
	for _, p := range a.found.last.Problems {
		a.log.Warn("discovery may miss brokers", "reason", p)
	}
}

// written gives what the configuration names.
func (a *App) written() *config.Config {
	a.wants.mu.Lock()
	defer a.wants.mu.Unlock()
	w := a.wants.of[fromFile]
	return &config.Config{Brokers: w.brokers, Apps: w.apps}
}

// errNotFound says that a broker has not been found by what is looked for.
var errNotFound = errors.New("it was found by nothing that is looked for")

// confirmed gives what must hold of a broker that was found: right before a deletion, its resource is read again.
func (c *cluster) confirmed(b config.Broker) kube.Target {
	f, ok := b.Found.(discover.Found)
	if !ok {
		return kube.Target{}
	}
	return kube.Target{Notes: f.Notes, Confirm: func(ctx context.Context) error {
		if c.discovery == nil {
			return errNotFound
		}
		return c.discovery.Confirm(ctx, f)
	}}
}
