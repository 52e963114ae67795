// Package pass has tests that pass.
package pass

import (
	"fmt"
	"testing"
)

//promise:1
func TestOne(t *testing.T) {
	t.Run("a part", func(t *testing.T) { t.Log("says something") })
	t.Run("another part", func(t *testing.T) {})
}

func TestTwo(*testing.T) { fmt.Print("a line that does not end") }

func FuzzThree(f *testing.F) {
	f.Add("seed")
	f.Fuzz(func(*testing.T, string) {})
}
