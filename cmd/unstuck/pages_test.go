package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestPagesAreAllNamedInTheIndex(t *testing.T) {
	index := readText(t, projectRoot+"/docs/README.md")
	for _, path := range sources(t, ".md", ".json") {
		if name := filepath.Base(path); filepath.Base(filepath.Dir(path)) == "docs" && name != "README.md" && !strings.Contains(index, "("+name) {
			t.Errorf("docs/README.md does not name %s", name)
		}
	}
}

func TestPagesOfTheThreatModelNameTestsAndFilesThatExist(t *testing.T) {
	page := readText(t, projectRoot+"/docs/threat-model.md")
	var tests strings.Builder
	for _, path := range sources(t, "_test.go") {
		tests.WriteString(readText(t, path))
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z]+)`").FindAllStringSubmatch(page, -1)
	if len(named) < 30 {
		t.Errorf("it names only %d tests", len(named))
	}
	for _, m := range named {
		if !strings.Contains(tests.String(), "\nfunc "+m[1]+"(") {
			t.Errorf("there is no %s", m[1])
		}
	}
	files := regexp.MustCompile("`([a-z]+(?:/[a-z_]+)+\\.go)`").FindAllStringSubmatch(page, -1)
	if len(files) == 0 {
		t.Error("it names no file")
	}
	for _, m := range files {
		readText(t, filepath.Join(projectRoot, m[1]))
	}
}

func TestPagesOfDecisionsAreAPageAtMost(t *testing.T) {
	const most = 40 // as docs/adr/README.md says
	for _, path := range sources(t, ".md") {
		if filepath.Base(filepath.Dir(path)) == "adr" && filepath.Base(path) != "README.md" {
			if n := strings.Count(readText(t, path), "\n"); n > most {
				t.Errorf("%s has %d lines, want %d at most", path, n, most)
			}
		}
	}
}
