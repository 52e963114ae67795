package config

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/auth"
)

const page = "../docs/configuration.md"

func TestDocsTableHasEveryKeyAndNothingElse(t *testing.T) {
	var code []string // key and default
	d := newDecoder()
	d.listen = func(key, byDefault string, _ form) { code = append(code, "`"+key+"` | "+byDefault) }
	d.parse(nil, defaults())

	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| (`[^|]*`) \\| ([^|]*) \\| [^|]+ \\|$").FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, m[1]+" | "+strings.Trim(m[2], "`"))
	}
	slices.Sort(code)
	slices.Sort(documented)
	if diff := cmp.Diff(code, documented); diff != "" {
		t.Errorf("the table of %s is not what the code reads (-code +documented):\n%s", page, diff)
	}
}

func TestDocsExamplesAreTaken(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(examples) < 2 {
		t.Fatalf("%s has %d examples", page, len(examples))
	}
	for _, example := range examples {
		if _, err := Parse([]byte(example[1])); err != nil {
			t.Errorf("%v, in:\n%s", err, example[1])
		}
	}
}

const tokensPage = "../docs/tokens.md"

func TestDocsTableOfTokensHasEveryKeyAndNothingElse(t *testing.T) {
	var code []string
	d := newDecoder()
	d.listen = func(key, byDefault string, _ form) { code = append(code, key+" | "+byDefault) }
	_, _ = parseTokens(d, nil, "")
	text, err := os.ReadFile(tokensPage)
	if err != nil {
		t.Fatal(err)
	}
	var keys, verbs []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+) \\| [^|]+ \\|$").FindAllStringSubmatch(string(text), -1) {
		if strings.HasPrefix(m[1], "tokens") {
			keys = append(keys, m[1]+" | "+m[2])
		} else {
			verbs = append(verbs, m[1]+" | "+m[2])
		}
	}
	slices.Sort(code)
	slices.Sort(keys)
	if diff := cmp.Diff(code, keys); diff != "" {
		t.Errorf("the keys of %s are not what the code reads (-code +documented):\n%s", tokensPage, diff)
	}
	var want []string
	for _, v := range auth.Verbs() {
		to := "both"
		switch {
		case slices.Contains(auth.EnvironmentVerbs(), v):
			to = "environments"
		case slices.Contains(auth.TargetVerbs(), v):
			to = "targets"
		}
		want = append(want, string(v)+" | "+to)
	}
	if diff := cmp.Diff(want, verbs); diff != "" {
		t.Errorf("the verbs of %s (-code +documented):\n%s", tokensPage, diff)
	}
	for _, example := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		if _, err := parseTokens(newDecoder(), []byte(example[1]), ""); err != nil {
			t.Errorf("%v, in:\n%s", err, example[1])
		}
	}
}

func TestDocsGoodFilesAreTaken(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatalf("%d good files, error %v", len(files), err)
	}
	for _, file := range files {
		loaded(t, file)
	}
}

// The full file is what the documentation points to as complete: each key of the table is somewhere in it.
func TestDocsFullFileHasEveryKey(t *testing.T) {
	data, err := os.ReadFile("testdata/good/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	there := newDecoder()
	there.parse(data, defaults())
	index := regexp.MustCompile(`\[\d+\]`)
	keys := make(map[string]bool)
	for key := range there.lines {
		keys[index.ReplaceAllString(key, "[]")] = true
	}
	all := newDecoder()
	all.listen = func(key, _ string, _ form) {
		// Not with another: there is one user name, and TLS files are not made for an example.
		files := strings.HasPrefix(key, "brokers[].tls.") || strings.HasPrefix(key, "api.tls.") ||
			key == "notify[].ca_file"
		if !keys[key] && key != "brokers[].username_file" && !files {
			t.Errorf("full.yaml does not have %s", key)
		}
	}
	all.parse(nil, defaults())
}
