// Package outside fails outside of its tests.
package outside

import (
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	m.Run()
	fmt.Println("a process is left")
	os.Exit(3)
}

func TestFine(*testing.T) {}
