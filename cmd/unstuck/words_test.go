package main

import (
	"bytes"
	"go/scanner"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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

// retiredWord finds a word as a whole word, in any case, also over the end of a line.
type retiredWord struct {
	longest []byte // of its parts, in lower case: a text without it need not be searched
	pattern *regexp.Regexp
}

func newRetiredWord(word string) retiredWord {
	longest := slices.MaxFunc(strings.Fields(strings.ToLower(word)), func(a, b string) int { return len(a) - len(b) })
	pattern := strings.ReplaceAll(regexp.QuoteMeta(word), " ", `[\s/*#]+`)
	return retiredWord{[]byte(longest), regexp.MustCompile(`(?i)(?:^|[^\w-])(` + pattern + `)(?:[^\w-]|$)`)}
}

// findIn gives where it stands in a text, which is given in lower case too.
func (w retiredWord) findIn(text, lower []byte) (at [][]int) {
	if !bytes.Contains(lower, w.longest) {
		return nil
	}
	for _, found := range w.pattern.FindAllSubmatchIndex(text, -1) {
		at = append(at, found[2:4])
	}
	return at
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

func TestWordsThatAreRetiredAreUsedNowhere(t *testing.T) {
	words := retiredWords(t)
	if len(words) < 30 {
		t.Fatalf("%d words are retired: %q", len(words), words)
	}
	var retired []retiredWord
	for _, word := range words {
		retired = append(retired, newRetiredWord(word))
	}
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
		lower := bytes.ToLower(source)
		for _, word := range retired {
			for _, at := range word.findIn(source, lower) {
				t.Errorf("%s:%d: %q is retired: CONTRIBUTING.md says what to say", name, 1+bytes.Count(source[:at[0]], []byte("\n")), source[at[0]:at[1]])
			}
		}
	}
	if looked < 300 {
		t.Errorf("only %d files were looked at", looked)
	}
}

func TestWordsThatAreRetiredAreFound(t *testing.T) {
	for _, x := range []struct {
		word, text string
		want       int
	}{
		{"witness", "a Witness.", 1},
		{"witness", "witnesses, an eyewitness", 0},
		{"each turn", "at each\n// turn of it", 1},
		{"unstuck-acts", "unstuck-acts", 1},
		{"unstuck-acts", "unstuck-acts-rabbit", 0},
		{"UnstuckLoopFault", "UnstuckLoopFault and unstuckloopfault", 2},
	} {
		if got := newRetiredWord(x.word).findIn([]byte(x.text), bytes.ToLower([]byte(x.text))); len(got) != x.want {
			t.Errorf("%q in %q: found %v, want %d", x.word, x.text, got, x.want)
		}
	}
	if got := string(proseOf([]byte("x := witness // é\ny(\"b\")\n"))); got != "             // é\n  \"b\" \n" {
		t.Errorf("the prose is %q", got)
	}
}
