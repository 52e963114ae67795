package stuck

import (
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/probe"
)

// Baselines learns how many suspicious processes a healthy node has. Some nodes always have one or two, and plugins
// may add to that. The zero value is ready, and safe for concurrent use.
//
// A baseline is the maximum of the last few looks, not their mean. Too high a baseline costs some sensitivity if no
// process is known to be stuck; too low a baseline could condemn a healthy node.
type Baselines struct {
	mu    sync.Mutex
	nodes map[nodeKey]*baseline
	sweep time.Time // when to look for vanished nodes again
}

// nodeKey names one start of one pod: after another start, the node has other processes.
type nodeKey struct {
	uid     string
	started int64 // in nanoseconds since 1970
}

func keyOf(r probe.Result) nodeKey { return nodeKey{r.UID, r.NodeStarted.UnixNano()} }

type baseline struct {
	broker    string
	login     probe.Status // of the latest login
	roundtrip probe.Status // of the latest round trip; Healthy before there is one
	looks     [5]int       // suspicious processes at the latest looks, as a ring
	n         int          // how many looks there were
	heard     time.Time
}

// forgetAfter is how long after its last result a node counts as vanished. Logins come far more often.
const forgetAfter = 24 * time.Hour

// Observe learns from any result of any broker. A look by maybe_stuck counts if it was whole, showed no process
// that is certainly stuck, and the node's latest login, and its latest round trip if there was one, are Healthy.
func (b *Baselines) Observe(r probe.Result) {
	if r.UID == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at := r.Ended()
	b.forget(at)
	node := b.nodes[keyOf(r)]
	if node == nil {
		node = &baseline{broker: r.Target, roundtrip: probe.Healthy}
		b.nodes[keyOf(r)] = node
	}
	if at.After(node.heard) {
		node.heard = at
	}
	switch r.Kind.Role() {
	case probe.Liveness:
		node.login = r.Status()
	case probe.Work:
		node.roundtrip = r.Status()
	case probe.Corroboration:
		p := r.Processes
		if p == nil || p.Truncated || p.StuckReaders+p.UnknownReaders+p.StuckChannels+p.Waiting[probe.AwaitsMetadata] > 0 {
			return
		}
		if node.login == probe.Healthy && node.roundtrip == probe.Healthy {
			node.looks[node.n%len(node.looks)] = p.Suspicious
			node.n++
		}
	case probe.Information: // says nothing about processes
	}
}

// For gives the baseline of the result's node. A node that has no baseline yet gets the largest of its broker's
// other nodes. Not ok if there is none either.
func (b *Baselines) For(r probe.Result) (n int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	node := b.nodes[keyOf(r)]
	if node == nil {
		return 0, false
	}
	if node.n > 0 {
		return node.most(), true
	}
	for _, peer := range b.nodes {
		if peer.broker == node.broker && peer.n > 0 {
			n, ok = max(n, peer.most()), true
		}
	}
	return n, ok
}

func (n *baseline) most() int {
	most := 0
	for _, look := range n.looks[:min(n.n, len(n.looks))] {
		most = max(most, look)
	}
	return most
}

// forget drops, once in a while, the nodes without a result for long. The time is that of the results.
func (b *Baselines) forget(now time.Time) {
	if b.nodes == nil {
		b.nodes = make(map[nodeKey]*baseline)
	}
	if now.Before(b.sweep) {
		return
	}
	b.sweep = now.Add(forgetAfter)
	for key, node := range b.nodes {
		if now.Sub(node.heard) > forgetAfter {
			delete(b.nodes, key)
		}
	}
}
