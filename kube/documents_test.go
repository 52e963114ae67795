package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	clienttesting "k8s.io/client-go/testing"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/target"
)

// all gives what a document store has of a kind.
func all(t *testing.T, s *DocumentStore, kind string) map[string]string {
	t.Helper()
	got, err := s.All(t.Context(), kind)
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string]string)
	for name, data := range got {
		texts[name] = string(data)
	}
	return texts
}

func put(t *testing.T, s *DocumentStore, kind, name, data string) {
	t.Helper()
	if err := s.Put(t.Context(), kind, name, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

func TestDocumentsAreKeptByKindAndName(t *testing.T) {
	c := kubetest.NewCluster(t)
	s := clientOf(c).Documents()
	put(t, s, "deletions", "main", "[1]")
	put(t, s, "deletions", "main", "[1,2]")
	put(t, s, "deletions", "Main", "upper")
	put(t, s, "deletions", "ma_in.x", "odd")
	put(t, s, "incidents", "main", "{}")
	put(t, s, "incidents", "bytes", "\xff\x00")
	for _, documents := range []*DocumentStore{s, clientOf(c).Documents()} {
		if diff := cmp.Diff(map[string]string{"main": "[1,2]", "Main": "upper", "ma_in.x": "odd"}, all(t, documents, "deletions")); diff != "" {
			t.Errorf("deletions (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]string{"main": "{}", "bytes": "\xff\x00"}, all(t, documents, "incidents")); diff != "" {
			t.Errorf("incidents (-want +got):\n%s", diff)
		}
	}
	if err := s.Remove(t.Context(), "deletions", "Main"); err != nil {
		t.Error(err)
	}
	put(t, s, "deletions", "Main", "made anew")
	if err := s.Remove(t.Context(), "deletions", "Main"); err != nil {
		t.Error(err)
	}
	if err := s.Remove(t.Context(), "deletions", "never"); err != nil {
		t.Errorf("one that there is not: %v", err)
	}
	if diff := cmp.Diff(map[string]string{"main": "[1,2]", "ma_in.x": "odd"}, all(t, s, "deletions")); diff != "" {
		t.Errorf("after one was removed (-want +got):\n%s", diff)
	}
	put(t, s, "deletions", "Main", "again")
	m, err := c.CoreV1().ConfigMaps("unstuck").Get(t.Context(), "unstuck-deletions-main", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{apiserver.ManagedBy: "unstuck", apiserver.KindLabel: "deletions"}, m.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
}

func TestDocumentStorePutOverwritesNothingThatWasNotSeen(t *testing.T) {
	conflict := func(t *testing.T, s *DocumentStore) {
		t.Helper()
		if err := s.Put(t.Context(), "deletions", "main", []byte("mine")); !errors.Is(err, target.ErrConflict) {
			t.Errorf("%v, want a conflict", err)
		}
	}
	for _, tc := range []struct {
		name     string
		meantime func(t *testing.T, mine, theirs *DocumentStore)
	}{
		{"somebody wrote it", func(t *testing.T, mine, theirs *DocumentStore) {
			put(t, mine, "deletions", "main", "1")
			all(t, theirs, "deletions")
			put(t, theirs, "deletions", "main", "2")
		}},
		{"somebody wrote it after we read it", func(t *testing.T, mine, theirs *DocumentStore) {
			put(t, theirs, "deletions", "main", "1")
			all(t, mine, "deletions")
			put(t, theirs, "deletions", "main", "2")
		}},
		{"somebody made it", func(t *testing.T, mine, theirs *DocumentStore) {
			all(t, mine, "deletions")
			put(t, theirs, "deletions", "main", "1")
		}},
		{"somebody removed it", func(t *testing.T, mine, theirs *DocumentStore) {
			put(t, mine, "deletions", "main", "1")
			if err := theirs.Remove(t.Context(), "deletions", "main"); err != nil {
				t.Fatal(err)
			}
		}},
		{"somebody removed it and made it anew", func(t *testing.T, mine, theirs *DocumentStore) {
			put(t, mine, "deletions", "main", "1")
			if err := theirs.Remove(t.Context(), "deletions", "main"); err != nil {
				t.Fatal(err)
			}
			put(t, theirs, "deletions", "main", "2")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := kubetest.NewCluster(t)
			mine, theirs := clientOf(c).Documents(), clientOf(c).Documents()
			tc.meantime(t, mine, theirs)
			conflict(t, mine)
			all(t, mine, "other") // another kind tells nothing of this one
			conflict(t, mine)
			all(t, mine, "deletions")
			put(t, mine, "deletions", "main", "mine")
			if got := all(t, theirs, "deletions")["main"]; got != "mine" {
				t.Errorf("in the end it is %q", got)
			}
		})
	}
}

// labelled is a ConfigMap with the labels of a document.
func labelled(name, note string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "unstuck", Name: name, Labels: map[string]string{apiserver.ManagedBy: "unstuck", apiserver.KindLabel: "deletions"},
			Annotations: map[string]string{apiserver.NameNote: note},
		},
		Data: map[string]string{apiserver.DocumentKey: "x"},
	}
}

func TestDocumentStoreIgnoresConfigMapsOfOthers(t *testing.T) {
	copied, unnamed, elsewhere := labelled("zz-copy-of-main", "main"), labelled("of-somebody", "a"), labelled("unstuck-deletions-b", "b")
	copied.Data[apiserver.DocumentKey] = "the copy"
	unnamed.Annotations, elsewhere.Namespace = nil, "other"
	c := kubetest.NewCluster(t, labelled("unstuck-deletions-main", "main"), copied, unnamed, elsewhere)
	if diff := cmp.Diff(map[string]string{"main": "x"}, all(t, clientOf(c).Documents(), "deletions")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDocumentStoreNamesAMalformedDocumentAndDoesNotOverwriteIt(t *testing.T) {
	empty, unnamed := labelled("unstuck-deletions-empty", "empty"), labelled("unstuck-deletions-unnamed", "")
	empty.Data, unnamed.Annotations = nil, nil
	c := kubetest.NewCluster(t, labelled("unstuck-deletions-main", "main"), empty, unnamed)
	s := clientOf(c).Documents()
	got, err := s.All(t.Context(), "deletions")
	if diff := cmp.Diff(map[string][]byte{"main": []byte("x"), "empty": nil, "unnamed": nil}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, name := range []string{"empty", "unnamed"} {
		if err == nil || !strings.Contains(err.Error(), "unstuck-deletions-"+name) {
			t.Errorf("the error is %v, want it to name %s", err, name)
		}
		if err := s.Put(t.Context(), "deletions", name, []byte("mine")); !errors.Is(err, target.ErrConflict) {
			t.Errorf("%s: %v, want a conflict", name, err)
		}
	}
	put(t, s, "deletions", "main", "mine")
}

func TestDocumentsOfEveryNameHaveAConfigMapsName(t *testing.T) {
	seen := make(map[string]string)
	for _, name := range []string{"main", "MAIN", "main-", "-main", "a.b", "a_b", "ä", strings.Repeat("a", 182), strings.Repeat("a", 183), strings.Repeat("a", 300), "x." + strings.Repeat("0", 32), ""} {
		got := apiserver.ObjectName("incidents", name)
		if errs := validation.IsDNS1123Subdomain(got); len(errs) > 0 {
			t.Errorf("%q: %q: %v", name, got, errs)
		}
		if seen[got] != "" {
			t.Errorf("%q and %q are both %q", name, seen[got], got)
		}
		seen[got] = name
	}
}

func TestDocumentStoreNamesThePermissionThatItLacks(t *testing.T) {
	c := kubetest.NewCluster(t)
	s := clientOf(c).Documents()
	for verb, f := range map[string]func(context.Context) error{
		"list":   func(ctx context.Context) error { _, err := s.All(ctx, "deletions"); return err },
		"create": func(ctx context.Context) error { return s.Put(ctx, "deletions", "new", nil) },
		"delete": func(ctx context.Context) error { return s.Remove(ctx, "deletions", "main") },
	} {
		c.Deny(verb, "configmaps", true)
		if missing, ok := errors.AsType[apiserver.NotAllowedError](f(t.Context())); !ok || missing.ResourceAttributes != (auth.ResourceAttributes{Verb: verb, Resource: "configmaps", Namespace: "unstuck"}) {
			t.Errorf("%s: %v", verb, missing)
		}
	}
}

func TestDocumentStoreAllReadsManyInPages(t *testing.T) {
	c := kubetest.NewCluster(t)
	s := clientOf(c).Documents()
	want := make(map[string]string)
	for i := range 3*apiserver.DocumentPage + 1 {
		name := fmt.Sprintf("incident-%d", i)
		put(t, s, "incidents", name, name)
		want[name] = name
	}
	if diff := cmp.Diff(want, all(t, s, "incidents")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDocumentStoreAllDoesNotUndoWhatIsWrittenMeanwhile(t *testing.T) {
	c := kubetest.NewCluster(t)
	s := clientOf(c).Documents()
	ctx := t.Context()
	if err := s.Put(ctx, "incidents", "a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	for i := range 190 {
		if err := s.Put(ctx, "incidents", fmt.Sprint("b", i), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	written := make(chan error, 1)
	n := 0
	c.Intercept(func(request string) {
		if request == "list configmaps" {
			if n++; n == 2 {
				go func() { written <- s.Put(ctx, "incidents", "a", []byte("2")) }()
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	if _, err := s.All(ctx, "incidents"); err != nil { // somebody looks at /api/v1/incidents
		t.Fatal(err)
	}
	c.Intercept(nil)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if err := s.Put(ctx, "incidents", "a", []byte("3")); err != nil {
		t.Errorf("nobody else wrote: %v", err)
	}
}

func TestDocumentStoreOneReadsNoOthers(t *testing.T) {
	c := kubetest.NewCluster(t)
	mine, theirs := clientOf(c).Documents(), clientOf(c).Documents()
	put(t, mine, "deletions", "main", "1")
	put(t, theirs, "deletions", "other", "2")
	if _, err := theirs.All(t.Context(), "deletions"); err != nil {
		t.Fatal(err)
	}
	put(t, theirs, "deletions", "main", "3")
	for name, want := range map[string]string{"other": "2", "none": ""} {
		if data, there, err := mine.One(t.Context(), "deletions", name); err != nil || there != (want != "") || string(data) != want {
			t.Errorf("%s: %q %v %v", name, data, there, err)
		}
	}
	if err := mine.Put(t.Context(), "deletions", "main", nil); !errors.Is(err, target.ErrConflict) {
		t.Errorf("wrote over what it has not seen: %v", err)
	}
	if data, _, err := mine.One(t.Context(), "deletions", "main"); err != nil || string(data) != "3" {
		t.Errorf("main: %q %v", data, err)
	}
	put(t, mine, "deletions", "main", "4")
}

func TestDocumentStoreRefusesADocumentThatLacksSomething(t *testing.T) {
	for name, spoil := range map[string]func(*corev1.ConfigMap){
		"a label":        func(m *corev1.ConfigMap) { delete(m.Labels, apiserver.KindLabel) },
		"all labels":     func(m *corev1.ConfigMap) { m.Labels = nil },
		"the annotation": func(m *corev1.ConfigMap) { m.Annotations = nil },
		"the key":        func(m *corev1.ConfigMap) { m.Data = map[string]string{"pauses.json": "[]"} },
	} {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: "unstuck", Name: "unstuck-pauses-pauses", Labels: map[string]string{apiserver.ManagedBy: "unstuck", apiserver.KindLabel: "pauses"},
			Annotations: map[string]string{apiserver.NameNote: "pauses"},
		}, Data: map[string]string{apiserver.DocumentKey: "[]"}}
		s := clientOf(kubetest.NewCluster(t, m)).Documents()
		if data, there, err := s.One(t.Context(), "pauses", "pauses"); err != nil || !there || string(data) != "[]" {
			t.Fatalf("%q %v %v", data, there, err)
		}
		spoil(m)
		s = clientOf(kubetest.NewCluster(t, m)).Documents()
		if _, _, err := s.One(t.Context(), "pauses", "pauses"); err == nil || !strings.Contains(err.Error(), "is no document") {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

func TestDocumentStorePutTakesNoConflictOverAQuotaForAnotherWriter(t *testing.T) {
	c := kubetest.NewCluster(t)
	s := clientOf(c).Documents()
	c.PrependReactor("create", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "resourcequotas"}, "count", errors.New("the object has been modified"))
	})
	if err := s.Put(t.Context(), "deletions", "main", []byte("mine")); err == nil || errors.Is(err, target.ErrConflict) {
		t.Error(err)
	}
}
