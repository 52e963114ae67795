package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/remediate/decide"
)

func location(t *testing.T, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// sameZone compares time zones by their names.
var sameZone = cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })

// windowIn gives a window in a zone.
func windowIn(t *testing.T, text, zone string) decide.MaintenanceWindow {
	t.Helper()
	w, err := parseWindow(text)
	if err != nil {
		t.Fatal(err)
	}
	windows := []decide.MaintenanceWindow{w}
	inTimeZone(windows, location(t, zone))
	return windows[0]
}

// In Berlin clocks go forward on 29 March 2026, from 02:00 to 03:00, and back on 25 October, from 03:00 to 02:00.
func TestTimeZoneOfAWindow(t *testing.T) {
	for name, row := range map[string]struct {
		window, zone string
		open, closed []string
	}{
		"winter":         {"08:00-18:00", "Europe/Berlin", []string{"2026-01-05T07:00:00Z", "2026-01-05T16:59:59Z"}, []string{"2026-01-05T06:59:59Z", "2026-01-05T17:00:00Z"}},
		"summer":         {"08:00-18:00", "Europe/Berlin", []string{"2026-07-06T06:00:00Z", "2026-07-06T15:59:59Z"}, []string{"2026-07-06T05:59:59Z", "2026-07-06T16:00:00Z"}},
		"its_day":        {"Mon 00:00-01:00", "Pacific/Auckland", []string{"2026-07-05T12:30:00Z"}, []string{"2026-07-06T00:30:00Z"}},
		"skipped":        {"02:15-02:45", "Europe/Berlin", []string{"2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"}, []string{"2026-03-29T00:30:00Z", "2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"}},
		"half_skipped":   {"02:30-03:30", "Europe/Berlin", []string{"2026-03-29T01:00:00Z", "2026-03-29T01:29:59Z"}, []string{"2026-03-29T00:59:59Z", "2026-03-29T01:30:00Z"}},
		"repeated":       {"02:15-02:45", "Europe/Berlin", []string{"2026-10-25T00:15:00Z", "2026-10-25T01:15:00Z"}, []string{"2026-10-25T00:45:00Z", "2026-10-25T01:45:00Z"}},
		"over_the_night": {"Sat 22:00-04:00", "Europe/Berlin", []string{"2026-10-24T20:00:00Z", "2026-10-25T02:59:59Z"}, []string{"2026-10-24T19:59:59Z", "2026-10-25T03:00:00Z"}},
		"whole_day":      {"Sun 00:00-24:00", "Europe/Berlin", []string{"2026-03-28T23:00:00Z", "2026-03-29T21:59:59Z"}, []string{"2026-03-28T22:59:59Z", "2026-03-29T22:00:00Z"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := windowIn(t, row.window, row.zone)
			for want, moments := range map[bool][]string{true: row.open, false: row.closed} {
				for _, text := range moments {
					at, err := time.Parse(time.RFC3339, text)
					if err != nil {
						t.Fatal(err)
					}
					if got := w.Contains(at); got != want {
						t.Errorf("%s %s at %s: open %t, want %t", row.window, row.zone, text, got, want)
					}
				}
			}
		})
	}
}

func TestTimeZoneOfASchedule(t *testing.T) {
	for name, row := range map[string]struct {
		spec, zone, from string
		want             []string
	}{
		"winter_and_summer": {"0 3 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", []string{"2026-03-28T02:00:00Z", "2026-03-29T01:00:00Z"}},
		"skipped":           {"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-30T00:30:00Z"}},
		"repeated":          {"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"}},
		"each_hour":         {"0 * * * *", "Europe/Berlin", "2026-03-28T23:30:00Z", []string{"2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"}},
		"no_midnight":       {"@daily", "Africa/Cairo", "2026-04-22T23:00:00Z", []string{"2026-04-24T21:00:00Z"}},
		"so_often":          {"@every 1h", "Europe/Berlin", "2026-03-28T23:30:00Z", []string{"2026-03-29T00:30:00Z"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := schedule(t, row.spec).in(location(t, row.zone))
			at, err := time.Parse(time.RFC3339, row.from)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range row.want {
				at = s.Next(at).UTC()
				if got := at.Format(time.RFC3339); got != want {
					t.Errorf("next at %s, want %s", got, want)
				}
			}
		})
	}
}

func TestLongestGapMindsTheClock(t *testing.T) {
	for spec, want := range map[string]time.Duration{
		"30 2 * * *":  48*time.Hour - time.Hour, // it is skipped in spring
		"0 12 * * *":  25 * time.Hour,           // in autumn
		"*/7 * * * *": 7 * time.Minute,
	} {
		if got := longestGap(schedule(t, spec).in(location(t, "Europe/Berlin"))); got != want {
			t.Errorf("%s: %s, want %s", spec, got, want)
		}
	}
}

func TestTimeZoneIsEachBrokersOwn(t *testing.T) {
	c, err := Parse([]byte(`
defaults:
  username: u
  password_file: p
  time_zone: Europe/Berlin
  policy: {maintenance_windows: ["Mon 08:00-18:00"]}
  probes: {roundtrip: {every: "0 3 * * *"}}
brokers:
  - {name: one, nodes: [{name: a, address: "h:1"}]}
  - {name: two, time_zone: America/New_York, nodes: [{name: a, address: "h:2"}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	january := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	for i, want := range []string{"2026-01-05T02:00:00Z", "2026-01-05T08:00:00Z"} {
		b := c.Brokers[i]
		if got := b.Probes.Roundtrip.Every.Next(january).UTC().Format(time.RFC3339); got != want {
			t.Errorf("%s: a round trip at %s, want %s", b.Name, got, want)
		}
		if got := b.Policy.MaintenanceWindows[0].TimeZone; got != b.TimeZone {
			t.Errorf("%s: a window in %s", b.Name, got)
		}
	}
}
