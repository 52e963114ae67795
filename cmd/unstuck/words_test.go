package main

import (
	"bytes"
	"go/scanner"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// retiredWords are what the table in CONTRIBUTING.md has in backticks in its last column.
func retiredWords(t *testing.T) []string {
	t.Helper()
	_, table, found := strings.Cut(readText(t, projectRoot+"/CONTRIBUTING.md"), "\n## Words\n")
	table, _, ended := strings.Cut(table, "\n## ")
	if !found || !ended {
		t.Fatal("CONTRIBUTING.md has no section Words")
	}
	var words []string
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 {
			continue
		}
		for _, word := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[3], -1) {
			words = append(words, word[1])
		}
	}
	return words
}

// matcher finds the words as whole words, in any case, also over the end of a line.
func matcher(words []string) *regexp.Regexp {
	patterns := make([]string, len(words))
	for i, word := range words {
		patterns[i] = strings.ReplaceAll(regexp.QuoteMeta(word), " ", `[\s/*#]+`)
	}
	return regexp.MustCompile(`(?i)(?:^|[^\w-])(` + strings.Join(patterns, "|") + `)(?:[^\w-]|$)`)
}

// proseOf gives a Go file with nothing but its comments and strings, and its lines where they were.
func proseOf(source []byte) []byte {
	prose := bytes.Repeat([]byte(" "), len(source))
	for i, b := range source {
		if b == '\n' {
			prose[i] = b
		}
	}
	files := token.NewFileSet()
	file := files.AddFile("", -1, len(source))
	var s scanner.Scanner
	s.Init(file, source, nil, scanner.ScanComments)
	for {
		at, kind, text := s.Scan()
		if kind == token.EOF {
			return prose
		}
		if from := file.Offset(at); kind == token.COMMENT || kind == token.STRING {
			copy(prose[from:], text)
		}
	}
}

func TestRetiredWordsAreUsedNowhere(t *testing.T) {
	words := retiredWords(t)
	if len(words) < 30 {
		t.Fatalf("%d words are retired: %q", len(words), words)
	}
	retired := matcher(words)
	files, err := exec.Command("git", "-C", projectRoot, "ls-files", "-co", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	skipped := regexp.MustCompile(`^(CHANGELOG\.md|CONTRIBUTING\.md|cmd/unstuck/words_test\.go|docs/page/.*|.*/testdata/recordings/.*|.*\.sum)$`)
	looked := 0
	for name := range strings.Lines(string(files)) {
		name = strings.TrimSpace(name)
		source, err := os.ReadFile(filepath.Join(projectRoot, name))
		if skipped.MatchString(name) || err != nil || bytes.IndexByte(source, 0) >= 0 { // one that is deleted, or a picture
			continue
		}
		looked++
		if filepath.Ext(name) == ".go" {
			source = proseOf(source)
		}
		for _, at := range retired.FindAllSubmatchIndex(source, -1) {
			t.Errorf("%s:%d: %q is retired: CONTRIBUTING.md says what to say", name, 1+bytes.Count(source[:at[2]], []byte("\n")), source[at[2]:at[3]])
		}
	}
	if looked < 300 {
		t.Errorf("only %d files were looked at", looked)
	}
}

func TestARetiredWordIsFound(t *testing.T) {
	retired := matcher([]string{"witness", "each turn", "unstuck-acts"})
	for text, want := range map[string]bool{
		"a Witness.": true, "at each\n// turn of it": true, "unstuck-acts": true, "unstuck-acts-rabbit": false, "witnesses": false, "eyewitness": false,
	} {
		if got := retired.MatchString(text); got != want {
			t.Errorf("%q: found %t, want %t", text, got, want)
		}
	}
	if got := string(proseOf([]byte("x := witness // é\ny(\"b\")\n"))); got != "             // é\n  \"b\" \n" {
		t.Errorf("the prose is %q", got)
	}
}
