package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// useDir has the App keep its records in the directory data_dir, and supplies it with nodes that are known by their
// addresses or that supply gives.
func (a *App) useDir(c *config.Config, supply func(config.Broker) Supplier) error {
	dir, err := store.NewDir(c.DataDir)
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	unlock, err := lockDir(c.DataDir)
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	a.closers = append(a.closers, unlock)
	a.keepRecords(c, store.New(dir), dir, alone)
	a.kept, a.wants.suppliers = slog.String("data_dir", c.DataDir), listed{supply}
	a.serveManual(dir)
	return nil
}

// listed supplies the nodes that the configuration lists, or what supply gives if it is not nil.
type listed struct{ supply func(config.Broker) Supplier }

func (l listed) broker(b config.Broker) (Supplier, error) {
	if l.supply != nil {
		return l.supply(b), nil
	}
	if b.Pods != nil {
		return Supplier{}, errNoCluster
	}
	return Supplier{World: fixedNodes{nodes: b.Nodes, isLeader: alone}, Credentials: b.Credentials}, nil
}

func (listed) app(config.App) (Supplier, error) { return Supplier{}, errNoCluster }

var errNoCluster = errors.New("its pods are in Kubernetes, and this daemon keeps its records in data_dir")

// lockDir makes sure that no other daemon keeps its deletions in the directory: two would not know of each other's. The
// lock ends with the process, however that ends.
func lockDir(path string) (unlock func(), err error) {
	f, err := openAlone(filepath.Join(path, "lock"))
	if errors.Is(err, errInUse) {
		return nil, fmt.Errorf("another daemon uses %s: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("lock it: %w", err)
	}
	return func() { _ = f.Close() }, nil
}

// fixedNodes are nodes of which only the addresses are known. Whatever else a guard asks of them, nobody can tell, and
// nobody can delete them.
type fixedNodes struct {
	nodes    []target.Node
	isLeader func() (target.Answer, time.Time)
}

// alone is what a daemon says of its leadership that has locked its data_dir: there is no other.
func alone() (target.Answer, time.Time) { return target.Yes, time.Time{} }

// View gives the nodes, each with its name for a UID.
func (f fixedNodes) View(_ context.Context, broker string) (target.View, error) {
	v := target.View{At: time.Now(), Expected: len(f.nodes)}
	v.IsLeader, v.LeaderSince = f.isLeader()
	for _, n := range f.nodes {
		n.Target, n.UID = broker, n.Name
		v.Nodes = append(v.Nodes, n)
	}
	return v, nil
}

// Delete refuses.
func (fixedNodes) Delete(_ context.Context, n target.Node, _ time.Duration) error {
	return fmt.Errorf("delete %s: it is known by its address alone, nothing here could delete it", n.Name)
}
