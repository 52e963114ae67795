package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
)

var _ = wire

func wire() {
	fmt.Println(context.Background(), os.Getenv("HOME"))
	slog.SetDefault(nil) // want forbidigo
	os.Exit(3)           // want revive
}
