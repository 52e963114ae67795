package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// fault is something that the lab did to a node, or with an empty node to the whole broker, and did not undo yet.
type fault struct {
	kind faultKind
	node string
}

type faultKind string

const (
	cutOff       faultKind = "cut off"
	logLost      faultKind = "log lost"
	frozen       faultKind = "frozen"
	wedged       faultKind = "wedged"
	slowed       faultKind = "slowed"
	appStopped   faultKind = "app stopped"
	drained      faultKind = "drained"
	alarmed      faultKind = "alarmed"
	locked       faultKind = "metadata locked"
	noMajority   faultKind = "metadata without majority"
	vhostDown    faultKind = "vhost down"
	vhostDeleted faultKind = "vhost deleted"
	limited      faultKind = "connections limited"
	password     faultKind = "password changed"

	descriptors   faultKind = "out of file descriptors"
	connections   faultKind = "full"
	unheard       faultKind = "not listening"
	queueWedged   faultKind = "stuck in a queue"
	channelWedged faultKind = "stuck in a channel"
	diskSlow      faultKind = "slow at its disk"
	diskAlarmed   faultKind = "short of disk"
	userLimited   faultKind = "user limited"
	backend       faultKind = "without its authentication backend"
	onlyMember    faultKind = "with the only member of a queue"
)

// faultKinds is the order in which Reset undoes faults: commands need a thawed node, and a restart cures most of the
// rest.
var faultKinds = []faultKind{
	cutOff, backend, logLost, frozen, wedged, slowed, descriptors, connections, unheard, queueWedged, channelWedged,
	diskSlow,
	appStopped, drained, alarmed, diskAlarmed, locked, noMajority, vhostDown, vhostDeleted, limited, userLimited, password,
	onlyMember,
}

// outside tells the faults that are not the process's own: a new one has them too.
func (k faultKind) outside() bool { return k == cutOff || k == backend || k == onlyMember }

func (l *Lab) cure(ctx context.Context, f fault) error {
	switch f.kind { //nolint:exhaustive // the rest is in curePart
	case cutOff:
		return l.Reconnect(ctx, f.node)
	case logLost:
		return l.RegainLog(ctx, f.node)
	case frozen:
		if l.brokenFor(f) > apartAfter {
			return l.kill(ctx, f.node)
		}
		return l.Thaw(ctx, f.node)
	case wedged:
		return l.kill(ctx, f.node)
	case slowed:
		return l.RestoreLogin(ctx, f.node)
	case appStopped:
		return l.StartApp(ctx, f.node)
	case drained:
		return l.Revive(ctx, f.node)
	case alarmed:
		return l.ClearAlarm(ctx, f.node)
	case locked:
		return l.UnlockMetadata(ctx)
	case noMajority:
		return l.RegainMajority(ctx)
	case vhostDown:
		return l.VhostUp(ctx, f.node)
	case vhostDeleted:
		return l.AddVhost(ctx)
	case limited:
		return l.Unlimit(ctx)
	case password:
		return l.RestorePassword(ctx)
	}
	return l.curePart(ctx, f)
}

// curePart is cure for what breaks a part of a node.
func (l *Lab) curePart(ctx context.Context, f fault) error {
	switch f.kind { //nolint:exhaustive // the rest is in cure
	case descriptors:
		return l.FreeDescriptors(ctx, f.node)
	case connections:
		return l.FreeConnections(ctx, f.node)
	case unheard:
		return l.OpenListener(ctx, f.node)
	case queueWedged:
		return l.ReleaseQueue(ctx, f.node)
	case channelWedged:
		return l.ReleaseChannel(ctx, f.node)
	case diskSlow:
		return l.RestoreDisk(ctx, f.node)
	case diskAlarmed:
		return l.ClearDiskAlarm(ctx, f.node)
	case userLimited:
		return l.UnlimitUser(ctx)
	case backend:
		return l.AuthBackend(f.node).OK()
	case onlyMember:
		return l.DropOnlyMember(ctx, f.node)
	}
	return fmt.Errorf("no cure for %q", f.kind)
}

