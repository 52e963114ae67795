package metrics

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/release/plan"
)

func TestMetricsOperationChangedCountsAnOperationOnce(t *testing.T) {
	m := New("1.2.3")
	m.WatchOperations([]plan.Environment{{Name: "production"}}, func() []plan.Operation { return nil })
	if lines := about(scrape(t, m), "operations_total", "} 0"); len(lines) != len(plan.Kinds())*len(endings) {
		t.Errorf("these series begin at zero: %q", lines)
	}
	first := plan.Operation{ID: "1", Kind: plan.Deploy, Environment: "production", Phase: plan.Running}
	m.OperationChanged(first)
	first.Phase = plan.Failed
	m.OperationChanged(first)
	m.OperationChanged(first) // its last lines came late
	other := first
	other.Environment, other.Kind = "staging", plan.Restart
	m.OperationChanged(other)
	second := first
	second.ID, second.Phase = "2", plan.Succeeded
	m.OperationChanged(second)
	want := []string{
		`unstuck_operations_total{environment="production",kind="deploy",result="failed"} 1`,
		`unstuck_operations_total{environment="production",kind="deploy",result="succeeded"} 1`,
		`unstuck_operations_total{environment="staging",kind="restart",result="failed"} 1`,
	}
	if diff := cmp.Diff(want, about(scrape(t, m), "operations_total", "} 1")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOperationsShowWhatRunsForAsLongAsItRuns(t *testing.T) {
	m := New("1.2.3")
	now := time.Unix(1_790_000_000, 0)
	all := running(now)
	twice := all[0]
	twice.Kind = plan.Restart
	all = append(all, twice) // of two in one environment the scrape shows one, and is whole
	m.WatchOperations(nil, func() []plan.Operation { return all })
	want := []string{`unstuck_operation_started_timestamp_seconds{environment="production",kind="deploy"} 1.78999994e+09`}
	if diff := cmp.Diff(want, about(scrape(t, m), "operation_started")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	all = nil
	if lines := about(scrape(t, m), "operation_started"); len(lines) > 0 {
		t.Errorf("nothing runs, and it shows %q", lines)
	}
}
