package apiserver

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// groups are the API groups of the resources that we use; what is not here is in the core group.
var groups = map[string]string{
	"statefulsets": "apps", "replicasets": "apps", "deployments": "apps", "jobs": "batch", "cronjobs": "batch",
	"poddisruptionbudgets": "policy", "leases": "coordination.k8s.io",
	"tokenreviews": "authentication.k8s.io", "subjectaccessreviews": "authorization.k8s.io",
}

// Missing is a permission that we need and do not have. As an error it is why something could not be done.
type Missing struct {
	Verb      string // get, list, watch, create, update, patch, delete
	Resource  string // with its subresource, such as pods/exec
	Namespace string // empty: it is about the cluster
	Name      string // of the one object that it is about; empty: any
}

// Error says for instance "not allowed: pods/exec create in namespace production".
func (m Missing) Error() string { return "not allowed: " + m.String() }

// String says for instance "pods/exec create in namespace production".
func (m Missing) String() string {
	s := m.Resource + " " + m.Verb
	if m.Namespace != "" {
		s += " in namespace " + m.Namespace
	}
	if m.Name != "" {
		s += " (" + m.Name + ")"
	}
	return s
}

// Explain turns a refusal for want of a permission into a Missing, and leaves other errors as they are, nil too. Quotas
// and admission webhooks refuse with the same code, but in words of their own.
func Explain(err error, verb, resource, namespace string) error {
	if apierrors.IsForbidden(err) && strings.Contains(err.Error(), " cannot "+verb+" resource") {
		return Missing{Verb: verb, Resource: resource, Namespace: namespace}
	}
	return err
}

// Need adds permissions to those that are needed: one for each verb.
type Need func(namespace, resource, name string, verbs ...string)

// Require adds what is needed. It is asked for its needs each time that somebody wants to know.
func (c *Conn) Require(needs func(Need)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.needs = append(c.needs, needs)
}

// Needs lists the permissions that are needed of this cluster, each once.
func (c *Conn) Needs() []Missing {
	c.mu.Lock()
	needs := slices.Clone(c.needs)
	c.mu.Unlock()
	all := collect(needs...)
	slices.SortFunc(all, func(a, b Missing) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Resource, b.Resource),
			strings.Compare(a.Name, b.Name), strings.Compare(a.Verb, b.Verb))
	})
	return slices.Compact(all)
}

func collect(needs ...func(Need)) []Missing {
	var all []Missing
	for _, f := range needs {
		f(func(namespace, resource, name string, verbs ...string) {
			for _, verb := range verbs {
				all = append(all, Missing{Verb: verb, Resource: resource, Namespace: namespace, Name: name})
			}
		})
	}
	return all
}

// Check asks the API server about each of Needs, and gives those that are missing. It is an error if it cannot tell.
func (c *Conn) Check(ctx context.Context) ([]Missing, error) { return c.missing(ctx, c.Needs()) }

// Lacks is Check for these needs alone, whether they are among Needs or not.
func (c *Conn) Lacks(ctx context.Context, needs func(Need)) ([]Missing, error) {
	return c.missing(ctx, collect(needs))
}

// missing gives those of needs that the API server says we do not have.
func (c *Conn) missing(ctx context.Context, needs []Missing) ([]Missing, error) {
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

func (c *Conn) allowed(ctx context.Context, m Missing) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	resource, sub, _ := strings.Cut(m.Resource, "/")
	review, err := c.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: m.Namespace, Verb: m.Verb, Group: groups[resource], Resource: resource, Subresource: sub, Name: m.Name,
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}
