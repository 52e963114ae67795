package metrics

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAFileIsLookedAtAtEachScrape(t *testing.T) {
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
