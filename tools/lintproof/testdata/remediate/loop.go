// Package remediate stands for the real one.
package remediate

import "time"

// Shell is where the clock is read, so nothing here is refused.
func Shell() time.Time { return time.Now() }
