package kube

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/kube/apiserver"
)

const (
	// callerAge is how long a token that was good counts as good, and so for how long one that has been withdrawn still
	// does. What its owner may do is asked each time.
	callerAge   = 10 * time.Second
	callersKept = 1000
	longToken   = 16 << 10 // bytes; nothing longer is looked at
)

// Reviews asks the API server who somebody is and what they may do.
type Reviews struct {
	client *Client

	mu      sync.Mutex
	callers map[[sha256.Size]byte]caller // by the hash of the token, which is not kept
}

type caller struct {
	auth.Caller
	until time.Time
}

// Reviews gives the client's reviews. Each has its own memory of who was asked about: use one.
func (c *Client) Reviews() *Reviews {
	c.Require(func(need apiserver.Need) {
		if !c.external { // who somebody is, our own cluster says
			need("", "tokenreviews", "", "create")
		}
		need("", "subjectaccessreviews", "", "create")
	})
	return &Reviews{client: c, callers: make(map[[sha256.Size]byte]caller)}
}

// Authenticate says whose token it is; not ok: nobody's, or no longer. An error says that it cannot be told.
func (r *Reviews) Authenticate(ctx context.Context, token string) (who auth.Caller, ok bool, err error) {
	if token == "" || len(token) > longToken {
		return auth.Caller{}, false, nil
	}
	key := sha256.Sum256([]byte(token))
	if who, known := r.known(key, time.Now()); known {
		return who.Caller, true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, apiserver.Timeout)
	defer cancel()
	asked := time.Now()
	review, err := r.client.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token},
	}, metav1.CreateOptions{})
	if err != nil {
		err = withoutToken(apiserver.Explain(err, "create", "tokenreviews", ""), token)
		return auth.Caller{}, false, fmt.Errorf("ask whose token it is: %w", err)
	}
	s := review.Status
	if !s.Authenticated || s.User.Username == "" {
		return auth.Caller{}, false, nil
	}
	who = auth.Caller{Name: s.User.Username, Groups: s.User.Groups, UID: s.User.UID}
	for key, values := range s.User.Extra {
		if who.Extra == nil {
			who.Extra = make(map[string][]string)
		}
		who.Extra[key] = values
	}
	r.keep(key, caller{who, asked.Add(callerAge)}, asked)
	return who, true, nil
}

// withoutToken gives an error that does not hold the token, whatever the API server may have said.
func withoutToken(err error, token string) error {
	if strings.Contains(err.Error(), token) {
		return errors.New("the API server refuses, in words that hold the token")
	}
	return err
}

func (r *Reviews) known(key [sha256.Size]byte, now time.Time) (caller, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	who, ok := r.callers[key]
	return who, ok && now.Before(who.until)
}

// keep keeps who has which token, in place of those that are too old, or of all if there are too many.
func (r *Reviews) keep(key [sha256.Size]byte, who caller, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.callers) >= callersKept {
		maps.DeleteFunc(r.callers, func(_ [sha256.Size]byte, c caller) bool { return !now.Before(c.until) })
	}
	if len(r.callers) >= callersKept {
		clear(r.callers)
	}
	r.callers[key] = who
}

// Allowed says whether the caller may do this; no namespace for what is the cluster's, no name for any. An error says
// that it cannot be told. All that the review of the token said of its owner is passed on: an authorizer may go by any
// of it, and a token with scopes is good for no more than these.
func (r *Reviews) Allowed(ctx context.Context, who auth.Caller, what auth.ResourceAttributes) (bool, error) {
	if who.Name == "" {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, apiserver.Timeout)
	defer cancel()
	spec := authorizationv1.SubjectAccessReviewSpec{
		User: who.Name, Groups: who.Groups, UID: who.UID, ResourceAttributes: apiserver.Review(what),
	}
	for key, values := range who.Extra {
		if spec.Extra == nil {
			spec.Extra = make(map[string]authorizationv1.ExtraValue)
		}
		spec.Extra[key] = values
	}
	review, err := r.client.AuthorizationV1().SubjectAccessReviews().Create(ctx,
		&authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("ask what %s may do: %w", who.Name,
			apiserver.Explain(err, "create", "subjectaccessreviews", ""))
	}
	return review.Status.Allowed && !review.Status.Denied, nil
}
