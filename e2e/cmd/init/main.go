// Command init is the first process of a sandbox. The harness builds and starts it; see package sandbox.
package main

import (
	"fmt"
	"os"

	"github.com/cjworkbench/unstuck/e2e/sandbox"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: init DIRECTORY")
		os.Exit(64)
	}
	if err := sandbox.Init(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		os.Exit(1)
	}
}
