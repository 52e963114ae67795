package remediate

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/target"
)

// recorded is what a real node of some version answered to a question; see ../probe/testdata/recordings/README.md.
type recorded struct {
	version, situation string
	exit               int
	out                string // standard output, then standard error, as the loop reads them
}

// recordings gives every answer to a question.
func recordings(t *testing.T, question string) []recorded {
	t.Helper()
	files, err := filepath.Glob("../probe/testdata/recordings/*/" + question + "-*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no recording of %s: %v", question, err)
	}
	var all []recorded
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		head, rest, ok := strings.Cut(string(text), "-- stdout --\n")
		stdout, stderr, also := strings.Cut(rest, "-- stderr --\n")
		if !ok || !also {
			t.Fatalf("%s is no recording", file)
		}
		_, code, _ := strings.Cut(head, "\nexit: ")
		code, _, _ = strings.Cut(code, "\n")
		exit, err := strconv.Atoi(code)
		if err != nil {
			t.Fatalf("%s: exit code %q", file, code)
		}
		all = append(all, recorded{
			version:   filepath.Base(filepath.Dir(file)),
			situation: strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), question+"-"), ".txt"),
			exit:      exit, out: stdout + stderr,
		})
	}
	return all
}

// TestReadCriticalOfEachVersion: rabbit-1 has a quorum queue of two members and one of one where there are queues at all.
func TestReadCriticalOfEachVersion(t *testing.T) {
	seen := map[target.Answer]int{}
	for _, r := range recordings(t, quorumQuestion) {
		q := readCritical("rabbit-1", quorumQuestion, r.exit, r.out)
		want, known := map[string]target.Answer{
			"healthy-empty": target.No, "healthy": target.Yes, "healthy-on-rabbit-1": target.Yes, "login-wedged": target.Yes,
			"start-wedged": target.Yes, "frozen": target.CannotTell, "frozen-for-long": target.CannotTell, "app-stopped": target.CannotTell,
			"booting": target.CannotTell,
		}[r.situation]
		if known && q.Critical != want {
			t.Errorf("%s, %s: %s (%s), want %s", r.version, r.situation, q.Critical, q.Detail, want)
		}
		if q.Critical == target.Yes && !strings.Contains(q.Detail, "queue") {
			t.Errorf("%s, %s: %q does not name the queues", r.version, r.situation, q.Detail)
		}
		seen[q.Critical]++
	}
	if len(seen) != 3 {
		t.Errorf("not every answer was seen: %v", seen)
	}
	for _, r := range recordings(t, mirrorQuestion) {
		q := readCritical("rabbit-1", mirrorQuestion, r.exit, r.out)
		if strings.HasPrefix(r.version, "4.") {
			if r.exit == 0 && !q.NotApplicable {
				t.Errorf("%s, %s: %+v, and there are no mirrored queues any more", r.version, r.situation, q)
			}
		} else if r.situation == "healthy" && q.Critical != target.Yes {
			t.Errorf("%s, %s: %+v, and a mirrored queue has its only synchronised copy there", r.version, r.situation, q)
		}
	}
}

// TestReadQuorumOfEachVersion reads what peers say of the cluster without rabbit-1.
//
//promise:4
func TestReadQuorumOfEachVersion(t *testing.T) {
	frozen := 0
	for _, r := range recordings(t, "eval_quorum") {
		if !strings.HasSuffix(r.situation, "-about-rabbit-1") {
			continue
		}
		q := readQuorum(r.out, true)
		switch {
		case strings.HasPrefix(r.situation, "frozen"):
			frozen++
			if q.Critical != target.No {
				t.Errorf("%s, %s: %+v: it would never be cured", r.version, r.situation, q)
			}
		case strings.HasPrefix(r.situation, "healthy-on"):
			if alive := readQuorum(r.out, false); alive.Critical != target.Yes || !strings.Contains(alive.Detail, "two") {
				t.Errorf("%s, %s: %+v: a queue of two members has no majority without it", r.version, r.situation, alive)
			}
		case strings.HasPrefix(r.situation, "healthy-empty") && q.Critical != target.No:
			t.Errorf("%s, %s: %+v", r.version, r.situation, q)
		}
	}
	if frozen == 0 {
		t.Error("no frozen node was asked about")
	}
}

// TestReadLimitsOfEachVersion reads what a node says of itself.
//
//promise:4
func TestReadLimitsOfEachVersion(t *testing.T) {
	for _, r := range recordings(t, "eval_limits") {
		if r.exit != 0 {
			continue // its tools cannot reach it
		}
		want := target.No
		switch {
		case strings.HasSuffix(r.situation, "-on-a-peer"):
		case strings.HasPrefix(r.situation, "no-"), strings.HasPrefix(r.situation, "drained"), strings.HasPrefix(r.situation, "booting"),
			strings.HasPrefix(r.situation, "app-stopped"):
			want = target.Yes
		case r.situation == "metadata-without-majority": // it does not say whether it is in maintenance
			want = target.CannotTell
		}
		got := readLimits(r.out, false, 0)
		if got.OnPurpose != want {
			t.Errorf("%s, %s: for logins %s (%s), want %s", r.version, r.situation, got.OnPurpose, got.Detail, want)
		}
		if strings.HasSuffix(r.situation, "-alarm") {
			if got := readLimits(r.out, true, 0); got.OnPurpose != target.Yes || !strings.Contains(got.Detail, "alarm") {
				t.Errorf("%s, %s: for round trips %s (%s), want yes", r.version, r.situation, got.OnPurpose, got.Detail)
			}
		}
	}
}
