package probe

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
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
