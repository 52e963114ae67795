package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/remediate/decide"
)

const wantWindow = `days and hours, such as "Mon-Fri 08:00-18:00", "Sat,Sun 22:00-04:00" or "08:00-24:00"`

var (
	dayNames = []string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"} // by time.Weekday
	hours    = regexp.MustCompile(`^(\d\d):(\d\d)-(\d\d):(\d\d)$`)
)

// parseWindow reads days and hours, for UTC. Days are single or ranges, joined by commas; without them it is every
// day. A window that ends no later than it begins ends on the next day.
func parseWindow(text string) (decide.MaintenanceWindow, error) {
	var w decide.MaintenanceWindow
	fields := strings.Fields(text)
	days := "Sun-Sat"
	if len(fields) == 2 {
		days, fields = fields[0], fields[1:]
	}
	if len(fields) != 1 {
		return w, fmt.Errorf("%s is no window", quote(text))
	}
	for part := range strings.SplitSeq(days, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, to := slices.Index(dayNames, first), slices.Index(dayNames, last)
		if from < 0 || to < 0 {
			return w, fmt.Errorf("%s is no day", quote(part))
		}
		for day := from; ; day = (day + 1) % 7 {
			w.Days[day] = true
			if day == to {
				break
			}
		}
	}
	m := hours.FindStringSubmatch(fields[0])
	if m == nil {
		return w, fmt.Errorf("%s is not from one time to another", quote(fields[0]))
	}
	var ok1, ok2 bool
	w.From, ok1 = clock(m[1], m[2])
	w.To, ok2 = clock(m[3], m[4])
	switch {
	case !ok1 || !ok2 || w.From == 24*time.Hour:
		return w, fmt.Errorf("%s is not from one time to another", quote(fields[0]))
	case w.From == w.To:
		return w, fmt.Errorf("%s has no length", quote(fields[0]))
	}
	return w, nil
}

// clock gives the time since midnight, of 00:00 to 24:00.
func clock(hour, minute string) (time.Duration, bool) {
	h, _ := strconv.Atoi(hour) // two digits each
	m, _ := strconv.Atoi(minute)
	d := time.Duration(h)*time.Hour + time.Duration(m)*time.Minute
	return d, m < 60 && d <= 24*time.Hour
}
