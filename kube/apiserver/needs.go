package apiserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cjworkbench/unstuck/auth"
)

// groups are the API groups of the resources that we use; what is not here is in the core group.
var groups = map[string]string{
	"statefulsets": "apps", "replicasets": "apps", "deployments": "apps", "daemonsets": "apps",
	"controllerrevisions": "apps", "jobs": "batch", "cronjobs": "batch",
	"poddisruptionbudgets": "policy", "leases": "coordination.k8s.io",
	"rabbitmqclusters": "rabbitmq.com",
	"tokenreviews":     "authentication.k8s.io", "subjectaccessreviews": "authorization.k8s.io",
}

// attributes gives what a right to do this is called. The resource is with its subresource, as in "pods/exec"; no name:
// any object, no namespace: the cluster's.
func attributes(verb, path, namespace, name string) auth.ResourceAttributes {
	resource, sub, _ := strings.Cut(path, "/")
	return auth.ResourceAttributes{
		Verb: verb, Group: groups[resource], Resource: resource, Subresource: sub, Namespace: namespace, Name: name,
	}
}

// NotAllowedError is why something could not be done: we do not have the right to it.
type NotAllowedError struct{ auth.ResourceAttributes }

// Error says for instance "not allowed: create pods/exec in namespace production".
func (e NotAllowedError) Error() string { return "not allowed: " + e.String() }

// Explain turns a refusal for want of a permission into a NotAllowedError, and leaves other errors as they are, nil
// too.
//
// Quotas, admission plugins and webhooks refuse with the same code and reason, and no field of the answer tells the
// difference: apierrors.NewForbidden makes it in either case, of a resource, a name and a sentence, without causes (in
// k8s.io/apiserver, ForbiddenStatusError in pkg/endpoints/handlers/responsewriters/errors.go for want of a permission,
// NewForbidden in pkg/admission/errors.go else). So it is told by what forbiddenMessage writes, in the former file. The
// fields say where that begins: a webhook's answer may have the same words, behind the webhook's own name.
func Explain(err error, verb, path, namespace string) error {
	var status apierrors.APIStatus
	if !apierrors.IsForbidden(err) || !errors.As(err, &status) {
		return err
	}
	answer := status.Status()
	var about metav1.StatusDetails
	if answer.Details != nil {
		about = *answer.Details
	}
	what := schema.GroupResource{Group: about.Group, Resource: about.Kind}
	before := apierrors.NewForbidden(what, about.Name, errors.New("")).ErrStatus.Message
	why, ok := strings.CutPrefix(answer.Message, before+`User "`)
	if ok && strings.Contains(why, `" cannot `+verb+` resource "`+path+`" in API group "`) {
		return NotAllowedError{attributes(verb, path, namespace, "")}
	}
	return err
}

// Need adds permissions to those that are needed: one for each verb. The path is a resource with its subresource, as in
// "pods/exec".
type Need func(namespace, path, name string, verbs ...string)

// Require adds what is needed, until it is withdrawn. It is asked for its needs each time that somebody wants to know.
func (c *Conn) Require(needs func(Need)) (withdraw func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.needs = append(c.needs, &needs)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.needs = slices.DeleteFunc(c.needs, func(n *func(Need)) bool { return n == &needs })
	}
}

// Needs lists the permissions that are needed of this cluster, each once.
func (c *Conn) Needs() []auth.ResourceAttributes {
	var needs []func(Need)
	c.mu.Lock()
	for _, n := range c.needs {
		needs = append(needs, *n)
	}
	c.mu.Unlock()
	all := collect(needs...)
	slices.SortFunc(all, func(a, b auth.ResourceAttributes) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Path(), b.Path()),
			strings.Compare(a.Name, b.Name), strings.Compare(a.Verb, b.Verb))
	})
	return slices.Compact(all)
}

func collect(needs ...func(Need)) []auth.ResourceAttributes {
	var all []auth.ResourceAttributes
	for _, f := range needs {
		f(func(namespace, path, name string, verbs ...string) {
			for _, verb := range verbs {
				all = append(all, attributes(verb, path, namespace, name))
			}
		})
	}
	return all
}

// Check asks the API server about each of Needs, and gives those that are missing. It is an error if it cannot tell.
func (c *Conn) Check(ctx context.Context) ([]auth.ResourceAttributes, error) {
	return c.missing(ctx, c.Needs())
}

// Lacks is Check for these needs alone, whether they are among Needs or not.
func (c *Conn) Lacks(ctx context.Context, needs func(Need)) ([]auth.ResourceAttributes, error) {
	return c.missing(ctx, collect(needs))
}

// missing gives those of needs that the API server says we do not have.
func (c *Conn) missing(ctx context.Context, needs []auth.ResourceAttributes) ([]auth.ResourceAttributes, error) {
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
	var missing []auth.ResourceAttributes
	for i, m := range needs {
		if !allowed[i] {
			missing = append(missing, m)
		}
	}
	return missing, nil
}

func (c *Conn) allowed(ctx context.Context, a auth.ResourceAttributes) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	review, err := c.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: Review(a)},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}

// Review gives a as a review of Kubernetes has it.
func Review(a auth.ResourceAttributes) *authorizationv1.ResourceAttributes {
	return &authorizationv1.ResourceAttributes{
		Verb: a.Verb, Group: a.Group, Resource: a.Resource, Subresource: a.Subresource, Namespace: a.Namespace, Name: a.Name,
	}
}
