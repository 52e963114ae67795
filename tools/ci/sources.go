package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// safetyPage has the list of promises.
const safetyPage = "docs/safety.md"

// sources are what stands in the checkout, which is the current directory.
type sources struct {
	module   string              // of the root
	tests    []test              // all that there are
	imports  map[string][]string // what the tests of each package import
	promises []string            // the first is number 1
	problems []string            // marks and promises that do not fit
}

// test is one that stands in the sources, with the promises that it keeps.
type test struct {
	name
	promises []int
}

// readSources reads the sources of all the modules but of this one, those that are not committed yet included.
func readSources(ctx context.Context) (sources, error) {
	git := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*_test.go")
	list, err := git.Output()
	if err != nil {
		return sources{}, fmt.Errorf("list the files: %w", err)
	}
	files := strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00")
	return parseSources(os.DirFS("."), files)
}

func parseSources(dir fs.FS, files []string) (sources, error) {
	s := sources{imports: map[string][]string{}}
	var err error
	if s.module, err = readModule(dir); err != nil {
		return s, err
	}
	page, err := fs.ReadFile(dir, safetyPage)
	if err != nil {
		return s, err
	}
	s.readPromises(string(page))
	elsewhere := regexp.MustCompile(`(^|/)(testdata|tools)/`)
	for _, file := range files {
		if elsewhere.MatchString(file) {
			continue
		}
		source, err := fs.ReadFile(dir, file)
		if errors.Is(err, fs.ErrNotExist) { // removed, but not committed
			continue
		}
		if err == nil {
			err = s.readFile(file, source)
		}
		if err != nil {
			return s, err
		}
	}
	if len(s.tests) == 0 {
		return s, errors.New("no test found")
	}
	s.compare()
	return s, nil
}

func readModule(dir fs.FS) (string, error) {
	file, err := dir.Open("go.mod")
	if err != nil {
		return "", err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if module, found := strings.CutPrefix(lines.Text(), "module "); found {
			return strings.TrimSpace(module), nil
		}
	}
	return "", errors.New("go.mod names no module")
}

// readPromises reads the numbered list below "## Promises".
func (s *sources) readPromises(page string) {
	_, section, _ := strings.Cut(page, "\n## Promises\n")
	section, _, _ = strings.Cut(section, "\n## ")
	item := regexp.MustCompile(`^(\d+)\. (.*)`)
	for line := range strings.Lines(section) {
		line = strings.TrimSuffix(line, "\n")
		if m := item.FindStringSubmatch(line); m != nil {
			if m[1] != strconv.Itoa(len(s.promises)+1) {
				s.problemf("%s: promise %s stands where number %d should", safetyPage, m[1], len(s.promises)+1)
			}
			s.promises = append(s.promises, m[2])
		} else if more, found := strings.CutPrefix(line, "    "); found && len(s.promises) > 0 {
			s.promises[len(s.promises)-1] += " " + more
		}
	}
	if len(s.promises) == 0 {
		s.problemf("%s has no list of promises", safetyPage)
	}
}

var (
	looksLikeMark = regexp.MustCompile(`^//\s*promise:`)
	mark          = regexp.MustCompile(`^//promise:(\d+)$`)
)

func (s *sources) readFile(file string, source []byte) error {
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := path.Dir(file)
	for _, i := range parsed.Imports {
		if imported, err := strconv.Unquote(i.Path.Value); err == nil {
			s.imports[dir] = append(s.imports[dir], imported)
		}
	}
	marked := map[*ast.Comment]bool{}
	for _, decl := range parsed.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Recv != nil || !isTest(f.Name.Name) {
			continue
		}
		t := test{name: name{dir, f.Name.Name}}
		if f.Doc != nil {
			for _, c := range f.Doc.List {
				if m := mark.FindStringSubmatch(c.Text); m != nil {
					n, _ := strconv.Atoi(m[1])
					t.promises = append(t.promises, n)
					marked[c] = true
				}
			}
		}
		s.tests = append(s.tests, t)
	}
	for _, group := range parsed.Comments {
		for _, c := range group.List {
			if looksLikeMark.MatchString(c.Text) && !marked[c] {
				s.problemf("%s: %q: want //promise:N, right above a test", set.Position(c.Pos()), c.Text)
			}
		}
	}
	return nil
}

// isTest is what the go command takes for a test or a fuzz target.
func isTest(function string) bool {
	for _, prefix := range []string{"Test", "Fuzz"} {
		if rest, found := strings.CutPrefix(function, prefix); found && function != "TestMain" {
			first, _ := utf8.DecodeRuneInString(rest)
			return rest == "" || !unicode.IsLower(first)
		}
	}
	return false
}

// compare compares marks and promises.
func (s *sources) compare() {
	kept := map[int]bool{}
	for _, t := range s.tests {
		for _, n := range t.promises {
			kept[n] = true
			if n < 1 || n > len(s.promises) {
				s.problemf("%s: there is no promise %d in %s", t, n, safetyPage)
			}
		}
	}
	for i, text := range s.promises {
		if !kept[i+1] {
			s.problemf("no test carries //promise:%d: %s", i+1, text)
		}
	}
}

func (s *sources) problemf(format string, args ...any) {
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

// needs says whether the path of the package, or one that its tests import, matches.
func (s sources) needs(dir string, pattern *regexp.Regexp) bool {
	return pattern.MatchString(s.module+"/"+dir) || slices.ContainsFunc(s.imports[dir], pattern.MatchString)
}
