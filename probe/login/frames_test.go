package login

import (
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/probe"
)

// openFrames are the frames of an open as a healthy broker sends them, for the benchmark and for the test of split
// reads.
var openFrames = []byte("\x01\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x1e\x07\xff\x00\x02\x00\x00\x00\x3c\xce" + // connection.tune
	"\x01\x00\x00\x00\x00\x00\x05\x00\x0a\x00\x29\x00\xce") // connection.open-ok

func TestFramesAreReadHoweverTheBytesAreSplit(t *testing.T) {
	for size := 1; size <= len(openFrames); size++ {
		f := &frames{afterOpen: probe.StageClose}
		f.enter(probe.StageTune, time.Now())
		for rest := openFrames; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			f.saw(rest[:min(size, len(rest))], time.Now())
		}
		if f.stage != probe.StageClose || f.times[probe.StageTune] == 0 || f.times[probe.StageOpen] == 0 {
			t.Errorf("in reads of %d bytes: stage %s, times %v", size, f.stage, f.times)
		}
	}
}

func TestFramesAreNotMovedByAMethodOutOfTurn(t *testing.T) {
	f := &frames{afterOpen: probe.StageClose}
	f.enter(probe.StageStart, time.Now())
	f.saw(openFrames, time.Now())
	if f.stage != probe.StageStart {
		t.Errorf("tune and open-ok before start moved the login to stage %s", f.stage)
	}
}

func TestRedactTakesAPasswordOutHoweverItWasCleaned(t *testing.T) {
	for _, row := range [][3]string{
		{"403 you sent s3cret", "s3cret", "403 you sent [redacted]"},
		{clean("403 you sent tab\there"), "tab\there", "403 you sent [redacted]"},
		{"no answer", "e", "[redacted]"},
		{`the answer was "s3\"cret\\"`, `s3"cret\`, `the answer was "[redacted]"`},
		{"403 s3cr", "s3cret", "403 [redacted]"}, // cut to its front, at the end of what is kept
		{"403 s3cr…", "s3cret", "403 [redacted]…"},
		{`the answer was "s3cret-and-longer"`, "s3cret-and-longer-than-that", `the answer was "[redacted]"`},
		{`the answer was "\x00ada\x00p\"\u202ew\xc3"`, "p\"\u202ewä!", `the answer was "\x00ada\x00[redacted]"`},
		{"403 such a s3c", "s3cret", "403 such a s3c"}, // too short to tell from an ordinary word
		{"403 s3cr is wrong", "s3cret", "403 s3cr is wrong"},
		{"no answer", "zz", "no answer"},
		{"no answer", "", "no answer"},
	} {
		if got := redact(row[0], row[1]); got != row[2] {
			t.Errorf("%q without %q is %q, want %q", row[0], row[1], got, row[2])
		}
	}
}

// FuzzFrames feeds arbitrary bytes: whatever comes, the trace must not break, and must end in a stage that exists.
func FuzzFrames(f *testing.F) {
	f.Add(openFrames)
	f.Add([]byte("AMQP\x00\x00\x09\x01"))
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x0b\x00\x0a\x00\x32\x01\x93\x04text\xce"))
	f.Fuzz(func(t *testing.T, data []byte) {
		whole, split := &frames{afterOpen: probe.StageChannel}, &frames{afterOpen: probe.StageChannel}
		whole.enter(probe.StageStart, time.Time{})
		split.enter(probe.StageStart, time.Time{})
		if len(data) > 0 {
			whole.saw(data, time.Time{})
		}
		for i := range data {
			split.saw(data[i:i+1], time.Time{})
		}
		if int(whole.stage) >= len(probe.StageTimes{}) || whole.stage < probe.StageStart {
			t.Fatalf("stage %d", whole.stage)
		}
		if whole.foreign == "" && split.foreign == "" && whole.stage != split.stage {
			t.Fatalf("stage %s as a whole, %s byte by byte", whole.stage, split.stage)
		}
		if whole.refusal != nil && len(whole.refusal.text) > 255 {
			t.Fatalf("kept %d bytes of a short string", len(whole.refusal.text))
		}
	})
}

func BenchmarkFrames(b *testing.B) {
	f := &frames{afterOpen: probe.StageClose}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		f.stage = probe.StageTune
		f.saw(openFrames, now)
	}
}
