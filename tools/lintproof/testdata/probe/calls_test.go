package probe

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"
)

func TestMayDoWhatTheCodeMayNot(t *testing.T) {
	if os.Getenv("HOME") == "" {
		t.Skip("no home") // want forbidigo
	}
	if testing.Short() {
		t.SkipNow() // want forbidigo
	}
	fmt.Println(context.Background(), time.Now())
}

func BenchmarkMayNotSkipEither(b *testing.B) {
	b.Skipf("too slow after %d", b.N) // want forbidigo
}
