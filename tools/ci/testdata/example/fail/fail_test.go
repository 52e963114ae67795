// Package fail has a test of which one part fails, unless STEADY is set, and one that passes.
package fail

import (
	"os"
	"testing"
)

//promise:2
func TestTable(t *testing.T) {
	for _, name := range []string{"good", "bad (a|b)", "deep"} {
		t.Run(name, func(t *testing.T) {
			t.Logf("%s is looked at", name)
			if name == "bad (a|b)" && os.Getenv("STEADY") == "" {
				t.Error("got 1, want 2")
			}
		})
	}
}

func TestGood(*testing.T) {}
