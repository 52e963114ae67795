package clock

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestElapsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		since := time.Now()
		time.Sleep(time.Minute)
		now := time.Now()
		const wall = 0 // strips the monotonic clock: time.Time.Round
		for name, c := range map[string]struct {
			since, now time.Time
			want       time.Duration
		}{
			"both clocks agree":                        {since, now, time.Minute},
			"only the wall clock is known":             {since.Round(wall), now.Round(wall), time.Minute},
			"it was written down by an earlier daemon": {since.Round(wall).Add(-time.Hour), now, time.Hour + time.Minute},
			"it is yet to come":                        {now, since, -time.Minute},
		} {
			if got := Elapsed(c.since, c.now); got != c.want {
				t.Errorf("%s: %s, want %s", name, got, c.want)
			}
		}
	})
}
