package remediate

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// Hosts knows which nodes, of all brokers, do not answer, on which hosts they run, and which brokers have the same
// nodes. The zero value is ready; it is safe for concurrent use.
type Hosts struct {
	mu    sync.Mutex
	nodes map[string]map[string]silentNode // by broker and node
	uids  map[string][]string              // by broker: the nodes that it last had
}

type silentNode struct {
	host, uid string
	since     time.Time
}

// claim notes the nodes that a broker has now, unless v knows nothing, and gives those that others have as well: by
// UID, the names of all brokers that do, sorted. Each of these has a budget of its own, and none may delete them.
func (h *Hosts) claim(targetName string, v target.View) map[string][]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !v.At.IsZero() {
		if h.uids == nil {
			h.uids = make(map[string][]string)
		}
		h.uids[targetName] = make([]string, 0, len(v.Nodes))
		for _, n := range v.Nodes {
			h.uids[targetName] = append(h.uids[targetName], n.UID)
		}
	}
	if len(h.uids) < 2 {
		return nil
	}
	mine := make(map[string]bool, len(v.Nodes))
	for _, n := range v.Nodes {
		mine[n.UID] = n.UID != ""
	}
	var shared map[string][]string
	for other, uids := range h.uids {
		if other == targetName {
			continue
		}
		for _, uid := range uids {
			if !mine[uid] {
				continue
			}
			if shared == nil {
				shared = make(map[string][]string)
			}
			if shared[uid] == nil {
				shared[uid] = []string{targetName}
			}
			shared[uid] = append(shared[uid], other)
		}
	}
	for _, names := range shared {
		slices.Sort(names)
	}
	return shared
}

// set takes note of whether a node is silent at a time.
func (h *Hosts) set(n target.Node, silent bool, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.nodes == nil {
		h.nodes = make(map[string]map[string]silentNode)
	}
	if h.nodes[n.Target] == nil {
		h.nodes[n.Target] = make(map[string]silentNode)
	}
	if !silent || n.Host == "" {
		delete(h.nodes[n.Target], n.Name)
		return
	}
	now := silentNode{n.Host, n.UID, at}
	if was, ok := h.nodes[n.Target][n.Name]; ok && was.host == now.host && was.uid == now.uid {
		now.since = was.since
	}
	h.nodes[n.Target][n.Name] = now
}

// has says whether this very node was silent when it was last known.
func (h *Hosts) has(n target.Node) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	was, ok := h.nodes[n.Target][n.Name]
	return ok && was.uid == n.UID && was.host == n.Host
}

// keep forgets the broker's nodes that are not in v, unless v knows nothing.
func (h *Hosts) keep(targetName string, v target.View) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if v.At.IsZero() {
		return
	}
	for name := range h.nodes[targetName] {
		if !slices.ContainsFunc(v.Nodes, func(n target.Node) bool { return n.Name == name }) {
			delete(h.nodes[targetName], name)
		}
	}
}

// Forget forgets a broker that is watched no longer: its nodes may become those of another.
func (h *Hosts) Forget(targetName string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.nodes, targetName)
	delete(h.uids, targetName)
}

// silent lists the silent nodes of each host, by their names.
func (h *Hosts) silent() map[string][]decide.Silent {
	h.mu.Lock()
	defer h.mu.Unlock()
	on := make(map[string][]decide.Silent)
	for targetName, nodes := range h.nodes {
		for name, node := range nodes {
			on[node.host] = append(on[node.host], decide.Silent{Name: targetName + "/" + name, Since: node.since})
		}
	}
	for _, all := range on {
		slices.SortFunc(all, func(a, b decide.Silent) int { return strings.Compare(a.Name, b.Name) })
	}
	return on
}
