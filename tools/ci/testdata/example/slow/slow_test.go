// Package slow has a test that does not end before the time is up.
package slow

import "testing"

func TestQuick(*testing.T) {}

func TestHangs(t *testing.T) {
	t.Run("a part", func(t *testing.T) {
		t.Log("waits")
		<-t.Context().Done()
	})
}
