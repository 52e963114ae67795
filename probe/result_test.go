package probe

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestResultIsReadAsItWasWritten(t *testing.T) {
	want := Result{
		Target: "b", Node: "n", UID: "u", Kind: Login, Reason: Unreachable, Stage: StageTCP, Detail: "connecting timed out", NoAnswer: true,
		NodeStarted: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC),
		Started:     time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC), Took: 12 * time.Second, Stages: StageTimes{StageTCP: time.Second},
		Processes: &Processes{Total: 9, Suspicious: 1, Baseline: -1}, LogAge: time.Minute,
		Certificate: &Validity{From: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Until: time.Date(2027, 1, 30, 0, 0, 0, 0, time.UTC)},
	}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Result
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", data, diff)
	}
}
