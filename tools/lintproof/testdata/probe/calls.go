package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log" // want depguard
	"log/slog"
	"net/http"
	"os"
	"time"
)

type colour int

const (
	red colour = iota
	green
)

// Calls does what no package of ours may.
func Calls(ctx context.Context, l *slog.Logger, c colour, err error) error {
	fmt.Println("hello")                          // want forbidigo
	_ = context.Background()                      // want forbidigo
	_ = context.TODO()                            // want forbidigo
	time.Sleep(time.Second)                       // want forbidigo
	_ = os.Getenv("HOME")                         // want forbidigo
	slog.Info("a message")                        // want sloglint
	_ = slog.Default()                            // want forbidigo
	l.Info("a message", "camelCase", 1)           // want sloglint
	l.Info("a message", "a", 1, slog.Int("b", 2)) // want sloglint
	l.Info(err.Error())                           // want sloglint
	if err == io.EOF {                            // want errorlint
		log.Fatal("end") // want forbidigo revive
	}
	switch c { // want exhaustive
	case red:
	default:
	}
	_, _ = http.Get("http://127.0.0.1/") // want noctx bodyclose
	os.Remove("a file")
	work(ctx) // want errcheck
	if c == green {
		panic("green") // want forbidigo
	}
	if err != nil {
		return fmt.Errorf("do: %v", err) // want errorlint
	}
	os.Exit(1) // want forbidigo revive
	return nil
}

func Undocumented() {} // want revive

func work(context.Context) error { return errors.New("Upper case.") } // want revive staticcheck

func quiet() { _ = Calls } //nolint // want nolintlint
