// Package crash has a test that panics, and one that does not come to its turn.
package crash

import "testing"

func TestCrash(*testing.T) {
	var none map[string]int
	none["a"] = 1
}

func TestNeverRun(*testing.T) {}
