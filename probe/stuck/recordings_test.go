package stuck

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

	"github.com/cjworkbench/unstuck/probe"
)

// recording is one answer of a real node; see ../testdata/recordings/README.md.
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

// TestVerdictOfEachVersion judges what each version's maybe_stuck printed, and its tools where it could not.
//
//promise:4
func TestVerdictOfEachVersion(t *testing.T) {
	want := map[string]probe.Reason{
		"healthy-empty": probe.OK, "healthy": probe.OK, "memory-alarm": probe.OK, "disk-alarm": probe.OK, "drained": probe.OK,
		"login-wedged": probe.ProcessesStuck, "start-wedged": probe.ProcessesStuck, "queues-wedged": probe.WorkWaits,
		"login-wedged-later": probe.ProcessesStuck, "start-wedged-later": probe.ProcessesStuck,
		"frozen": probe.ToolsUnresponsive, "frozen-for-long": probe.ToolsUnresponsive, "app-stopped": probe.NotRun, "booting": probe.NotRun, "wrong-cookie": probe.ExecFailed,
		"no-file-handles": probe.Full, "no-file-handles-later": probe.Full, "no-connections": probe.Full, "no-connections-later": probe.Full,
		"metadata-locked": probe.MetadataAwaited, "metadata-without-majority": probe.MetadataAwaited,
	}
	files, err := filepath.Glob("../testdata/recordings/*/maybe_stuck-*.txt")
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
			got := New(says(took, exit, r.stdout, r.stderr), Options{})(t.Context(), someNode)
			if got.Reason != want[situation] {
				t.Errorf("%s: %s (%s), want %s", file, got.Reason, got.Detail, want[situation])
			}
			if got.Reason == probe.ToolsUnresponsive && !IsErlangNode(got.ErlangNode) {
				t.Errorf("%s: the node is called %q", file, got.ErlangNode)
			}
		})
	}
}

// TestRecordingsPersistOfEachVersion wants a wedged node to show the same connections in the same place 45 s later.
func TestRecordingsPersistOfEachVersion(t *testing.T) {
	for _, situation := range []string{"login-wedged", "start-wedged"} {
		files, err := filepath.Glob("../testdata/recordings/*/maybe_stuck-" + situation + "-later.txt")
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, file := range files {
			later, err := Parse(strings.NewReader(readRecording(t, file).stdout))
			earlier, err2 := Parse(strings.NewReader(readRecording(t, strings.Replace(file, "-later", "", 1)).stdout))
			if same := probe.Persisting(earlier.Logins, later.Logins); err != nil || err2 != nil || len(same) < 3 {
				t.Errorf("%s: %d of %d connections persist: %v, %v", file, len(same), len(later.Logins), err, err2)
			}
		}
	}
}

func TestRecordingsSayHowTheyCameAboutAndNothingOfTheMachine(t *testing.T) {
	files, err := filepath.Glob("../testdata/recordings/*/*.txt")
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
