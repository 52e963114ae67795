package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// never is the schedule of what is not scheduled.
const never = "never"

// Schedule says when something runs. The zero value: never.
type Schedule struct {
	cron.Schedule // nil: never

	Spec string // as it stands in the file
}

func (s Schedule) String() string {
	if s.Schedule == nil {
		return never
	}
	return s.Spec
}

// Every gives the schedule "@every d", for whole seconds from one on.
func Every(d time.Duration) Schedule {
	return Schedule{Spec: "@every " + span(d), Schedule: cron.Every(d)}
}

// ParseSchedule reads a cron spec of five fields or a descriptor such as "@every 15s" or "@hourly"; all times are UTC
// until it is put in another time zone.
//
// It refuses what the cron library takes but does not do as one would think: a time zone, upon which it panics in
// places, and which belongs into a key of its own; less than a second or parts of one, which it rounds; and a spec
// that never comes, as 30 February. (What has no next time within five years never comes, by that library.)
func ParseSchedule(spec string) (cron.Schedule, error) {
	if strings.HasPrefix(spec, "TZ=") || strings.HasPrefix(spec, "CRON_TZ=") {
		return nil, errors.New("the time zone stands in time_zone, not in a schedule")
	}
	if every, ok := strings.CutPrefix(spec, "@every "); ok {
		if d, err := time.ParseDuration(every); err == nil && (d < time.Second || d%time.Second != 0) {
			return nil, fmt.Errorf("%s is not a whole number of seconds, from 1 on", quote(every))
		}
	}
	s, err := cron.ParseStandard(spec)
	if err != nil {
		return nil, fmt.Errorf("%s is no schedule", quote(spec))
	}
	if byClock, ok := s.(*cron.SpecSchedule); ok {
		byClock.Location = time.UTC
	}
	now := time.Now().UTC()
	if next := s.Next(now); next.IsZero() || next.After(now.AddDate(5, 0, 0)) {
		return nil, fmt.Errorf("%s does not come within five years", quote(spec))
	}
	return s, nil
}

// in gives the schedule by the clock of a time zone. What runs every so often minds no clock.
//
// A time that the clock skips, when it is put forward, does not come that day. One that it shows twice, when it is put
// back, comes twice.
func (s Schedule) in(zone *time.Location) Schedule {
	if byClock, ok := s.Schedule.(*cron.SpecSchedule); ok {
		there := *byClock // the default may be another's too
		there.Location = zone
		s.Schedule = &there
	}
	return s
}

// longestGap gives the longest time between two runs within a year, or among the next two thousand: that is more than
// a day of one that runs each minute; and likewise about the next time that the clock is put forward or back. Never has
// no gap.
func longestGap(s Schedule) time.Duration {
	const runs = 2000
	if every, ok := s.Schedule.(cron.ConstantDelaySchedule); ok {
		return every.Delay
	}
	if s.Schedule == nil {
		return 0
	}
	now := time.Now().UTC()
	gap := longestGapFrom(s, now, now.AddDate(1, 0, 0), runs)
	if byClock, ok := s.Schedule.(*cron.SpecSchedule); ok {
		for at, changes := now, 0; changes < 2; changes++ { // one forward and one back
			_, change := at.In(byClock.Location).ZoneBounds()
			if change.IsZero() || change.After(now.AddDate(2, 0, 0)) {
				break
			}
			gap = max(gap, longestGapFrom(s, change.AddDate(0, 0, -1), change.AddDate(0, 0, 2), 3*runs))
			at = change
		}
	}
	return gap
}

func longestGapFrom(s Schedule, from, until time.Time, runs int) time.Duration {
	var gap time.Duration
	last := s.Next(from)
	for run := 0; run < runs && last.Before(until); run++ {
		next := s.Next(last)
		if next.IsZero() {
			break
		}
		gap = max(gap, next.Sub(last))
		last = next
	}
	return gap
}
