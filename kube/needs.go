package kube

import (
	"context"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/kube/apiserver"
)

// needs adds the permissions that are needed for all that is watched, and for our own state.
func (c *Client) needs(add apiserver.Need) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.external {
		add(c.Namespace(), "leases", "", "create")
		add(c.Namespace(), "leases", c.campaign.lease, "get", "update")
		add(c.Namespace(), "configmaps", "", "list", "create", "update", "delete")
	}
	for _, p := range c.pods {
		add(p.Namespace, "pods", "", "get", "list", "watch")
		add(p.Namespace, "pods/log", "", "get")
		add(p.Namespace, "events", "", "create", "patch")
		add(p.Namespace, "statefulsets", "", "get", "list", "watch")
		add(p.Namespace, "poddisruptionbudgets", "", "list", "watch")
		add(p.Namespace, "leases", apiserver.LockLease, "get", "list", "watch")
		if p.App {
			add(p.Namespace, "replicasets", "", "get", "list", "watch")
			add(p.Namespace, "deployments", "", "get", "list", "watch")
		} else {
			add(p.Namespace, "pods/exec", "", "get", "create") // get is what a WebSocket is
		}
		if p.Act {
			p.toDelete(add)
		}
	}
}

// toDelete adds the permissions that a deletion needs beyond those to watch: also to hold the lock meanwhile.
func (t Target) toDelete(add apiserver.Need) {
	add(t.Namespace, "pods", "", "delete")
	add(t.Namespace, "leases", "", "create")
	add(t.Namespace, "leases", apiserver.LockLease, "update")
	if t.SkipPreStopChecks {
		add(t.Namespace, "pods", "", "patch")
	}
}

// MayDelete gives the permissions that are missing to delete one of the pods: without Act nobody has looked whether
// they are there. It is an error if it cannot tell.
func (p *Pods) MayDelete(ctx context.Context) ([]auth.ResourceAttributes, error) {
	return p.client.Lacks(ctx, p.toDelete)
}
