// Package app is the daemon, which is told everything.
package app

import (
	"context"
	"fmt"
	"os"
)

var _ = wire

func wire() {
	fmt.Println( // want forbidigo
		context.Background(), // want forbidigo
		os.Getenv("HOME"))    // want forbidigo
}
