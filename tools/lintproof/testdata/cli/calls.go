// Package cli has commands, which write and read the environment.
package cli

import (
	"context"
	"fmt"
	"os"
)

var _ = run

func run() {
	fmt.Println(context.Background(), os.Getenv("HOME"))
}
