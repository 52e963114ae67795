// Package release stands for the real one.
package release

import "time"

// Shell is where the clock is read, so nothing here is refused.
func Shell() time.Time { return time.Now() }
