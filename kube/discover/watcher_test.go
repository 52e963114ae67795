package discover

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/target"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

// world is a cluster in which a Watcher looks.
type world struct {
	*Watcher
	*fake.FakeDynamicClient

	t      *testing.T
	fails  error    // what lists are answered with
	served []string // versions of RabbitmqClusters
	broken error    // why that cannot be told

	log bytes.Buffer
}

// inWorld runs f beside a Watcher, at a time of its own.
func inWorld(t *testing.T, o Options, f func(w *world), resources ...*unstructured.Unstructured) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, served: []string{"v1beta1"}}
		w.FakeDynamicClient = fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
			Clusters: "RabbitmqClusterList", StatefulSets: "StatefulSetList",
		})
		w.PrependReactor("*", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
			if !slices.Contains(w.served, "v1beta1") && a.GetResource() == Clusters {
				return true, nil, apierrors.NewNotFound(Clusters.GroupResource(), "")
			}
			return w.fails != nil, nil, w.fails
		})
		for _, r := range resources {
			w.put(r)
		}
		conn := apiserver.New(nil, "unstuck", nil, slog.New(slog.NewTextHandler(&w.log, nil)))
		conn.Resources = w.FakeDynamicClient
		w.Watcher = New(conn, o)
		w.versions = func(context.Context, string, string) ([]string, error) { return w.served, w.broken }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = w.Run(ctx) }()
		synctest.Wait()
		f(w)
		cancel()
		<-done
	})
}

func (w *world) of(o *unstructured.Unstructured) (schema.GroupVersionResource, string) {
	if o.GetKind() == "StatefulSet" {
		return StatefulSets, o.GetNamespace()
	}
	return Clusters, o.GetNamespace()
}

