package kube

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
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
	user   string
	groups []string
	until  time.Time
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
func (r *Reviews) Authenticate(ctx context.Context, token string) (user string, groups []string, ok bool, err error) {
	if token == "" || len(token) > longToken {
		return "", nil, false, nil
	}
	key := sha256.Sum256([]byte(token))
	if who, known := r.known(key, time.Now()); known {
		return who.user, slices.Clone(who.groups), true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, apiserver.Timeout)
	defer cancel()
	asked := time.Now()
	review, err := r.client.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token},
	}, metav1.CreateOptions{})
	if err != nil {
		err = withoutToken(apiserver.Explain(err, "create", "tokenreviews", ""), token)
		return "", nil, false, fmt.Errorf("ask whose token it is: %w", err)
	}
	s := review.Status
	if !s.Authenticated || s.User.Username == "" || limited(s.User) {
		return "", nil, false, nil
	}
	r.keep(key, caller{user: s.User.Username, groups: slices.Clone(s.User.Groups), until: asked.Add(callerAge)}, asked)
	return s.User.Username, s.User.Groups, true, nil
}

// limited says whether a token is good for less than its owner may do, as OpenShift's can be: what it is limited to is
// not among what we ask, so it would be good for more here.
func limited(u authenticationv1.UserInfo) bool {
	for key := range u.Extra {
		if strings.HasPrefix(key, "scopes.authorization.") {
			return true
		}
	}
	return false
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

// Allowed says whether a user of these groups may do this; no namespace for what is the cluster's, no name for any. An
// error says that it cannot be told.
func (r *Reviews) Allowed(ctx context.Context, user string, groups []string,
	what auth.ResourceAttributes,
) (bool, error) {
	if user == "" {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, apiserver.Timeout)
	defer cancel()
	review, err := r.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: user, Groups: groups, ResourceAttributes: apiserver.Review(what)},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("ask what %s may do: %w", user, apiserver.Explain(err, "create", "subjectaccessreviews", ""))
	}
	return review.Status.Allowed && !review.Status.Denied, nil
}
