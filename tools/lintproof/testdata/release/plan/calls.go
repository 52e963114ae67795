package plan

import (
	"context"   // want depguard
	"log/slog"  // want depguard
	"math/rand" // want depguard
	"os"        // want depguard
	"time"
)

// Impure does what a plan may not.
func Impure() (time.Time, error) {
	slog.Info("planned", "a_key", 1) // want forbidigo sloglint
	_ = context.Background()         // want forbidigo
	_ = rand.Int()                   // want forbidigo
	_, err := os.ReadFile("plan")    // want forbidigo
	return time.Now(), err           // want forbidigo
}
