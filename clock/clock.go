// Package clock says how much time has passed, on machines that are suspended and whose clock is set.
package clock

import "time"

// Elapsed is how long since was before now, by the clock that says more: the monotonic one stands while a machine is
// suspended, and the other may be set. It is negative only if both say that since is yet to come.
func Elapsed(since, now time.Time) time.Duration {
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}
