package kube

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// groups are the API groups of the resources that we use; what is not here is in the core group.
var groups = map[string]string{
	"statefulsets": "apps", "replicasets": "apps", "deployments": "apps", "jobs": "batch", "cronjobs": "batch",
	"poddisruptionbudgets": "policy", "leases": "coordination.k8s.io",
	"tokenreviews": "authentication.k8s.io", "subjectaccessreviews": "authorization.k8s.io",
}

// Needs lists the permissions that the client needs for all that is watched, each once.
func (c *Client) Needs() []Missing {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Missing
	add := func(namespace, resource, name string, verbs ...string) {
		for _, verb := range verbs {
			all = append(all, Missing{Verb: verb, Resource: resource, Namespace: namespace, Name: name})
		}
	}
	if !c.external {
		add(c.namespace, "leases", "", "create")
		add(c.namespace, "leases", c.campaign.lease, "get", "update")
		add(c.namespace, "configmaps", "", "list", "create", "update", "delete")
	}
	if !c.external && len(c.environments) > 0 {
		add(c.namespace, "configmaps", "", "get")
	}
	if c.reviews && !c.external { // who somebody is, our own cluster says
		add("", "tokenreviews", "", "create")
	}
	if c.reviews {
		add("", "subjectaccessreviews", "", "create")
	}
	for _, env := range c.environments {
		needsOf(env, add)
	}
	for _, s := range c.secrets {
		add(s.Namespace, "secrets", s.Name, "get")
	}
	for _, p := range c.pods {
		add(p.Namespace, "pods", "", "get", "list", "watch")
		add(p.Namespace, "pods/log", "", "get")
		add(p.Namespace, "events", "", "create", "patch")
		add(p.Namespace, "statefulsets", "", "get", "list", "watch")
		add(p.Namespace, "poddisruptionbudgets", "", "list", "watch")
		add(p.Namespace, "leases", operationLease, "get", "list", "watch")
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
	slices.SortFunc(all, func(a, b Missing) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Resource, b.Resource),
			strings.Compare(a.Name, b.Name), strings.Compare(a.Verb, b.Verb))
	})
	return slices.Compact(all)
}

// toDelete adds the permissions that a deletion needs beyond those to watch: also to hold the lock meanwhile.
func (t Target) toDelete(add func(namespace, resource, name string, verbs ...string)) {
	add(t.Namespace, "pods", "", "delete")
	add(t.Namespace, "leases", "", "create")
	add(t.Namespace, "leases", operationLease, "update")
	if t.SkipPreStopChecks {
		add(t.Namespace, "pods", "", "patch")
	}
}

// MayDelete gives the permissions that are missing to delete one of the pods: without Act nobody has looked whether they
// are there. It is an error if it cannot tell.
func (p *Pods) MayDelete(ctx context.Context) ([]Missing, error) {
	var needs []Missing
	p.toDelete(func(namespace, resource, name string, verbs ...string) {
		for _, verb := range verbs {
			needs = append(needs, Missing{Verb: verb, Resource: resource, Namespace: namespace, Name: name})
		}
	})
	return p.client.missing(ctx, needs)
}

// Check asks the API server about each of Needs, and gives those that are missing. It is an error if it cannot tell.
func (c *Client) Check(ctx context.Context) ([]Missing, error) { return c.missing(ctx, c.Needs()) }

// missing gives those of needs that the API server says we do not have.
func (c *Client) missing(ctx context.Context, needs []Missing) ([]Missing, error) {
	allowed := make([]bool, len(needs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, m := range needs {
		group.Go(func() (err error) {
			allowed[i], err = c.allowed(ctx, m)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("ask which permissions we have: %w", err)
	}
	var missing []Missing
	for i, m := range needs {
		if !allowed[i] {
			missing = append(missing, m)
		}
	}
	return missing, nil
}

func (c *Client) allowed(ctx context.Context, m Missing) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resource, sub, _ := strings.Cut(m.Resource, "/")
	review, err := c.api.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: m.Namespace, Verb: m.Verb, Group: groups[resource], Resource: resource, Subresource: sub, Name: m.Name,
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}
