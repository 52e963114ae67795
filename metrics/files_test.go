package metrics

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMetricsWatchFileLooksAtAFileAtEachScrape(t *testing.T) {
	m := New("")
	if got := about(scrape(t, m), "file_valid"); got != nil {
		t.Errorf("before any file is watched there is %q", got)
	}
	wrong := errors.New("line 3: no such key")
	m.WatchFile(ConfigurationFile, func() error { return wrong })
	want := []string{`unstuck_file_valid{file="configuration"} 0`}
	if diff := cmp.Diff(want, about(scrape(t, m), "file_valid")); diff != "" {
		t.Errorf("while it is wrong (-want +got):\n%s", diff)
	}
	wrong = nil
	want = []string{`unstuck_file_valid{file="configuration"} 1`}
	if diff := cmp.Diff(want, about(scrape(t, m), "file_valid")); diff != "" {
		t.Errorf("once it is mended (-want +got):\n%s", diff)
	}
}

func TestMetricsWatchCertificateHoldsAsLongAsItSays(t *testing.T) {
	m := New("")
	if got := about(scrape(t, m), "certificate"); got != nil {
		t.Errorf("without one there is %q", got)
	}
	until := time.Unix(1_800_000_000, 0)
	m.WatchCertificate(func() (from, to time.Time) { return time.Unix(1_700_000_000, 0), until })
	for _, c := range []struct {
		until time.Time
		want  string
	}{
		{until, "1.8e+09"},
		{until.Add(90 * 24 * time.Hour), "1.807776e+09"},                        // renewed
		{time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), "2.53402300799e+11"}, // no end (RFC 5280, 4.1.2.5)
	} {
		until = c.until
		want := []string{
			"unstuck_certificate_not_after_timestamp_seconds " + c.want,
			"unstuck_certificate_not_before_timestamp_seconds 1.7e+09",
		}
		if diff := cmp.Diff(want, about(scrape(t, m), "certificate")); diff != "" {
			t.Errorf("until %s (-want +got):\n%s", c.until, diff)
		}
	}
}
