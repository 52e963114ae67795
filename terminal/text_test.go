package terminal

import (
	"testing"
	"time"
)

const ms = time.Millisecond

func TestBriefWritesTimesWithTheDigitsThatMatter(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.0 ms", 1: "0.0 ms", 440 * time.Microsecond: "0.4 ms", 42 * ms: "42.0 ms", 420 * ms: "420 ms", 1234 * ms: "1.23 s",
		12003 * ms: "12.0 s", 1000 * time.Second: "1000.0 s",
	} {
		if got := Brief(d); got != want {
			t.Errorf("%d ns: %q, want %q", d, got, want)
		}
	}
}
