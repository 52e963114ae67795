package kube

import (
	"context"
	"net/http"
	"path"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/kubetest"
)

// wire answers what the real clients send, who wait where they ask too often. The fake ones never do. It answers each review
// with no, and knows of no object.
type wire struct{ reviewed atomic.Int64 }

// client gives a client whose connection is as apiserver.Connect makes it.
func (w *wire) client(t *testing.T) *Client {
	t.Helper()
	conn, err := apiserver.ForConfig(&rest.Config{Host: "http://kubernetes", Transport: w}, "unstuck", kubetest.Quiet())
	if err != nil {
		t.Fatal(err)
	}
	return New(conn, Options{})
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		return kubetest.Answer(http.StatusNotFound, apierrors.NewNotFound(corev1.Resource("pods"), path.Base(r.URL.Path)).Status())
	}
	w.reviewed.Add(1)
	return kubetest.Answer(http.StatusCreated, &authorizationv1.SubjectAccessReview{
		TypeMeta: metav1.TypeMeta{Kind: "SubjectAccessReview", APIVersion: "authorization.k8s.io/v1"},
	})
}

//promise:23
func TestAllowanceLetsNoRequestAboutALeaseWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := kubeconfig(t, "https://kubernetes.invalid")
		conn, err := apiserver.Connect(apiserver.Options{Kubeconfig: file}, kubetest.Quiet())
		if err != nil {
			t.Fatal(err)
		}
		limit := conn.CoordinationV1().RESTClient().GetRateLimiter()
		for turn := range 100 {
			for _, lease := range []string{"the leader's", "a namespace's lock"} {
				if !limit.TryAccept() {
					t.Fatalf("at turn %d the request about %s has to wait", turn, lease)
				}
			}
			time.Sleep(retryPeriod)
		}
	})
}

func TestReviewsHoldUpNothingElseWhenCallersAskTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w wire
		client := w.client(t)
		reviews := client.Reviews()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
					_, _ = reviews.Allowed(ctx, auth.Caller{Name: "eve"}, auth.ResourceAttributes{Verb: "get", Resource: "pods", Namespace: "production"})
				}
			})
		}
		time.Sleep(10 * time.Second)
		before := w.reviewed.Load()
		began := time.Now()
		_, err := client.CoreV1().Pods("production").Get(ctx, "rabbit-0", metav1.GetOptions{})
		if took := time.Since(began); took > time.Second || !apierrors.IsNotFound(err) {
			t.Errorf("it takes %s to ask for a pod: %v", took, err)
		}
		time.Sleep(10 * time.Second)
		if asked := w.reviewed.Load() - before; asked > 600 {
			t.Errorf("%d reviews were asked for in ten seconds", asked)
		}
		cancel()
		wg.Wait()
	})
}
