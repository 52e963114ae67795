package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/remediate/decide"
)

func TestScheduleTimesAreUTC(t *testing.T) {
	elsewhere := time.FixedZone("elsewhere", 5*3600+1800)
	for spec, want := range map[string]string{
		"0 3 * * *":   "2026-11-24T03:00:00Z",
		"30 23 * * *": "2026-11-23T23:30:00Z",
		"@daily":      "2026-11-24T00:00:00Z",
		"@every 15s":  "2026-11-23T12:00:15Z",
		"@every 1h":   "2026-11-23T13:00:00Z",
	} {
		s, err := ParseSchedule(spec)
		if err != nil {
			t.Errorf("%s: %v", spec, err)
			continue
		}
		now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).In(elsewhere)
		if got := s.Next(now).UTC().Format(time.RFC3339); got != want {
			t.Errorf("%s: next at %s, want %s", spec, got, want)
		}
	}
}

func TestLongestGapOfASchedule(t *testing.T) {
	for spec, want := range map[string]time.Duration{
		"@every 15s":     15 * time.Second,
		"* * * * *":      time.Minute,
		"*/7 * * * *":    7 * time.Minute,
		"* 8-17 * * *":   14*time.Hour + time.Minute,
		"0 12 * * 1-5":   3 * 24 * time.Hour,
		"0 0 1 1 *":      366 * 24 * time.Hour, // at most: whether it is this year's depends on today
		"0 0 1 1,3,12 *": 275 * 24 * time.Hour,
	} {
		got := longestGap(schedule(t, spec))
		if got != want && (spec != "0 0 1 1 *" || got != 365*24*time.Hour) {
			t.Errorf("%s: got %s, want %s", spec, got, want)
		}
	}
}

func TestParseWindow(t *testing.T) {
	const h = time.Hour
	weekdays := [7]bool{1: true, 2: true, 3: true, 4: true, 5: true}
	for text, want := range map[string]decide.MaintenanceWindow{
		"Mon-Fri 08:00-18:00":               {Days: weekdays, From: 8 * h, To: 18 * h},
		"Fri-Mon 22:30-04:00":               {Days: [7]bool{5: true, 6: true, 0: true, 1: true}, From: 22*h + 30*time.Minute, To: 4 * h},
		"Sat,Sun,Wed 00:00-24:00":           {Days: [7]bool{6: true, 0: true, 3: true}, From: 0, To: 24 * h},
		"Mon-Tue,Thu-Fri,Wed   08:00-18:00": {Days: weekdays, From: 8 * h, To: 18 * h},
		"09:05-17:00":                       {Days: [7]bool{true, true, true, true, true, true, true}, From: 9*h + 5*time.Minute, To: 17 * h},
		"Sun 22:00-00:00":                   {Days: [7]bool{0: true}, From: 22 * h, To: 0},
	} {
		got, err := parseWindow(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

func TestParseWindowIsOpenWhenItSaysSo(t *testing.T) {
	w, err := parseWindow("Fri 22:00-06:00")
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]bool{
		"2026-11-27T21:59:59Z":      false, // a Friday
		"2026-11-27T22:00:00Z":      true,
		"2026-11-28T05:59:59Z":      true,
		"2026-11-28T06:00:00Z":      false,
		"2026-11-27T03:00:00Z":      false,
		"2026-11-28T07:00:00+02:00": true,
	} {
		moment, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.Contains(moment); got != want {
			t.Errorf("at %s: open %t, want %t", at, got, want)
		}
	}
}