// Reset undoes every fault, restarting what only that cures, and returns once every node is healthy: it accepts logins
// and declare a queue, and all are in one cluster. What stays unhealthy without reason is restarted too.
func (l *Lab) Reset(ctx context.Context) error {
	var errs []error
	for _, kind := range faultKinds {
		errs = append(errs, l.cureAll(ctx, kind))
	}
	soon, cancel := context.WithTimeout(ctx, resetPatience)
	defer cancel()
	err := l.WaitReady(soon)
	if err == nil {
		return nil
	}
	l.log.Warn("restart what stays unhealthy", "error", err)
	errs = append(errs, l.restartUnwell(ctx))
	if err := l.WaitReady(ctx); err != nil {
		return fmt.Errorf("reset the lab: %w", errors.Join(append(errs, err)...))
	}
	return nil
}

// cureAll undoes one kind of fault on all nodes at once: of several nodes that are stopped each waits for the others
// when it starts.
func (l *Lab) cureAll(ctx context.Context, kind faultKind) error {
	var errs []error
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, f := range l.faults() { // as they are now: an earlier cure, a restart say, may have cured more
		if f.kind != kind {
			continue
		}
		wg.Go(func() {
			if err := l.cure(ctx, f); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("undo %s %s: %w", f.kind, f.node, err))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// resetPatience is how long Reset waits before it restarts nodes for no known reason. Usually they are healthy within
// milliseconds; a node that boots needs this long at most.
const resetPatience = 40 * time.Second

// restartUnwell restarts the nodes that accept no logins; or, if there are none, all but the first: they do not agree
// on who is in the cluster then.
func (l *Lab) restartUnwell(ctx context.Context) error {
	var unhealthy []*node
	for _, n := range l.nodes {
		if n.healthy(ctx) != nil {
			unhealthy = append(unhealthy, n)
		}
	}
	if len(unhealthy) == 0 {
		unhealthy = l.nodes[1:]
	}
	errs := make([]error, len(unhealthy))
	var wg sync.WaitGroup
	for i, n := range unhealthy {
		wg.Go(func() { errs[i] = l.kill(ctx, n.name) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// broke notes a fault, before it is set: one that was set half way must be undone too.
func (l *Lab) broke(kind faultKind, node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := fault{kind, node}
	if _, is := l.broken[f]; !is {
		l.broken[f] = time.Now()
	}
}

func (l *Lab) cured(kind faultKind, node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.broken, fault{kind, node})
}

func (l *Lab) isBroken(kind faultKind, node string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, is := l.broken[fault{kind, node}]
	return is
}

func (l *Lab) brokenFor(f fault) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.broken[f])
}

// faults lists what is broken now, in the order in which it is to be undone.
func (l *Lab) faults() []fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []fault
	for _, kind := range faultKinds {
		for _, node := range append(l.Names(), "") {
			f := fault{kind, node}
			if _, is := l.broken[f]; is {
				all = append(all, f)
			}
		}
	}
	return all
}

// forget takes note that a node has a new process, which has none of the old one's faults but those that are not the
// process's.
func (l *Lab) forget(node string) {
	l.mu.Lock()
	for f := range l.broken {
		if f.node == node && !f.kind.outside() {
			delete(l.broken, f)
		}
	}
	l.mu.Unlock()
	l.releaseConns(node)
	l.disperse(node)
}

// helper gives a node on which to run a command that concerns the whole broker: a healthy one.
func (l *Lab) helper() *node {
	faults := l.faults()
	for _, n := range l.nodes {
		_, err := n.process()
		if err == nil && !slices.ContainsFunc(faults, func(f fault) bool { return f.node == n.name }) {
			return n
		}
	}
	return l.nodes[0]
}

// set notes a fault and runs what causes it on one node.
func (l *Lab) set(kind faultKind, name string, do func(*node) error) error {
	n, err := l.node(name)
	if err != nil {
		return err
	}
	l.broke(kind, name)
	if err := do(n); err != nil {
		return fmt.Errorf("make %s %s: %w", name, kind, err)
	}
	l.log.Debug("broke a node", "node", name, "fault", string(kind))
	return nil
}

// undo runs what cures a fault of one node and forgets the fault.
func (l *Lab) undo(kind faultKind, name string, do func(*node) error) error {
	n, err := l.node(name)
	if err != nil {
		return err
	}
	if err := do(n); err != nil {
		return fmt.Errorf("make %s not %s: %w", name, kind, err)
	}
	l.cured(kind, name)
	return nil
}
