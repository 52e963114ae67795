package deploy

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

func operationOf(id string, version int) plan.Operation {
	return plan.Operation{ID: id, Version: version, Environment: "production", Kind: plan.Deploy, Created: longAgo, Outcome: "ä"}
}

func TestStoreSaveWritesOnlyOverTheVersionBefore(t *testing.T) {
	c := kubetest.NewCluster(t)
	s := NewStore(c.Conn())
	for _, tc := range []struct {
		version int
		want    error
	}{{2, release.ErrConflict}, {1, nil}, {1, release.ErrConflict}, {3, release.ErrConflict}, {2, nil}, {2, release.ErrConflict}, {3, nil}} {
		if err := s.Save(t.Context(), operationOf("deploy-1", tc.version)); !errors.Is(err, tc.want) {
			t.Errorf("version %d: %v, want %v", tc.version, err, tc.want)
		}
	}
	got, err := NewStore(c.Conn()).Load(t.Context(), "deploy-1")
	if err != nil || got.Version != 3 {
		t.Errorf("%v, %s", err, cmp.Diff(operationOf("deploy-1", 3), got))
	}
	c.SetGone(true)
	if err := s.Save(t.Context(), operationOf("deploy-1", 4)); err == nil || errors.Is(err, release.ErrConflict) {
		t.Errorf("nobody answers: %v", err)
	}
}

func TestStoreSaveTakesNoConflictOverAQuotaForAnotherWriter(t *testing.T) {
	c := kubetest.NewCluster(t)
	conflicts := 1
	c.PrependReactor("create", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		conflicts--
		return conflicts >= 0, nil, apierrors.NewConflict(schema.GroupResource{Resource: "resourcequotas"}, "count", errors.New("the object has been modified"))
	})
	s := NewStore(c.Conn())
	if err := s.Save(t.Context(), operationOf("deploy-1", 1)); err != nil {
		t.Errorf("one conflict: %v", err)
	}
	conflicts = 100
	if err := s.Save(t.Context(), operationOf("deploy-2", 1)); err == nil || errors.Is(err, release.ErrConflict) {
		t.Errorf("many: %v", err)
	}
}

func TestStoreOperationsAreTheEnvironmentsAndForgetTheOldest(t *testing.T) {
	c := kubetest.NewCluster(t)
	s := NewStore(c.Conn())
	other := operationOf("elsewhere", 1)
	other.Environment = "staging"
	if err := s.Save(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	for i := range 55 {
		o := operationOf(fmt.Sprintf("deploy-%d", i), 1)
		o.Created = longAgo.Add(time.Duration(i) * time.Hour)
		if i != 2 { // which is still under way
			o.Phase = plan.Succeeded
		}
		if err := s.Save(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.Operations(t.Context(), "production")
	if err != nil || len(all) != 51 {
		t.Errorf("%d operations, %v", len(all), err)
	}
	for id, want := range map[string]error{"deploy-0": release.ErrNotFound, "deploy-2": nil, "deploy-54": nil, "elsewhere": nil, "../x": release.ErrNotFound} {
		if _, err := s.Load(t.Context(), id); !errors.Is(err, want) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestStoreNeedsItsPermissionsInOurOwnNamespaceAlone(t *testing.T) {
	conn := kubetest.NewCluster(t).Conn()
	NewStore(conn)
	var got []string
	for _, m := range conn.Needs() {
		got = append(got, m.String())
	}
	want := []string{
		"create configmaps in namespace unstuck", "delete configmaps in namespace unstuck",
		"get configmaps in namespace unstuck", "list configmaps in namespace unstuck",
		"update configmaps in namespace unstuck",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
