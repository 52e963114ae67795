package remediate

import (
	"slices"
	"sync"

	"github.com/cjworkbench/unstuck/probe"
)

// Hosts knows which nodes, of all brokers, do not answer, and on which hosts they run. The zero value is ready; it is
// safe for concurrent use.
type Hosts struct {
	mu    sync.Mutex
	nodes map[string]map[string]string // by broker and node: the host of a silent node
}

func (h *Hosts) set(n probe.Node, silent bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.nodes == nil {
		h.nodes = make(map[string]map[string]string)
	}
	if h.nodes[n.Broker] == nil {
		h.nodes[n.Broker] = make(map[string]string)
	}
	if silent && n.Host != "" {
		h.nodes[n.Broker][n.Name] = n.Host
	} else {
		delete(h.nodes[n.Broker], n.Name)
	}
}

// keep forgets the broker's nodes that are not in v, unless v knows nothing.
func (h *Hosts) keep(broker string, v probe.View) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if v.At.IsZero() {
		return
	}
	for name := range h.nodes[broker] {
		if !slices.ContainsFunc(v.Nodes, func(n probe.Node) bool { return n.Name == name }) {
			delete(h.nodes[broker], name)
		}
	}
}

// silent lists the silent nodes of each host, as broker/node.
func (h *Hosts) silent() map[string][]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	on := make(map[string][]string)
	for broker, nodes := range h.nodes {
		for name, host := range nodes {
			on[host] = append(on[host], broker+"/"+name)
		}
	}
	for _, names := range on {
		slices.Sort(names)
	}
	return on
}
