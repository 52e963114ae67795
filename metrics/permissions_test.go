package metrics

import (
	"testing"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/remediate"
	"github.com/cjworkbench/unstuck/target"
)

func TestMetricsPermissionsMissingOnlyAsLongAsTheyAre(t *testing.T) {
	m := New("1.2.3")
	exec := auth.ResourceAttributes{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: "b"}
	m.PermissionsMissing([]auth.ResourceAttributes{{Verb: "delete", Resource: "pods", Namespace: "a"}, exec})
	if got := about(scrape(t, m), "unstuck_permission_missing{"); len(got) != 2 {
		t.Errorf("missing: %q", got)
	}
	m.PermissionsMissing([]auth.ResourceAttributes{exec})
	got := about(scrape(t, m), "unstuck_permission_missing{")
	if len(got) != 1 || got[0] != `unstuck_permission_missing{namespace="b",resource="pods/exec",verb="create"} 1` {
		t.Errorf("missing: %q", got)
	}
	m.PermissionsMissing(nil)
	if got := about(scrape(t, m), "unstuck_permission_missing{"); len(got) != 0 {
		t.Errorf("missing: %q", got)
	}
}

func TestMetricsLeaderIsOnlyWhoIsKnownToLead(t *testing.T) {
	for leads, want := range map[target.Answer]string{target.Yes: "1", target.No: "0", target.CannotTell: "0"} {
		m := New("1.2.3")
		s := remediate.Snapshot{Target: "b", View: target.View{IsLeader: leads}}
		s.At = s.At.AddDate(2000, 0, 0)
		m.Reconciled(s)
		if got := about(scrape(t, m), "unstuck_is_leader{"); len(got) != 1 || got[0] != `unstuck_is_leader{target="b"} `+want {
			t.Errorf("with %v: %q", leads, got)
		}
	}
}
