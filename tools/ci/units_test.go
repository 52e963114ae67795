package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// TestUnitsOfTheProject wants the name of each test to begin with what it tests, so that `go test -run TestDecide` finds
// the tests of Decide: a function or type of the package, or what the test's file is called after.
func TestUnitsOfTheProject(t *testing.T) {
	t.Chdir("../..")
	list, err := exec.CommandContext(t.Context(), "git", "ls-files", "--cached", "--others", "--exclude-standard", "*.go").Output()
	if err != nil {
		t.Fatal(err)
	}
	units := map[string][]string{}            // by directory
	tests := map[string]map[string][]string{} // by directory and file
	for file := range strings.Lines(string(list)) {
		file = strings.TrimSpace(file)
		if strings.Contains("/"+file, "/testdata/") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		dir := path.Dir(file)
		if !strings.HasSuffix(file, "_test.go") {
			units[dir] = append(units[dir], declared(parsed)...)
			continue
		}
		if tests[dir] == nil {
			tests[dir] = map[string][]string{}
		}
		for _, name := range declared(parsed) {
			if rest := afterPrefix(name); rest != "" {
				tests[dir][file] = append(tests[dir][file], rest)
			}
		}
	}
	count := 0
	for dir, files := range tests {
		for file, names := range files {
			for _, name := range names {
				count++
				if !beginsWithUnit(name, append(units[dir], stem(file)...)) {
					t.Errorf("%s: ...%s: want a name that begins with what it tests: a function or type of the package, or %v",
						file, name, stem(file))
				}
			}
		}
	}
	if count < 900 {
		t.Errorf("only %d tests were found", count)
	}
}

func TestUnitsOfNames(t *testing.T) {
	for name, want := range map[string]bool{
		"DecideHoldsWhilePaused": true, "Decide": true, "DecidesHolds": false, "LoopRun": true, "Loopy": false,
		"OpenAPIIsWhatIsServed": true, "OpenapiIsWhatIsServed": true, "AFrozenNodeIsCured": false, "Decide2Nodes": true,
	} {
		if got := beginsWithUnit(name, append([]string{"decide", "Loop"}, stem("a/open_api_linux_test.go")...)); got != want {
			t.Errorf("%s begins with a unit: %t, want %t", name, got, want)
		}
	}
}

// declared gives the names that a file declares for its package, without methods.
func declared(file *ast.File) (names []string) {
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				names = append(names, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					names = append(names, s.Name.Name)
				case *ast.ValueSpec:
					for _, n := range s.Names {
						names = append(names, n.Name)
					}
				}
			}
		}
	}
	return names
}

// afterPrefix is the name of a test without Test, Fuzz or Benchmark; "" of anything else.
func afterPrefix(name string) string {
	for _, prefix := range []string{"Test", "Fuzz", "Benchmark"} {
		rest, found := strings.CutPrefix(name, prefix)
		first, _ := utf8.DecodeRuneInString(rest)
		if found && name != "TestMain" && !unicode.IsLower(first) {
			return rest
		}
	}
	return ""
}

var ending = regexp.MustCompile(`(_bench|_linux|_other)?_test\.go$`)

// stem is what a test's file is called after, if anything.
func stem(file string) []string {
	name := strings.ReplaceAll(ending.ReplaceAllString(path.Base(file), ""), "_", "")
	if name == "" {
		return nil
	}
	return []string{name}
}

// beginsWithUnit looks for a unit at the beginning of a name, whatever their capitals: openapi is OpenAPI, too.
func beginsWithUnit(name string, units []string) bool {
	for _, unit := range units {
		if len(unit) < 2 || len(name) < len(unit) || !strings.EqualFold(name[:len(unit)], unit) {
			continue
		}
		next, _ := utf8.DecodeRuneInString(name[len(unit):])
		if len(name) == len(unit) || !unicode.IsLower(next) {
			return true
		}
	}
	return false
}
