package kube

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/target"
)

func TestTheLastLinesOfALogHaveTheirTimes(t *testing.T) {
	at := func(text string) time.Time {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	long := strings.Repeat("x", 3*longestLine)
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
			[]target.LogLine{{At: at("2026-11-23T00:38:01Z"), Text: long[:longestLine-len("2026-11-23T00:38:01Z ")]}, {At: at("2026-11-23T00:38:02Z"), Text: "x"}},
		},
		{"what is not UTF-8", "2026-11-23T00:38:02Z a\xffb\n", []target.LogLine{{At: at("2026-11-23T00:38:02Z"), Text: "a?b"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tail(strings.NewReader(tc.log), 20)
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

func TestOfALogThatIsLongerThanAskedForTheLastLinesAreKept(t *testing.T) {
	got, err := tail(strings.NewReader("a\nb\nc\nd\n"), 2)
	if err != nil || len(got) != 2 || got[0].Text != "c" || got[1].Text != "d" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestALogWhoseLastLinesHaveNoEndIsAnError(t *testing.T) {
	if lines, err := tail(endless{}, 2); err == nil {
		t.Errorf("%d lines", len(lines))
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func TestALogIsReadFromTheContainer(t *testing.T) {
	p, n := connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.URL.Path != "/api/v1/namespaces/production/pods/rabbit-1/log" || q.Get("container") != "rabbitmq" || q.Get("tailLines") != "20" ||
			q.Get("timestamps") != "true" || q.Has("limitBytes") {
			t.Errorf("asked for %s", r.URL)
		}
		fmt.Fprint(w, "2026-11-23T00:38:01Z line\n")
	}))
	lines, err := p.LastLines(t.Context(), n, 20)
	if err != nil || len(lines) != 1 || lines[0].Text != "line" {
		t.Errorf("%v, %v", lines, err)
	}
}

func TestALogThatMayHaveBeenAnotherPodsIsNotGiven(t *testing.T) {
	var p *Pods
	p, n := connect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.feed.mu.Lock()
		defer p.feed.mu.Unlock()
		other := p.feed.items["rabbit-1"]
		other.uid = "another"
		p.feed.items["rabbit-1"] = other
		fmt.Fprint(w, "2026-11-23T00:38:01Z line\n")
	}))
	if lines, err := p.LastLines(t.Context(), n, 20); !errors.Is(err, target.ErrChanged) {
		t.Errorf("%v, %v", lines, err)
	}
}

func TestALogThatIsForbiddenNamesThePermission(t *testing.T) {
	p, n := connect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"pods \"rabbit-1\" is forbidden: User \"me\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"production\""}`)
	}))
	_, err := p.LastLines(t.Context(), n, 20)
	if missing, ok := errors.AsType[Missing](err); !ok || missing != (Missing{Verb: "get", Resource: "pods/log", Namespace: ns}) {
		t.Errorf("%v", err)
	}
}
