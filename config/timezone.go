package config

import (
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/remediate/decide"
)

const wantTimeZone = "a time zone of the IANA database, such as Europe/Berlin or UTC"

// timeZone reads the key of that name. The names are those of the tz database, which cmd/unstuck has in it.
func (s *section) timeZone(to **time.Location) {
	f := form{"type": "string", "minLength": 1, "description": wantTimeZone}
	s.value("time_zone", (*to).String(), f, wantTimeZone, true, func(v string) bool {
		zone, err := loadZone(v)
		if err != nil || v == "" || zone == time.Local { // that of a machine is not the same everywhere
			return false
		}
		*to = zone
		return true
	})
}

// zones are those that were read, by name: one zone is one pointer, for what a Location keeps differs with the time at
// which it was read, and configurations are compared.
var zones sync.Map

func loadZone(name string) (*time.Location, error) {
	if zone, ok := zones.Load(name); ok {
		return zone.(*time.Location), nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, err
	}
	kept, _ := zones.LoadOrStore(name, zone)
	return kept.(*time.Location), nil
}

// inTimeZone puts the broker's windows and schedules in its time zone, those that it has from the defaults, too.
func (b *Broker) inTimeZone() {
	inTimeZone(b.Policy.MaintenanceWindows, b.TimeZone)
	p := &b.Probes
	for _, s := range []*Schedule{&p.Login.Every, &p.Roundtrip.Every, &p.MaybeStuck.Every, &p.Log.Every} {
		*s = s.in(b.TimeZone)
	}
}

func inTimeZone(windows []decide.MaintenanceWindow, zone *time.Location) {
	if zone == time.UTC {
		zone = nil // which is the same
	}
	for i := range windows {
		windows[i].TimeZone = zone
	}
}
