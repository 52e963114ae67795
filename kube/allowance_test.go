package kube

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"path"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/cjworkbench/unstuck/probe"
)

// wire carries to the fake API server what the real clients send, who wait where they ask too often. The fake ones never
// do. It knows Leases, and answers each review with no.
type wire struct {
	*cluster

	reviewed atomic.Int64
}

// client gives a client as Connect makes it.
func (w *wire) client(s Sharing) *Client {
	w.t.Helper()
	set, err := newClientSet(rateLimited(&rest.Config{Host: "http://kubernetes", Transport: w}, 50, 100), s)
	if err != nil {
		w.t.Fatal(err)
	}
	c := newClient(set, "unstuck", "unstuck", noStreams{}, quiet())
	c.share(s)
	return c
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent runtime.Object
	if r.Body != nil {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		if sent, _, err = scheme.Codecs.UniversalDeserializer().Decode(data, nil, nil); err != nil {
			return nil, err
		}
	}
	leases := w.CoordinationV1().Leases("unstuck")
	var o runtime.Object
	var err error
	switch sent := sent.(type) {
	case *authorizationv1.SubjectAccessReview:
		w.reviewed.Add(1)
		sent.Kind, sent.APIVersion = "SubjectAccessReview", "authorization.k8s.io/v1"
		return answer(http.StatusCreated, sent), nil
	case *coordinationv1.Lease:
		if r.Method == http.MethodPost {
			o, err = leases.Create(r.Context(), sent, metav1.CreateOptions{})
		} else {
			o, err = leases.Update(r.Context(), sent, metav1.UpdateOptions{})
		}
	default:
		if path.Base(path.Dir(r.URL.Path)) != "leases" {
			return answer(http.StatusNotFound, apierrors.NewNotFound(corev1.Resource("pods"), path.Base(r.URL.Path)).Status()), nil
		}
		o, err = leases.Get(r.Context(), path.Base(r.URL.Path), metav1.GetOptions{})
	}
	if status, failed := err.(apierrors.APIStatus); failed {
		s := status.Status()
		s.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
		return answer(int(cmp.Or(s.Code, http.StatusInternalServerError)), s), nil
	}
	if err != nil {
		return nil, err
	}
	l, _ := o.(*coordinationv1.Lease)
	l.Kind, l.APIVersion = "Lease", "coordination.k8s.io/v1"
	return answer(http.StatusOK, l), nil
}

func TestOneReplicaThatIsLeftRenewsTheLeasesOfEveryShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{cluster: newCluster(t)}
		client := w.client(Sharing{Shards: 256, Members: 12})
		start(t, client, "me")
		pass(time.Minute)
		for range 120 {
			pass(time.Second)
			for _, name := range brokersShared() {
				if leading, _ := client.leading(name, time.Now()); leading != probe.Yes {
					t.Fatalf("%s: %s", name, leading)
				}
			}
		}
	})
}

func TestCallersWhoAskTooOftenWhatTheyMayDoHoldUpNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{cluster: newCluster(t)}
		client := w.client(Sharing{})
		reviews := client.Reviews()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
					_, _ = reviews.Allowed(ctx, "eve", nil, "get", "", "pods", "", "production", "")
				}
			})
		}
		time.Sleep(10 * time.Second)
		before := w.reviewed.Load()
		began := time.Now()
		_, err := client.api.CoreV1().Pods("production").Get(ctx, "rabbit-0", metav1.GetOptions{})
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
