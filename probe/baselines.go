package probe

import (
	"sync"
	"time"
)

// Baselines learns how many suspicious processes a node has when it is healthy: some have one or two that look
// suspicious for ever, and plugins may add to that. The zero value is ready, and safe for concurrent use.
//
// It takes the most of the last few looks, not their mean: too high a baseline costs some sensitivity where no
// process is known to be stuck, too low a one could condemn a node that is healthy.
type Baselines struct {
	mu    sync.Mutex
	nodes map[nodeKey]*baseline
	sweep time.Time // when to look for vanished nodes again
}

// nodeKey is which start of which pod: after another, the node has other processes.
type nodeKey struct {
	uid     string
	started int64 // in nanoseconds since 1970
}

func keyOf(r Result) nodeKey { return nodeKey{r.UID, r.NodeStarted.UnixNano()} }

type baseline struct {
	broker    string
	login     Status // of the latest login
	roundtrip Status // of the latest roundtrip, and Healthy while there was none
	looks     [5]int // the latest, as a ring
	n         int    // looks ever
	heard     time.Time
}

// forgetAfter is how long after its last result a node counts as vanished. A node is logged in to far more often.
const forgetAfter = 24 * time.Hour

// Observe learns from any result of any broker. A look by maybe_stuck counts if it was whole, found no process that
// is stuck for certain, and the node's latest login (and roundtrip, if there was one) is Healthy.
func (b *Baselines) Observe(r Result) {
	if r.UID == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at := r.Ended()
	b.forget(at)
	node := b.nodes[keyOf(r)]
	if node == nil {
		node = &baseline{broker: r.Target, roundtrip: Healthy}
		b.nodes[keyOf(r)] = node
	}
	if at.After(node.heard) {
		node.heard = at
	}
	switch r.Kind {
	case Login:
		node.login = r.Status()
	case Roundtrip:
		node.roundtrip = r.Status()
	case MaybeStuck:
		p := r.Processes
		if p == nil || p.Truncated || p.StuckReaders+p.UnknownReaders+p.StuckChannels+p.Waiting[AwaitsMetadata] > 0 {
			return
		}
		if node.login == Healthy && node.roundtrip == Healthy {
			node.looks[node.n%len(node.looks)] = p.Suspicious
			node.n++
		}
	case LogAge: // says nothing about processes
	}
}

// For gives the baseline of the node that a result is about: its own, or if it has none yet, the largest of the other nodes
// of its broker. Not ok if there is neither.
func (b *Baselines) For(r Result) (n int, ok bool) {
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

// forget drops the nodes that have not been heard of for long, once in a while. The time is that of the results.
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