// put makes a resource, or changes it, and waits until the Watcher has seen it.
func (w *world) put(o *unstructured.Unstructured) {
	w.t.Helper()
	gvr, namespace := w.of(o)
	err := w.Tracker().Create(gvr, o.DeepCopy(), namespace)
	if apierrors.IsAlreadyExists(err) {
		err = w.Tracker().Update(gvr, o.DeepCopy(), namespace)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

func (w *world) drop(o *unstructured.Unstructured) {
	w.t.Helper()
	gvr, namespace := w.of(o)
	if err := w.Tracker().Delete(gvr, namespace, o.GetName()); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

// is checks the names of what is known, and a part of each problem.
func (w *world) is(found, refused string, problems ...string) {
	w.t.Helper()
	k := w.Known()
	var names, others []string
	for _, f := range k.Found {
		names = append(names, f.Name)
	}
	for _, r := range k.Refused {
		others = append(others, r.Name)
	}
	fits := len(k.Problems) == len(problems)
	for i := range min(len(k.Problems), len(problems)) {
		fits = fits && strings.Contains(k.Problems[i], problems[i])
	}
	if strings.Join(names, " ") != found || strings.Join(others, " ") != refused || !fits {
		w.t.Fatalf("found %q, refused %q, problems %q; want %q, %q, %q", names, others, k.Problems, found, refused, problems)
	}
}

func named(o *unstructured.Unstructured, namespace, name string) *unstructured.Unstructured {
	o.SetNamespace(namespace)
	o.SetName(name)
	_ = unstructured.SetNestedField(o.Object, namespace, "status", "defaultUser", "secretReference", "namespace")
	return o
}

var everywhere = Options{RabbitmqClusters: true, StatefulSets: true}

func TestWatcherSeesBrokersComeChangeAndGo(t *testing.T) {
	inWorld(t, everywhere, func(w *world) {
		w.is("production-orders", "")
		jobs := resource(t, "set")
		w.put(jobs)
		same := named(resource(t, "single-node"), "staging", "orders") // the same name in another namespace
		w.put(same)
		w.put(named(resource(t, "half-written"), "a", "half"))
		w.is("production-jobs production-orders staging-orders", "a-half")
		w.put(named(resource(t, "three-nodes"), "a", "half"))
		ignored := resource(t, "ignored")
		w.put(ignored)
		w.is("a-half production-jobs staging-orders", "production-orders")
		w.drop(same)
		w.drop(ignored)
		unlabelled := jobs.DeepCopy()
		unlabelled.SetLabels(nil)
		w.drop(jobs)
		w.is("a-half", "")
		select {
		case <-w.Changed():
		default:
			t.Error("nobody was told")
		}
	}, resource(t, "three-nodes"))
}

func TestWatcherLooksInItsNamespacesForWhatItIsToFind(t *testing.T) {
	inWorld(t, Options{Namespaces: []string{"production", "other"}, RabbitmqClusters: true}, func(w *world) {
		w.is("other-tls production-orders", "")
	}, resource(t, "three-nodes"), resource(t, "set"), named(resource(t, "tls"), "other", "tls"), named(resource(t, "tls"), "third", "tls"))
}

// That the cluster has no such resource is no error, and that it comes is noticed.
func TestWatcherTakesAnAbsentResourceForNoneUntilItComes(t *testing.T) {
	inWorld(t, Options{RabbitmqClusters: true}, func(w *world) {
		list := func() {
			t.Helper()
			o, err := source{w.feeds[0]}.ListWithContext(w.t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			w.feeds[0].mu.Lock()
			w.feeds[0].items = map[string]item{}
			w.feeds[0].mu.Unlock()
			if l := o.(*unstructured.UnstructuredList); len(l.Items) != 0 {
				t.Fatalf("%d resources of what there is none of", len(l.Items))
			}
		}
		w.served = nil
		list()
		list()
		if w.is("", ""); !w.Known().Listed {
			t.Error("what is absent counts as not listed")
		}
		w.served = []string{"v1beta1"}
		for range 2 {
			if _, err := (source{w.feeds[0]}).ListWithContext(w.t.Context(), metav1.ListOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		for _, said := range []string{"the cluster has no resources of that kind", "the cluster has resources of that kind now"} {
			if n := strings.Count(w.log.String(), said); n != 1 {
				t.Errorf("it says %d times that %s: %s", n, said, &w.log)
			}
		}
		w.served = []string{"v2", "v3"}
		list()
		w.is("", "", "rabbitmqclusters.rabbitmq.com are served as v2, v3 alone: want v1beta1")
	}, resource(t, "three-nodes"))
	inWorld(t, Options{RabbitmqClusters: true}, func(w *world) {
		w.served = nil
		w.feeds[0].serve(nil)
		p, err := source{w.feeds[0]}.WatchWithContext(w.t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Stop()
		began := time.Now()
		e := <-p.ResultChan()
		if status := apierrors.FromObject(e.Object); !apierrors.IsResourceExpired(status) || time.Since(began) != absentFor {
			t.Errorf("%v after %s", status, time.Since(began))
		}
	})
}

// What cannot be read is not gone: the set stays as it was, and that is said.
func TestWatcherKeepsWhatItKnowsWhileItCannotRead(t *testing.T) {
	refused := kubetest.Forbidden("list", Clusters, "", "production")
	inWorld(t, Options{Namespaces: []string{"production"}, RabbitmqClusters: true}, func(w *world) {
		w.is("production-orders", "")
		s := source{w.feeds[0]}
		for _, c := range []struct {
			err  error
			want string
		}{
			{refused, "look for rabbitmqclusters in namespace production: not allowed: list rabbitmqclusters"},
			{errors.New("connection refused"), "connection refused"},
		} {
			w.fails = c.err
			if _, err := s.ListWithContext(w.t.Context(), metav1.ListOptions{}); err == nil {
				t.Fatal("no error")
			}
			w.feeds[0].mu.Lock()
			w.feeds[0].open = false
			w.feeds[0].mu.Unlock()
			w.is("production-orders", "", c.want)
		}
		// A 404 of which the API server cannot say whether it is true is no better.
		w.fails, w.served, w.broken = nil, nil, errors.New("no route to host")
		if _, err := s.ListWithContext(w.t.Context(), metav1.ListOptions{}); err == nil {
			t.Fatal("no error")
		}
		w.is("production-orders", "", "no route to host")
		w.broken, w.served = nil, []string{"v1beta1"}
	}, resource(t, "three-nodes"))
}

func TestWatcherConfirmHoldsUnlessTheResourceIsAsItWas(t *testing.T) {
	inWorld(t, everywhere, func(w *world) {
		known := w.Known().Found
		jobs, orders := known[0], known[1]
		check := func(f Found, want target.Cause) {
			t.Helper()
			err := w.Confirm(w.t.Context(), f)
			refused, _ := errors.AsType[*target.RefusedError](err)
			if want == "" && err != nil || want != "" && (refused == nil || refused.Cause != want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		check(orders, "")
		check(jobs, "")
		check(Found{}, target.CauseCannotTell)
		w.fails = errors.New("connection refused")
		check(orders, target.CauseCannotTell)
		w.fails = nil
		for _, changed := range []string{"remediate", "ignored", "being-deleted", "half-written", "single-node"} {
			w.put(resource(t, changed))
			check(orders, target.CauseSource)
		}
		anew := resource(t, "three-nodes")
		anew.SetUID(types.UID("another"))
		w.put(anew)
		check(orders, target.CauseSource)
		w.put(resource(t, "three-nodes"))
		check(orders, "")
		w.drop(resource(t, "three-nodes"))
		check(orders, target.CauseSource)
		unlabelled := resource(t, "set")
		unlabelled.SetLabels(nil)
		w.put(unlabelled)
		check(jobs, target.CauseSource)
	}, resource(t, "three-nodes"), resource(t, "set"))
}
