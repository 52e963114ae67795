package stuck

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

// endless repeats a text until it has given n bytes, and notes the peak memory meanwhile.
type endless struct {
	text       []byte
	left, next int
	peak       uint64
	sampleAt   int // how much is left when memory is looked at next
	step       int
}

func (e *endless) Read(b []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	if e.left < e.sampleAt {
		e.peak = max(e.peak, heapInUse())
		e.sampleAt -= e.step
	}
	n := copy(b, e.text[e.next:])
	e.next = (e.next + n) % len(e.text)
	e.left -= n
	return n, nil
}

// heapInUse gives the bytes in use on the heap after a garbage collection.
func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// goOn gives text that repeats records up to this many bytes: 80 MiB are some 50,000 stuck processes.
func goOn(records string, size int) *endless {
	return &endless{text: []byte(records), left: size, sampleAt: size, step: size / 16}
}

func hostileRecords() string {
	var b strings.Builder
	long := strings.Repeat("x", 200)
	for i := range 6 * maxStacks {
		frames := make([]string, 20)
		for j := range frames {
			frames[j] = fmt.Sprintf("m%d_%d,'%s',1", i, j, long)
		}
		b.WriteString(oneRecord(fmt.Sprintf("<1.%d.%d>", i, i), 7, frames...))
	}
	return b.String() + strings.Repeat("no end of line ", 1<<18) + "\n" + "2026-11-23 00:38:06 [{pid,<" + strings.Repeat("1", 1<<20) + "\n"
}

func TestParseBoundsItsMemoryWhateverItReads(t *testing.T) {
	for name, records := range map[string]string{
		"a real node": string(readSample(t, "login-wedged.txt")),
		"a hostile one, where no two stacks are alike": hostileRecords(),
		"a single line without an end":                 "2026-11-23 00:38:06 [{pid,<1.2.3>},{links,[<1.2.3>,",
		"a record without an end":                      strings.TrimSuffix(oneRecord("<1.2.3>", 1, loginFrames...), "]\n") + "\n" + strings.Repeat("  {message_queue_len,1},\n", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			text := goOn(records, 16<<20)
			before := heapInUse()
			if _, err := Parse(text); err != nil && !errors.Is(err, ErrNotMaybeStuck) {
				t.Fatal(err)
			}
			if grown := int64(text.peak) - int64(before); grown > 4<<20 {
				t.Errorf("%d MiB more are needed while reading 16 MiB", grown>>20)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for _, bench := range []struct {
		name string
		text func() string
	}{
		{"stuck", func() string { return string(readSample(b, "login-wedged.txt")) }},
		{"hostile", hostileRecords},
	} {
		b.Run(bench.name, func(b *testing.B) {
			text := goOn(bench.text(), 80<<20)
			before := heapInUse()
			b.SetBytes(80 << 20)
			for b.Loop() {
				text.left, text.sampleAt = 80<<20, 80<<20
				p, err := Parse(text)
				if err != nil && !errors.Is(err, ErrNotMaybeStuck) || p.Suspicious == 0 {
					b.Fatalf("%+v, %v", p, err)
				}
			}
			b.ReportMetric(max(0, float64(text.peak)-float64(before))/(1<<20), "peak-MiB")
		})
	}
}
