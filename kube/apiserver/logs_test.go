package apiserver

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/target"
)

func TestTailGivesTheLastLinesTheirTimes(t *testing.T) {
	at := func(text string) time.Time {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	long := strings.Repeat("x", 3*LongestLine)
	for _, tc := range []struct {
		name, log string
		want      []target.LogLine
	}{
		{"none", "", nil},
		{
			"two", "2026-11-23T00:38:01.123456789Z first\n2026-11-23T00:38:02Z second one\n",
			[]target.LogLine{{At: at("2026-11-23T00:38:01.123456789Z"), Text: "first"}, {At: at("2026-11-23T00:38:02Z"), Text: "second one"}},
		},
		{"another time zone", "2026-11-23T00:38:01.5+01:00 x\n", []target.LogLine{{At: at("2026-11-22T23:38:01.5Z"), Text: "x"}}},
		{"the last has no end", "2026-11-23T00:38:02Z half", []target.LogLine{{At: at("2026-11-23T00:38:02Z"), Text: "half"}}},
		{"an empty line", "2026-11-23T00:38:02Z \n", []target.LogLine{{At: at("2026-11-23T00:38:02Z")}}},
		{"no time", "failed to watch file\n", []target.LogLine{{Text: "failed to watch file"}}},
		{
			"a long line, and one after it", "2026-11-23T00:38:01Z " + long + "\n2026-11-23T00:38:02Z x\n",
			[]target.LogLine{{At: at("2026-11-23T00:38:01Z"), Text: long[:LongestLine-len("2026-11-23T00:38:01Z ")]}, {At: at("2026-11-23T00:38:02Z"), Text: "x"}},
		},
		{"what is not UTF-8", "2026-11-23T00:38:02Z a\xffb\n", []target.LogLine{{At: at("2026-11-23T00:38:02Z"), Text: "a?b"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Tail(strings.NewReader(tc.log), 20)
			if err != nil {
				t.Fatal(err)
			}
			for i := range got {
				got[i].At = got[i].At.UTC()
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTailKeepsTheLastLinesOfALogThatIsTooLong(t *testing.T) {
	got, err := Tail(strings.NewReader("a\nb\nc\nd\n"), 2)
	if err != nil || len(got) != 2 || got[0].Text != "c" || got[1].Text != "d" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestTailRefusesALogWhoseLastLinesHaveNoEnd(t *testing.T) {
	if lines, err := Tail(endless{}, 2); err == nil {
		t.Errorf("%d lines", len(lines))
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }
