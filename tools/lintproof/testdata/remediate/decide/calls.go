package decide

import (
	"context"   // want depguard
	"log/slog"  // want depguard
	"math/rand" // want depguard
	"os"        // want depguard
	clock "time"
)

// Impure does what a decision may not.
func Impure(then clock.Time) (clock.Duration, error) {
	start := clock.Now()              // want forbidigo
	_ = clock.Since(then)             // want forbidigo
	_ = clock.Until(then)             // want forbidigo
	<-clock.After(clock.Second)       // want forbidigo
	slog.Info("decided", "a_key", 1)  // want forbidigo sloglint
	_ = context.Background()          // want forbidigo
	_ = rand.Int()                    // want forbidigo
	_, err := os.ReadFile("decision") // want forbidigo
	return start.Sub(then), err
}
