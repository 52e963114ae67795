package metrics

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMetricsConfigRefusedKeepsTheTimeOfTheOneThatIsInForce(t *testing.T) {
	m := New("")
	if got := about(scrape(t, m), "unstuck_config"); got != nil {
		t.Errorf("without a file there is %q", got)
	}
	is := func(good, at, restart string) {
		t.Helper()
		want := []string{
			"unstuck_config_last_reload_success_timestamp_seconds " + at,
			"unstuck_config_last_reload_successful " + good,
			"unstuck_config_restart_pending " + restart,
		}
		if diff := cmp.Diff(want, about(scrape(t, m), "unstuck_config")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	m.ConfigLoaded(time.Unix(1000, 0), false)
	is("1", "1000", "0")
	m.ConfigRefused()
	is("0", "1000", "0")
	m.ConfigLoaded(time.Unix(2000, 0), true)
	is("1", "2000", "1")
	m.ConfigRefused()
	is("0", "2000", "1")
}
