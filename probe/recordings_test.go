package probe

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// recording is one answer of a real node; see testdata/recordings/README.md.
type recording struct {
	head           map[string]string
	stdout, stderr string
}

func readRecording(t testing.TB, path string) recording {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), "-- stdout --\n")
	stdout, stderr, also := strings.Cut(rest, "-- stderr --\n")
	if !ok || !also {
		t.Fatalf("%s is no recording", path)
	}
	r := recording{map[string]string{}, stdout, stderr}
	for line := range strings.Lines(head) {
		key, value, _ := strings.Cut(line, ": ")
		r.head[key] = strings.TrimSpace(value)
	}
	return r
}

func TestRecordingsSayHowTheyCameAboutAndNothingOfTheMachine(t *testing.T) {
	files, err := filepath.Glob("testdata/recordings/*/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	private := regexp.MustCompile(`127[.,](?:[0-57-9]\d*|6[0-35-9]|64[.,]\d*[1-9])[.,]\d|\[?[A-Za-z0-9+/]{22}==|unstuck-lab-\d`)
	for _, file := range files {
		r := readRecording(t, file)
		for _, key := range []string{"command", "node", "exit", "took", "rabbitmq", "erlang", "day"} {
			if r.head[key] == "" {
				t.Errorf("%s does not say its %s", file, key)
			}
		}
		if version := filepath.Base(filepath.Dir(file)); !strings.HasPrefix(r.head["rabbitmq"], version+".") {
			t.Errorf("%s was said by %s", file, r.head["rabbitmq"])
		}
		if found := private.FindString(r.stdout + r.stderr); found != "" && !slices.Contains([]string{"127.0.0.1"}, found) {
			t.Errorf("%s holds %q", file, found)
		}
	}
}

// TestVerdictOfEachVersion judges what each version's maybe_stuck printed, and its tools where it could not.
//
//promise:4
func TestVerdictOfEachVersion(t *testing.T) {
	want := map[string]Reason{
		"healthy-empty": OK, "healthy": OK, "memory-alarm": OK, "disk-alarm": OK, "drained": OK,
		"login-wedged": ProcessesStuck, "start-wedged": ProcessesStuck, "queues-wedged": WorkWaits,
		"login-wedged-later": ProcessesStuck, "start-wedged-later": ProcessesStuck,
		"frozen": ToolsUnresponsive, "frozen-for-long": ToolsUnresponsive, "app-stopped": NotRun, "booting": NotRun, "wrong-cookie": ExecFailed,
		"no-file-handles": Full, "no-file-handles-later": Full, "no-connections": Full, "no-connections-later": Full,
		"metadata-locked": MetadataAwaited, "metadata-without-majority": MetadataAwaited,
	}
	files, err := filepath.Glob("testdata/recordings/*/maybe_stuck-*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		situation := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "maybe_stuck-"), ".txt")
		r := readRecording(t, file)
		exit, err := strconv.Atoi(r.head["exit"])
		took, err2 := time.ParseDuration(strings.ReplaceAll(r.head["took"], " ", ""))
		if err != nil || err2 != nil || want[situation] == "" {
			t.Errorf("%s: exit %q, took %q, or no verdict is expected", file, r.head["exit"], r.head["took"])
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			got := NewMaybeStuck(says(took, exit, r.stdout, r.stderr), MaybeStuckOptions{})(t.Context(), someNode)
			if got.Reason != want[situation] {
				t.Errorf("%s: %s (%s), want %s", file, got.Reason, got.Detail, want[situation])
			}
			if got.Reason == ToolsUnresponsive && !IsErlangNode(got.ErlangNode) {
				t.Errorf("%s: the node is called %q", file, got.ErlangNode)
			}
		})
	}
}

// TestPersistingOfEachVersion wants a wedged node to show the same connections in the same place 45 s later.
func TestPersistingOfEachVersion(t *testing.T) {
	for _, situation := range []string{"login-wedged", "start-wedged"} {
		files, err := filepath.Glob("testdata/recordings/*/maybe_stuck-" + situation + "-later.txt")
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, file := range files {
			later, err := ParseMaybeStuck(strings.NewReader(readRecording(t, file).stdout))
			earlier, err2 := ParseMaybeStuck(strings.NewReader(readRecording(t, strings.Replace(file, "-later", "", 1)).stdout))
			if same := Persisting(earlier.Logins, later.Logins); err != nil || err2 != nil || len(same) < 3 {
				t.Errorf("%s: %d of %d connections persist: %v, %v", file, len(same), len(later.Logins), err, err2)
			}
		}
	}
}
